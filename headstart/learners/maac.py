"""MAAC: soft actor-critic with discrete actions, whose critics attend to the other agents.

Iqbal and Sha 2019, "Actor-Attention-Critic for Multi-Agent Reinforcement Learning"; defaults are those of the authors' code.
Each agent's advantage is counterfactual: its baseline is the mean of Q_i over its own actions, given those of the others
(Foerster et al. 2018, COMA). The entropy is part of the next value, as in §3.2; the authors' code subtracts log π'/scale
from the target itself, undiscounted and at the end of an episode too. The values of an action's heads add up.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import optax

from headstart.core import actions
from headstart.core.checks import HeadstartError, require
from headstart.core.learner import Learner, actors, check_replay, replaying, shares
from headstart.core.modules import Activation
from headstart.core.networks import RoleNet, role_net
from headstart.core.ops import masked_mean, polyak, shown, td_target
from headstart.core.optimisers import per_team
from headstart.core.part import part
from headstart.core.ranges import Count, Natural, NonNegative, Positive, Share, Sizes, Unit
from headstart.core.types import Continuous, TeamSpec, Transition
from headstart.learners.bodies import mlp_body
from headstart.learners.critics.attentive import AttentiveCritic, attentive
from headstart.learners.critics.base import by_agent, chosen
from headstart.learners.deaths import DeathSettings, ends_for, learned_from, mute
from headstart.learners.normaliser import moments


@part("learner")
class MAAC(DeathSettings):
    """Soft actor-critic whose critics attend to what the other agents see and do (MAAC). Discrete actions."""

    shared: bool = False
    """One actor and one critic for all agents of a role, instead of one each. The attention is always the whole team's."""
    hidden: Sizes = (128, 128)
    """Units of the actors' hidden layers."""
    embedding: Count = 128
    """Numbers of a critic's encodings, and units of its hidden layer; a multiple of `heads`."""
    heads: Count = 4
    """Attention heads of the critics."""
    activation: Activation = "leaky_relu"
    normalize: bool = True
    """Give networks their inputs less the running mean, divided by the running deviation."""
    actor_lr: Positive = 1e-3
    critic_lr: Positive = 1e-3
    gamma: Unit = 0.99
    """Discount."""
    tau: Share = 1e-3
    """Share of the new parameters in each step of the target networks."""
    reward_scale: Positive = 100.0
    """Rewards beside the entropy of a policy, which weighs 1/`reward_scale`: the temperature."""
    clip: Positive = 0.5
    """Largest gradient norm of one agent's actor."""
    critic_clip: Positive = 10.0
    """Largest gradient norm of the critics, all of them together, for each agent of the team."""
    weight_decay: NonNegative = 1e-3
    """Factor on the critics' parameters, added to their gradients (an L2 penalty)."""
    logit_penalty: NonNegative = 1e-3
    """Weight of the mean squared logit in an actor's loss."""
    score_penalty: NonNegative = 1e-3
    """Weight of the mean squared score of attention, summed over heads, in a critic's loss."""
    batch: Count = 1024
    """Env-steps in a batch."""
    capacity: Count = 1_000_000
    """Env-steps kept for replay."""
    warmup: Natural = 1024
    """Env-steps collected before learning starts."""
    train_every: Count = 300
    """Env-steps between two updates."""
    gradient_steps: Count = 12
    """Gradient steps of an update: the authors' 4 for every 100 env-steps."""
    num_envs: Count = 12
    """Environments that step together; divides `train_every`."""

    def __post_init__(self):
        check_replay(self)
        fits = self.embedding % self.heads == 0
        require(fits, "learner.embedding", self.embedding, f"a multiple of learner.heads ({self.heads})")

    def make(self, spec: TeamSpec) -> Learner:
        """The learner for a team; raises HeadstartError if its actions are continuous."""
        for name, role in spec.roles.items():
            if isinstance(role.actions, Continuous):
                raise HeadstartError(f"MAAC needs discrete actions, and those of role '{name}' are continuous: use maddpg")
        valued = attentive(spec, self.embedding, self.heads, self.activation, self.shared)
        looks = valued.critic.attention
        if looks:
            weights = looks.weights  # of inputs as they come
            looks = looks._replace(
                weights=lambda params, obs, action, alive: weights(params, *_inputs(params, obs, action), alive)
            )
        plain = Learner(
            **replaying(self),
            optimizer=self._optimizer(spec),
            init=lambda key: self._init(spec, valued, key),
            policy=lambda params, carry, obs: (carry, _logits(spec, params, params, obs)),
            unroll=lambda params, batch: ((), _logits(spec, params, params, batch.obs)),
            act=lambda params, carry, step, key, progress: (carry, self._act(spec, params, step, key)),
            objective=lambda params, target, batch, key: self._objective(spec, valued, params, target, batch, key),
            share=shares(spec, self.shared),
            value=lambda params, obs, action: self._value(spec, valued, params, obs, action),
            dead_count=self.dead_count,
            attention=looks,
            track=self._track,
        )
        if not self.normalize:
            return plain
        prepare = lambda params, carry, rollout: plain.prepare(_counted(params, rollout), carry, rollout)
        return plain._replace(prepare=prepare, policy_networks=("actor", "stats"))

    def _optimizer(self, spec: TeamSpec) -> optax.GradientTransformation:
        """All critics are clipped as one, since they share the attention; its gradient is the mean over the terms of a loss."""
        agents = sum(role.agents for role in spec.roles.values())
        terms = sum(share * spec.roles[name].agents for name, share in shares(spec, self.shared).items())
        only = lambda *names: lambda params: {name: name in names for name in params}
        decay = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        critic = optax.chain(*decay, optax.adam(self.critic_lr))
        actor = optax.chain(optax.clip_by_global_norm(self.clip), optax.adam(self.actor_lr))
        return optax.chain(
            optax.masked(optax.scale(1 / terms), only("attention")),
            optax.masked(optax.clip_by_global_norm(self.critic_clip * agents), only("critic", "attention")),
            per_team({"actor": actor, "critic": critic, "attention": critic}),
        )

    def _init(self, spec, valued: AttentiveCritic, key):
        actor_key, critic_key = jr.split(key)
        body = mlp_body(self.hidden, self.activation)
        make = lambda role: lambda k: body(k, role.obs, role.actions.size)
        keys = jr.split(actor_key, len(spec.roles))
        drawn = zip(spec.roles.items(), keys, strict=True)
        params = {"actor": {name: role_net(make(role), k, role.agents, self.shared) for (name, role), k in drawn}}
        params |= valued.critic.init(lambda i: jr.fold_in(critic_key, i))
        if self.normalize:
            new = lambda role: RoleNet({"obs": moments(role.obs_size), "action": moments(role.actions.size)}, True)
            params["stats"] = {name: new(role) for name, role in spec.roles.items()}
        return params

    def _track(self, params, target):
        """Target networks lag behind; they read inputs that are normalised as everybody's."""
        kept = {"stats": params["stats"]} if self.normalize else {}
        networks = lambda tree: {name: tree[name] for name in tree if name != "stats"}
        return polyak(networks(params), networks(target), self.tau) | kept

    def _act(self, spec, params, step, key):
        logits = actions.legal_by_role(_logits(spec, params, params, step.obs), step.available)
        return _sampled(spec, logits, key)

    def _value(self, spec, valued: AttentiveCritic, params, obs, action):
        values, _ = valued.values(params, *_inputs(params, obs, action), None)
        return by_agent(spec, {name: chosen(x, action[name]) for name, x in values.items()})

    def _objective(self, spec, valued: AttentiveCritic, params, target, batch: Transition, key):
        """Critic: (Q_i(o, a) − y_i)² + penalty, y_i = r_i + γ·(Q'_i(o', a') − log π'_i(a'_i)/scale), a' from the target actors.

        Actor: log π_i(a_i)·(log π_i(a_i)/scale − A_i) + penalty, with no gradient through the bracket; all agents' a are drawn
        from the actors, and A_i = Q_i(o, a) − Σ_u π_i(u)·Q_i(o, (u, a_-i)). Every term is a mean over the batch's entries
        [B], one value per agent, divided by the number of agents where they share networks. The actor's leave out dead agents,
        and so do the critic's without `after_death`. The dead have no entropy.
        """
        next_key, now_key = jr.split(key)
        obs, done = shown(batch.obs, batch.alive), mute(spec, batch.action, batch.alive)
        next_obs = shown(batch.next_obs, batch.next_alive)
        next_logits = actions.legal_by_role(_logits(spec, params, target, next_obs), batch.next_available)
        next_action = mute(spec, _sampled(spec, next_logits, next_key), batch.next_alive)
        next_values, _ = valued.values(target, *_inputs(params, next_obs, next_action), batch.next_alive)
        values, squares = valued.values(params, *_inputs(params, obs, done), batch.alive)
        outs = _logits(spec, params, params, obs)
        logits = actions.legal_by_role(outs, batch.available)
        fresh = jax.lax.stop_gradient(_sampled(spec, logits, now_key))
        own = jax.lax.stop_gradient(valued.values(params, *_inputs(params, obs, fresh), batch.alive)[0])
        terms, share, judged = {"actor": {}, "critic": {}}, shares(spec, self.shared), learned_from(self, batch)
        for name, role in spec.roles.items():
            mean = lambda x, mask, name=name: share[name] * masked_mean(x, mask[name].T, -1)
            next_log = actions.log_prob(role.actions, next_logits[name], next_action[name]).T
            next_log = jnp.where(batch.next_alive[name].T, next_log, 0)
            soft = chosen(next_values[name], next_action[name]) - next_log / self.reward_scale
            y = td_target(batch.reward[name].T, soft, ends_for(self, batch, name).T, self.gamma)
            error = jnp.square(chosen(values[name], done[name]) - y)
            terms["critic"][name] = mean(error + self.score_penalty * squares[name], judged)
            log_prob = actions.log_prob(role.actions, logits[name], fresh[name]).T
            policy = jnp.exp(actions.log_softmax(role.actions, logits[name]))
            advantage = chosen(own[name], fresh[name] - policy)
            cost = jax.lax.stop_gradient(log_prob / self.reward_scale - advantage)
            terms["actor"][name] = mean(log_prob * cost + self.logit_penalty * jnp.square(outs[name]).mean(-1).T, batch.alive)
        taken = [chosen(values[name], done[name]).mean() for name in spec.roles]
        entropy = [
            masked_mean(actions.entropy(role.actions, logits[name]), batch.alive[name], (0, 1))
            for name, role in spec.roles.items()
        ]
        return terms, {"q": sum(taken) / len(taken), "entropy": sum(entropy) / len(entropy)}


def _counted(params, rollout: Transition):
    """The parameters with what living agents saw and did counted in the statistics."""
    stats = {}
    for name, team in params["stats"].items():
        new = {"obs": rollout.obs[name], "action": rollout.action[name]}
        stats[name] = RoleNet({what: team.net[what].moved(x, rollout.alive[name]) for what, x in new.items()}, True)
    return params | {"stats": stats}


def _inputs(params, obs, action):
    """Observations and actions as the networks read them."""
    if "stats" not in params:
        return obs, action
    stats = {name: team.net for name, team in params["stats"].items()}
    normalised = lambda what, values: {name: stats[name][what](x) for name, x in values.items()}
    return normalised("obs", obs), normalised("action", action)


def _logits(spec, stats, params, obs):
    """{role: [*n A U]} of the actors in `params`, with inputs normalised by the statistics in `stats`."""
    return actors(spec, params, _inputs(stats, obs, {})[0])


def _sampled(spec, logits, key):
    """{role: [*n A U]}: an action of every agent, drawn from its policy."""
    return {name: actions.sample(spec.roles[name].actions, jr.fold_in(key, i), x) for i, (name, x) in enumerate(logits.items())}


PRESETS = {"maac": MAAC()}
"""Names on the command line, and the settings each starts from."""
VARIANTS = {"maac-shared": MAAC(shared=True)}
"""Settings that the contract tests try beside the presets."""
