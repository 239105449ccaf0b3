"""Convert other libraries' spaces to ours: agents to roles, observation spaces to fields, and action vectors back."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.spec import ActionSpace, Continuous, Discrete, Field, RoleSpec

LARGEST = 10_000
"""Largest size of an observation; larger ones are taken for pixels, which the networks here do not read."""


def roles_of(names: Sequence[str], fields: Mapping[str, Any], actions: Mapping[str, ActionSpace]) -> dict[str, RoleSpec]:
    """Group agents with the same spaces and the same name up to a number ("adversary_0", "adversary_1") into a role.

    Agents of one such name with different spaces get separate roles, each named after its first agent.
    """
    groups: dict[Any, list[str]] = {}
    for name in names:
        groups.setdefault((_stem(name), fields[name], actions[name]), []).append(name)
    stems = [stem for stem, _, _ in groups]
    roles = {}
    for (stem, obs, action), members in groups.items():
        role = stem if stems.count(stem) == 1 else members[0]
        plain = tuple(f"{role}_{i}" for i in range(len(members)))
        roles[role] = RoleSpec(len(members), obs, action, () if tuple(members) == plain else tuple(members))
    return roles


def _stem(name: str) -> str:
    head, _, number = name.rpartition("_")
    return head if head and number.isdigit() else name


def observed(space: Any, where: str) -> tuple[Field, ...]:
    """The fields of a Gymnasium observation space: one for each part of a Dict or Tuple, else "obs"."""
    if type(space).__name__ in ("Dict", "Tuple"):
        parts = space.spaces.items() if hasattr(space.spaces, "items") else enumerate(space.spaces)
        return tuple(Field(str(name), 1, _width(part, f"{where}, part '{name}'")) for name, part in parts)
    return (Field("obs", 1, _width(space, where)),)


def _width(space: Any, where: str) -> int:
    kind = type(space).__name__
    sizes = {
        "Box": lambda: math.prod(space.shape),
        "Discrete": lambda: int(space.n),
        "MultiDiscrete": lambda: int(np.sum(space.nvec)),
        "MultiBinary": lambda: math.prod(space.shape),
    }
    if kind not in sizes:
        raise HeadstartError(f"{where} is a {kind} space, which cannot be read: Box, Discrete, MultiDiscrete, MultiBinary can")
    width = int(sizes[kind]())
    if width > LARGEST:
        raise HeadstartError(f"{where} has {width} numbers (pixels?): vectors up to {LARGEST} can be read")
    return width


def acted(space: Any, where: str) -> ActionSpace:
    """The `ActionSpace` of a Gymnasium or JaxMARL space; HeadstartError if it is not supported."""
    kind = type(space).__name__
    if kind in ("Discrete", "MultiDiscrete"):
        sizes = next(getattr(space, name) for name in ("n", "nvec", "num_categories") if hasattr(space, name))
        heads, starts = (tuple(int(n) for n in np.ravel(x)) for x in (sizes, getattr(space, "start", 0)))
        return Discrete(heads, starts if any(starts) else ())
    if kind == "MultiBinary":
        return Discrete((2,) * math.prod(space.shape))
    if kind == "Box":
        low, high = (np.broadcast_to(np.asarray(x, float), space.shape).reshape(-1) for x in (space.low, space.high))
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            return Continuous(low.size)
        unit = (low == -1).all() and (high == 1).all()
        return Continuous(low.size) if unit else Continuous(low.size, tuple(low.tolist()), tuple(high.tolist()))
    raise HeadstartError(f"{where} acts in a {kind} space: only Discrete, MultiDiscrete, MultiBinary and Box can be acted in")


def native(space: ActionSpace, vector: np.ndarray) -> Any:
    """An action vector [U] in the environment's own form: an int, an int array for several heads, or a float array."""
    if isinstance(space, Continuous):
        unit = np.clip(np.asarray(vector, np.float32), -1.0, 1.0)
        if not space.low:
            return unit
        low, high = np.asarray(space.low, np.float32), np.asarray(space.high, np.float32)
        return np.clip(low + (unit + 1) / 2 * (high - low), low, high)
    blocks = np.split(np.asarray(vector), np.cumsum(space.heads)[:-1])
    choices = np.array([block.argmax() for block in blocks], np.int64) + np.array(space.start or 0, np.int64)
    return int(choices[0]) if len(choices) == 1 else choices


def as_sent(space: Any, action: Any) -> Any:
    """A `native` action in the shape and type of a Gymnasium space."""
    return int(action) if type(space).__name__ == "Discrete" else np.asarray(action, space.dtype).reshape(space.shape)


def sender(ours: ActionSpace, theirs: Any) -> Callable[[np.ndarray], Any]:
    """The function from an action vector to what the environment is sent."""
    if isinstance(ours, Discrete) and type(theirs).__name__ == "Discrete":
        start = ours.start[0] if ours.start else 0
        return lambda vector: int(vector.argmax()) + start
    return lambda vector: as_sent(theirs, native(ours, vector))
