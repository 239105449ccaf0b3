"""Guidance transforms a learner as an optax transformation transforms a gradient.

Each hook defaults to "change nothing", so a method defines only the hooks it needs, and `chain` composes methods.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.random as jr
import tyro
from jaxtyping import Array, Float, Int, PyTree

from headstart.core.types import Metrics, TimeStep, Transition

Terms = dict[str, dict[str, Array]]
"""{term: {role: [A]}}: the trainer minimises the sum of all."""
Rows = list[tuple[str, str, str]]
"""[(parameter, "loaded" | "adapted" | "re-initialised" | "dropped", shapes)]: each parameter's outcome at the start.

A network whose agents have other names than the teacher's has a row (network, "paired by place", pairs) before them. A network
that a companion shares has the one row (network, SHARED, how much)."""
SHARED = "shared"


class Clock(NamedTuple):
    """How far a run is; the same for all lanes, and never mapped."""

    index: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    """Index of the update, from 0: branch and count on it."""
    progress: Float[Array, ""]
    """0 at the first learning update, 1 at the last."""
    began: Any = 0
    """Index of the update before which memory, optimiser and guidance began: above 0 if a run went on from its team alone."""

    @property
    def age(self) -> Any:
        """Updates since memory, optimiser and guidance began: it counts what begins with them, and `index` all else."""
        return self.index - self.began


class Guidance(NamedTuple):
    """Hooks that the training loop calls around a learner. `g` is the guidance's own state, one per lane, saved with a run."""

    init: Callable[[Array, Array], PyTree] = lambda key, seed: ()
    """key, number of the seed -> g: teacher weights, discriminators, a companion's training state, momentum, counters."""
    start: Callable[[PyTree, PyTree], tuple[PyTree, Rows]] = lambda g, params: (params, [])
    """g, params -> params, rows, once before training. The rows go to run.json."""
    carry: Callable[[int], PyTree] = lambda num_envs: ()
    """number of environments -> c, the memory of a guide that acts, as an episode begins; every leaf [E ..]."""
    behave: Callable[[PyTree, PyTree, Array, TimeStep, dict[str, Array], Clock], tuple[PyTree, dict[str, Array]]] = (
        lambda g, c, key, step, action, clock: (c, action)
    )
    """g, c, key, step [E ..], action, clock -> c, action: may replace the learner's action."""
    observe: Callable[[PyTree, PyTree, Array, Transition, Clock, PyTree], tuple[PyTree, Transition, Metrics]] = (
        lambda g, params, key, rollout, clock, data: (g, rollout, {})
    )
    """g, params, key, rollout [T E ..], clock, data -> g, rollout, metrics: once an update, BEFORE the learner learns.

    Train a discriminator, step a companion or move schedules here. Labels go to `rollout.extras`.
    """
    reward: Callable[[PyTree, Transition], dict[str, Array]] = lambda g, transition: transition.reward
    """g, transition -> {role: [*n A]}: the reward to learn from, computed whenever targets are computed: once for the
    rollout [T E ..] of an on-policy learner, and for each batch [B ..] of a replaying learner."""
    objective: Callable[[PyTree, PyTree, PyTree, Terms], Terms] = lambda g, params, batch, terms: terms
    """g, params, batch, terms -> terms: adds a term or re-weighs one."""
    grads: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]] = lambda g, params, grads: (g, grads)
    """g, params, grads -> g, grads: changes the gradients before the optimiser."""
    tie: Callable[[PyTree, PyTree], PyTree] = lambda g, params: params
    """g, params -> params, once an update, after `observe`: ties shared parameters."""
    data: PyTree = ()
    """Arrays that all lanes read, such as demonstrations, passed to `observe`. They are an argument of the program: neither
    a lane nor a checkpoint has a copy."""
    env_steps: Callable[[int], int] = lambda updates: 0
    """updates since guidance began -> env-steps in environments of guidance's own, e.g. a companion's, which reports charge."""


NONE = Guidance()
"""No guidance."""


@runtime_checkable
class Teacher(Protocol):
    """A saved team, or a function wrapped as one."""

    spec: Any
    params: PyTree
    learner: Any
    """The pure functions that use `params`."""

    def seed(self, number: Any) -> PyTree:
        """Parameters of the seed with that number; other numbers cycle through the seeds."""
        ...


TeacherLike = Annotated[Any, tyro.conf.Suppress]
"""A `Teacher` or demonstrations, the path of a directory of one, or None; on the command line it comes from `--teacher`."""


@runtime_checkable
class GuidanceConfig(Protocol):
    """Settings, a class with `@part("guidance")`, that can become guidance for any learner."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def make(self, spec: Any, learner: Any) -> Guidance:
        """Guidance for this team and learner; raises HeadstartError if teacher and student do not fit."""
        ...


def takes_teacher(guide: Any) -> bool:
    """Whether guidance has a field `teacher`, a `TeacherLike`."""
    return any(field.name == "teacher" for field in dataclasses.fields(guide))


def teacher_of(guide: Any) -> Any:
    """The teacher of guidance; None if it has none, or none yet."""
    return guide.teacher if takes_teacher(guide) else None


def chain(*guides: Guidance) -> Guidance:
    """One guidance that applies `guides` in order; `chain()` is no guidance, `chain(g)` is g.

    A hook that no guide defines stays the default, so that the trainer can skip it. Labels (`extras`) and metrics of one name
    stay those of the guide that wrote them: the second guide's are kept as "NAME/1", and that guide sees them as "NAME".
    """
    if len(guides) == 1:
        return guides[0]
    split = lambda key: jr.split(key, max(len(guides), 1))

    def init(key, seed):
        return tuple(guide.init(k, seed) for guide, k in zip(guides, split(key), strict=False))

    def start(g, params):
        rows = []
        for guide, own in zip(guides, g, strict=True):
            params, more = guide.start(own, params)
            rows += more
        return params, rows

    def behave(g, c, key, step, action, clock):
        carries = []
        for guide, own, carry, k in zip(guides, g, c, split(key), strict=False):
            carry, action = guide.behave(own, carry, k, step, action, clock)
            carries.append(carry)
        return tuple(carries), action

    def observe(g, params, key, rollout, clock, data):
        out, metrics = [], {}
        for i, (guide, own, k, given) in enumerate(zip(guides, g, split(key), data, strict=False)):
            own, seen, more = guide.observe(own, params, k, _own_labels(i, rollout), clock, given)
            rollout = _kept_labels(i, rollout, seen)
            metrics |= {name if name not in metrics else f"{name}/{i}": value for name, value in more.items()}
            out.append(own)
        return tuple(out), rollout, metrics

    def reward(g, transition):
        for i, (guide, own) in enumerate(zip(guides, g, strict=True)):
            transition = dataclasses.replace(transition, reward=guide.reward(own, _own_labels(i, transition)))
        return transition.reward

    def objective(g, params, batch, terms):
        for i, (guide, own) in enumerate(zip(guides, g, strict=True)):
            terms = guide.objective(own, params, _own_labels(i, batch), terms)
        return terms

    def grads(g, params, grads):
        out = []
        for guide, own in zip(guides, g, strict=True):
            own, grads = guide.grads(own, params, grads)
            out.append(own)
        return tuple(out), grads

    def tie(g, params):
        for guide, own in zip(guides, g, strict=True):
            params = guide.tie(own, params)
        return params

    hooks = {"start": start, "behave": behave, "observe": observe, "reward": reward, "objective": objective}
    hooks |= {"grads": grads, "tie": tie}
    needed = {name: hook for name, hook in hooks.items() if any(has(guide, name) for guide in guides)}
    return Guidance(
        init=init,
        carry=lambda num_envs: tuple(guide.carry(num_envs) for guide in guides),
        data=tuple(guide.data for guide in guides),
        env_steps=lambda updates: sum(guide.env_steps(updates) for guide in guides),
        **needed,
    )


def _own_labels(index: int, batch: Any) -> Any:
    """Transitions as guide `index` of a chain sees them: its own labels by their plain names."""
    extras, mark = getattr(batch, "extras", {}), f"/{index}"
    own = {name.removesuffix(mark): x for name, x in extras.items() if name.endswith(mark)}
    return dataclasses.replace(batch, extras=extras | own) if own else batch


def _kept_labels(index: int, before: Any, after: Any) -> Any:
    """What guide `index` returned for `before`, without its labels in the places of those of the guides before it."""
    had, has_now = getattr(before, "extras", {}), getattr(after, "extras", {})
    taken = {name: x for name, x in has_now.items() if name in had and x is not had[name]}
    if not taken:
        return after
    own = {f"{name}/{index}": x for name, x in taken.items()}
    return dataclasses.replace(after, extras=has_now | {name: had[name] for name in taken} | own)


def has(guidance: Guidance, hook: str) -> bool:
    """Whether guidance defines that hook."""
    return getattr(guidance, hook) is not getattr(NONE, hook)


def start_rows(guidance: Guidance, learner: Any) -> Rows:
    """The rows that guidance's `start` returns, without computing anything."""
    rows: Rows = []

    def dry(key):
        params, found = guidance.start(guidance.init(key, jax.numpy.asarray(0)), learner.init(key))
        rows.extend(found)
        return params

    if has(guidance, "start"):
        jax.eval_shape(dry, jr.key(0))
    return rows
