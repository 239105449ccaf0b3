"""MADDPG, and by one argument independent DDPG: deterministic actors, a critic per agent, replay.

Lowe et al. 2017, "Multi-Agent Actor-Critic for Mixed Cooperative-Competitive Environments"; defaults are those of the
authors' openai/maddpg. Discrete actors are Gumbel-softmax ones, so that the critic's gradient reaches their logits.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import optax

from headstart.core import actions
from headstart.core.learner import Learner, actors, check_replay, replaying
from headstart.core.modules import Activation, mlp
from headstart.core.networks import role_net
from headstart.core.ops import masked_mean, polyak, td_target
from headstart.core.optimisers import clip_per_variable, per_team
from headstart.core.part import part
from headstart.core.ranges import Count, Natural, NonNegative, Positive, Share, Sizes, Unit
from headstart.core.types import Continuous, TeamSpec, Transition


@part("learner")
class DDPG:
    """Deterministic actors with a critic each: one that sees the whole team (MADDPG), or its own agent only (independent)."""

    critic: Literal["central", "local"] = "central"
    """What a critic sees: every agent's observation and action, or its own agent's."""
    shared: bool = False
    """One actor and one critic for all agents of a role, instead of one each."""
    hidden: Sizes = (64, 64)
    """Units of the hidden layers of actors and critics."""
    activation: Activation = "relu"
    actor_lr: Positive = 1e-2
    critic_lr: Positive = 1e-2
    gamma: Unit = 0.95
    """Discount."""
    tau: Share = 0.01
    """Share of the new parameters that the target networks take over at each update."""
    clip: Positive = 0.5
    """Largest gradient norm of each weight matrix or bias."""
    batch: Count = 1024
    """Env-steps in a batch."""
    capacity: Count = 1_000_000
    """Env-steps kept for replay."""
    warmup: Natural = 25_600
    """Env-steps collected before learning starts."""
    train_every: Count = 100
    """Env-steps between two updates."""
    gradient_steps: Count = 1
    """Gradient steps of an update."""
    num_envs: Count = 100
    """Environments that step together; divides `train_every`."""
    temperature: Positive = 1.0
    """Of the Gumbel-softmax."""
    hard: bool = False
    """Send the environment one-hot samples instead of soft ones (discrete actions)."""
    logit_penalty: NonNegative = 1e-3
    """Weight of the mean squared logit in the actor's loss."""
    noise: NonNegative = 0.1
    """Standard deviation of the exploration noise (continuous actions)."""

    def __post_init__(self):
        check_replay(self)

    def make(self, spec: TeamSpec) -> Learner:
        """The learner for a team; raises HeadstartError where a setting does not fit it."""
        rates = {"actor": self.actor_lr, "critic": self.critic_lr}
        return Learner(
            **replaying(self),
            optimizer=per_team({k: optax.chain(clip_per_variable(self.clip), optax.adam(lr)) for k, lr in rates.items()}),
            init=lambda key: self._init(spec, key),
            policy=lambda params, carry, obs: (carry, actors(spec, params, obs)),
            logits=lambda params, batch: actors(spec, params, batch.obs),
            act=lambda params, carry, step, key, progress: (carry, self._act(spec, params, step, key)),
            objective=lambda params, target, batch, key: self._objective(spec, params, target, batch, key),
            track=lambda params, target: polyak(params, target, self.tau),
        )

    def _init(self, spec, key):
        actor_key, critic_key = jr.split(key)
        central = sum(role.agents * (role.obs_size + role.actions.size) for role in spec.roles.values())
        params = {"actor": {}, "critic": {}}
        for i, (name, role) in enumerate(spec.roles.items()):
            sizes = (role.obs_size, *self.hidden, role.actions.size)
            sees = central if self.critic == "central" else role.obs_size + role.actions.size
            critic = (sees, *self.hidden, 1)
            make = lambda sizes: lambda k: mlp(k, sizes, self.activation)
            params["actor"][name] = role_net(make(sizes), jr.fold_in(actor_key, i), role.agents, self.shared)
            params["critic"][name] = role_net(make(critic), jr.fold_in(critic_key, i), role.agents, self.shared)
        return params

    def _sampled(self, spec, logits, key, noisy: bool):
        """Actions as the environment gets them: Gumbel-softmax samples, or means with Gaussian noise."""
        out = {}
        for i, (name, x) in enumerate(logits.items()):
            space, k = spec.roles[name].actions, jr.fold_in(key, i)
            if not isinstance(space, Continuous):
                out[name] = actions.gumbel_softmax(space, k, x, self.temperature)
            else:
                out[name] = jnp.clip(x + self.noise * jr.normal(k, x.shape), -1, 1) if noisy else x
        return out

    def _act(self, spec, params, step, key):
        logits = _legal(actors(spec, params, step.obs), step.available)
        action = self._sampled(spec, logits, key, noisy=True)
        if not self.hard:
            return action
        return {name: actions.greedy(spec.roles[name].actions, x) for name, x in action.items()}

    def _objective(self, spec, params, target, batch: Transition, key):
        """Critic: (Q_i(x, a) − y_i)², y_i = r_i + γ·Q'_i(x', a'). Actor: −Q_i(x, a with a_i from the actor) + penalty.

        Every term is a mean over the living entries of the batch [B], one value an agent; with shared networks it is
        divided by the number of agents, so that the sum the trainer descends is their mean.
        """
        frozen = jax.lax.stop_gradient(params)
        next_key, now_key = jr.split(key)
        next_logits = _legal(actors(spec, target, batch.next_obs), batch.next_available)
        next_action = self._sampled(spec, next_logits, next_key, noisy=False)
        next_q = self._q(target, batch.next_obs, next_action)
        q = self._q(params, batch.obs, batch.action)
        logits = actors(spec, params, batch.obs)
        fresh = self._sampled(spec, _legal(logits, batch.available), now_key, noisy=False)
        own_q = self._q(frozen, batch.obs, batch.action, replaced_by=fresh)
        terms = {"actor": {}, "critic": {}}
        for name, role in spec.roles.items():
            y = td_target(batch.reward[name].T, next_q[name], batch.ended_for(name).T, self.gamma)
            alive = batch.alive[name].T
            penalty = self.logit_penalty * jnp.square(logits[name]).mean(-1).T
            scale = 1 / role.agents if self.shared else 1.0
            terms["critic"][name] = scale * masked_mean(jnp.square(q[name] - y), alive, -1)
            terms["actor"][name] = scale * masked_mean(penalty - own_q[name], alive, -1)
        return terms, {"q": sum(x.mean() for x in q.values()) / len(q)}

    def _q(self, params, obs, action, replaced_by=None):
        """{role: [A B]}: Q_i of the joint action, or of it with agent i's own part taken from `replaced_by`."""
        first = lambda x: jnp.moveaxis(x, -2, 0)  # [B A _] -> [A B _]
        own = {name: replaced_by[name] if replaced_by else action[name] for name in obs}
        if self.critic == "local":
            return {
                name: params["critic"][name].agent_first(first(jnp.concatenate([obs[name], own[name]], -1)))[..., 0]
                for name in obs
            }
        flat = lambda x: x.reshape(*x.shape[:-2], -1)
        seen = jnp.concatenate([flat(x) for x in obs.values()], -1)
        out = {}
        for name, x in own.items():
            if replaced_by is None:
                joint = jnp.concatenate([seen, *(flat(a) for a in action.values())], -1)
                out[name] = params["critic"][name].for_each(joint)[..., 0]
                continue
            mine = jnp.eye(x.shape[-2], dtype=bool)[:, None, :, None]  # [A 1 A 1]
            mixed = {other: flat(jnp.where(mine, x, a) if other == name else a) for other, a in action.items()}
            parts = [jnp.broadcast_to(p, (x.shape[-2], *seen.shape[:-1], p.shape[-1])) for p in (seen, *mixed.values())]
            out[name] = params["critic"][name].agent_first(jnp.concatenate(parts, -1))[..., 0]
        return out


def _legal(logits, available):
    return {name: actions.legal(x, available and available[name]) for name, x in logits.items()}


PRESETS = {"ddpg": DDPG(), "maddpg": DDPG(), "independent-ddpg": DDPG(critic="local")}
"""Names on the command line, and the settings each starts from."""
