"""What a team is handed to act on, checked: observations, masks and memory."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from headstart.core.checks import HeadstartError, check_known
from headstart.core.spec import ActionSpace, Continuous, Discrete, RoleSpec, TeamSpec
from headstart.envs.host.masks import MAYBE, NAMES, SEEN


def check_names_of(obs: Any, available: Any, agents: list[str]) -> None:
    """Raise HeadstartError unless observations, at least one, and masks are given by agents' names."""
    for what, given in (("obs", obs), ("available", available)):
        if not isinstance(given, Mapping) and (what == "obs" or given is not None):
            raise HeadstartError(f"{what} must be a dict by agents' names, not a {type(given).__name__}")
        for name in [name for name in given or () if name not in agents]:
            if len(given or ()) > len(agents):
                fits = f"the team has {', '.join(agents)}: team.adapt(env.spec) fits it to another team"
                raise HeadstartError(f"unknown agent '{name}': {fits}")
            check_known("agent", name, agents)
    if not obs:
        raise HeadstartError(f"obs is empty: give the observation of at least one of {', '.join(agents)}")


def in_parts(obs: Mapping[str, Any], available: Any, spec: TeamSpec) -> tuple[Mapping[str, Any], Any]:
    """Observations and masks, with those observations as arrays that are given as a Gymnasium Dict: by the names of their
    parts, or as a part "observation", perhaps with an action mask beside it, which counts unless `available` has another."""
    given = {name for name, value in obs.items() if isinstance(value, Mapping)}
    if not given:
        return obs, available
    seen, found = dict(obs), dict(available or {})
    for role, members in spec.names.items():
        for name in given.intersection(members):
            seen[name], mask = _joined(f"obs['{name}']", obs[name], spec.roles[role])
            if mask is not None:
                found.setdefault(name, mask)
    return seen, found


def _joined(what: str, parts: Mapping[Any, Any], about: RoleSpec) -> tuple[Any, Any]:
    """The numbers of an agent's parts side by side, in the order of its fields, and its mask, or None."""
    fields = {field.name: field.width for field in about.obs}
    masks = [key for key in parts if key not in fields and str(key).lower() in NAMES | MAYBE]
    mask = parts[masks[0]] if masks else None
    rest = {key: value for key, value in parts.items() if key not in masks}
    if len(rest) == 1 and not rest.keys() <= fields.keys() and str(next(iter(rest))).lower() in SEEN:
        (rest,) = rest.values()
        if not isinstance(rest, Mapping):
            return rest, mask
    found = dict(_leaves(rest, ""))
    if found.keys() != fields.keys():
        raise HeadstartError(f"{what} must have the parts {', '.join(fields)}, not {', '.join(found) or 'none'}")
    hint = ": give a choice as a one-hot vector"  # where its numbers begin is not known here
    return np.concatenate([_row(f"{what}['{name}']", found[name], width, hint) for name, width in fields.items()]), mask


def _leaves(parts: Mapping[Any, Any], name: str) -> Iterator[tuple[str, Any]]:
    """(name, value) of all parts; those inside of others are called "outer.inner", as in a spec."""
    for key, value in parts.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}{key}.")
        else:
            yield f"{name}{key}", value


def _row(what: str, given: Any, size: int, if_one: str = "") -> np.ndarray:
    row = _numbers(what, given)
    if row.size != size:
        raise HeadstartError(f"{what} must have {size} numbers, not {row.size}{if_one if row.size == 1 else ''}")
    return row


def rows_of(given: Mapping[str, Any], names: tuple[str, ...], size: int, missing: float, what: str) -> np.ndarray:
    """[A size]: each agent's numbers, or `missing` for those that are not given."""
    rows = []
    for name in names:
        rows.append(_row(f"{what}['{name}']", given[name], size) if name in given else np.full(size, missing, np.float32))
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
