"""Fit a teacher to a student team: pair their agents, and translate the student's observations."""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from headstart.core.checks import HeadstartError, check_known
from headstart.core.ops import unroll
from headstart.core.ranges import Select
from headstart.core.types import TeamSpec
from headstart.teams.demos import Demos
from headstart.views.adapt import adapted_policy, pair_carry, pair_params
from headstart.views.meaning import tell, translations


class FittedTeacher(NamedTuple):
    """A teacher fitted to a student team."""

    name: str
    """Key of its labels in `extras`: different for different teachers, so that several can teach one team."""
    params: Callable[[Any], Any]
    """number of the seed -> the teacher's parameters, one set for each guided student agent."""
    start: Callable[[int], Any]
    """number of environments -> carry of a recurrent teacher."""
    policy: Callable[[Any, Any, Any], tuple[Any, dict]]
    """params, carry, obs {role: [*n A O]} -> carry, {role: [*n A U]} logits on the STUDENT's observations."""
    unroll: Callable[[Any, Any, Any], tuple[Any, dict]]
    """params, carry, rollout [T E ..] -> carry, {role: [T E A U]} logits on the STUDENT's observations."""


def check_teacher(teacher: Any) -> None:
    """Raise HeadstartError unless there is a loaded teacher."""
    if teacher is None:
        raise HeadstartError("guidance needs a teacher: pass a run directory, e.g. --teacher runs/old")
    if callable(teacher) and not hasattr(teacher, "spec"):
        raise HeadstartError("the teacher is a function: headstart.Scripted(function, env.spec) makes a teacher of it")
    if isinstance(teacher, Demos):
        mend = "use --guidance clone, which imitates the recorded actions" if teacher.actions else "pass the team itself"
        raise HeadstartError(f"demonstrations cannot say what to do on the observations that students visit: {mend}")
    if not hasattr(teacher, "spec"):
        raise HeadstartError(f"the teacher {teacher} is not loaded: headstart.load(...) makes a team of a run directory")


def role_pairs(teacher: Any, spec: TeamSpec, roles: tuple[str, ...], into: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """[(role of the teacher, role of the student)]: `roles` into `into`, or into roles of the same names if that is empty.

    Without `roles`, the roles that both have. Raises HeadstartError if a role is missing, or if its actions cannot be
    translated by name.
    """
    check_teacher(teacher)
    pairs = pair_roles(teacher.spec, spec, roles, into)
    translations(teacher.spec.roles, spec.roles, pairs)
    return pairs


def pair_roles(
    theirs: TeamSpec, ours: TeamSpec, roles: tuple[str, ...], into: tuple[str, ...] = (), who: str = "teacher"
) -> list[tuple[str, str]]:
    """As `role_pairs`, for the spec of a teacher, or of `who` it is, without a look at actions."""
    into = into or roles
    if len(into) != len(roles):
        raise HeadstartError(f"{len(roles)} roles of the {who} go into {len(into)} of the student: name one for each")
    for role in roles:
        check_known(f"role of the {who}", role, theirs.roles)
    for role in into:
        check_known("role", role, ours.roles)
    both = tuple(role for role in ours.roles if role in theirs.roles)
    pairs = list(zip(roles or both, into or both, strict=True))
    if not pairs:
        names = f"the {who} has roles {', '.join(theirs.roles)} and the student has {', '.join(ours.roles)}"
        raise HeadstartError(f"{names}: none in common, and a role learns from that of the same name")
    return pairs


def fit_teacher(teacher: Any, spec: TeamSpec, roles: tuple[str, ...], select: Select) -> FittedTeacher:
    """Fit `teacher` to the students of `spec`, and say which of its actions are translated.

    Raises HeadstartError if fields or actions do not fit.
    """
    pairs = role_pairs(teacher, spec, roles)
    tell(translations(teacher.spec.roles, spec.roles, pairs), "the teacher's")
    return fitted(teacher, spec, tuple(ours for _, ours in pairs), select)


def fitted(teacher: Any, spec: TeamSpec, roles: tuple[str, ...], select: Select) -> FittedTeacher:
    """As `fit_teacher`, for roles that both have, without a word."""
    trained, learner = teacher.spec, teacher.learner
    policy = adapted_policy(learner.policy, trained, spec, roles, select)

    def params(seed):
        return pair_params(teacher.seed(seed), learner.policy_networks, trained, spec, roles)

    def start(num_envs):
        return pair_carry(learner.start(num_envs), learner.policy_networks, trained, spec, roles)

    def answers(params, carry, rollout):
        step = lambda carry, obs: policy(params, carry, obs)
        last, _, logits = unroll(step, carry, rollout.obs, rollout.first, start(rollout.first.shape[1]))
        return last, logits

    return FittedTeacher(label_name(teacher, roles, select), params, start, policy, answers)


def label_name(teacher: Any, *use: Any) -> str:
    """Key of a teacher's labels: distinct for each teacher and use, and the same in every process that resumes a run."""
    sums = [zlib.crc32(np.asarray(x).tobytes()) for x in jax.tree.leaves(teacher.params)]
    function = getattr(getattr(teacher, "function", None), "__qualname__", "")
    return f"teacher-{zlib.crc32(repr((sums, function, *use)).encode()):08x}"
