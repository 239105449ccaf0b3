"""One environment's output of a step as one row of numbers, so that a step of many environments is a single array.

A row is [obs | available | reward | alive | agent_terminated | terminated | truncated], roles in the order of the spec and
agents in that of the role. `Place` says where an agent's numbers are; `unpack` reads rows in NumPy and in JAX.
"""

from typing import Any, NamedTuple

import numpy as np

from headstart.core.spec import Discrete, TeamSpec


class Shown(NamedTuple):
    """A host environment's output; values are {role: array}, with any leading axes."""

    obs: dict[str, Any]
    available: dict[str, Any]
    reward: dict[str, Any]
    alive: dict[str, Any]
    agent_terminated: dict[str, Any]
    terminated: Any
    truncated: Any


class Place(NamedTuple):
    """Where an agent's values are in a row."""

    obs: slice
    available: slice
    reward: int
    alive: int
    agent_terminated: int


TERMINATED, TRUNCATED = -2, -1


def width(spec: TeamSpec) -> int:
    """W, the number of values in a row."""
    return sum(role.agents * (role.obs_size + role.actions.size + 3) for role in spec.roles.values()) + 2


def actions(spec: TeamSpec) -> int:
    """The numbers in a joint action: all agents' action vectors side by side."""
    return sum(role.agents * role.actions.size for role in spec.roles.values())


def places(spec: TeamSpec) -> list[tuple[str, Place, slice]]:
    """[(name, its place in a row, its slice of a joint action)] of all agents, in the order of the roles."""
    roles = spec.roles.values()
    shown, may, count = sum(r.agents * r.obs_size for r in roles), actions(spec), sum(r.agents for r in roles)
    out, obs, act = [], 0, 0
    for role, names in spec.names.items():
        o, u = spec.roles[role].obs_size, spec.roles[role].actions.size
        for name in names:
            last = shown + may + len(out)
            available = slice(shown + act, shown + act + u)
            place = Place(slice(obs, obs + o), available, last, last + count, last + 2 * count)
            out.append((name, place, slice(act, act + u)))
            obs, act = obs + o, act + u
    return out


def any_action(spec: TeamSpec, row: Any) -> np.ndarray:
    """A joint action that may follow a row [W]: the first legal choices of every agent, and continuous actions of 0."""
    may = unpack(spec, row).available
    each = [may[name] if isinstance(role.actions, Discrete) else np.zeros_like(may[name]) for name, role in spec.roles.items()]
    return np.concatenate([x.reshape(-1) for x in each]).astype(np.float32)


def unpack(spec: TeamSpec, rows: Any) -> Shown:
    """Rows [.. W] as `Shown`, in the array type of the rows."""
    at = 0

    def block(*shape: int) -> Any:
        nonlocal at
        size = int(np.prod(shape))
        at += size
        return rows[..., at - size : at].reshape(*rows.shape[:-1], *shape)

    obs = {name: block(role.agents, role.obs_size) for name, role in spec.roles.items()}
    available = {name: block(role.agents, role.actions.size) > 0.5 for name, role in spec.roles.items()}
    reward = {name: block(role.agents) for name, role in spec.roles.items()}
    alive = {name: block(role.agents) > 0.5 for name, role in spec.roles.items()}
    gone = {name: block(role.agents) > 0.5 for name, role in spec.roles.items()}
    return Shown(obs, available, reward, alive, gone, rows[..., at] > 0.5, rows[..., at + 1] > 0.5)
