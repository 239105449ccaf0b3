"""A list of operations as it is written: constants are folded, equal operations shared, unused ones left out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from headstart.plain.runner import OPERATIONS, Program

MOST_STEPS = 20_000
"""Steps of a listing; a longer one takes the place of a loop that is better left to JAX."""


class NotPlain(Exception):
    """A function that cannot be written as such a list; the message says why."""


class Value(NamedTuple):
    """An array in the making: a constant, or the result of a step or an input with that number.

    `shape` may have 1 along an axis that is longer in JAX: NumPy and ONNX stretch it when they need to.
    """

    shape: tuple[int, ...]
    constant: np.ndarray | None = None
    number: int = -1


class Listing(NamedTuple):
    """What `runner.Program` runs, and what ONNX files are made of."""

    inputs: int
    constants: list[np.ndarray]
    steps: list[tuple[str, tuple[int, ...], dict[str, Any]]]
    outputs: list[int]

    def program(self) -> Program:
        """Ready to run."""
        return Program(self.constants, self.steps, self.outputs)


class Writer:
    """Writes a `Listing`: first the inputs, then steps, at last `finish`."""

    def __init__(self, inputs: int):
        self.inputs = inputs
        self._steps: list[tuple[str, tuple[Value, ...], dict[str, Any]]] = []
        self._known: dict[Any, Value] = {}

    def emit(self, name: str, *values: Value, shape: Sequence[int], **settings: Any) -> Value:
        """The result of an operation, of this shape; at once if all it needs are constants."""
        shape = tuple(int(n) for n in shape)
        if all(value.constant is not None for value in values):
            with np.errstate(all="ignore"):
                return constant(OPERATIONS[name](**settings)(*[value.constant for value in values]))
        key = (name, tuple(_identity(value) for value in values), repr(settings))
        if key not in self._known:
            if len(self._steps) >= MOST_STEPS:
                raise NotPlain(f"it takes more than {MOST_STEPS:,} operations")
            self._known[key] = Value(shape, None, self.inputs + len(self._steps))
            self._steps.append((name, values, settings))
        return self._known[key]

    def whole(self, value: Value, shape: Sequence[int]) -> Value:
        """The value stretched to its full shape."""
        shape = tuple(int(n) for n in shape)
        return value if value.shape == shape else self.emit("broadcast", value, shape=shape, to=shape)

    def reshaped(self, value: Value, shape: Sequence[int]) -> Value:
        """The value in another shape of the same size."""
        shape = tuple(int(n) for n in shape)
        return value if value.shape == shape else self.emit("reshape", value, shape=shape, to=shape)

    def finish(self, outputs: Sequence[Value]) -> Listing:
        """The list, with the steps that the outputs need."""
        needed: set[int] = set()
        for value in outputs:
            needed.add(value.number)
        for i in reversed(range(len(self._steps))):
            if self.inputs + i in needed:
                needed |= {value.number for value in self._steps[i][1]}
        live = [i for i in range(len(self._steps)) if self.inputs + i in needed]
        constants: dict[int, int] = {}
        arrays: list[np.ndarray] = []
        for value in [value for i in live for value in self._steps[i][1]] + list(outputs):
            if value.constant is not None and id(value.constant) not in constants:
                constants[id(value.constant)] = self.inputs + len(arrays)
                arrays.append(value.constant)
        place = {i: i for i in range(self.inputs)}
        place |= {self.inputs + i: self.inputs + len(arrays) + n for n, i in enumerate(live)}
        number = lambda value: place[value.number] if value.constant is None else constants[id(value.constant)]
        steps = [(name, tuple(map(number, values)), settings) for name, values, settings in (self._steps[i] for i in live)]
        return Listing(self.inputs, arrays, steps, [number(value) for value in outputs])


def constant(x: Any) -> Value:
    """A constant value."""
    x = np.ascontiguousarray(x).reshape(np.shape(x))
    return Value(x.shape, x)


def _identity(value: Value) -> Any:
    return value.number if value.constant is None else ("constant", id(value.constant))
