"""The memory that a run takes, from the shapes of its arrays before any of them is made, and the memory that there is."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from headstart.core.checks import HeadstartError
from headstart.core.env import Env
from headstart.core.learner import Learner
from headstart.training import cores

STATES = 2
"""A training state, and the copy of it that is made to write a checkpoint."""


LARGE = 0.1
"""Share of the free memory from which on a run says how much it needs."""


def check_training(config: Any, learner: Learner, loop: PyTree, points: int = 1) -> list[str]:
    """Raise HeadstartError if a run cannot fit into memory, or so many that train together.

    Returns a line about the memory that it needs, if that is a large share of what is free. `loop` has the shapes of one seed's
    loop state.
    """
    state, items = loop["state"], jax.tree.leaves(loop["state"].memory)[0].shape[0]
    collecting = ("num_envs",) if learner.num_envs >= learner.rollout else ("rollout", "train_every", "num_envs")
    recurrent = bool(jax.tree.leaves(jax.eval_shape(lambda: learner.start(1))))  # an item is a sequence
    collected = learner.num_envs * (1 if recurrent else learner.rollout)
    keeping = ("capacity", *collecting) if items > collected else collecting
    named = lambda *names: _setting(config.learner, names)
    plan = jax.eval_shape(learner.memory.plan, jax.random.key(0), 1)
    rest = (state.env, state.step, state.carry, state.guide_carry, state.guidance, loop["sums"])
    each = {
        ("its memory of env-steps", named(*keeping)): STATES * size(state.memory),
        ("its networks", named("hidden")): STATES * size((state.params, state.target, state.opt)),
        ("its environments", named("num_envs")): STATES * size(rest),
    }
    at_once = {("a batch", named("batch", *collecting)): plan.shape[-1] * (size(state.memory) // max(items, 1))}
    at_once |= {("the order of its samples", named("gradient_steps", "epochs")): size(plan)}
    at_once |= evaluation(config.env, learner, config.episodes)
    seeds = config.seeds * points
    parts = {name: seeds * bytes for name, bytes in each.items()} | {k: _lanes(seeds) * v for k, v in at_once.items()}
    many = f"a sweep of {points} points" if points > 1 else f"a run of {seeds} seeds" if seeds > 1 else "this run"
    return _check(many, parts, seeds)


def check_evaluation(env: Env, learner: Learner, episodes: int, seeds: int) -> None:
    """Raise HeadstartError if an evaluation of a trained team cannot fit into memory."""
    parts = {name: _lanes(seeds) * bytes for name, bytes in evaluation(env, learner, episodes).items()}
    _check("this evaluation", parts, 1)


def evaluation(env: Env, learner: Learner, episodes: int) -> dict[tuple[str, str], int]:
    """{(what, setting): bytes} of one seed's evaluation: environments side by side, and every step's rewards and events."""
    shown = jax.eval_shape(env.reset, jax.random.key(0))
    one = size(shown) + size(jax.eval_shape(lambda: learner.start(1)))
    kept = env.spec.horizon * (size((shown[1].reward, shown[1].events)) + 1)
    return {("an evaluation", "episodes" if episodes >= env.spec.horizon else "env.horizon"): episodes * (one + kept)}


def _setting(config: Any, names: tuple[str, ...]) -> str:
    """The first of the names that is a field of a learner's settings."""
    fields = {field.name for field in dataclasses.fields(config)}
    return next((f"learner.{name}" for name in names if name in fields), "the learner's sizes")


@contextlib.contextmanager
def no_overflow() -> Iterator[None]:
    """Raise HeadstartError for sizes that do not even fit into the numbers that describe them."""
    try:
        yield
    except (OverflowError, MemoryError) as error:
        raise HeadstartError(f"a setting is too large to compute with ({error}): lower the largest one") from None


def size(tree: PyTree) -> int:
    """Bytes of the arrays of a tree, or of their shapes."""
    return sum(math.prod(x.shape) * (16 if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x.dtype.itemsize)
               for x in jax.tree.leaves(tree))  # fmt: skip


def _lanes(seeds: int) -> int:
    """Seeds in one moment of a computation: at least as many as there are threads to compute them."""
    return min(cores.usable(), seeds) if jax.default_backend() == "cpu" else seeds


def _check(what: str, parts: dict[tuple[str, str], int], seeds: int) -> list[str]:
    """A line about what needs memory if that is much; HeadstartError if it is more than there is."""
    there, needed = available(), sum(parts.values())
    if there is None or needed <= LARGE * there:
        return []
    (largest, setting), bytes = max(parts.items(), key=lambda part: part[1])
    told = f"{what} needs about {_told(needed)} of memory and {_told(there)} are free; {_told(bytes)} are for {largest}"
    if needed <= there:
        return [told]
    raise HeadstartError(f"{told}: lower {setting}{' or seeds' if seeds > 1 else ''}")


def _told(bytes: int) -> str:
    for unit, word in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if bytes >= unit:
            return f"{bytes / unit:,.1f} {word}"
    return f"{bytes / 1000:.1f} kB"


def available() -> int | None:
    """Bytes of memory for arrays: of the accelerator, or what this process may still use; None if nothing is known."""
    if jax.default_backend() != "cpu":
        stats = jax.local_devices()[0].memory_stats() or {}
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0) if "bytes_limit" in stats else None
    return min(host_limits(Path("/")), default=None)


def resident(root: Path = Path("/")) -> int | None:
    """Bytes of memory that this process holds; None if the system does not say."""
    kilobytes = _numbers(root / "proc/self/status").get("VmRSS")
    return None if kilobytes is None else 1024 * kilobytes


def host_limits(root: Path) -> Iterator[int]:
    """Bytes that each of the system's limits leaves: of the machine, of a control group, of this process."""
    machine = _numbers(root / "proc/meminfo")
    if "MemAvailable" in machine:
        yield 1024 * (machine["MemAvailable"] + machine.get("SwapFree", 0))
    elif hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(os.sysconf_names):
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield from _groups(root)
    try:
        import resource
    except ImportError:  # not a Unix
        return
    status = _numbers(root / "proc/self/status")
    for limit, used in (("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData")):
        soft = resource.getrlimit(getattr(resource, limit))[0] if hasattr(resource, limit) else resource.RLIM_INFINITY
        if soft != resource.RLIM_INFINITY:
            yield max(0, soft - 1024 * status.get(used, 0))


def _groups(root: Path) -> Iterator[int]:
    """What the control groups leave that hold this process, in both versions of the kernel's files."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        number, controllers, group = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            top, limit, usage, cache = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, cache = root / "sys/fs/cgroup/memory", "total_inactive_file"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        inner = top / group.strip("/")
        for folder in (inner, *inner.parents):  # a group's limit holds for the groups inside it
            most, used = _number(folder / limit), _number(folder / usage)
            if most is not None and used is not None:
                yield max(0, most - used + _numbers(folder / "memory.stat").get(cache, 0))
            if folder == top:
                break


def _number(path: Path) -> int | None:
    """The number in a file; None if there is none ("max")."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _numbers(path: Path) -> dict[str, int]:
    """{name: number} of lines like "MemAvailable:  12 kB" or "inactive_file 12"."""
    found: dict[str, int] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            name, *rest = line.replace(":", " ").split() or [""]
            if rest and rest[0].isdecimal():
                found[name] = int(rest[0])
    except (OSError, UnicodeDecodeError):
        pass
    return found
