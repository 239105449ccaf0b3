"""What a run, an evaluation or a replay opens outside JAX, closed at its end; and the wish that it stop.

A program that calls the host blocks the thread that waits for it, and Python delivers signals to the main thread only.
`interruptible` therefore runs such a program in a thread of its own, and the main thread stays free to hear signals.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")


class Closes(Protocol):
    """A thing that a scope may own."""

    def close(self) -> None:
        """Let go of everything; nothing may be asked of it afterwards. May be called more than once, by any thread."""
        ...


class Scope:
    """Owner of what is opened while it is the current one.

    `stop`: set if the work was asked to stop. `abandoned`: True if a call of the host was given up for that.
    """

    def __init__(self, stop: threading.Event):
        self.stop, self.abandoned, self.closed = stop, False, False
        self._owned: dict[Any, Closes] = {}
        self._lock = threading.RLock()  # what is made may own something itself

    def own(self, key: Any, make: Callable[[], Any]) -> Any:
        """The thing under `key`, made at the first call and closed with the scope."""
        with self._lock:
            if key not in self._owned:
                self._owned[key] = make()
            return self._owned[key]

    def close(self) -> None:
        """Close what the scope owns; a call that waits for it fails."""
        self.closed = True
        with self._lock:
            owned, self._owned = list(self._owned.values()), {}
        for thing in reversed(owned):
            thing.close()


_current: ContextVar[Scope | None] = ContextVar("scope", default=None)


def current() -> Scope | None:
    """The innermost open scope of this thread, if there is one."""
    return _current.get()


def innermost() -> Scope:
    """The same where there must be one."""
    found = _current.get()
    assert found is not None, "a run needs a scope: use it inside `with scope()`"
    return found


@contextlib.contextmanager
def scope() -> Iterator[Scope]:
    """A scope, current in this thread until the block ends. One inside another is asked to stop together with it.

    `@scope()` gives every call of a function a scope.
    """
    outer = _current.get()
    made = Scope(outer.stop if outer else threading.Event())
    token = _current.set(made)
    try:
        yield made
    finally:
        _current.reset(token)
        made.close()


def interruptible(call: Callable[[], Result]) -> Result:
    """`call()`, so that signals are handled while it runs. An interruption closes the current scope, which ends the call."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    results: list[Any] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="headstart-call", daemon=True).start()
    try:
        done.wait()
    except BaseException:
        if (opened := current()) is not None:
            opened.close()
        done.wait(5)
        raise
    if errors:
        raise errors[0]
    return results[0]
