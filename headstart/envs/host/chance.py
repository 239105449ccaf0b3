"""The global random generators of Python and NumPy, from which some environments draw although `reset` is given a seed.

Several environments share a worker process. Each of those that draw has the global generators to itself: an episode begins
with them at its own seed, and they are put back before each step. So an episode depends on its seed and its actions, and not
on the environments beside it. An environment that has not drawn in its first calls is no longer watched.
"""

import random
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

CALLS = 100
"""Resets and steps after which an environment that has never drawn is taken not to draw."""

T = TypeVar("T")


class Chance:
    """One environment's state of the global generators."""

    def __init__(self):
        self.state, self.left, self.draws = _state(), CALLS, False

    def reset(self, call: Callable[[int], T], seed: int) -> T:
        """`call(seed)` with the generators at the seed."""
        random.seed(seed)
        np.random.seed(seed)
        if self.draws or self.left:
            self.state = _state()
        return self.step(lambda: call(seed))

    def step(self, call: Callable[[], T]) -> T:
        """`call()` with the generators as they were after the last call."""
        if not (self.draws or self.left):
            return call()
        random.setstate(self.state[0])
        np.random.set_state(self.state[1])
        out = call()
        before, self.state = self.state, _state()
        self.draws = self.draws or not _same(before, self.state)
        self.left = max(0, self.left - 1)
        return out


def _state() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state()


def _same(a: tuple[Any, Any], b: tuple[Any, Any]) -> bool:
    (python, (_, numbers, *rest)), (python_b, (_, numbers_b, *rest_b)) = a, b
    return python == python_b and rest == rest_b and bool((numbers == numbers_b).all())
