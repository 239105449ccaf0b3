"""Lanes: the seeds of a run, which train side by side, and the calls of a run's programs for them.

On a GPU one call of a program advances all lanes, mapped by `vmap`. On a CPU mapping gains nothing: four lanes in one call
take longer than four calls of one lane, whose arrays fit the caches. There a program is compiled for ONE lane, and as many
threads as there are cores call it, a lane at a time; XLA runs such calls in parallel on one CPU device. Programs that
call Python (an environment or a teacher on the host) keep one call for all lanes: their host steps all lanes together.

Several devices get neighbouring lanes in blocks. The program is traced once and compiled for each device, and it is called on
each with the lanes that are there, so that no device waits for another: a program over several devices at once would
exchange numbers among them in every env-step. Programs that call Python stay on one device.

**The promise of "bitwise".** On a CPU a lane's numbers depend neither on the other lanes nor on the threads: seed 2 alone is
seed 2 among others, and a checkpoint may be resumed with any number of threads. They do depend on the size of XLA's own
thread pool, which splits sums over its threads; a run keeps that size in run.json and `resume` uses it again (see
`training.cores`). They also depend on the processor and on the versions of JAX. If several lanes share one call, they depend on
their number too (to about 1e-5 after a short training). So on a CPU the number of devices changes no bit; on GPUs, where a
device's lanes share one call, it may.
"""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding
from jaxtyping import PyTree

from headstart.core.scope import interruptible
from headstart.training import cores, devices


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
        """The tree [S ..], as it is saved, on the first device."""
        return jax.tree.map(_at_home, self.trees[0]) if len(self.trees) == 1 else jax.tree.map(_joined, *self.trees)

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


class Placed(NamedTuple):
    """A program on a device, for a number of neighbouring lanes. No `device`: JAX's first."""

    compiled: Callable[..., PyTree]
    lanes: int
    device: Any = None


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program for `size` lanes a call, as a function of all lanes."""

    compiled: Callable[..., PyTree]
    size: int
    mapped: int
    """How many of its arguments have a lane axis; the arguments after them are the same for all lanes."""
    calls_python: bool = False
    """Whether it calls Python code, which may take any time."""
    spread: tuple[Placed, ...] = ()
    """Its calls in the order of the lanes, if it is on several devices."""
    shared: dict[Any, Any] = dataclasses.field(default_factory=dict)
    """The arguments that are the same for all lanes, as they were last put on a device."""

    def __call__(self, *args: Any) -> Blocks:
        """Call the program for all lanes; arguments with a lane axis are `Blocks` or whole trees [S ..]."""
        sizes = [placed.lanes for placed in self.spread] or self.size
        blocks = [_blocks(arg, sizes).trees for arg in args[: self.mapped]]
        count = max(map(len, blocks))
        each = zip(*(trees if jax.tree.leaves(trees) else trees * count for trees in blocks), strict=True)  # () is of all lanes
        calls = [(*of_lanes, *args[self.mapped :]) for of_lanes in each]
        if len(calls) == 1 and self.calls_python:
            return Blocks((interruptible(lambda: jax.block_until_ready(self.compiled(*calls[0]))),))
        if len(calls) == 1:
            return Blocks((self.compiled(*calls[0]),))
        places = self.spread or (Placed(self.compiled, self.size),) * len(calls)
        calls = [self._moved(args, placed) for args, placed in zip(calls, places, strict=True)]
        run = lambda call, placed: jax.block_until_ready(placed.compiled(*call))
        with ThreadPoolExecutor(min(max(cores.usable(), len(set(places))), len(calls))) as threads:
            return Blocks(tuple(threads.map(run, calls, places)))

    def _moved(self, args: Sequence[Any], placed: Placed) -> Sequence[Any]:
        """The arguments of a call on its device. Those that all lanes share are moved once, as long as they stay the same."""
        if placed.device is None:
            return args
        moved = list(jax.device_put(args[: self.mapped], placed.device))
        for i, arg in enumerate(args[self.mapped :]):
            last, there = self.shared.get((i, placed.device), (None, None))
            if last is not arg:
                there = jax.device_put(arg, placed.device)
                self.shared[i, placed.device] = (arg, there)
            moved.append(there)
        return moved


QUICKLY_COMPILED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Options of XLA on a CPU with which compiling a run's first state takes a fraction of the time."""


def compile_program(
    function: Callable[..., PyTree],
    *args: Any,
    mapped: int,
    donate: int | None = None,
    one_call: bool = False,
    runs_once: bool = False,
) -> Program:
    """Compile `function` once, for arrays or shapes like `args`, the first `mapped` of which have a lane axis [S ..].

    `one_call` asks for all lanes in one call even if a call a lane is possible. `runs_once` asks for a program that compiles
    quickly and may run slowly.
    """
    lanes, on_cpu = _lanes(args[0]), jax.default_backend() == "cpu"
    options = QUICKLY_COMPILED if runs_once and on_cpu else None
    jitted = jax.jit(function, donate_argnums=() if donate is None else donate, compiler_options=options)
    shares = devices.blocks(lanes, len(chosen := devices.chosen()))
    if on_cpu and not one_call:
        lowered = jitted.lower(*_shaped(args, mapped, 1))
        calls_python = _calls_python(lowered)
        if len(shares) > 1 and not calls_python:
            alone = [(device, 1) for device, share in zip(chosen, shares, strict=False) for _ in range(share)]
            return _spread(jitted, args, mapped, alone)
        if lanes == 1 or not calls_python:
            return Program(lowered.compile(), 1, mapped, calls_python)
    lowered = jitted.lower(*args)
    calls_python = _calls_python(lowered)
    if len(shares) > 1 and not one_call and not calls_python:
        return _spread(jitted, args, mapped, list(zip(chosen, shares, strict=False)))
    return Program(lowered.compile(), lanes, mapped, calls_python)


def _spread(jitted: Any, args: Sequence[Any], mapped: int, calls: Sequence[tuple[Any, int]]) -> Program:
    """The program on several devices: a call for each (device, lanes), compiled once for all calls that are alike."""
    compiled = {
        (device, lanes): jitted.lower(*_shaped(args, mapped, lanes, device)).compile() for device, lanes in dict.fromkeys(calls)
    }
    spread = tuple(Placed(compiled[call], call[1], call[0]) for call in calls)
    return Program(spread[0].compiled, spread[0].lanes, mapped, spread=spread)


def _shaped(args: Sequence[Any], mapped: int, lanes: int, device: Any = None) -> list[Any]:
    """Shapes of the arguments for so many lanes on a device."""
    place = None if device is None else SingleDeviceSharding(device)
    of_lanes = lambda x: jax.ShapeDtypeStruct((lanes, *x.shape[1:]), x.dtype, sharding=place)
    whole = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place, weak_type=getattr(x, "weak_type", False))
    alike = whole if place else lambda x: x
    return [jax.tree.map(of_lanes if i < mapped else alike, arg) for i, arg in enumerate(args)]


def _calls_python(lowered: jax.stages.Lowered) -> bool:
    return "callback" in lowered.as_text()


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _blocks(arg: Any, sizes: int | Sequence[int]) -> Blocks:
    """`arg` as blocks of `sizes` lanes, one for all or one for each: unchanged, or cut anew."""
    have = [_lanes(tree) for tree in arg.trees] if isinstance(arg, Blocks) else [_lanes(arg)]
    if not jax.tree.leaves(arg.trees if isinstance(arg, Blocks) else arg):
        return arg if isinstance(arg, Blocks) else Blocks((arg,))
    wanted = [sizes] * (sum(have) // sizes) if isinstance(sizes, int) else list(sizes)
    blocks = arg if isinstance(arg, Blocks) else Blocks((arg,))
    if have == wanted:
        return blocks
    starts = np.cumsum([0, *wanted])
    return Blocks(tuple(blocks.part(start, stop) for start, stop in pairwise(starts.tolist())))


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


def _at_home(x: Any) -> Any:
    """An array of one device where those of a single device are; a run's results must not depend on where they came from."""
    if not isinstance(x, jax.Array) or x.devices() == {jax.local_devices()[0]}:
        return x
    return _joined(x)


def _joined(*parts: Any) -> jax.Array:
    if _is_key(parts[0]):
        return jax.random.wrap_key_data(_joined(*map(jax.random.key_data, parts)), impl=jax.random.key_impl(parts[0]))
    return jax.device_put(np.concatenate([np.asarray(x) for x in parts]))
