"""What every test runs under: shapes checked at run time, no silent broadcasting, compiled programs kept out of the home.

The import hook has to be installed before anything of headstart is imported, hence at this file's top level.
"""

import contextlib
import ctypes
import gc
import os
import signal
from pathlib import Path

import pytest

# Through the environment, so that the processes that tests start use them as well. One cache of compiled programs serves all
# of them and is kept: what a program is stored under is its own text, so a change in the code makes a new entry.
_CACHE = Path(__file__).parent.parent / ".pytest_cache" / "jax"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_CACHE)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_ENABLE_X64"] = "0"
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # a traceback for every operation is a tenth of lowering
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs here are tiny and many: compiling them is what takes time. XLA_FLAGS= tests them as users compile them.
_FLAGS = [
    "xla_cpu_parallel_codegen_split_count=1",
    "xla_backend_optimization_level=0",
    "xla_llvm_disable_expensive_passes=true",
    "xla_cpu_use_fusion_emitters=false",
    "xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_DEFAULT",
    # Loops as short as these are never split among threads, and later passes find what the first simplification finds.
    "xla_disable_hlo_passes=cpu-parallel-task-assigner,simplification",
]
# Without fused multiply-adds every operation rounds by itself, so two programs that compute the same agree to the bit
# however XLA fuses each of them.
_FLAGS.append("xla_cpu_max_isa=AVX")
os.environ.setdefault("XLA_FLAGS", " ".join(f"--{flag}" for flag in _FLAGS))


# A shell starts what it puts into the background deaf to Ctrl-C; tests of interruptions need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


import jax
import jaxtyping
from jaxtyping import install_import_hook

install_import_hook("headstart", "typecheck.checked")

# Tracing makes millions of small objects, few of them garbage; looking for it as often as usual takes a tenth of all time.
gc.set_threshold(100_000, 50, 100)


@pytest.fixture
def as_users(monkeypatch):
    """Without the import hook's checks, which find a value of a wrong type before headstart does."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


LARGEST_CACHE = 2 * 1024**3
"""Bytes of compiled programs to keep from one run of the tests to the next."""


def pytest_configure(config):
    """Drop the programs that were used least recently, before any process of this run reads the cache."""
    if "PYTEST_XDIST_WORKER" in os.environ or not _CACHE.exists():
        return
    files = sorted((path for path in _CACHE.iterdir()), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > LARGEST_CACHE:
            path.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def _own_modules():
    """What a test lets the user import is forgotten after it."""
    from headstart import registry
    from headstart.core.own import OWN

    before, used = (list(OWN.directories), set(OWN.names), set(OWN.found)), set(registry.used)
    yield
    OWN.directories[:], OWN.names, OWN.found = before
    registry.used = used


kept = {"bytes": 0}
"""Memory that was still in use when compiled programs were last let go of."""


@pytest.fixture(autouse=True)
def _forget_compiled_programs():
    """Let go of compiled programs before they fill the memory, or their maps reach the kernel's limit, where jaxlib dies."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and (_resident() > kept["bytes"] + 1.5 * 1024**3 or maps.read_bytes().count(b"\n") > 20_000):
        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        kept["bytes"] = _resident()


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.fixture(autouse=True)
def _teachers_are_not_measured(monkeypatch):
    """Measuring a teacher compiles a program more for each run; tests/test_meaning.py asks for it by `worth=`."""
    from headstart.training import worth

    monkeypatch.setattr(worth, "EPISODES", 0)


@pytest.fixture(scope="module")
def sessions_once():
    """For files whose tests train one configuration again and again; see `once.py`."""
    from once import sessions_once

    with sessions_once():
        yield
