"""Which agents form a role, and what the parts of their observations are: found by their names and spaces, or as users say.

Neither depends on the order in which an environment lists its agents.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from headstart.core.checks import HeadstartError
from headstart.core.spec import ActionSpace, Field, RoleSpec

FIELD = re.compile(r"(?:(?P<role>[^:=]+):)?(?P<name>[^:=]+)=(?:(?P<count>\d+)x)?(?P<size>\d+)(?:@(?P<follows>[^:=]+))?")
"""NAME=SIZE, NAME=COUNTxSIZE, NAME=COUNTxSIZE@FOLLOWED, each with ROLE: in front if it is meant for one role only."""


@dataclasses.dataclass(frozen=True)
class Naming:
    """What the user says about roles ("leader=drone-1") and observed fields ("mates=3x2"); empty where nothing is said."""

    roles: Sequence[str] = ()
    fields: Sequence[str] = ()

    def of(
        self, names: Sequence[str], fields: Mapping[str, tuple[Field, ...]], actions: Mapping[str, ActionSpace]
    ) -> dict[str, RoleSpec]:
        """The roles of agents that observe these fields and act in these spaces."""
        return named_fields(roles_of(names, fields, actions, self.roles), self.fields)


def roles_of(
    names: Sequence[str], fields: Mapping[str, Any], actions: Mapping[str, ActionSpace], given: Sequence[str] = ()
) -> dict[str, RoleSpec]:
    """Group agents with the same spaces and the same name up to a number ("adversary_0", "drone-1", 0) into a role.

    Agents of one such name with different spaces get separate roles, each named after its first agent. `given` ("leader=a,b")
    says otherwise for some. Roles and agents come in the order of their names, with numbers by size.
    """
    said = _said(names, given)
    groups: dict[Any, list[str]] = {}
    for name in sorted(names, key=in_order):
        key = (said[name], None, None) if name in said else (None, stem(name), (fields[name], actions[name]))
        groups.setdefault(key, []).append(name)
    for (role, _, _), members in groups.items():
        odd = [name for name in members if (fields[name], actions[name]) != (fields[members[0]], actions[members[0]])]
        if role is not None and odd:
            raise HeadstartError(f"env.roles puts {members[0]} and {odd[0]} into the role '{role}', but their spaces differ")
    stems = [stem for role, stem, _ in groups if role is None]
    roles: dict[str, RoleSpec] = {}
    for (role, plain, _), members in groups.items():
        name = role or (plain if stems.count(plain) == 1 and plain not in said.values() else members[0])
        while role is None and (name in roles or name in said.values()):
            name += "_"
        usual = tuple(f"{name}_{i}" for i in range(len(members)))
        custom = () if tuple(members) == usual else tuple(members)
        roles[name] = RoleSpec(len(members), fields[members[0]], actions[members[0]], custom)
    return {name: roles[name] for name in sorted(roles, key=in_order)}


def stem(name: str) -> str:
    """A name without the number at its end, or else at its start; "agent" if there is nothing else."""
    plain = re.sub(r"[\s_.:#-]*\d+$", "", name)
    plain = plain if plain != name else re.sub(r"^\d+[\s_.:#-]*", "", name)
    return plain or "agent"


def in_order(name: str) -> list[tuple[bool, int, str]]:
    """A key that sorts names by their letters and, where they have numbers, by their sizes: agent_2 before agent_10."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _said(names: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """{agent: role} of what the user says."""
    said: dict[str, str] = {}
    for entry in given:
        role, equal, members = entry.partition("=")
        if not role or not equal or not members:
            raise HeadstartError(f"env.roles must be like leader=drone-1 others=drone-2,drone-3, not '{entry}'")
        for name in (part.strip() for part in members.split(",")):
            if name not in names:
                raise HeadstartError(
                    f"env.roles names the agent '{name}', and there are: {', '.join(sorted(names, key=in_order))}"
                )
            if name in said:
                raise HeadstartError(f"env.roles names the agent '{name}' twice: each agent has one role")
            said[name] = role
    return said


def named_fields(roles: dict[str, RoleSpec], given: Sequence[str]) -> dict[str, RoleSpec]:
    """The roles with their observations divided as the user says: NAME=SIZE or NAME=COUNTxSIZE, in order."""
    blocks: dict[str | None, list[Field]] = {}
    for entry in given:
        found = FIELD.fullmatch(entry)
        if not found:
            raise HeadstartError(
                f"env.fields must be like velocity=2 mates=3x2 goals=3x1@mates, or agent:mates=3x2, not '{entry}'"
            )
        if found["role"] is not None and found["role"] not in roles:
            raise HeadstartError(f"env.fields names the role '{found['role']}', and there are: {', '.join(roles)}")
        field = Field(found["name"], int(found["count"] or 1), int(found["size"]), found["follows"] or "", not found["count"])
        blocks.setdefault(found["role"], []).append(field)
    return {
        role: about._replace(obs=_divided(role, about, blocks.get(role, blocks.get(None)))) for role, about in roles.items()
    }


def _divided(role: str, about: RoleSpec, fields: list[Field] | None) -> tuple[Field, ...]:
    if fields is None:
        return about.obs
    names = [field.name for field in fields]
    if len(set(names)) < len(names):
        raise HeadstartError(f"env.fields has a name twice for the role '{role}': {', '.join(names)}")
    if lost := [field.follows for field in fields if field.follows and field.follows not in names]:
        raise HeadstartError(f"env.fields lets a field follow '{lost[0]}', which is no field of the role '{role}'")
    total = sum(field.width for field in fields)
    if total != about.obs_size:
        raise HeadstartError(f"env.fields has {total} numbers for the role '{role}', which observes {about.obs_size}")
    return tuple(fields)
