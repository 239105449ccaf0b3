"""What a team is handed to act on, checked: observations, masks and memory."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from headstart.core.checks import HeadstartError, check_known
from headstart.core.spec import ActionSpace, Continuous, Discrete


def check_names_of(obs: Any, available: Any, agents: list[str]) -> None:
    """Raise HeadstartError unless observations, at least one, and masks are given by agents' names."""
    for what, given in (("obs", obs), ("available", available)):
        if not isinstance(given, Mapping) and (what == "obs" or given is not None):
            raise HeadstartError(f"{what} must be a dict by agents' names, not a {type(given).__name__}")
        for name in given or ():
            if name not in agents:
                check_known("agent", name, agents)
    if not obs:
        raise HeadstartError(f"obs is empty: give the observation of at least one of {', '.join(agents)}")


def rows_of(given: Mapping[str, Any], names: tuple[str, ...], size: int, missing: float, what: str) -> np.ndarray:
    """[A size]: each agent's numbers, or `missing` for those that are not given."""
    rows = []
    for name in names:
        row = _numbers(f"{what}['{name}']", given[name]) if name in given else np.full(size, missing, np.float32)
        if row.size != size:
            raise HeadstartError(f"{what}['{name}'] must have {size} numbers, not {row.size}")
        rows.append(row)
    return np.array(rows)


def _numbers(what: str, given: Any) -> np.ndarray:
    """Finite numbers side by side; HeadstartError for anything else."""
    try:
        found = np.asarray(given)
    except (ValueError, TypeError):  # lists of different lengths
        found = np.asarray(None)
    if found.dtype.kind not in "biuf" and not jnp.issubdtype(found.dtype, jnp.floating):
        raise HeadstartError(f"{what} must be an array of numbers, not {type(given).__name__}")
    if found.dtype == np.float32:
        row = found.reshape(-1)
    else:
        with np.errstate(over="ignore"):
            row = found.astype(np.float32).reshape(-1)
    if not (fine := np.isfinite(row)).all():
        raise HeadstartError(f"{what} must be finite numbers, not {row[~fine][0]} at index {fine.argmin()}")
    return row


def masks_of(given: Mapping[str, Any], names: tuple[str, ...], space: ActionSpace) -> np.ndarray:
    """[A U]: each agent's legal choices, all for agents that are not given; HeadstartError if a head has none."""
    rows = rows_of(given, names, space.size, 1.0, "available")
    if (rows == 1).all():
        return rows.astype(bool)
    ends = np.cumsum(space.heads) if isinstance(space, Discrete) else np.array([space.size])
    for name, row in zip(names, rows, strict=True):
        if not ((row == 0) | (row == 1)).all():
            raise HeadstartError(f"available['{name}'] must be 1 or 0 (True or False) for each choice")
        if isinstance(space, Continuous) and not row.all():
            raise HeadstartError(f"available['{name}'] cannot forbid anything: the agent's actions are continuous")
        if not all(head.any() for head in ([row] if len(ends) == 1 else np.split(row, ends[:-1]))):
            raise HeadstartError(f"available['{name}'] must allow at least one choice of each head")
    return rows.astype(bool)


def memory_like(start: PyTree, memory: PyTree) -> PyTree:
    """The memory as NumPy's arrays; HeadstartError if it is not one that `act` has returned."""
    shapes = lambda tree: [np.shape(x) for x in jax.tree.leaves(tree) if np.asarray(x).dtype.kind in "biuf"]
    try:
        fits = jax.tree.structure(start) == jax.tree.structure(memory) and shapes(start) == shapes(memory)
    except ValueError:  # lists of different lengths
        fits = False
    if not fits:
        raise HeadstartError("memory must be what act returned for the same team, or None at an episode's start")
    return jax.tree.map(lambda x, own: np.asarray(own, x.dtype), start, memory)
