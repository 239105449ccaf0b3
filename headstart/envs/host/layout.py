"""One environment's output of a step as one row of numbers, so that a step of many environments is a single array.

A row is [obs | available | reward | alive | agent_terminated | terminated | truncated], roles in the order of the spec and
agents in that of the role. The same code reads rows in NumPy and in JAX.
"""

from typing import Any, NamedTuple

import numpy as np

from headstart.core.spec import TeamSpec


class Shown(NamedTuple):
    """A host environment's output; values are {role: array}, with any leading axes."""

    obs: dict[str, Any]
    available: dict[str, Any]
    reward: dict[str, Any]
    alive: dict[str, Any]
    agent_terminated: dict[str, Any]
    terminated: Any
    truncated: Any


def width(spec: TeamSpec) -> int:
    """W, the number of values in a row."""
    return sum(role.agents * (role.obs_size + role.actions.size + 3) for role in spec.roles.values()) + 2


def pack(spec: TeamSpec, shown: Shown) -> np.ndarray:
    """One environment's `Shown` as a row of floats."""
    parts = [np.ravel(values[role]) for values in shown[:5] for role in spec.roles]
    return np.concatenate([*parts, [shown.terminated, shown.truncated]]).astype(np.float32)


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
