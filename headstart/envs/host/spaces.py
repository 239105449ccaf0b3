"""Convert other libraries' spaces to ours: observation spaces to fields, action spaces to heads or bounds, and vectors back."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.spec import ActionSpace, Continuous, Discrete, Field

LARGEST = 10_000
"""Largest size of an observation; larger ones are taken for pixels, which the networks here do not read."""
ENDLESS = 1e18
"""A bound of this size or more is none."""


def observed(space: Any, where: str) -> tuple[Field, ...]:
    """The fields of a Gymnasium observation space: one for each part of a Dict or Tuple, else "obs".

    A part of shape (k, d) is k entities of d numbers each. Parts inside of parts are called "outer.inner".
    """
    fields = tuple(_fields(space, "", where))
    names = [field.name for field in fields]
    if len(set(names)) < len(names):
        raise HeadstartError(f"{where} has two parts of one name: {', '.join(names)}")
    if (width := sum(field.width for field in fields)) > LARGEST:
        raise HeadstartError(f"{where} has {width} numbers (pixels?): vectors up to {LARGEST} can be read")
    return fields


def _fields(space: Any, name: str, where: str) -> Iterator[Field]:
    kind = type(space).__name__
    if kind in ("Dict", "Tuple"):
        for key, part in parts(space):
            yield from _fields(part, f"{name}.{key}" if name else key, where)
        return
    count, size = _block(space, kind, f"{where}, part '{name}'" if name else where)
    yield Field(name or "obs", count, size, own=count == 1)


def parts(space: Any) -> Iterator[tuple[str, Any]]:
    """(name, space) of a Dict's or Tuple's parts, in the order in which they are read."""
    pairs = space.spaces.items() if hasattr(space.spaces, "items") else enumerate(space.spaces)
    return ((str(key), part) for key, part in pairs)


def _block(space: Any, kind: str, where: str) -> tuple[int, int]:
    """(entities, numbers of each)."""
    if kind in ("Box", "MultiBinary"):
        return (space.shape[0], space.shape[1]) if len(space.shape) == 2 else (1, math.prod(space.shape))
    if kind == "Discrete":
        return 1, int(space.n)
    if kind == "MultiDiscrete":
        sizes = np.asarray(space.nvec)
        rows = sizes.ndim == 2 and len(sizes) > 0 and (sizes == sizes[0]).all()
        return (len(sizes), int(sizes[0].sum())) if rows else (1, int(sizes.sum()))
    raise HeadstartError(f"{where} is a {kind} space, which cannot be read: Box, Discrete, MultiDiscrete, MultiBinary can")


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
        low, high = ends(space, where)
        unit = (low == -1).all() and (high == 1).all()
        return Continuous(low.size) if unit else Continuous(low.size, tuple(low.tolist()), tuple(high.tolist()))
    raise HeadstartError(f"{where} acts in a {kind} space: only Discrete, MultiDiscrete, MultiBinary and Box can be acted in")


def ends(space: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """What -1 and 1 mean for each number of a Box: its bounds.

    A number without bounds keeps -1 and 1; one with a single bound has the 2 units beside it.
    """
    low, high = (np.broadcast_to(np.asarray(x, float), space.shape).reshape(-1) for x in (space.low, space.high))
    if np.isnan([low, high]).any() or (low > high).any():
        raise HeadstartError(
            f"{where} acts in a Box whose bounds are no numbers or the wrong way around: {space.low} {space.high}"
        )
    has_low, has_high = (
        (np.abs(bound) < ENDLESS) & np.broadcast_to(getattr(space, name, True), space.shape).reshape(-1)
        for bound, name in ((low, "bounded_below"), (high, "bounded_above"))
    )
    return (
        np.where(has_low, low, np.where(has_high, high - 2, -1.0)),
        np.where(has_high, high, np.where(has_low, low + 2, 1.0)),
    )


def native(space: ActionSpace, vector: np.ndarray) -> Any:
    """An action vector [U] in the environment's own form: an int, an int array for several heads, or a float array."""
    if isinstance(space, Continuous):
        return space.in_units(np.asarray(vector, np.float32))
    if len(space.heads) == 1:
        return int(np.asarray(vector).argmax()) + (space.start[0] if space.start else 0)
    blocks = np.split(np.asarray(vector), np.cumsum(space.heads)[:-1])
    return np.array([block.argmax() for block in blocks], np.int64) + np.array(space.start or 0, np.int64)


def as_sent(space: Any, action: Any) -> Any:
    """A `native` action in the shape and type of a Gymnasium space; whole numbers are the nearest, bounds are kept exactly."""
    kind = type(space).__name__
    if kind == "Discrete":
        return int(action)
    numbers = np.asarray(action).reshape(space.shape)
    if kind != "Box":
        return numbers.astype(space.dtype)
    if space.dtype.kind in "iub":
        numbers = np.rint(numbers.astype(np.float64)).astype(space.dtype)
    return np.clip(numbers.astype(space.dtype), space.low, space.high)


def sender(ours: ActionSpace, theirs: Any) -> Callable[[np.ndarray], Any]:
    """The function from an action vector to what the environment is sent."""
    if isinstance(ours, Discrete) and type(theirs).__name__ == "Discrete":
        start = ours.start[0] if ours.start else 0
        return lambda vector: int(vector.argmax()) + start
    return lambda vector: as_sent(theirs, native(ours, vector))
