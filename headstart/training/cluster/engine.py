"""The contract between trainings and the engines that run them: tasks, and what an engine does with them."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from headstart.core.checks import HeadstartError

TRIES = 4
"""How often a task is begun that gets no further before its process dies: each time it goes on from its last checkpoint."""

NEAR, FAR = 5.0, 60.0
"""`Engine.late_seconds` of workers on this machine, and of those on others, whose shared disk may show old content so long."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A training for a process of its own."""

    name: str
    order: dict[str, Any]
    """What the worker is to do, as JSON: see `experiments.worker`."""
    needs: tuple[str, ...] = ()
    """The names of the tasks that must have ended before it begins."""
    about: Path = Path()
    """The file in which the worker tells of it: see `telling`."""

    @property
    def log(self) -> Path:
        """The file for the output of its process."""
        return self.about.with_suffix(".log")


@runtime_checkable
class Engine(Protocol):
    """Runs tasks. All machines must see the task's directories under the same paths."""

    slots: int
    """How many tasks it takes at once."""
    tries: int
    """How often a task is begun whose process dies without getting further; 1 if the engine itself tries again."""
    late_seconds: float
    """How long the last word of a worker that has ended may take to be seen on a shared disk."""

    def begin(self, task: Task) -> None:
        """Run a task's worker, or put it into a queue."""
        ...

    def ended(self) -> dict[str, str]:
        """{name: why, or ""} of the tasks whose workers have ended since the last call, however they ended."""
        ...

    def stop(self) -> None:
        """Ask all workers to stop at their next checkpoint, and take tasks out of the queue that have not begun."""
        ...

    def close(self) -> None:
        """End all workers at once, and let go of everything."""
        ...


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a task is to have; None leaves it to the engine."""

    cpus: int | None = None
    gpus: int | None = None
    hours: float | None = None
    partition: str | None = None

    def __post_init__(self):
        for name in ("cpus", "gpus", "hours"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise HeadstartError(f"--on: {name} must be a finite number above 0, not {value}")


@dataclasses.dataclass(frozen=True)
class Make:
    """An engine that is made once it is needed, by a call."""

    address: str
    """What `--on` takes for it."""
    make: Callable[[], Engine]

    def __call__(self) -> Engine:
        return self.make()
