"""Ctrl-C and SIGTERM at any moment of a command: one sentence that says how to go on."""

import signal
import threading
from pathlib import Path
from typing import Any

from headstart.core.trust import trusting, trusts

_places: list[tuple[Path, bool, bool]] = []


def holds_run(directory: Path) -> bool:
    """Whether a directory holds a run, a sweep or an experiment."""
    return any((directory / name).exists() for name in ("run.json", "sweep.json", "experiment.json"))


def works_in(directory: Path, resumes: bool = False) -> None:
    """The command is about to begin a run or an experiment in a directory, or `resumes` the one that is there."""
    _places[:] = [(directory, resumes or not holds_run(directory), trusts())]


def sentence() -> str:
    """What a stopped command says: the command that goes on, if there is anything to go on with."""
    for directory, ours, trusted in _places:
        if ours and holds_run(directory):
            from headstart.registry import command

            with trusting(trusted):
                return f"stopped; go on with: {command('resume', directory)}"
    return "stopped before anything was written"


class Interrupts:
    """Within the block both signals raise KeyboardInterrupt, except where a run takes them over to stop at a checkpoint."""

    def __init__(self):
        self.asked, self.old = False, {}
        """Whether a signal came: some libraries swallow the exception, or turn it into one of their own."""

    def __enter__(self) -> "Interrupts":
        _places.clear()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, for one, asks for no interruption
                    self.old[number] = signal.signal(number, self)
        return self

    def __call__(self, number: int, frame: Any) -> None:
        self.asked = True
        raise KeyboardInterrupt

    def __exit__(self, *error: Any) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)
