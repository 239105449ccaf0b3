"""Agents of one role as several roles, so that they may differ in structure, e.g. a leader among novices.

headstart train regrouped:tag --env.role adversary --env.groups leader=0 adversary=1,2
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from numbers import Integral
from typing import Any, Generic, TypeVar

import jax.numpy as jnp
from jaxtyping import Array

from headstart.core.checks import HeadstartError, check_known
from headstart.core.part import part
from headstart.core.types import TeamSpec, TimeStep
from headstart.envs.particle.tag import Tag
from headstart.envs.wrapper import Wrapper

Inner = TypeVar("Inner")
LAST = ("reward", "alive", "agent_terminated")
"""The values of a time step with agents in the last axis; all others have them in the last but one."""


@part("env")
class Regrouped(Wrapper, Generic[Inner]):
    """Any environment with the agents of one role divided into several roles: regrouped:ENV.

    Agents keep their names, `groups` gives their order within a group, and nothing else changes.
    """

    env: Inner = field(default_factory=Tag)  # pyright: ignore[reportAssignmentType]
    """The environment."""
    role: str = "adversary"
    """The role to divide."""
    groups: tuple[str, ...] = ("leader=0", "adversary=1,2")
    """The new roles and the numbers of their agents, from 0: each agent of the role once."""

    @property
    def _members(self) -> dict[str, tuple[int, ...]]:
        """{new role: numbers of its agents}; HeadstartError if that does not divide the role."""
        check_known("role", self.role, self.inner.spec.roles)
        members: dict[str, tuple[int, ...]] = {}
        for group in self.groups:
            name, _, numbers = group.partition("=")
            if not name or name in members or not all(n.strip().isdigit() for n in numbers.split(",")):
                raise HeadstartError(f"env.groups must be like leader=0 others=1,2 with a name each, not '{group}'")
            members[name] = tuple(int(n) for n in numbers.split(","))
        count = self.inner.spec.roles[self.role].agents
        given = sorted(i for index in members.values() for i in index)
        if given != list(range(count)):
            raise HeadstartError(f"env.groups must have each of the agents 0 to {count - 1} of '{self.role}' once, not {given}")
        if taken := [name for name in members if name in self.inner.spec.roles and name != self.role]:
            raise HeadstartError(f"env.groups names a role '{taken[0]}', which the environment has already: choose another")
        return members

    @property
    def spec(self) -> TeamSpec:
        """The wrapped team's spec with the groups in place of the role. Raises HeadstartError if the role has messages."""
        inner, members, roles = self.inner.spec, self._members, {}
        if any(self.role in (route.speaker, route.listener) for route in inner.messages):
            raise HeadstartError(f"agents of role '{self.role}' send or hear messages: they cannot be regrouped")
        for name, role in inner.roles.items():
            if name != self.role:
                roles[name] = role
                continue
            for group, index in members.items():
                names = tuple(inner.names[name][i] for i in index)
                roles[group] = role._replace(agents=len(index), names=names)
        return inner._replace(roles=roles)

    def shown(self, step: TimeStep) -> TimeStep:
        """The time step with the groups in place of the role in every dict."""
        names = ("obs", "final_obs", "available", "final_available", *LAST)
        return dataclasses.replace(step, **{name: self._split(getattr(step, name), name in LAST) for name in names})

    def sent(self, action: dict[str, Array]) -> dict[str, Array]:
        """The groups' actions {group: [*n A U]} in the order of the role's agents."""
        place = {i: (group, at) for group, index in self._members.items() for at, i in enumerate(index)}
        rows = [action[group][..., at, :] for group, at in (place[i] for i in range(len(place)))]
        rest = {role: x for role, x in action.items() if role not in self._members}
        return rest | {self.role: jnp.stack(rows, -2)}

    def _split(self, by_role: Any, last: bool) -> Any:
        """{role: agents' rows} with each group's rows, by slices: an index would be a gather in every step."""
        if by_role is None:
            return None
        out: dict[str, Array] = {}
        for role, x in by_role.items():
            if role != self.role:
                out[role] = x
                continue
            for group, index in self._members.items():
                out[group] = jnp.stack([x[..., i] if last else x[..., i, :] for i in index], -1 if last else -2)
        return out


def regrouped(env: Any, role: str, groups: Mapping[str, Sequence[int]]) -> Regrouped:
    """`env` with the agents of `role` as the roles of `groups`, {name: numbers of its agents}; see `Regrouped`.

    Raises HeadstartError if the groups have another form, or if they do not divide the role.
    """
    if not isinstance(groups, Mapping):
        raise HeadstartError(f'groups must be a dict such as {{"leader": [0], "others": [1, 2]}}, not {groups!r}')
    for name, index in groups.items():
        _check_numbers(name, index)
    out = Regrouped(env, role, tuple(f"{name}={','.join(map(str, index))}" for name, index in groups.items()))
    _ = out.spec  # refuses groups that do not divide the role
    return out


def _check_numbers(name: Any, index: Any) -> None:
    """Raise HeadstartError unless `index` is a list of agents' numbers."""
    whole = lambda x: isinstance(x, Integral) and not isinstance(x, bool)
    if whole(index):
        raise HeadstartError(f"the agents of group '{name}' must be a list of numbers: [{index}], not {index}")
    if isinstance(index, str) or not isinstance(index, Iterable) or not all(map(whole, index)):
        raise HeadstartError(f"the agents of group '{name}' must be a list of numbers such as [0, 1], not {index!r}")


PRESETS = {"regrouped": Regrouped()}
"""`regrouped:ENV` on the command line; without ENV, tag with a leader among its three adversaries."""
