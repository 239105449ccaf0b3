"""MADDPG, and with one argument independent DDPG: deterministic actors, a critic per agent, replay.

Lowe et al. 2017, "Multi-Agent Actor-Critic for Mixed Cooperative-Competitive Environments"; defaults are those of the
authors' openai/maddpg. Discrete actors use Gumbel-softmax samples, so that the critic's gradient reaches their logits.
"""

import jax.numpy as jnp
import jax.random as jr
import optax

from headstart.core import actions
from headstart.core.checks import require
from headstart.core.learner import Learner, actors, check_replay, replaying, shares
from headstart.core.modules import Activation
from headstart.core.networks import role_net
from headstart.core.ops import masked_mean, polyak, td_target
from headstart.core.optimisers import clip_per_variable, per_team
from headstart.core.part import part
from headstart.core.ranges import Count, Natural, NonNegative, Positive, Share, Sizes, Unit
from headstart.core.types import Continuous, TeamSpec, Transition
from headstart.learners.bodies import mlp_body, reduced_bodies
from headstart.learners.critics import Bodies, Critic, Kind, critic
from headstart.learners.critics.base import by_agent
from headstart.learners.deaths import DeathSettings, ends_for, learned_from, mute
from headstart.learners.graphs import ActorKind, Graphs, GraphSettings, check_graph


@part("learner")
class DDPG(GraphSettings, DeathSettings):
    """Deterministic actors with a critic each, which sees the whole team (MADDPG) or its own agent only (independent)."""

    critic: Kind = "joint"
    """Input of a critic: every agent's observation and action side by side (joint), as vertices of a graph that it pools
    (agp) or in which they exchange messages first (agnn), with attention to what the other agents see and do, as MAAC's
    (attention; discrete actions), or its own agent's only (local)."""
    actor: ActorKind = "mlp"
    """Actor of an observation as it is (mlp), or of the entities in it, pooled (agp) or after exchanging messages (agnn)."""
    reduce_actor: tuple[str, ...] = ()
    """ROLE=UNITS: a linear layer of that many units in front of the actors of a role, e.g. leader=12, the size of the
    observations of the task that its actor comes from (LLDR)."""
    reduce_critic: tuple[str, ...] = ()
    """The same for the joint or local critics of a role."""
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
    """Share of the new parameters in each step of the target networks."""
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
    """Temperature of the Gumbel-softmax."""
    hard: bool = False
    """Send the environment one-hot samples instead of soft ones (discrete actions)."""
    logit_penalty: NonNegative = 1e-3
    """Weight of the mean squared logit in the actor's loss."""
    noise: NonNegative = 0.1
    """Standard deviation of the exploration noise (continuous actions)."""

    def __post_init__(self):
        check_replay(self)
        check_graph(self, self.critic)
        fits = not self.reduce_critic or self.critic in ("joint", "local")
        require(fits, "learner.reduce_critic", " ".join(self.reduce_critic), f"empty with the critic {self.critic}")

    def make(self, spec: TeamSpec) -> Learner:
        """The learner for a team; raises HeadstartError if a setting does not fit it."""
        graphs = Graphs(self, self.hidden, self.activation)
        chosen = mlp_body(self.hidden, self.activation) if self.actor == "mlp" else graphs.actor(self.actor)
        acting = reduced_bodies("reduce_actor", self.reduce_actor, chosen, spec)
        valued = self._critic(spec)
        rates = {"actor": self.actor_lr, **dict.fromkeys(valued.networks, self.critic_lr)}
        return Learner(
            **replaying(self),
            optimizer=per_team({k: optax.chain(clip_per_variable(self.clip), optax.adam(lr)) for k, lr in rates.items()}),
            init=lambda key: self._init(spec, acting, valued, key),
            policy=lambda params, carry, obs: (carry, actors(spec, params, obs)),
            unroll=lambda params, batch: ((), actors(spec, params, batch.obs)),
            act=lambda params, carry, step, key, progress: (carry, self._act(spec, params, step, key)),
            objective=lambda params, target, batch, key: self._objective(spec, valued, params, target, batch, key),
            share=shares(spec, self.shared),
            value=lambda params, obs, action: by_agent(spec, valued.q(params, obs, action, None)),
            dead_count=self.dead_count,
            attention=valued.attention,
            track=lambda params, target: polyak(params, target, self.tau),
        )

    def _critic(self, spec: TeamSpec) -> Critic:
        plain, graphs = mlp_body(self.hidden, self.activation), Graphs(self, self.hidden, self.activation)
        bodies = reduced_bodies("reduce_critic", self.reduce_critic, plain, spec)
        return critic(self.critic, spec, bodies, graphs, self.shared, acts=True)

    def _init(self, spec, acting: Bodies, valued: Critic, key):
        actor_key, critic_key = jr.split(key)
        actor = {
            name: role_net(
                lambda k, name=name, role=role: acting(name)(k, role.obs, role.actions.size),
                jr.fold_in(actor_key, i),
                role.agents,
                self.shared,
            )
            for i, (name, role) in enumerate(spec.roles.items())
        }
        return {"actor": actor, **valued.init(lambda i: jr.fold_in(critic_key, i))}

    def _sampled(self, spec, logits, key, noisy: bool):
        """Sampled actions: Gumbel-softmax samples, or means with Gaussian noise if `noisy`."""
        out = {}
        for i, (name, x) in enumerate(logits.items()):
            space, k = spec.roles[name].actions, jr.fold_in(key, i)
            if not isinstance(space, Continuous):
                out[name] = actions.gumbel_softmax(space, k, x, self.temperature)
            else:
                out[name] = jnp.clip(x + self.noise * jr.normal(k, x.shape), -1, 1) if noisy else x
        return out

    def _act(self, spec, params, step, key):
        logits = actions.legal_by_role(actors(spec, params, step.obs), step.available)
        action = self._sampled(spec, logits, key, noisy=True)
        if not self.hard:
            return action
        return {name: actions.greedy(spec.roles[name].actions, x) for name, x in action.items()}

    def _objective(self, spec, valued: Critic, params, target, batch: Transition, key):
        """Critic: (Q_i(x, a) − y_i)², y_i = r_i + γ·Q'_i(x', a'). Actor: −Q_i(x, a with a_i from the actor) + penalty.

        Every term is a mean over the batch's entries [B], one value per agent; those of dead agents are left out of the
        actor's, and without `after_death` of the critic's. With shared networks it is divided by the number of agents, so
        that the sum that the trainer minimises is their mean.
        """
        next_key, now_key = jr.split(key)
        next_logits = actions.legal_by_role(actors(spec, target, batch.next_obs), batch.next_available)
        next_action = mute(spec, self._sampled(spec, next_logits, next_key, noisy=False), batch.next_alive)
        next_q = valued.q(target, batch.next_obs, next_action, batch.next_alive)
        logits = actors(spec, params, batch.obs)
        fresh = self._sampled(spec, actions.legal_by_role(logits, batch.available), now_key, noisy=False)
        q, own_q = valued.q_own(params, batch.obs, mute(spec, batch.action, batch.alive), fresh, batch.alive)
        terms, share, judged = {"actor": {}, "critic": {}}, shares(spec, self.shared), learned_from(self, batch)
        for name in spec.roles:
            y = td_target(batch.reward[name].T, next_q[name], ends_for(self, batch, name).T, self.gamma)
            penalty = self.logit_penalty * jnp.square(logits[name]).mean(-1).T
            terms["critic"][name] = share[name] * masked_mean(jnp.square(q[name] - y), judged[name].T, -1)
            terms["actor"][name] = share[name] * masked_mean(penalty - own_q[name], batch.alive[name].T, -1)
        return terms, {"q": sum(x.mean() for x in q.values()) / len(q)}


VARIANTS = {"maddpg-shared": DDPG(shared=True)}
"""Settings that the contract tests try beside the presets."""
PRESETS = {"ddpg": DDPG(), "maddpg": DDPG(), "independent-ddpg": DDPG(critic="local")}
"""Names on the command line, and the settings each starts from."""
