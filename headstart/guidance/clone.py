"""Behaviour cloning: imitate the actions of demonstrations on the observations that were recorded.

Pomerleau 1991, "Efficient Training of Artificial Neural Networks for Autonomous Navigation". A student π minimises
−log π(a | o) over recorded pairs (o, a) of its own role and agent, its logits restricted to the legal choices; for continuous
actions it minimises the squared error of its mean. With learner `imitator` that is all it learns from. With any other learner
the term is added to the learner's own, for the whole run or for its beginning.

Nobody is asked what to do on the observations that the students visit. That is the difference to `dagger` and `distill`, which
need a teacher that answers.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PyTree

from headstart.core import actions
from headstart.core.guidance import Guidance, TeacherLike
from headstart.core.learner import TEMPERATURES, Learner
from headstart.core.ops import masked_mean, unroll
from headstart.core.part import part
from headstart.core.ranges import Count, NonNegative, Positive, Share
from headstart.core.types import Continuous, TeamSpec
from headstart.teams.demos import Demos, demos_for


@part("guidance")
class Clone:
    """Behaviour cloning: imitate recorded actions, as a warm start or along the whole run."""

    teacher: TeacherLike = None
    """The directory of demonstrations with actions (headstart record RUN --actions), or the demonstrations."""
    weight: NonNegative = 1.0
    """Factor on the imitation loss, which is added to the learner's own terms."""
    until: Share = 1.0
    """Share of the learning updates, from the first on, in which students imitate; less than 1 for a warm start."""
    batch: Count = 256
    """Recorded env-steps in each gradient step; a recurrent student reads whole episodes, of about as many steps."""
    temperature: Positive | None = None
    """Temperature of the student's probabilities, by which the loss is multiplied; if None, 1 for logits and 0.01 for values of
    actions (Q-learning)."""

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance whose state is {"drawn": recorded steps of each gradient step, "turn": [] which is next, "weight": []}.

        Raises HeadstartError for demonstrations without actions, or of another team.
        """
        demos = demos_for("clone", self.teacher, spec, actions=True)
        with jax.ensure_compile_time_eval():  # the arrays are no part of a program that makes this guidance in its trace
            data = jax.tree.map(jnp.asarray, _steps(demos, learner))
        wanted = self.batch if _flat(learner) else -(-self.batch * len(demos) // demos.steps)
        count = jax.eval_shape(learner.memory.plan, jr.key(0), 1).shape[0], wanted

        def draw(key, data):
            chosen = jr.randint(key, count, 0, jax.tree.leaves(data)[0].shape[0])
            return jax.tree.map(lambda x: x[chosen], data)

        def init(key, seed):
            shapes = jax.eval_shape(draw, key, data)
            drawn = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            return {"drawn": drawn, "turn": jnp.zeros((), jnp.int32), "weight": jnp.zeros(())}

        def observe(g, params, key, rollout, clock, data):
            weight = jnp.where(clock.progress <= self.until, jnp.asarray(self.weight, jnp.float32), 0.0)
            g = {"drawn": draw(key, data), "turn": jnp.zeros((), jnp.int32), "weight": weight}
            return g, rollout, {"clone_weight": weight}

        def objective(g, params, batch, terms):
            now = jax.tree.map(lambda x: x[g["turn"]], g["drawn"])
            before = terms.get("clone", {})
            losses = self._losses(spec, learner, params, now)
            return {**terms, "clone": {role: g["weight"] * x + before.get(role, 0.0) for role, x in losses.items()}}

        turned = lambda g, params, grads: ({**g, "turn": g["turn"] + 1}, grads)
        return Guidance(init=init, observe=observe, objective=objective, grads=turned, data=data)

    def _losses(self, spec: TeamSpec, learner: Learner, params: PyTree, now: dict[str, Any]) -> dict[str, Any]:
        """{role: [A]}: the mean loss of drawn steps [B ..], or episodes [B T ..]."""
        hot = TEMPERATURES[learner.outputs] if self.temperature is None else self.temperature
        students, out = _outputs(learner, params, now["obs"]), {}
        for role, student in students.items():
            space, did = spec.roles[role].actions, now["actions"][role]
            if isinstance(space, Continuous):
                loss = jnp.square(student - did).mean(-1)
            else:
                legal = now["available"] and now["available"][role]
                loss = -hot * actions.log_prob(space, actions.legal(student / hot, legal), did)
            out[role] = learner.share[role] * masked_mean(loss, now["alive"][role], tuple(range(loss.ndim - 1)))
        return out


def _flat(learner: Learner) -> bool:
    """Whether the policy is feed-forward."""
    return not jax.tree.leaves(jax.eval_shape(lambda: learner.start(1)))


def _steps(demos: Demos, learner: Learner) -> dict[str, Any]:
    """What students read, with a first axis to draw from: single steps [N ..], or episodes [M T ..] if they are recurrent."""
    running = demos.running
    kept = {name: getattr(demos, name) for name in ("obs", "alive", "actions", "available")}
    return jax.tree.map(lambda x: x[running], kept) if _flat(learner) else kept


def _outputs(learner: Learner, params: PyTree, obs: dict[str, Any]) -> dict[str, Any]:
    """The students' outputs on steps [B ..], or on episodes [B T ..], which are read from their beginning."""
    if _flat(learner):
        return learner.policy(params, (), obs)[1]
    in_time = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), obs)
    steps, count = jax.tree.leaves(in_time)[0].shape[:2]
    fresh = learner.start(count)
    read = lambda carry, seen: learner.policy(params, carry, seen)
    out = unroll(read, fresh, in_time, jnp.zeros((steps, count), bool), fresh)[2]
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), out)


PRESETS = {"clone": Clone(), "bc": Clone()}
"""Names on the command line, and the settings each starts from."""
