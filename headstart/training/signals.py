"""Ctrl-C and SIGTERM while a run trains."""

import signal
import threading
from typing import Any


class Signals:
    """Ctrl-C and SIGTERM ask the run to stop after the current piece; a second one stops at once."""

    def __init__(self, stop: threading.Event):
        self.stop, self.old = stop, {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.old[number] = signal.signal(number, self)
                if getattr(self.old[number], "asked", False):  # the handler around this one was asked, and nothing stopped
                    self.stop.set()

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self.stop.is_set()

    def __call__(self, number: int, frame: Any) -> None:
        if self.stop.is_set():
            raise KeyboardInterrupt
        self.stop.set()

    def __exit__(self, *error: Any) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)
