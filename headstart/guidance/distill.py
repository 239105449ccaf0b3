"""KnowRU: knowledge reuse by policy distillation from the team of an earlier task.

Gao et al. 2021, "KnowRU: Knowledge Reusing via Knowledge Distillation in Multi-agent Reinforcement Learning". The actor
minimises α·L_reuse + (1 − α)·L_actor, with L_reuse = mean (teacher logits − student logits)² on the student's observation
(§3.3, eqs. 9 and 10), and α falls from 0.5 to 0.02.

The teacher is frozen, so it labels each observation once, when it is visited; memory keeps its logits beside the
observation. L_actor is the learner's whole actor term, with its penalty or entropy bonus. `kl` is KL(teacher ‖ student),
the usual direction; the paper's background section prints the other one.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from headstart.core import actions
from headstart.core.checks import HeadstartError
from headstart.core.guidance import Guidance, TeacherLike
from headstart.core.learner import Learner
from headstart.core.ops import linear_schedule, masked_mean
from headstart.core.part import part
from headstart.core.ranges import NonNegative, Unit
from headstart.core.types import Continuous, TeamSpec
from headstart.teams.fit import FittedTeacher, fit_teacher, role_pairs
from headstart.views.adapt import Select


@part("guidance")
class Distill:
    """KnowRU: imitate a teacher's logits on the student's own observations, with a weight that falls along the run."""

    teacher: TeacherLike = None
    """A run directory, a policy directory, or a team."""
    loss: Literal["mse", "ce", "kl"] = "mse"
    """Squared error of logits, cross-entropy, or KL(teacher ‖ student)."""
    alpha: Unit = 0.5
    """Weight of the teacher at the first update."""
    alpha_end: Unit = 0.02
    """Weight of the teacher at the last update."""
    schedule: Literal["linear", "literal", "constant"] = "linear"
    """Schedule of α: linear over the learning updates, the paper's literal decrement `beta` per episode, or constant."""
    beta: NonNegative = 0.002
    """Decrement of the literal schedule for every `horizon` env-steps, from the first env-step on."""
    scale: NonNegative = 1.0
    """Factor on the distillation loss, to match the magnitude of the actor's loss."""
    roles: tuple[str, ...] = ()
    """Roles to guide; if empty, all that the teacher has."""
    select: Select = "nearest"
    """The entities that a teacher of a smaller task observes."""

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance whose state is {"teacher": its parameters, "carry", "alpha": [], "episodes": []}."""
        teacher = fit_teacher(self.teacher, spec, self.roles, self.select)
        if "actor" not in learner.policy_networks:
            raise HeadstartError("distillation needs a learner with an actor; this one has none")
        for _, role in role_pairs(self.teacher, spec, self.roles):
            if self.loss != "mse" and isinstance(spec.roles[role].actions, Continuous):
                raise HeadstartError(f"loss '{self.loss}' compares probabilities and the actions are continuous: use mse")
        return Guidance(
            init=lambda key, seed: {
                "teacher": teacher.params(seed),
                "carry": teacher.start(learner.num_envs),
                "alpha": jnp.asarray(self.alpha, jnp.float32),
                "episodes": jnp.zeros(()),
            },
            observe=lambda g, params, key, rollout, clock, data: self._observe(spec, teacher, g, rollout, clock.progress),
            objective=lambda g, params, batch, terms: self._objective(learner, spec, teacher, g, params, batch, terms),
        )

    def _objective(self, learner, spec, teacher: FittedTeacher, g, params, batch, terms):
        """Every guided role's actor term becomes α·scale·L_reuse + (1 − α)·L_actor, agent by agent."""
        _, students = learner.unroll(params, batch)
        mixed = dict(terms["actor"])
        for role, label in batch.extras[teacher.name].items():
            distance = _distance(self.loss, spec.roles[role].actions)(label, students[role])
            reuse = learner.share[role] * masked_mean(distance, batch.alive[role], tuple(range(distance.ndim - 1)))
            mixed[role] = g["alpha"] * self.scale * reuse + (1 - g["alpha"]) * mixed[role]
        return {**terms, "actor": mixed}

    def _observe(self, spec, teacher: FittedTeacher, g, rollout, progress):
        """Label the rollout with the teacher's logits and set this update's α."""
        alpha = {
            "linear": linear_schedule(self.alpha, self.alpha_end)(progress),
            "literal": jnp.maximum(self.alpha - self.beta * g["episodes"], self.alpha_end),
            "constant": jnp.asarray(self.alpha, jnp.float32),
        }[self.schedule]
        carry, logits = teacher.unroll(g["teacher"], g["carry"], rollout)
        labels = rollout.extras | {teacher.name: jax.lax.stop_gradient(logits)}
        g = {**g, "carry": carry, "alpha": alpha, "episodes": g["episodes"] + rollout.terminated.size / spec.horizon}
        return g, dataclasses.replace(rollout, extras=labels), {"alpha": alpha}


def _distance(loss: str, space) -> Callable[[Array, Array], Array]:
    """[*n U], [*n U] -> [*n]."""
    if loss == "mse":
        return lambda teacher, student: jnp.square(teacher - student).mean(-1)
    compare = actions.cross_entropy if loss == "ce" else actions.kl
    return lambda teacher, student: compare(space, teacher, student)


PRESETS = {"distill": Distill(), "knowru": Distill()}
"""Names on the command line, and the settings each starts from."""
