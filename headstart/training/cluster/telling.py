"""What a worker tells of its task: one small JSON file, which every engine's driver reads.

The file says how far the task is, the lines that it has printed, and in the end how it ended. A worker that is killed leaves
a file that says "running".
"""

import contextlib
import io
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.storage import files, schema
from headstart.training.ends import Interrupted
from headstart.training.watch import Progress, Watcher

SECONDS = 1.0
"""Least time between two writes of a file."""


class Teller(Watcher):
    """Watches the runs of one task. The file is written once a second, and whenever something is printed."""

    def __init__(self, path: Path):
        self.path, self.wrote = path, 0.0
        self.about: dict[str, Any] = {"state": "running", "env_steps": 0, "total_steps": 0, "lines": []}
        self.write()

    def begin(self, manifest: dict[str, Any]) -> None:
        """A run of the task begins or goes on."""
        self.about["total_steps"] = manifest["env_steps"]
        self.write()

    def told(self, lines: list[str]) -> None:
        """Tell the lines as printed ones."""
        for line in lines:
            self.printed("out", line)

    def progress(self, progress: Progress) -> None:
        """Tell how far the run is."""
        finite = progress.returns is not None and np.isfinite(progress.returns).all()
        returns = np.asarray(progress.returns).tolist() if finite else None
        self.about |= {"env_steps": progress.env_steps, "total_steps": progress.total_steps, "returns": returns}
        self.about["steps_per_second"] = progress.steps_per_second
        if time.monotonic() - self.wrote > SECONDS:
            self.write()

    def printed(self, stream: str, line: str) -> None:
        """A line was printed."""
        self.about["lines"].append([stream, line])
        self.write()

    def write(self, **more: Any) -> None:
        """Write the file."""
        self.about |= more
        files.write_json(self.path, self.about, schema.Task)
        self.wrote = time.monotonic()


class _Lines(io.TextIOBase):
    """A stream whose lines go to a teller, and to the stream in whose place it stands."""

    def __init__(self, teller: Teller, name: str, behind: Any):
        self.teller, self.name, self.behind, self.left = teller, name, behind, ""

    def write(self, text: str) -> int:
        *whole, self.left = (self.left + text).split("\n")
        for line in whole:
            self.teller.printed(self.name, line)
        return self.behind.write(text)

    def flush(self) -> None:
        self.behind.flush()


@contextlib.contextmanager
def telling(path: Path) -> Iterator[Teller]:
    """Tell in a file what happens in the block, and how it ends. Errors end here: the file is what the driver hears."""
    teller = Teller(path)
    out, err = _Lines(teller, "out", sys.stdout), _Lines(teller, "err", sys.stderr)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield teller
        teller.write(state="done")
    except (Interrupted, KeyboardInterrupt):
        teller.write(state="interrupted")
    except HeadstartError as error:
        teller.write(state="failed", error=str(error), kind=type(error).__name__)
    except Exception as error:
        files.append_text(path.with_suffix(".log"), traceback.format_exc())
        teller.write(state="failed", error=f"{type(error).__name__}: {error}", kind="")


def heard(path: Path) -> dict[str, Any]:
    """The content of a task's file; {"state": "none"} while none can be read, as on a shared disk that is late."""
    with contextlib.suppress(HeadstartError, OSError):
        if files.kind(path) is not None:
            return files.read_json(path, schema.Task)
    return {"state": "none", "env_steps": 0, "total_steps": 0, "lines": []}
