"""Whether the user trusts files that may run code when they are opened, e.g. the models of other programs."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_trusted: ContextVar[bool] = ContextVar("_trusted", default=False)


@contextlib.contextmanager
def trusting(files: bool) -> Iterator[None]:
    """Open files that may run code, if `files`, in the block. Nothing that was read from a file may decide this."""
    token = _trusted.set(files or _trusted.get())
    try:
        yield
    finally:
        _trusted.reset(token)


def trusts() -> bool:
    """Whether such files may be opened here."""
    return _trusted.get()
