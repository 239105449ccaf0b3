"""A teacher seen through a student's eyes: which of its agents teaches whom, and what it would observe."""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from headstart.adapt import Select, adapt, pairing, reteam, same_actions
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


def shared_roles(teacher: Any, spec: TeamSpec, roles: tuple[str, ...]) -> tuple[str, ...]:
    """The roles to teach: `roles`, or all that both have; raises HeadstartError where they cannot be taught."""
    if teacher is None:
        raise HeadstartError("guidance needs a teacher: pass a run directory, e.g. --teacher runs/old")
    if not hasattr(teacher, "spec"):
        raise HeadstartError(f"the teacher {teacher} is not loaded: headstart.load(...) makes a team of a run directory")
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
    pairs = {role: pairing(spec.roles[role].agents, teacher.spec.roles[role].agents) for role in roles}

    def params(seed):
        actor = teacher.seed(seed)["actor"]
        return {"actor": {role: reteam(actor[role], pairs[role]) for role in roles}}

    def start(num_envs):
        carry = teacher.learner.start(num_envs)
        return _for_agents(carry, pairs)

    def policy(params, carry, obs):
        seen = {r: adapt(obs[r], spec.roles[r].obs, teacher.spec.roles[r].obs, select) for r in roles}
        return teacher.learner.policy(params, carry, seen)

    def answers(params, carry, rollout):
        step = lambda carry, obs: policy(params, carry, obs)
        last, _, logits = unroll(step, carry, rollout.obs, rollout.first)
        return last, logits

    return Pupil(_name(teacher, roles, select), params, start, answers)


def _name(teacher: Any, roles: tuple[str, ...], select: str) -> str:
    """The same in every process, so that a resumed run finds its labels."""
    sums = [zlib.crc32(np.asarray(x).tobytes()) for x in jax.tree.leaves(teacher.params)]
    return f"teacher-{zlib.crc32(repr((sums, roles, select)).encode()):08x}"


def _for_agents(carry, pairs):
    """A recurrent carry {network: {role: [E A H]}} with one row for every student agent."""
    if not carry:
        return carry
    return {net: {role: roles[role][:, pairs[role]] for role in pairs} for net, roles in carry.items()}
