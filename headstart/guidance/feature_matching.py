"""Feature matching: a linear reward for what the expert visits more often than the student does.

Abbeel and Ng 2004, "Apprenticeship Learning via Inverse Reinforcement Learning". With features φ of what an action leads to,
and t counted from the beginning of an episode,

    μ = E Σ_t γ^t·φ(s_{t+1})                                    feature expectations, of the expert E and of the policy π
    w = (μ_E − μ_π) / ‖μ_E − μ_π‖₂,   r = r_env + c·wᵀφ(s_{t+1})

A step in the direction of that reward's policy gradient is a step down the slope of ‖μ_E − μ_π‖₂, which is 0 if the policy
visits what the expert visits. The weights follow the newest rollout before the learner learns from it.

Features are numbers of the observation, those of the fields that are chosen. Recordings do not have what the last action of an
episode leads to. It has no features here, neither the expert's nor the policy's. μ_π is the mean over the episodes that have
ended in the newest rollout; episodes that run on are remembered.

The expert's episodes are recordings, or those of an environment's own expert, played as the guidance is made. The latter are
settings alone, so that a companion's guidance can have them too.
"""

from typing import Annotated, Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Bool, Float, Int, PyTree

from headstart.core import actions
from headstart.core.checks import HeadstartError, check_known
from headstart.core.guidance import Guidance, TeacherLike
from headstart.core.learner import Learner
from headstart.core.part import check_kind, part
from headstart.core.ranges import Count, NonNegative, Unit
from headstart.core.types import Continuous, Discrete, RoleSpec, TeamSpec, Transition
from headstart.teams.demos import Demos, demos_for
from headstart.teams.recording import record
from headstart.teams.scripted import Scripted

ASKED = 512
"""Recorded env-steps on which the students' likelihood of the expert's actions is measured."""
OTHERWISE = "or name an environment whose own expert demonstrates: --guidance feature_matching:ENV"
SMALL = 1e-12
"""The least length that a difference of feature expectations is divided by: at 0 it has no direction."""


class Matching(NamedTuple):
    """The guidance's state. F is the number of features, {role: ..} of those that are rewarded."""

    weights: dict[str, Float[Array, "A F"]]
    """w."""
    policy: dict[str, Float[Array, "A F"]]
    """μ_π of the newest rollout in which an episode has ended; zeros before there was one."""
    partial: dict[str, Float[Array, "E A F"]]
    """Σ_t γ^t·φ of the episodes that run on."""
    age: Int[Array, " E"]
    """Env-steps of the running episodes so far, or of one that has just ended."""


@part("guidance")
class FeatureMatching:
    """Feature matching: a linear reward for what the expert visits more often than the student (apprenticeship learning)."""

    teacher: TeacherLike = None
    """Demonstrations: a directory of `headstart record`, or a `Demos`."""
    coefficient: NonNegative = 1.0
    """c, the factor on the reward for features, whose weights have the length 1."""
    env_reward: bool = True
    """Whether the environment's reward is a part of the reward."""
    fields: tuple[str, ...] = ()
    """Names of the observed fields that are features; if empty, all."""
    gamma: Unit = 0.99
    """γ, the discount of features along an episode."""
    roles: tuple[str, ...] = ()
    """Roles to reward; if empty, all. The others learn as without guidance."""
    expert: Annotated[Any, tyro.conf.Suppress] = None
    """An environment whose own expert demonstrates if there is no teacher; on the command line
    `--guidance feature_matching:ENV`."""
    expert_episodes: Count = 1
    """Episodes that it demonstrates; one is enough if all are alike."""

    def __post_init__(self):
        if self.expert is not None:
            check_kind("env", self.expert)

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance whose state is `Matching`, and whose data are the expert's features and some of its steps.

        Raises HeadstartError if nobody demonstrates, for demonstrations of another team, and for names of fields that no
        rewarded role observes.
        """
        demos = self._demos(spec)
        columns = self._columns(spec)
        with jax.ensure_compile_time_eval():  # a sweep's program makes guidance inside its trace
            data = {"expert": _by_time(demos, columns), "asked": _asked(demos, spec, learner)}

        def init(key, seed):
            zeros = {role: jnp.zeros((spec.roles[role].agents, len(at))) for role, at in columns.items()}
            partial = {role: jnp.zeros((learner.num_envs, *x.shape)) for role, x in zeros.items()}
            return Matching(zeros, zeros, partial, jnp.zeros(learner.num_envs, jnp.int32))

        def observe(g, params, key, rollout, clock, data):
            expert = {role: expectation(x, self.gamma) for role, x in data["expert"].items()}
            policy, partial, age = self._visited(g, rollout, self._features(rollout, columns))
            gaps = {role: expert[role] - policy[role] for role in columns}
            lengths = {role: jnp.linalg.norm(x, axis=-1, keepdims=True) for role, x in gaps.items()}
            weights = {role: x / jnp.maximum(lengths[role], SMALL) for role, x in gaps.items()}
            distance = jnp.concatenate([x[:, 0] for x in lengths.values()]).mean()
            metrics = {"feature_distance": distance} | _likelihood(spec, learner, params, data["asked"])
            return Matching(weights, policy, partial, age), rollout, metrics

        def reward(g, now):
            seen = self._features(now, columns)
            paid = {role: self.coefficient * jnp.einsum("...af,af->...a", x, g.weights[role]) for role, x in seen.items()}
            own = {role: x if self.env_reward or role not in paid else jnp.zeros_like(x) for role, x in now.reward.items()}
            return {role: x + paid[role] if role in paid else x for role, x in own.items()}

        return Guidance(init=init, observe=observe, reward=reward, data=data)

    def _demos(self, spec: TeamSpec) -> Demos:
        """The teacher, or episodes of the environment's own expert."""
        if self.teacher is not None or self.expert is None:
            return demos_for("feature_matching", self.teacher, spec, otherwise=OTHERWISE)
        with jax.ensure_compile_time_eval():
            shown = record(Scripted.of(self.expert), self.expert, self.expert_episodes, actions=True, progress=False)
        return demos_for("feature_matching", shown, spec)

    def _columns(self, spec: TeamSpec) -> dict[str, np.ndarray]:
        """{role: [F]} of the rewarded roles: the places of the features in an observation."""
        for role in self.roles:
            check_known("role", role, spec.roles)
        roles = self.roles or tuple(spec.roles)
        for name in self.fields:
            check_known("field", name, {field.name for role in roles for field in spec.roles[role].obs})
        found = {role: _places(spec.roles[role], self.fields) for role in roles}
        if bare := [role for role, at in found.items() if not len(at)]:
            raise HeadstartError(f"'{bare[0]}' observes none of the fields {', '.join(self.fields)}: name one, or leave it out")
        return found

    def _features(self, now: Transition, columns: dict[str, np.ndarray]) -> dict[str, Float[Array, "*n A F"]]:
        """What the actions led to; zeros for the dead, and at an episode's end."""
        goes_on = ~(now.terminated | now.truncated)[..., None]
        return {
            role: jnp.where((now.next_alive[role] & goes_on)[..., None], now.next_obs[role][..., at], 0.0)
            for role, at in columns.items()
        }

    def _visited(
        self, g: Matching, rollout: Transition, seen: dict[str, Float[Array, "T E A F"]]
    ) -> tuple[dict[str, Array], dict[str, Array], Array]:
        """μ_π, and the sums and ages of the episodes that run on, after a rollout."""
        over = rollout.terminated | rollout.truncated
        age = ages(rollout.first, g.age)
        complete = jax.lax.cummax(over.astype(jnp.int32), reverse=True) > 0  # of an episode that ends in this rollout
        discount = self.gamma ** age.astype(jnp.float32)
        total = lambda chosen, x: jnp.einsum("te,teaf->eaf", jnp.where(chosen, discount, 0.0), x)
        count, policy, partial = over.sum(), {}, {}
        for role, x in seen.items():
            before = g.partial[role]
            ended = total(complete, x) + jnp.where(complete[0][:, None, None], before, 0.0)
            mean = ended.sum(0) / jnp.maximum(count, 1)
            policy[role] = jnp.where(count > 0, mean, g.policy[role])
            partial[role] = total(~complete, x) + jnp.where(complete[0][:, None, None], 0.0, before)
        return policy, partial, age[-1] + 1


def ages(first: Bool[Array, "T E"], running: Int[Array, " E"]) -> Int[Array, "T E"]:
    """Env-steps since the beginning of the episode, for each step of a rollout before which `running` steps were played."""
    now = jnp.arange(first.shape[0])[:, None]
    return now - jax.lax.cummax(jnp.where(first, now, -running[None]), axis=0)


def expectation(by_time: Float[Array, "T A F"], gamma: Any) -> Float[Array, "A F"]:
    """Σ_t γ^t·x_t."""
    return jnp.einsum("t,taf->af", gamma ** jnp.arange(len(by_time), dtype=jnp.float32), by_time)


def _places(role: RoleSpec, names: tuple[str, ...]) -> np.ndarray:
    ends = np.cumsum([0, *(field.width for field in role.obs)])
    chosen = [np.arange(ends[i], ends[i + 1]) for i, field in enumerate(role.obs) if not names or field.name in names]
    return np.concatenate(chosen) if chosen else np.zeros(0, int)


def _by_time(demos: Demos, columns: dict[str, np.ndarray]) -> dict[str, Float[Array, "T A F"]]:
    """The means over all episodes of the features after each env-step but an episode's last."""
    living = {role: demos.alive[role][:, 1:, :, None] for role in columns}
    seen = {role: np.where(living[role], demos.obs[role][:, 1:, :, at], 0.0) for role, at in columns.items()}
    return {role: jnp.asarray(x.mean(0, dtype=np.float64), jnp.float32) for role, x in seen.items()}


def _asked(demos: Demos, spec: TeamSpec, learner: Learner) -> PyTree:
    """The first recorded steps with their actions; () without actions of choices, and for students with a memory."""
    choices = not any(isinstance(role.actions, Continuous) for role in spec.roles.values())
    if demos.actions is None or not choices or jax.tree.leaves(jax.eval_shape(lambda: learner.start(1))):
        return ()
    kept = {name: getattr(demos, name) for name in ("obs", "alive", "actions", "available")}
    return jax.tree.map(lambda x: jnp.asarray(x[demos.running][:ASKED]), kept)


def _likelihood(spec: TeamSpec, learner: Learner, params: PyTree, asked: Any) -> dict[str, Array]:
    """{"expert_nll": the mean over recorded steps of living agents of −log π(a_E | s), in nats}, if there are any to ask."""
    if not asked or learner.outputs != "logits":
        return {}
    logits = actions.legal_by_role(learner.policy(params, (), asked["obs"])[1], asked["available"])
    space = lambda role: cast(Discrete, spec.roles[role].actions)  # `_asked` has none of continuous actions
    loss = {role: -actions.log_prob(space(role), x, asked["actions"][role]) for role, x in logits.items()}
    living = jnp.concatenate([asked["alive"][role] for role in loss], -1)
    return {"expert_nll": jnp.where(living, jnp.concatenate(list(loss.values()), -1), 0.0).sum() / living.sum()}


PRESETS = {"feature_matching": FeatureMatching(), "irl": FeatureMatching()}
"""Names on the command line, and the settings each starts from."""
