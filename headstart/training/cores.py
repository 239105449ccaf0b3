"""Cores: how many there are to use, and the size of XLA's thread pool on a CPU, on which the last bits of a run depend."""

import os
import sys
from typing import Any

from jax._src import xla_bridge

POOL = ("PJRT_NPROC", "NPROC")
"""Environment variables that set the size of XLA's pool; the first that is set counts, when JAX's backend starts."""


def usable() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool() -> int:
    """Threads in XLA's pool: what the environment says, or all usable cores."""
    said = [os.environ[name] for name in POOL if os.environ.get(name, "").isdecimal()]
    return int(said[0]) if said else usable()


def use_pool(size: Any) -> None:
    """Go on with a run whose pool had `size` threads. If JAX has started with another size, say so in one line."""
    if not isinstance(size, int) or size < 1 or size == pool():
        return
    if xla_bridge.backends_are_initialized():
        note = f"this run began with {size} cores and goes on with {pool()}: its last bits will differ; to keep them, set"
        print(f"headstart: {note} NPROC={size} before JAX starts", file=sys.stderr)
        return
    os.environ.update(dict.fromkeys(POOL, str(size)))
