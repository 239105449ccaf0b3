"""What the user permits for a block of code, and nothing that was read from a file may."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar


class Permission:
    """A permission, given for a block and all that the block calls."""

    def __init__(self, name: str):
        self._given = ContextVar(name, default=False)

    @contextlib.contextmanager
    def given(self, now: bool) -> Iterator[None]:
        """Give it in the block, if `now`. A block inside one that has it has it too."""
        token = self._given.set(now or self._given.get())
        try:
            yield
        finally:
            self._given.reset(token)

    def __bool__(self) -> bool:
        return self._given.get()
