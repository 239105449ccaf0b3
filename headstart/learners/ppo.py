"""PPO for teams: each agent has an actor of its observation, and a value function of that (IPPO) or of all agents' (MAPPO).

Schulman et al. 2017, "Proximal Policy Optimization Algorithms"; de Witt et al. 2020 for independent PPO; Yu et al. 2022, "The
Surprising Effectiveness of PPO in Cooperative Multi-Agent Games" for MAPPO. With one agent it is plain PPO. `core` picks
feed-forward or recurrent networks; the latter learn from sequences, unrolled from the carry that each began with.
"""

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from annotated_types import MinLen

from headstart.core import actions
from headstart.core.checks import HeadstartError, require
from headstart.core.learner import Attention, Learner, flatten, shares, squashed
from headstart.core.memory import latest
from headstart.core.modules import Activation
from headstart.core.networks import role_net
from headstart.core.ops import Cell, Real, gae, masked_mean, unroll
from headstart.core.optimisers import per_team
from headstart.core.part import part
from headstart.core.ranges import Count, Natural, NonNegative, Positive, Sizes, Unit
from headstart.core.types import Continuous, TeamSpec, Transition
from headstart.learners.bodies import Body, CoreBody, cell_of, width
from headstart.learners.critics import Critic, Kind, critic
from headstart.learners.deaths import DeathSettings, ends_for, learned_from
from headstart.learners.graphs import ActorKind, Graphs, GraphSettings, check_graph
from headstart.learners.normaliser import InputSettings, fresh_inputs, learn_inputs, read
from headstart.learners.recurrent import chunks, fresh, in_time
from headstart.learners.values import ValueSettings, fresh_stats, learn_scale, outputs_for, value_loss, values_of


@part("learner")
class PPO(GraphSettings, ValueSettings, InputSettings, DeathSettings):
    """PPO with a clipped surrogate, generalised advantages and an entropy bonus; value functions see an agent or the team."""

    core: Literal["mlp", "gru"] = "mlp"
    """Feed-forward, or recurrent (an encoder, a GRU and a head)."""
    critic: Kind = "local"
    """Input of a value function: its own agent's observation (local, independent PPO), or every agent's side by side (joint,
    MAPPO), as vertices of a graph that it pools (agp) or in which they exchange messages first (agnn), or with
    attention to what the other agents see, as MAAC's (attention)."""
    actor: ActorKind = "mlp"
    """Actor of an observation as it is (mlp), or of the entities in it, pooled (agp) or after exchanging messages (agnn)."""
    shared: bool = True
    """One actor and one value function for all agents of a role, instead of one each."""
    hidden: Annotated[Sizes, MinLen(1)] = (64, 64)
    """Units of the hidden layers. With a GRU, the last number is its size and those before it are its encoder's layers."""
    activation: Activation = "tanh"
    """Activation of feed-forward networks; recurrent ones have ReLUs."""
    layer_norm: bool = False
    """Normalise each observation and what each hidden layer puts out over its numbers (layer norm)."""
    actor_gain: Positive = 0.01
    """Gain of the orthogonal weights of an actor's last layer; those before it have √2."""
    critic_gain: Positive = 1.0
    """The same for a value function."""
    lr: Positive = 1e-3
    anneal: bool = True
    """Let the learning rate fall linearly to 0 along the run."""
    gamma: Unit = 0.99
    """Discount."""
    lam: Unit = 0.95
    """λ of the generalised advantage estimate."""
    clip: Positive = 0.2
    """ε of the clipped surrogate."""
    entropy: NonNegative = 0.01
    """Weight of the entropy bonus."""
    value: NonNegative = 0.5
    """Weight of the value loss."""
    max_grad_norm: Positive = 0.5
    """Largest gradient norm of one agent's actor or value function."""
    num_envs: Count = 16
    """Environments that step together."""
    rollout: Count = 128
    """Env-steps of each environment between updates."""
    chunk: Natural = 0
    """Env-steps through which a recurrent network's gradient passes: a rollout is cut into sequences of this length, each of
    which starts from the memory that was there. It divides `rollout`; 0 is the whole rollout."""
    epochs: Count = 4
    minibatches: Count = 4

    def __post_init__(self):
        if self.chunk:
            require(self.core == "gru", "learner.chunk", self.chunk, "0 with feed-forward networks (--learner.core mlp)")
            require(self.rollout % self.chunk == 0, "learner.chunk", self.chunk, f"a divisor of rollout ({self.rollout})")
        must = f"a divisor of the {self._items} items of a rollout"
        fits = self.core == "mlp" or self.critic in ("joint", "local")
        check_graph(self, self.critic)
        require(fits, "learner.critic", self.critic, "joint or local with recurrent networks (--learner.core gru)")
        other = {self.actor, self.critic} & {"agp", "agnn", "attention"}
        require(not (other and self.layer_norm), "learner.layer_norm", True, f"left out with {' and '.join(sorted(other))}")
        require(self._items % self.minibatches == 0, "learner.minibatches", self.minibatches, must)

    @property
    def _items(self) -> int:
        """Items of a rollout: single steps, or sequences for a recurrent core."""
        steps = 1 if self.core == "mlp" else self.chunk or self.rollout
        return self.num_envs * self.rollout // steps

    def make(self, spec: TeamSpec) -> Learner:
        """The learner for a team; raises HeadstartError if there is nothing left of an observation that is normalised."""
        for name, role in spec.roles.items():
            if self.layer_norm and width(role.obs) == 1:
                raise HeadstartError(f"'{name}' observes one number, of which layer_norm leaves nothing: leave it out")
        optimizer = optax.chain(optax.clip_by_global_norm(self.max_grad_norm), optax.adam(self.lr, eps=1e-5))
        graphs = Graphs(self, self.hidden, self.activation, (2**0.5, self.critic_gain))
        valued = critic(self.critic, spec, lambda role: self._body(self.critic_gain), graphs, self.shared, acts=False)
        single = lambda params, obs, action: values_of(params, valued.v(params)((), (read(self, params, obs), None))[1])
        return Learner(
            num_envs=self.num_envs,
            rollout=self.rollout,
            warmup=0,
            memory=latest(self._items, self.epochs, self.minibatches),
            optimizer=per_team(dict.fromkeys(("actor", *valued.networks), optimizer)),
            init=lambda key: self._init(spec, valued, key),
            start=lambda num_envs: self._start(spec, num_envs),
            policy=lambda params, carry, obs: _policy(spec, params, carry, read(self, params, obs)),
            unroll=lambda params, batch: self._unroll(spec, params, batch),
            act=lambda params, carry, step, key, progress: self._act(spec, valued, params, carry, step, key),
            prepare=lambda params, carry, rollout: self._prepare(spec, valued, params, carry, rollout),
            objective=lambda params, target, batch, key: self._objective(spec, valued, params, batch),
            share=shares(spec, self.shared),
            value=None if self.core == "gru" else single,
            attention=self._attention(valued),
            dead_count=self.dead_count,
            rate=(lambda progress: 1.0 - progress) if self.anneal else (lambda progress: 1.0),
            policy_networks=("actor", "inputs") if self.obs_norm else ("actor",),
        )

    def _attention(self, valued: Critic) -> Attention | None:
        if valued.attention is None:
            return None
        weights = valued.attention.weights
        return valued.attention._replace(weights=lambda params, obs, *rest: weights(params, read(self, params, obs), *rest))

    def _body(self, gain: Real, body: Body | None = None) -> Body:
        return CoreBody(self.core, self.hidden, self.activation, gain, body, self.layer_norm)

    def _init(self, spec, valued: Critic, key):
        graph = Graphs(self, self.hidden if self.core == "mlp" else (), self.activation, (2**0.5, self.actor_gain))
        actors, body = {}, self._body(self.actor_gain, graph.actor(self.actor) if self.actor != "mlp" else None)
        for i, (name, role) in enumerate(spec.roles.items()):
            make = lambda k, role=role: body(k, role.obs, role.actions.size)
            actors[name] = role_net(make, jr.split(jr.fold_in(key, i))[0], role.agents, self.shared)
        critics = valued.init(lambda i: jr.split(jr.fold_in(key, i))[1])
        return {"actor": actors, **critics} | fresh_stats(self, spec, self.shared) | fresh_inputs(self, spec)

    def _start(self, spec, num_envs) -> Any:
        if self.core == "mlp":
            return ()
        mine = fresh(spec, self.hidden[-1], num_envs)
        one = self.critic == "joint" and self.shared
        return {"actor": mine, "critic": {name: x[:, :1] for name, x in mine.items()} if one else mine}

    def _act(self, spec, valued: Critic, params, carry, step, key):
        obs = read(self, params, step.obs)
        carry, logits = _policy(spec, params, carry, obs)
        if carry:
            carry = {"actor": carry["actor"], "critic": valued.v(params)(carry["critic"], (obs, step.alive))[0]}
        out = {}
        for i, (name, x) in enumerate(logits.items()):
            space, k = spec.roles[name].actions, jr.fold_in(key, i)
            if isinstance(space, Continuous):
                deviation = jnp.broadcast_to(jnp.exp(params["actor"][name].net.log_std), x.shape)
                out[name] = x + deviation * jr.normal(k, x.shape)
            else:
                out[name] = actions.sample(space, k, actions.legal(x, step.available and step.available[name]))
        return carry, out

    def _unroll(self, spec, params, batch):
        carries, out = self._along(spec, cell_of(params["actor"]), read(self, params, batch.obs), batch, "actor")
        return ({"actor": carries} if self.core == "gru" else ()), squashed(spec, out)

    def _along(self, spec, cell: Cell, inputs, batch, network: str):
        """carries, {role: [*n ..]}: a network's cell on a batch's inputs, which recurrent networks read along T."""
        if self.core == "mlp":
            return cell((), inputs)
        return in_time(cell, network, inputs, batch, self._start(spec, batch.first.shape[0])[network])

    def _prepare(self, spec, valued: Critic, params, carry, rollout: Transition):
        """Items with advantages, value targets, and the log-probabilities before the update.

        An update learns from what the networks read as they acted; statistics of observations that it moves are read by later
        actions (as stable-baselines3's VecNormalize has it), so that the first ratio ρ is 1.
        """
        obs, next_obs = read(self, params, rollout.obs), read(self, params, rollout.next_obs)
        recurrent, begin = self.core == "gru", self._start(spec, rollout.first.shape[1])
        along = lambda cell, inputs, network: unroll(
            cell, carry[network] if recurrent else (), inputs, rollout.first, begin[network] if recurrent else ()
        )
        judge = valued.v(params)
        _, carries, put_out = along(judge, (obs, rollout.alive), "critic")
        _, next_out = judge(carries, (next_obs, rollout.next_alive))
        _, acted, out = along(cell_of(params["actor"]), obs, "actor")
        extras = {"log_prob": {name: self._log_prob(spec, params, name, out[name], rollout) for name in rollout.obs}}
        value = values_of(params, put_out)
        extras["advantage"] = self._advantages(rollout, value, values_of(params, next_out))
        target = {name: x + value[name] for name, x in extras["advantage"].items()}
        after = learn_scale(self, learn_inputs(params, rollout.obs, rollout.alive), target, learned_from(self, rollout))
        extras["value_target"] = outputs_for(after, target)
        if self.value_clip:  # the outputs of the parameters that the update begins with
            extras["value"] = outputs_for(after, value) if self.value_norm == "popart" else put_out
        if self.obs_norm:
            extras["read"] = obs
        rollout = dataclasses.replace(rollout, extras=rollout.extras | extras)
        if not recurrent:
            return after, flatten(rollout)
        return after, chunks(rollout, carry, {"actor": acted, "critic": carries}, self.chunk or self.rollout)

    def _advantages(self, rollout: Transition, value, next_value) -> dict[str, jax.Array]:
        """{role: [T E A]}."""
        advantage, ended = {}, (rollout.terminated | rollout.truncated)[..., None]
        for name, counts in learned_from(self, rollout).items():
            gone = ends_for(self, rollout, name)
            # An agent that is truncated before its team is bootstrapped; no later reward counts for it.
            leaves = jnp.concatenate([~counts[1:], jnp.zeros_like(counts[:1])])
            over = ended | gone | leaves
            advantage[name] = gae(rollout.reward[name], value[name], next_value[name], gone, over, self.gamma, self.lam)
        return advantage

    def _log_prob(self, spec, params, name, out, batch):
        space = spec.roles[name].actions
        if isinstance(space, Continuous):
            return actions.normal_log_prob(jnp.tanh(out), params["actor"][name].net.log_std, batch.action[name])
        out = actions.legal(out, batch.available and batch.available[name])
        return actions.log_prob(space, out, batch.action[name])

    def _objective(self, spec, valued: Critic, params, batch):
        """Actor: −min(ρA, clip(ρ)A) − c_H·H; critic: c_v·`value_loss`; means over the batch."""
        obs = batch.extras["read"] if self.obs_norm else batch.obs
        _, out = self._along(spec, cell_of(params["actor"]), obs, batch, "actor")
        _, value = self._along(spec, valued.v(params), (obs, batch.alive), batch, "critic")
        terms, metrics, share = {"actor": {}, "critic": {}}, {}, shares(spec, self.shared)
        judged = learned_from(self, batch)
        for name, role in spec.roles.items():
            space, alive = role.actions, batch.alive[name]
            axes = tuple(range(alive.ndim - 1))
            mean = lambda x, mask, axes=axes, name=name: share[name] * masked_mean(x, mask, axes)
            log_prob = self._log_prob(spec, params, name, out[name], batch)
            if isinstance(space, Continuous):
                entropy = (params["actor"][name].net.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e)).sum(-1)
                entropy = jnp.broadcast_to(entropy, log_prob.shape)
            else:
                entropy = actions.entropy(space, actions.legal(out[name], batch.available and batch.available[name]))
            advantage = _normalised(batch.extras["advantage"][name], alive, (*axes, -1) if self.shared else axes)
            ratio = jnp.exp(log_prob - batch.extras["log_prob"][name])
            clipped = jnp.clip(ratio, 1 - self.clip, 1 + self.clip)
            surrogate = jnp.minimum(ratio * advantage, clipped * advantage)
            terms["actor"][name] = mean(-surrogate - self.entropy * entropy, alive)
            before = batch.extras["value"][name] if self.value_clip else None
            error = value_loss(self, value[name], batch.extras["value_target"][name], before)
            terms["critic"][name] = self.value * mean(error, judged[name])
            metrics["entropy"] = metrics.get("entropy", 0) + masked_mean(entropy, alive, (*axes, -1)) / len(spec.roles)
        return terms, metrics


def _policy(spec, params, carry, obs):
    """Logits of discrete actors, means in [-1, 1] of continuous ones; only the actors' carry advances."""
    carries, out = cell_of(params["actor"])(carry["actor"] if carry else (), obs)
    return ({**carry, "actor": carries} if carry else ()), squashed(spec, out)


def _normalised(x, alive, axes):
    """`x` with mean 0 and deviation 1 over `axes`, dead entries left out."""
    mean = masked_mean(x, alive, axes, keepdims=True)
    deviation = jnp.sqrt(masked_mean(jnp.square(x - mean), alive, axes, keepdims=True))
    return (x - mean) / (deviation + 1e-8)


VARIANTS = {
    "ppo-gru": PPO(core="gru"),
    "ppo-separate": PPO(shared=False),
    "mappo-gru": PPO(critic="joint", core="gru"),
    "ippo-gru-full": PPO(
        core="gru",
        shared=False,
        layer_norm=True,
        value_norm="popart",
        value_clip=0.2,
        value_loss="huber",
        chunk=2,
        obs_norm=True,
    ),
}
"""Settings that the contract tests try beside the presets."""
PRESETS = {"ppo": PPO(), "ippo": PPO(), "mappo": PPO(critic="joint")}
"""Names on the command line, and the settings each starts from."""
