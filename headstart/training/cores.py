"""The number of usable cores, and the size of XLA's thread pool on a CPU, on which the last bits of a run depend."""

import os
import sys
from typing import Any

from jax._src import xla_bridge

POOL = ("PJRT_NPROC", "NPROC")
"""Environment variables that set the size of XLA's pool when JAX's backend starts; the first that is set counts."""


def usable() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool() -> int:
    """Threads in XLA's pool: the number in the environment variables, or all usable cores."""
    sizes = [os.environ[name] for name in POOL if os.environ.get(name, "").isdecimal()]
    return int(sizes[0]) if sizes else usable()


def use_pool(size: Any) -> None:
    """Set the pool's size for a run that began with `size` threads. If JAX has started with another size, warn in one line."""
    if not isinstance(size, int) or size < 1 or size == pool():
        return
    if xla_bridge.backends_are_initialized():
        note = f"this run began with {size} cores and goes on with {pool()}: its last bits will differ; to keep them, set"
        print(f"headstart: {note} NPROC={size} before JAX starts", file=sys.stderr)
        return
    os.environ.update(dict.fromkeys(POOL, str(size)))
