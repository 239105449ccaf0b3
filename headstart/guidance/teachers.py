"""A teacher seen through a student's eyes: which of its agents teaches whom, and what it would observe."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from headstart.adapt import Select, paired_rows, repaired, same_actions, through
from headstart.checks import HeadstartError, known
from headstart.ops import unroll
from headstart.types import TeamSpec


class Pupil(NamedTuple):
    """A teacher fitted to a student team."""

    name: str
    """Where its labels travel: different for different teachers, so that several can teach one team."""
    params: Callable[[Any], Any]
    """number of the seed -> the teacher's parameters, one set for every guided student agent."""
    start: Callable[[int], Any]
    """number of environments -> carry of a recurrent teacher."""
    unroll: Callable[[Any, Any, Any], tuple[Any, dict]]
    """params, carry, rollout [T E ..] -> carry, {role: [T E A U]} logits on the STUDENT's observations."""


@dataclass(frozen=True, eq=False)
class Scripted:
    """A function as a teacher: an analytic controller, a planner, anything that knows what to do.

        guide = headstart.Distill(headstart.Scripted(controller, env.spec), loss="ce")

    `function` takes observations {role: [*n A O]}, as `spec` describes them, and answers {role: [*n A U]}: logits of
    discrete actions (their largest is what it would do), or continuous actions in [-1, 1]. It is traced into the jitted
    program unless `host`, where it is called with NumPy arrays. Students of other sizes are adapted to its fields.
    """

    function: Callable[[dict[str, Any]], dict[str, Any]]
    spec: TeamSpec
    host: bool = False
    acting: ClassVar[tuple[str, ...]] = ()
    params: ClassVar[dict[str, Any]] = {}
    """A function has nothing to save. A run that learns from one is resumed by handing it over again."""

    def seed(self, number: Any) -> Any:
        """The same for every seed."""
        return self.params

    @property
    def learner(self) -> "Scripted":
        """Itself: it has a policy and starts with nothing in mind."""
        return self

    def start(self, num_envs: int) -> Any:
        """No memory."""
        return ()

    def policy(self, params: Any, carry: Any, obs: dict[str, Array]) -> tuple[Any, dict[str, Array]]:
        """What the function says; HeadstartError where that has the wrong shape."""
        want = {role: (*x.shape[:-1], self.spec.roles[role].actions.size) for role, x in obs.items()}
        if self.host:
            shapes = {role: jax.ShapeDtypeStruct(shape, np.float32) for role, shape in want.items()}
            as_numpy = lambda obs: self._said(self.function({r: np.asarray(x) for r, x in obs.items()}), obs, np.asarray)
            return carry, jax.pure_callback(as_numpy, shapes, obs, vmap_method="broadcast_all")
        return carry, self._said(self.function(obs), obs, jnp.asarray)

    def _said(self, said: Any, obs: dict[str, Any], array: Callable) -> dict[str, Any]:
        out = {}
        for role, x in obs.items():
            want = (*np.shape(x)[:-1], self.spec.roles[role].actions.size)
            got = np.shape(said[role]) if isinstance(said, dict) and role in said else None
            if got != want:
                raise HeadstartError(f"the scripted teacher must answer '{role}' with shape {want}, not {got}")
            out[role] = array(said[role], np.float32)
        return out


def loaded(teacher: Any) -> None:
    """Raise HeadstartError unless there is a teacher, loaded."""
    if teacher is None:
        raise HeadstartError("guidance needs a teacher: pass a run directory, e.g. --teacher runs/old")
    if not hasattr(teacher, "spec"):
        raise HeadstartError(f"the teacher {teacher} is not loaded: headstart.load(...) makes a team of a run directory")


def shared_roles(teacher: Any, spec: TeamSpec, roles: tuple[str, ...]) -> tuple[str, ...]:
    """The roles to teach: `roles`, or all that both have; raises HeadstartError where they cannot be taught."""
    loaded(teacher)
    for role in roles:
        known("role", role, spec.roles)
        known("role of the teacher", role, teacher.spec.roles)
    roles = roles or tuple(role for role in spec.roles if role in teacher.spec.roles)
    if not roles:
        theirs, ours = ", ".join(teacher.spec.roles), ", ".join(spec.roles)
        raise HeadstartError(f"the teacher has roles {theirs} and the student has {ours}: none in common")
    for role in roles:
        same_actions(spec.roles[role], teacher.spec.roles[role], role)
    return roles


def pupil(teacher: Any, spec: TeamSpec, roles: tuple[str, ...], select: Select) -> Pupil:
    """Fit `teacher` to the students of `spec`; raises HeadstartError where they cannot understand each other."""
    roles = shared_roles(teacher, spec, roles)
    trained, learner = teacher.spec, teacher.learner
    policy = through(learner.policy, trained, spec, roles, select)

    def params(seed):
        return repaired(teacher.seed(seed), learner.acting, trained, spec, roles)

    def start(num_envs):
        return paired_rows(learner.start(num_envs), trained, spec, roles)

    def answers(params, carry, rollout):
        step = lambda carry, obs: policy(params, carry, obs)
        last, _, logits = unroll(step, carry, rollout.obs, rollout.first)
        return last, logits

    return Pupil(label_name(teacher, roles, select), params, start, answers)


def label_name(teacher: Any, *use: Any) -> str:
    """Where a teacher's labels travel: others for another teacher or use, the same in every process that resumes a run."""
    sums = [zlib.crc32(np.asarray(x).tobytes()) for x in jax.tree.leaves(teacher.params)]
    function = getattr(getattr(teacher, "function", None), "__qualname__", "")
    return f"teacher-{zlib.crc32(repr((sums, function, *use)).encode()):08x}"
