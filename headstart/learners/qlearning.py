"""Deep Q-learning with discrete actions: for one agent (DQN), for each agent alone (IQL), or for a team whose value is a sum of
its agents' values (VDN) or a monotone function of them (QMIX).

Mnih et al. 2015, "Human-level control through deep reinforcement learning"; Tan 1993 for independent agents; Sunehag et
al. 2018, "Value-Decomposition Networks For Cooperative Multi-Agent Learning"; Rashid et al. 2018 for QMIX (see `mixers`);
van Hasselt et al. 2016 for double Q. `core` picks feed-forward or recurrent networks.

The values of an action's heads add up: Q_i(o, a) = Σ_h Q_ih(o)[a_h], so that the best action is the best choice of every
head. With one head this is plain Q-learning. For a controller with one head per agent it is a sum of values over joint
observations, whose outputs grow with the number of agents and not with the number of joint actions.
"""

import dataclasses
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import optax

from headstart.core import actions
from headstart.core.checks import HeadstartError
from headstart.core.guidance import Clock
from headstart.core.learner import Learner, flatten, shares
from headstart.core.modules import Activation
from headstart.core.networks import role_net
from headstart.core.ops import linear_schedule, masked_mean, polyak, td_target
from headstart.core.optimisers import per_team
from headstart.core.part import part
from headstart.core.ranges import Count, Natural, NonNegative, Positive, Share, Sizes, Unit
from headstart.core.types import Continuous, TeamSpec, Transition
from headstart.learners.bodies import mlp_body, recurrent_body
from headstart.learners.critics.base import chosen
from headstart.learners.deaths import DeathSettings, ends_for, learned_from, mute
from headstart.learners.mixers import Kind as Mixing
from headstart.learners.mixers import Mixer, mixer, states_of
from headstart.learners.recurrent import along, check_sequences, collecting, forward, policy


@part("learner")
class QLearning(DeathSettings):
    """Deep Q-learning: DQN for one agent, independent Q-learning (IQL) for several, VDN or QMIX if their values are mixed."""

    mixing: Mixing = "none"
    """A target for every agent from its own reward (none), or one for all living agents' values together: their sum (VDN), or a
    monotone function of them that depends on the global state (QMIX)."""
    mixing_units: Count = 32
    """Hidden units of the monotone function."""
    hypernet_units: Count = 64
    """Hidden units of the networks that put out its weights."""
    reward_over: Literal["all", "living"] = "all"
    """Agents whose mean reward is the team's, if values are mixed: all, of whom the dead count with what they are paid (with
    `after_death`, else with 0), or the living ones, which is right if all earn the same."""
    core: Literal["mlp", "gru"] = "mlp"
    """Feed-forward, or recurrent (an encoder, a GRU and a head). A recurrent network learns from sequences of train_every /
    num_envs env-steps, each of one environment."""
    shared: bool = False
    """One network for all agents of a role, instead of one each."""
    hidden: Sizes = (64, 64)
    """Units of the hidden layers. A GRU takes the last number as its size, and its encoder the others, or that one if it is
    the only one."""
    activation: Activation = "relu"
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Adam, or RMSprop (α 0.99, ε 1e-5 outside the root)."""
    lr: Positive = 5e-4
    gamma: Unit = 0.99
    """Discount."""
    double: bool = True
    """Double Q: the network chooses the next action and the target network values it; else the target network does both."""
    loss: Literal["huber", "mse"] = "huber"
    """Loss of a temporal-difference error δ: δ²/2 up to |δ| = 1 and |δ| − 1/2 beyond (huber), or δ² (mse)."""
    tau: Unit = 0.0
    """Share of the new parameters in each step of the target network; if 0, see `target_every`."""
    target_every: Count = 200
    """Gradient steps between two copies of the network to its target, if `tau` is 0."""
    exploration: Literal["epsilon", "noise"] = "epsilon"
    """A random legal choice with probability ε, for each head of each agent separately; or choices by noisy values."""
    epsilon: Unit = 1.0
    """ε at first, and while collecting before learning."""
    epsilon_end: Unit = 0.05
    """ε at last."""
    exploration_share: Share = 0.3
    """Share of the learning in which ε falls, linearly."""
    exploration_steps: Natural = 0
    """Env-steps in which ε falls, linearly from the run's first one on; if 0, see `exploration_share`."""
    noise: NonNegative = 0.1
    """Factor on the Gumbel noise added to values: Boltzmann exploration, softmax(Q/noise), at that temperature."""
    clip: Positive = 10.0
    """Largest gradient norm of one agent's network."""
    weight_decay: NonNegative = 0.0
    """Factor on the parameters, added to the clipped gradient (an L2 penalty)."""
    batch: Count = 32
    """Env-steps in a batch; with recurrent networks, sequences."""
    capacity: Count = 100_000
    """Env-steps kept for replay."""
    warmup: Natural = 1_000
    """Env-steps collected before learning starts."""
    train_every: Count = 8
    """Env-steps between two updates."""
    gradient_steps: Count = 2
    """Gradient steps of an update."""
    num_envs: Count = 8
    """Environments that step together; divides `train_every`."""

    def __post_init__(self):
        check_sequences(self)

    @property
    def dead_count(self) -> bool:
        """Whether what the dead are paid counts: not if the team's reward is that of the living."""
        return self.after_death and (self.mixing == "none" or self.reward_over == "all")

    def make(self, spec: TeamSpec) -> Learner:
        """The learner for a team; raises HeadstartError if its actions are continuous."""
        for name, role in spec.roles.items():
            if isinstance(role.actions, Continuous):
                raise HeadstartError(f"Q-learning needs discrete actions, and those of role '{name}' are continuous: use ddpg")
        mixing = mixer(self.mixing, spec, self.mixing_units, self.hypernet_units)
        return Learner(
            **collecting(self, spec, "q", mixing.reads_state),
            optimizer=per_team(dict.fromkeys(("q", "mixer") if mixing.reads_state else ("q",), self._optimizer())),
            init=lambda key: self._init(spec, mixing, key),
            policy=partial(policy, "q"),
            unroll=lambda params, batch: along("q", params, batch, spec),
            act=lambda params, carry, step, key, progress: self._act(spec, params, carry, step, key, progress),
            objective=lambda params, target, batch, key: self._objective(spec, mixing, params, target, batch),
            share=shares(spec, self.shared),
            value=None if self.core == "gru" or self.mixing == "monotone" else _value,
            dead_count=self.dead_count,
            pace=self._pace,
            track=(lambda params, target: polyak(params, target, self.tau)) if self.tau else (lambda params, target: params),
            track_every=1 if self.tau else self.target_every,
            policy_networks=("q",),
            policy_term="q",
            outputs="values",
        )

    def _optimizer(self) -> optax.GradientTransformation:
        decay = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        rule = optax.adam(self.lr) if self.optimizer == "adam" else optax.rmsprop(self.lr, 0.99, 1e-5, eps_in_sqrt=False)
        return optax.chain(optax.clip_by_global_norm(self.clip), *decay, rule)

    def _pace(self, clock: Clock):
        """The run's progress, or the share of `exploration_steps` that it has made."""
        if not self.exploration_steps:
            return clock.progress
        return clock.index * (self.train_every / self.exploration_steps)  # an update collects `train_every` env-steps

    def _init(self, spec, mixing: Mixer, key):
        body = mlp_body(self.hidden, self.activation) if self.core == "mlp" else recurrent_body(self.hidden)
        make = lambda role: lambda k: body(k, role.obs, role.actions.size)
        keys = jr.split(key, len(spec.roles))
        drawn = zip(spec.roles.items(), keys, strict=True)
        nets = {"q": {name: role_net(make(role), k, role.agents, self.shared) for (name, role), k in drawn}}
        mixers = mixing.init(jr.fold_in(key, len(keys)))  # a number that `split` has not used
        return nets | ({"mixer": mixers} if mixers else {})

    def _act(self, spec, params, carry, step, key, progress):
        """The best legal choice of every head, by values that exploration replaces at random (ε) or adds noise to."""
        share = 1.0 if self.exploration_steps else self.exploration_share
        epsilon = linear_schedule(self.epsilon, self.epsilon_end)(progress / share)
        carry, values = policy("q", params, carry, step.obs)
        out = {}
        for i, (name, q) in enumerate(values.items()):
            space, k = spec.roles[name].actions, jr.fold_in(key, i)
            if self.exploration == "noise":
                q = q + self.noise * jr.gumbel(k, q.shape)
            else:
                explores, random = jr.split(k)
                heads = jr.bernoulli(explores, epsilon, (*q.shape[:-1], len(space.heads)))
                wide = [jnp.broadcast_to(heads[..., h, None], (*q.shape[:-1], n)) for h, n in enumerate(space.heads)]
                q = jnp.where(jnp.concatenate(wide, -1), jr.uniform(random, q.shape), q)
            out[name] = actions.greedy(space, actions.legal(q, step.available and step.available[name]))
        return carry, out

    def _values(self, spec, params, batch: Transition):
        """Values of the choices at `obs` and at `next_obs`, each {role: [A B U]}; of sequences [B T ..] they are [A B·T U].

        A sequence's next values go on from the carry after each step, so that a truncated episode is bootstrapped with all
        that it remembers.
        """
        if self.core == "mlp":
            each = lambda obs: {name: net.agent_first(_agents_first(obs[name])) for name, net in params["q"].items()}
            return each(batch.obs), each(batch.next_obs)
        carries, now = along("q", params, batch, spec)
        _, after = forward(params["q"], carries["q"], batch.next_obs)
        flat = lambda x: _agents_first(x.reshape(-1, *x.shape[-2:]))
        return jax.tree.map(flat, now), jax.tree.map(flat, after)

    def _objective(self, spec, mixing: Mixer, params, target, batch: Transition):
        """loss(Q_i(o, a) − y_i), y_i = r_i + γ·Q'_i(o', a'), a' the best legal choice: means over the batch's entries, those
        of the dead only with `after_death`.

        Mixing has Q_tot = mix(Q_i) of the living agents of all roles, Q'_tot of those of them that continue, and the team's
        reward (see `reward_over`). Its one loss is split evenly among agents.
        """
        (q, score), (_, value) = (self._values(spec, networks, batch) for networks in (params, target))
        if not self.double:
            score = value  # only for the choice, so no gradient passes
        if self.core == "gru":
            batch = flatten(dataclasses.replace(batch, extras={}))
        score = {name: jnp.moveaxis(x, 0, -2) for name, x in score.items()}  # [B A U]
        legal = actions.legal_by_role(score, batch.next_available)
        best = {name: actions.greedy(role.actions, legal[name]) for name, role in spec.roles.items()}
        taken = {name: chosen(q[name], x) for name, x in mute(spec, batch.action, batch.alive).items()}  # [A B]
        following = {name: chosen(value[name], x) for name, x in mute(spec, best, batch.next_alive).items()}
        if mixing.mix is None:
            loss = self._own_losses(spec, taken, following, batch)
        else:
            now, then = (partial(mixing.mix, networks.get("mixer", {})) for networks in (params, target))
            loss = self._team_loss(spec, now, then, taken, following, batch)
        return {"q": loss}, {"q": sum(x.mean() for x in taken.values()) / len(taken)}

    def _own_losses(self, spec, taken, following, batch):
        """{role: [A]}; with a shared network, divided by the number of agents, so that their sum is the agents' mean."""
        out, share, judged = {}, shares(spec, self.shared), learned_from(self, batch)
        for name in spec.roles:
            y = td_target(batch.reward[name].T, following[name], ends_for(self, batch, name).T, self.gamma)
            out[name] = share[name] * masked_mean(self._loss(taken[name], y), judged[name].T, -1)
        return out

    def _team_loss(self, spec, now, then, taken, following, batch):
        """{role: [A]}: equal parts of one loss of the values that `now` and, for the target, `then` mix."""
        state, next_state = states_of(spec, batch)
        team = lambda values: jnp.concatenate([values[name] for name in spec.roles], -1).T  # [A B], the agents of all roles
        alive, reward = team(batch.alive), team(batch.reward)
        beside = lambda parts: jnp.where(alive, jnp.concatenate(list(parts), 0), 0.0)
        goes_on = (jnp.where(batch.ended_for(name).T, 0.0, following[name]) for name in spec.roles)
        if self.reward_over == "living":
            reward = masked_mean(reward, alive, 0)
        else:
            reward = jnp.where(team(learned_from(self, batch)), reward, 0.0).mean(0)
        y = td_target(reward, then(beside(goes_on), next_state), batch.terminated, self.gamma)
        total = now(beside(taken[name] for name in spec.roles), state)
        mean = masked_mean(self._loss(total, y), alive.any(0), -1)
        return {name: jnp.full(role.agents, mean / alive.shape[0]) for name, role in spec.roles.items()}

    def _loss(self, q, y):
        return optax.huber_loss(q, y) if self.loss == "huber" else jnp.square(q - y)


def _value(params, obs, action):
    """Values of actions as all heads take them; as logits, the largest is the best choice."""
    return {name: (q * action[name]).sum(-1) for name, q in policy("q", params, (), obs)[1].items()}


def _agents_first(x):
    """[B A _] -> [A B _]."""
    return jnp.moveaxis(x, -2, 0)


QMIX = QLearning(
    mixing="monotone", reward_over="living", core="gru", shared=True, hidden=(64,), optimizer="rmsprop", loss="mse",
    exploration_steps=50_000, capacity=160_000, train_every=256, gradient_steps=8,
)  # fmt: skip
"""The settings of pymarl, the QMIX authors' code, with sequences of 32 env-steps in the place of episodes: memory keeps 5,000,
a batch has 32, learning begins with 32, every new one brings a gradient step, and the target is a copy at every 200th."""
PRESETS = {"dqn": QLearning(), "iql": QLearning(), "vdn": QLearning(mixing="sum"), "qmix": QMIX}
"""Names on the command line, and the settings each starts from."""
