"""KnowRU: knowledge reuse by policy distillation from the team of an earlier task.

Gao et al. 2021, "KnowRU: Knowledge Reusing via Knowledge Distillation in Multi-agent Reinforcement Learning". The actor
minimises α·L_reuse + (1 − α)·L_actor, with L_reuse = mean (teacher logits − student logits)² on the student's observation
(§3.3, eqs. 9 and 10), and α falls from 0.5 to 0.02.

The teacher is frozen, so it labels each observation once, when it is visited; memory keeps its logits beside the
observation. L_actor is the learner's whole actor term, with its penalty or entropy bonus. `kl` is KL(teacher ‖ student),
the usual direction; the paper's background section prints the other one.

Teacher and student may have unlike learners. The values of a Q-learner are no log-probabilities, so they are compared as the
probabilities softmax(values / T), with the small T of Rusu et al. 2016, "Policy Distillation".
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from headstart.core import actions
from headstart.core.checks import HeadstartError
from headstart.core.guidance import Clock, Guidance, TeacherLike
from headstart.core.learner import TEMPERATURES, Learner, Outputs
from headstart.core.ops import linear_schedule, masked_mean
from headstart.core.part import part
from headstart.core.ranges import NonNegative, Positive, Select, Unit
from headstart.core.types import ActionSpace, Continuous, TeamSpec
from headstart.teams.fit import FittedTeacher, fit_teacher, role_pairs

Distance = Callable[[Array, Array, Array | None], Array]
"""teacher's outputs [*n U], student's [*n U], legal choices [*n U] or None -> [*n]."""


@part("guidance")
class Distill:
    """KnowRU: imitate a teacher on the student's own observations, with a weight that falls along the run."""

    teacher: TeacherLike = None
    """A run directory, a policy directory, or a team, trained by any learner."""
    loss: Literal["auto", "mse", "ce", "kl"] = "auto"
    """Squared error of logits or action means (mse), cross-entropy (ce), or KL(teacher ‖ student) (kl). `auto` is mse, as in
    the paper, but kl if teacher or student puts out values of actions (Q-learning)."""
    temperature: Positive | None = None
    """Temperature of the teacher's probabilities in ce and kl; if None, 1 for logits and 0.01 for values of actions."""
    student_temperature: Positive | None = None
    """The same for the student, whose loss is multiplied by it, so that it does not set the size of the gradient."""
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
    detached: bool = False
    """Stop the gradient of the distillation loss. The authors' public MAAC code does so in effect: it compares the target
    policy, which no gradient reaches, so that only the factor 1 − α on the actor's loss is left."""
    roles: tuple[str, ...] = ()
    """Roles to guide; if empty, all that the teacher has. The others learn as without guidance."""
    select: Select = "nearest"
    """The entities that a teacher of a smaller task observes. Those that actions choose are always the first ones."""

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance whose state is {"teacher": its parameters, "carry", "alpha": []}.

        Raises HeadstartError if the loss cannot compare what teacher and student put out.
        """
        teacher = fit_teacher(self.teacher, spec, self.roles, self.select)
        theirs: Outputs = getattr(self.teacher.learner, "outputs", "logits")  # a function's are logits
        kinds = theirs, learner.outputs
        spaces = {role: spec.roles[role].actions for _, role in role_pairs(self.teacher, spec, self.roles)}
        losses = {role: self._chosen(space, *kinds) for role, space in spaces.items()}
        tempered = self.temperature is not None or self.student_temperature is not None
        if tempered and set(losses.values()) == {"mse"}:
            raise HeadstartError("temperatures are for probabilities, and mse compares logits or means: use kl or ce")
        distances = {role: self._distance(losses[role], space, *kinds) for role, space in spaces.items()}
        return Guidance(
            init=lambda key, seed: {
                "teacher": teacher.params(seed),
                "carry": teacher.start(learner.num_envs),
                "alpha": jnp.asarray(self.alpha, jnp.float32),
            },
            observe=lambda g, params, key, rollout, clock, data: self._observe(spec, teacher, g, rollout, clock),
            objective=lambda g, *now: self._objective(learner, distances, teacher.name, g["alpha"], *now),
        )

    def _chosen(self, space: ActionSpace, theirs: Outputs, mine: Outputs) -> Literal["mse", "ce", "kl"]:
        """The loss of one role, whose teacher puts out `theirs` and whose students `mine`."""
        continuous = isinstance(space, Continuous)
        if self.loss == "auto":
            return "mse" if continuous or theirs == mine == "logits" else "kl"
        if self.loss == "mse" and theirs != mine:
            raise HeadstartError(f"mse compares like numbers, and the teacher puts out {theirs} and the student {mine}: use kl")
        if self.loss != "mse" and continuous:
            raise HeadstartError(f"loss '{self.loss}' compares probabilities and the actions are continuous: use mse")
        return self.loss

    def _distance(self, loss: str, space: Any, theirs: Outputs, mine: Outputs) -> Distance:
        if loss == "mse":
            return lambda teacher, student, legal: jnp.square(teacher - student).mean(-1)
        compare = actions.cross_entropy if loss == "ce" else actions.kl
        hot = TEMPERATURES[theirs] if self.temperature is None else self.temperature
        own = TEMPERATURES[mine] if self.student_temperature is None else self.student_temperature

        return lambda teacher, student, legal: (
            own * compare(space, actions.legal(teacher / hot, legal), actions.legal(student / own, legal))
        )

    def _objective(self, learner: Learner, distances: dict[str, Distance], label: str, alpha, params, batch, terms):
        """Every guided role's actor term becomes (1 − α)·L_actor, agent by agent, beside a term α·scale·L_reuse of its own.

        What another guidance of this kind has asked for before counts as a part of L_actor.
        """
        _, students = learner.unroll(params, batch)
        acting, taught = dict(terms[learner.policy_term]), dict(terms.get("distill", {}))
        for role, wanted in batch.extras[label].items():
            distance = distances[role](wanted, students[role], batch.available and batch.available[role])
            reuse = learner.share[role] * masked_mean(distance, batch.alive[role], tuple(range(distance.ndim - 1)))
            reuse = jax.lax.stop_gradient(reuse) if self.detached else reuse
            acting[role] = (1 - alpha) * acting[role]
            taught[role] = alpha * self.scale * reuse + (1 - alpha) * taught.get(role, 0.0)
        return {**terms, learner.policy_term: acting, "distill": taught}

    def _observe(self, spec, teacher: FittedTeacher, g, rollout, clock: Clock):
        """Label the rollout with the teacher's logits and set this update's α."""
        episodes = clock.index.astype(jnp.float32) * (rollout.terminated.size / spec.horizon)  # of the whole run
        alpha = {
            "linear": linear_schedule(self.alpha, self.alpha_end)(clock.progress),
            "literal": jnp.maximum(self.alpha - self.beta * episodes, self.alpha_end),
            "constant": jnp.asarray(self.alpha, jnp.float32),
        }[self.schedule]
        carry, logits = teacher.unroll(g["teacher"], g["carry"], rollout)
        labels = rollout.extras | {teacher.name: jax.lax.stop_gradient(logits)}
        return {**g, "carry": carry, "alpha": alpha}, dataclasses.replace(rollout, extras=labels), {"alpha": alpha}


PRESETS = {"distill": Distill(), "knowru": Distill()}
"""Names on the command line, and the settings each starts from."""
