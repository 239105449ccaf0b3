"""What guidance is: to a learner what an optax transformation is to a gradient.

Each hook defaults to "change nothing", so a method writes only what it changes, and `chain` composes methods.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax.random as jr
import tyro
from jaxtyping import Array, PyTree

from headstart.core.types import Metrics, TimeStep, Transition

Terms = dict[str, dict[str, Array]]


class Guidance(NamedTuple):
    """Hooks that the training loop calls around a learner. `g` is the guidance's own state."""

    init: Callable[[Array, Array], PyTree] = lambda key, seed: ()
    """key, number of the seed -> g: teacher weights, discriminators, a companion's training state, counters."""
    start: Callable[[PyTree, PyTree], PyTree] = lambda g, params: params
    """g, params -> params, once before training (warm start)."""
    behave: Callable[[PyTree, Array, TimeStep, dict[str, Array]], dict[str, Array]] = lambda g, key, step, action: action
    """g, key, step, action -> action: who acts."""
    relabel: Callable[[PyTree, Transition], Transition] = lambda g, rollout: rollout
    """g, rollout -> rollout: what the learner believes happened; labels go to `rollout.extras`."""
    objective: Callable[[PyTree, PyTree, PyTree, Terms], Terms] = lambda g, params, batch, terms: terms
    """g, params, batch, terms -> terms: add a term or re-weigh one; each {role: [A]}."""
    grads: Callable[[PyTree, PyTree, PyTree], PyTree] = lambda g, params, grads: grads
    """g, params, grads -> grads: where the step goes."""
    tie: Callable[[PyTree, PyTree], PyTree] = lambda g, params: params
    """g, params -> params, after the step: shared parts."""
    update: Callable[[PyTree, Array, Transition, Array], tuple[PyTree, Metrics]] = lambda g, key, rollout, progress: (
        g,
        {},
    )
    """g, key, rollout (as it happened, before `relabel`), progress of the NEXT update -> g, metrics."""


@runtime_checkable
class Teacher(Protocol):
    """Something that knows: a saved team, or a callable dressed as one."""

    spec: Any
    params: PyTree
    learner: Any
    """The pure functions that `params` belong to."""

    def seed(self, number: Any) -> PyTree:
        """Parameters of the seed of that number; other seeds take turns."""
        ...


TeacherLike = Annotated[Any, tyro.conf.Suppress]
"""A `Teacher`, the path of a run or policy directory, or None; on the command line it comes from `--teacher`."""


@runtime_checkable
class GuidanceConfig(Protocol):
    """Settings, a class with `@part("guidance")`, that can become guidance for any learner."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def make(self, spec: Any, learner: Any) -> Guidance:
        """Guidance for this team and learner; raises HeadstartError where teacher and student do not fit."""
        ...


def takes_teacher(guide: Any) -> bool:
    """Whether guidance learns from a teacher, a `TeacherLike` field of that name; not all does."""
    return any(field.name == "teacher" for field in dataclasses.fields(guide))


def teacher_of(guide: Any) -> Any:
    """Who teaches; None if nobody does, or nobody yet."""
    return guide.teacher if takes_teacher(guide) else None


def chain(*guides: Guidance) -> Guidance:
    """One guidance that applies `guides` in order; `chain()` is no guidance, `chain(g)` is g."""
    if len(guides) == 1:
        return guides[0]

    def init(key, seed):
        return tuple(guide.init(k, seed) for guide, k in zip(guides, jr.split(key, max(len(guides), 1)), strict=False))

    def threaded(name: str) -> Callable:
        """The hook's last argument passes through every guide."""

        def hook(g, *args):
            *context, value = args
            for guide, own in zip(guides, g, strict=True):
                value = getattr(guide, name)(own, *context, value)
            return value

        return hook

    def behave(g, key, step, action):
        for guide, own, k in zip(guides, g, jr.split(key, max(len(guides), 1)), strict=False):
            action = guide.behave(own, k, step, action)
        return action

    def update(g, key, rollout, progress):
        keys = jr.split(key, max(len(guides), 1))
        outs = [guide.update(own, k, rollout, progress) for guide, own, k in zip(guides, g, keys, strict=False)]
        told = {}
        for i, (_, metrics) in enumerate(outs):
            told |= {name if name not in told else f"{name}/{i}": value for name, value in metrics.items()}
        return tuple(own for own, _ in outs), told

    hooks = {name: threaded(name) for name in ("start", "relabel", "objective", "grads", "tie")}
    return Guidance(init=init, behave=behave, update=update, **hooks)
