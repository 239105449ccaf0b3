"""The devices that a run's lanes are spread over: all of this machine's, or as many as the user says (`--devices`)."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import jax

from headstart.core.checks import HeadstartError

_most: ContextVar[int | None] = ContextVar("_most", default=None)


def read(text: str) -> int | None:
    """The number that --devices names; None for "all"."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise HeadstartError(f"--devices must be all, or a number from 1 on, not '{text}'")
    return int(text)


@contextlib.contextmanager
def limited(count: int | None) -> Iterator[None]:
    """In the block, take the first `count` devices; None for all."""
    token = _most.set(count)
    try:
        yield
    finally:
        _most.reset(token)


def most() -> int | None:
    """How many devices may be used here; None for all."""
    return _most.get()


def chosen() -> list[Any]:
    """The devices to use. HeadstartError if there are fewer than the user asked for."""
    found, wanted = jax.local_devices(), most()
    if wanted is not None and wanted > len(found):
        kind = found[0].platform.upper()
        raise HeadstartError(f"--devices {wanted}: JAX finds {len(found)} ({kind}) on this machine: take --devices all")
    return found[:wanted]


def blocks(lanes: int, count: int) -> list[int]:
    """The numbers of neighbouring lanes on each of at most `count` devices, as equal as can be."""
    count = min(lanes, count)
    return [lanes // count + (i < lanes % count) for i in range(count)]
