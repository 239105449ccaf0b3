"""Independent PPO: every agent an actor and a value function of its own observation.

Schulman et al. 2017, "Proximal Policy Optimization Algorithms"; de Witt et al. 2020 for the multi-agent form (IPPO). With
one agent it is plain PPO. Feed-forward or recurrent by `core`; the recurrent form learns from whole rollouts, unrolled
from the carry they began with.
"""

import dataclasses
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from annotated_types import MinLen
from jaxtyping import Array, Float, PyTree

from headstart.core import actions
from headstart.core.checks import require
from headstart.core.learner import Learner, flatten
from headstart.core.memory import latest
from headstart.core.modules import GRU, MLP, Activation, Linear, gru, linear, mlp
from headstart.core.networks import role_net
from headstart.core.ops import gae, masked_mean, unroll
from headstart.core.optimisers import per_team
from headstart.core.part import part
from headstart.core.ranges import Count, NonNegative, Positive, Sizes, Unit
from headstart.core.types import Continuous, TeamSpec, Transition


class Core(eqx.Module):
    """Observation to numbers: an MLP, or an encoder, a GRU and a head. `log_std` is used by continuous actors only."""

    body: MLP | Linear
    memory: GRU | None
    head: Linear | None
    log_std: Float[Array, "*a U"]

    def __call__(self, carry: PyTree, x: Float[Array, "*n I"]) -> tuple[PyTree, Float[Array, "*n O"]]:
        if self.memory is None or self.head is None:
            return carry, self.body(x)
        carry = self.memory(carry, jax.nn.relu(self.body(x)))
        return carry, self.head(carry)


@part("learner")
class PPO:
    """Independent PPO with clipped surrogate, generalised advantages and an entropy bonus."""

    core: Literal["mlp", "gru"] = "mlp"
    """Feed-forward, or recurrent (an encoder, a GRU and a head)."""
    shared: bool = True
    """One actor and one value function for all agents of a role, instead of one each."""
    hidden: Annotated[Sizes, MinLen(1)] = (64, 64)
    """Units of the hidden layers; a GRU takes the last number as its size."""
    activation: Activation = "tanh"
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
    epochs: Count = 4
    minibatches: Count = 4

    def __post_init__(self):
        must = f"a divisor of the {self._items} items of a rollout"
        require(self._items % self.minibatches == 0, "learner.minibatches", self.minibatches, must)

    @property
    def _items(self) -> int:
        """Items of a rollout: single steps, or whole sequences for a recurrent core."""
        return self.num_envs if self.core == "gru" else self.num_envs * self.rollout

    def make(self, spec: TeamSpec) -> Learner:
        """The learner for a team."""
        optimizer = optax.chain(optax.clip_by_global_norm(self.max_grad_norm), optax.adam(self.lr, eps=1e-5))
        return Learner(
            num_envs=self.num_envs,
            rollout=self.rollout,
            warmup=0,
            memory=latest(self._items, self.epochs, self.minibatches),
            optimizer=per_team({"actor": optimizer, "critic": optimizer}),
            init=lambda key: self._init(spec, key),
            start=lambda num_envs: self._start(spec, num_envs),
            policy=lambda params, carry, obs: _policy(spec, params, carry, obs),
            logits=lambda params, batch: self._logits(spec, params, batch),
            act=lambda params, carry, step, key, progress: self._act(spec, params, carry, step, key),
            prepare=lambda params, carry, rollout: self._prepare(spec, params, carry, rollout),
            objective=lambda params, target, batch, key: self._objective(spec, params, batch),
            rate=(lambda progress: 1.0 - progress) if self.anneal else (lambda progress: 1.0),
        )

    def _init(self, spec, key):
        params = {"actor": {}, "critic": {}}
        for i, (name, role) in enumerate(spec.roles.items()):
            actor, critic = jr.split(jr.fold_in(key, i))
            width = role.actions.size
            params["actor"][name] = role_net(self._core(role.obs_size, width, 0.01), actor, role.agents, self.shared)
            params["critic"][name] = role_net(self._core(role.obs_size, 1, 1.0), critic, role.agents, self.shared)
        return params

    def _core(self, inputs: int, outputs: int, gain: float):
        def make(key):
            body, memory, head = jr.split(key, 3)
            log_std = jnp.full(outputs, -0.5)
            if self.core == "mlp":
                return Core(mlp(body, (inputs, *self.hidden, outputs), self.activation, (2**0.5, gain)), None, None, log_std)
            size = self.hidden[-1]
            return Core(linear(body, inputs, size, 2**0.5), gru(memory, size, size), linear(head, size, outputs, gain), log_std)

        return make

    def _start(self, spec, num_envs):
        if self.core == "mlp":
            return ()
        zeros = {name: jnp.zeros((num_envs, role.agents, self.hidden[-1])) for name, role in spec.roles.items()}
        return {"actor": zeros, "critic": zeros}

    def _act(self, spec, params, carry, step, key):
        carry, logits = _policy(spec, params, carry, step.obs)
        if carry:
            value_carry = {r: params["critic"][r](carry["critic"][r], x)[0] for r, x in step.obs.items()}
            carry = {"actor": carry["actor"], "critic": value_carry}
        out = {}
        for i, (name, x) in enumerate(logits.items()):
            space, k = spec.roles[name].actions, jr.fold_in(key, i)
            if isinstance(space, Continuous):
                deviation = jnp.broadcast_to(jnp.exp(params["actor"][name].net.log_std), x.shape)
                out[name] = x + deviation * jr.normal(k, x.shape)
            else:
                out[name] = actions.sample(space, k, actions.legal(x, step.available and step.available[name]))
        return carry, out

    def _logits(self, spec, params, batch):
        raw = self._unrolled(params["actor"], batch)
        return {r: jnp.tanh(x) if isinstance(spec.roles[r].actions, Continuous) else x for r, x in raw.items()}

    def _unrolled(self, teams, batch, network: str = "actor"):
        """{role: [*n A _]}: the network on every step of the batch; recurrent ones run along T from their first carry."""
        if self.core == "mlp":
            return {name: teams[name]((), x)[1] for name, x in batch.obs.items()}
        carry, first = batch.extras["carry"][network], batch.first.T
        swap = lambda x: jnp.swapaxes(x, 0, 1)  # items are [B T ..], time runs over the first axis
        return {name: swap(unroll(teams[name], carry[name], swap(x), first)[-1]) for name, x in batch.obs.items()}

    def _prepare(self, spec, params, carry, rollout: Transition):
        """Items with advantages, returns, and the log-probabilities before the update."""
        extras = {name: {} for name in ("advantage", "value_target", "log_prob")}
        recurrent = self.core == "gru"
        for name in rollout.obs:
            value_net, start = params["critic"][name], carry["critic"][name] if recurrent else ()
            _, carries, value = unroll(value_net, start, rollout.obs[name], rollout.first)
            next_value = value_net(carries, rollout.next_obs[name])[1][..., 0]
            value = value[..., 0]
            ended = (rollout.terminated | rollout.truncated)[..., None]
            gone, alive = rollout.ended_for(name), rollout.alive[name]
            # An agent that is cut off alone is bootstrapped, and what follows is not its own any more.
            leaves = jnp.concatenate([~alive[1:], jnp.zeros_like(alive[:1])])
            advantage = gae(rollout.reward[name], value, next_value, gone, ended | gone | leaves, self.gamma, self.lam)
            *_, out = unroll(params["actor"][name], carry["actor"][name] if recurrent else (), rollout.obs[name], rollout.first)
            extras["advantage"][name], extras["value_target"][name] = advantage, advantage + value
            extras["log_prob"][name] = self._log_prob(spec, params, name, out, rollout)
        rollout = dataclasses.replace(rollout, extras=rollout.extras | extras)
        if not recurrent:
            return flatten(rollout)
        sequences = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), rollout)  # [T E ..] -> [E T ..]: an item is a sequence
        return dataclasses.replace(sequences, extras=sequences.extras | {"carry": carry})

    def _log_prob(self, spec, params, name, out, batch):
        space = spec.roles[name].actions
        if isinstance(space, Continuous):
            return actions.normal_log_prob(jnp.tanh(out), params["actor"][name].net.log_std, batch.action[name])
        out = actions.legal(out, batch.available and batch.available[name])
        return actions.log_prob(space, out, batch.action[name])

    def _objective(self, spec, params, batch):
        """Actor: −min(ρA, clip(ρ)A) − c_H·H; critic: c_v·½·(V − goal)²; means over the batch."""
        out, value = self._unrolled(params["actor"], batch), self._unrolled(params["critic"], batch, "critic")
        terms, metrics = {"actor": {}, "critic": {}}, {}
        for name, role in spec.roles.items():
            space, alive = role.actions, batch.alive[name]
            axes = tuple(range(alive.ndim - 1))
            mean = lambda x, alive=alive, axes=axes, role=role: (
                masked_mean(x, alive, axes) / (role.agents if self.shared else 1)
            )
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
            terms["actor"][name] = mean(-surrogate - self.entropy * entropy)
            terms["critic"][name] = self.value * mean(
                0.5 * jnp.square(value[name][..., 0] - batch.extras["value_target"][name])
            )
            metrics["entropy"] = metrics.get("entropy", 0) + entropy.mean() / len(spec.roles)
        return terms, metrics


def _policy(spec, params, carry, obs):
    """Logits of discrete actors, means in [-1, 1] of continuous ones; only the actors' carry advances."""
    out, carries = {}, {}
    for name, x in obs.items():
        carries[name], y = params["actor"][name](carry["actor"][name] if carry else (), x)
        out[name] = jnp.tanh(y) if isinstance(spec.roles[name].actions, Continuous) else y
    return ({**carry, "actor": carries} if carry else ()), out


def _normalised(x, alive, axes):
    """Mean 0 and deviation 1 over `axes`, dead entries left out."""
    mean = masked_mean(x, alive, axes, keepdims=True)
    deviation = jnp.sqrt(masked_mean(jnp.square(x - mean), alive, axes, keepdims=True))
    return (x - mean) / (deviation + 1e-8)


PRESETS = {"ppo": PPO(), "ippo": PPO()}
"""Names on the command line, and the settings each starts from."""
