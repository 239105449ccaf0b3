"""What an environment returns, read strictly: each value is as its space says, or an error says what it had to be.

Every value of every step is read here, so the usual case of each function is a few operations.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError

NUMBERS = "biuf"
"""Kinds of NumPy types that are numbers: bool, int, unsigned, float."""


class Wrong(ValueError):
    """A value of an environment is not as its space says. `must` completes "NAME must be ..."."""

    def __init__(self, must: str, got: Any, part: str = ""):
        super().__init__(f"{must}, not {told(got)}")
        self.must, self.got, self.part = must, got, part


def told(value: Any) -> str:
    """A value in a few words, for an error."""
    try:
        if isinstance(value, np.ndarray):
            text = f"{value.dtype} of shape {value.shape}"
            if value.size <= 8:
                floats = value.dtype.kind == "f" and value.ndim == 1
                text += f" {[float(f'{x:.4g}') for x in value] if floats else value.tolist()}"
        elif isinstance(value, list | tuple | dict | set):
            text = f"a {type(value).__name__} of {len(value)}"
        elif value is None or isinstance(value, bool | int | float | str | np.generic):
            text = repr(value.item() if isinstance(value, np.generic) else value)
        else:
            text = f"a {type(value).__name__}"
    except Exception:
        text = f"a {type(value).__name__} that cannot be printed"
    text = " ".join(text.split())
    return text if len(text) <= 100 else text[:97] + "..."


def array(value: Any, must: str) -> np.ndarray:
    """A value as an array of numbers."""
    try:
        out = np.asarray(value)
    except Exception:
        raise Wrong(must, value) from None
    if out.dtype.kind not in NUMBERS:
        raise Wrong(must, value)
    return out


def flat(space: Any, value: Any) -> np.ndarray:
    """An observation as one vector: numbers unchanged, choices as one-hot vectors, parts side by side.

    Raises `Wrong` for a value that is not in the space; numbers may lie outside of its bounds.
    """
    kind = type(space).__name__
    if kind in ("Box", "MultiBinary"):
        shape = space.shape
        if type(value) is np.ndarray and value.shape == shape and value.dtype.kind in NUMBERS:
            return value.reshape(-1)
        must = f"numbers of shape {tuple(shape)}"
        out = array(value, must)
        # Axes of length 1 are often added or left out, and change no number's place.
        if [n for n in out.shape if n != 1] != [n for n in shape if n != 1]:
            raise Wrong(must, value)
        return out.reshape(-1)
    if kind == "Dict":
        if not isinstance(value, Mapping) or not space.spaces.keys() <= value.keys():
            raise Wrong(f"a dict with {', '.join(map(str, space.spaces))}", value)
        return np.concatenate([_part(part, value[name], str(name)) for name, part in space.spaces.items()])
    if kind == "Tuple":
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            raise Wrong(f"a tuple of {len(space.spaces)}", value)
        return np.concatenate([_part(part, x, str(i)) for i, (part, x) in enumerate(zip(space.spaces, value, strict=True))])
    if kind == "Discrete":
        return _hot(value, int(space.n), int(space.start))
    sizes, starts = np.ravel(space.nvec), np.broadcast_to(space.start, np.shape(space.nvec)).reshape(-1)
    must = f"whole numbers of shape {np.shape(space.nvec)}"
    chosen = array(value, must).reshape(-1)
    if chosen.size != sizes.size:
        raise Wrong(must, value)
    return np.concatenate([_hot(x, int(n), int(start)) for x, n, start in zip(chosen, sizes, starts, strict=True)])


def _part(space: Any, value: Any, name: str) -> np.ndarray:
    try:
        return flat(space, value)
    except Wrong as wrong:
        raise Wrong(wrong.must, wrong.got, f"['{name}']{wrong.part}") from None


def _hot(value: Any, size: int, start: int) -> np.ndarray:
    must = f"a whole number from {start} to {start + size - 1}"
    number = array(value, must)
    if number.size != 1 or not (start <= (x := number.item()) < start + size and x == int(x)):
        raise Wrong(must, value)
    out = np.zeros(size, np.float32)
    out[int(x) - start] = 1.0
    return out


def number(value: Any) -> float:
    """One number: a reward."""
    if type(value) is float:
        return value
    out = array(value, "one number")
    if out.size != 1:
        raise Wrong("one number", value)
    return float(out.item())


def flag(value: Any) -> bool:
    """A truth value: True, False, 1 or 0."""
    if type(value) is bool:
        return value
    out = array(value, "True or False")
    if out.size != 1 or out.item() not in (0, 1):
        raise Wrong("True or False", value)
    return bool(out.item())


def several(value: Any, what: str, names: str) -> tuple[Any, ...]:
    """The values that `reset` or `step` returned."""
    count = names.count(",") + 1
    if not isinstance(value, tuple | list) or len(value) != count:
        raise HeadstartError(f"{what} must return {count} values ({names}), not {told(value)}")
    return tuple(value)


def by_agent(value: Any, what: str) -> Mapping:
    """A dict of the agents."""
    if not isinstance(value, Mapping):
        raise HeadstartError(f"the {what} must be a dict of the agents, not {told(value)}")
    return value
