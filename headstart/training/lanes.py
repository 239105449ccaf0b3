"""Lanes: the seeds of a run, which train side by side, and the calls of a run's programs for them.

On a GPU one call of a program advances all lanes, mapped by `vmap`. On a CPU mapping gains nothing: four lanes in one call
take longer than four calls of one lane, whose arrays fit the caches. There a program is compiled for ONE lane, and as many
threads as there are cores call it, a lane at a time; XLA runs such calls in parallel on one CPU device. Programs that
call Python (an environment or a teacher on the host) keep one call for all lanes: their host steps all lanes together.

**The promise of "bitwise".** On a CPU a lane's numbers depend neither on the other lanes nor on the threads: seed 2 alone is
seed 2 among others, and a checkpoint may be resumed with any number of threads. They do depend on the size of XLA's own
thread pool, which splits sums over its threads; a run keeps that size in run.json and `resume` uses it again (see
`training.cores`). They also depend on the processor and on the versions of JAX. If all lanes share one call, they depend on
the number of lanes too (to about 1e-5 after a short training).
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from headstart.core.scope import interruptible
from headstart.training import cores


@dataclasses.dataclass(frozen=True)
class Blocks:
    """A tree of all lanes [S ..], kept as trees of consecutive lanes; single calls of a program take and return these."""

    trees: tuple[PyTree, ...]

    def map(self, change: Callable[[PyTree], PyTree]) -> "Blocks":
        """`change` applied to every block."""
        return Blocks(tuple(map(change, self.trees)))

    def __getitem__(self, name: str) -> "Blocks":
        return self.map(lambda tree: tree[name])

    def whole(self) -> PyTree:
        """The tree [S ..], as it is saved."""
        return self.trees[0] if len(self.trees) == 1 else jax.tree.map(_joined, *self.trees)

    def part(self, start: int, stop: int) -> PyTree:
        """The tree of the lanes start .. stop − 1 alone."""
        found, at = [], 0
        for tree in self.trees:
            count = _lanes(tree)
            low, high = max(start - at, 0), min(stop - at, count)
            if low < high:
                found.append(tree if high - low == count else _lanes_of(tree, low, high - low))
            at += count
        return Blocks(tuple(found)).whole()


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program for `size` lanes a call, as a function of all lanes."""

    compiled: Callable[..., PyTree]
    size: int
    mapped: int
    """How many of its arguments have a lane axis; the arguments after them are the same for all lanes."""
    calls_python: bool = False
    """Whether it calls Python code, which may take any time."""

    def __call__(self, *args: Any) -> Blocks:
        """Call the program for all lanes; arguments with a lane axis are `Blocks` or whole trees [S ..]."""
        blocks = [_blocks(arg, self.size).trees for arg in args[: self.mapped]]
        count = max(map(len, blocks))
        each = zip(*(trees if jax.tree.leaves(trees) else trees * count for trees in blocks), strict=True)  # () is of all lanes
        calls = [(*of_lanes, *args[self.mapped :]) for of_lanes in each]
        if len(calls) == 1 and self.calls_python:
            return Blocks((interruptible(lambda: jax.block_until_ready(self.compiled(*calls[0]))),))
        if len(calls) == 1:
            return Blocks((self.compiled(*calls[0]),))
        with ThreadPoolExecutor(min(cores.usable(), len(calls))) as threads:
            return Blocks(tuple(threads.map(lambda call: jax.block_until_ready(self.compiled(*call)), calls)))


def compile_program(
    function: Callable[..., PyTree], *args: Any, mapped: int, donate: int | None = None, one_call: bool = False
) -> Program:
    """Compile `function` once, for arrays or shapes like `args`, the first `mapped` of which have a lane axis [S ..].

    `one_call` asks for all lanes in one call even if a call a lane is possible.
    """
    jitted = jax.jit(function, donate_argnums=() if donate is None else donate)
    lanes = _lanes(args[0])
    of_one = [jax.tree.map(_of_one_lane, arg) for arg in args[:mapped]]
    if jax.default_backend() == "cpu" and not one_call:
        lowered = jitted.lower(*of_one, *args[mapped:])
        calls_python = _calls_python(lowered)
        if lanes == 1 or not calls_python:
            return Program(lowered.compile(), 1, mapped, calls_python)
    lowered = jitted.lower(*args)
    return Program(lowered.compile(), lanes, mapped, _calls_python(lowered))


def _calls_python(lowered: jax.stages.Lowered) -> bool:
    return "callback" in lowered.as_text()


def _of_one_lane(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _blocks(arg: Any, size: int) -> Blocks:
    """`arg` as blocks of `size` lanes: unchanged, or cut anew."""
    if isinstance(arg, Blocks):
        if all(_lanes(tree) % size == 0 for tree in arg.trees):
            return Blocks(tuple(block for tree in arg.trees for block in _blocks(tree, size).trees))
        arg = arg.whole()
    if _lanes(arg) == size or not jax.tree.leaves(arg):
        return Blocks((arg,))
    return Blocks(tuple(_lanes_of(arg, start, size) for start in range(0, _lanes(arg), size)))


def _lanes(tree: PyTree) -> int:
    leaves = jax.tree.leaves(tree)
    return leaves[0].shape[0] if leaves else 1


def _lanes_of(tree: PyTree, start: int, size: int) -> PyTree:
    return jax.tree.map(lambda x: _cut(x, start, size), tree)


def _cut(x: Any, start: int, size: int) -> jax.Array:
    # NumPy cuts and `device_put` moves, so no program is compiled. A copy, since a program may reuse its argument's memory.
    if _is_key(x):
        return jax.random.wrap_key_data(_cut(jax.random.key_data(x), start, size), impl=jax.random.key_impl(x))
    return jax.device_put(np.array(np.asarray(x)[start : start + size]))


def _joined(*parts: Any) -> jax.Array:
    if _is_key(parts[0]):
        return jax.random.wrap_key_data(_joined(*map(jax.random.key_data, parts)), impl=jax.random.key_impl(parts[0]))
    return jax.device_put(np.concatenate([np.asarray(x) for x in parts]))
