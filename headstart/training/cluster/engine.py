"""What an engine does with a task, and the engine that the user names: `local:2`, `ray`, `ray://HOST:PORT`, `slurm`."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from headstart.core.checks import HeadstartError, check_known

TRIES = 4
"""How often a task is begun in all, if its process dies: each time it goes on from its last checkpoint."""


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
    """How often a task whose process died is begun; 1 if the engine itself tries again."""

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
            if (value := getattr(self, name)) is not None and not value > 0:
                raise HeadstartError(f"--on: {name} must be above 0, not {value}")


Make = Callable[[], Engine]


def engine(text: str) -> Make:
    """The engine of `ADDRESS[,NAME=VALUE..]`, e.g. "slurm,partition=gpu,gpus=1,hours=8", to be made once it is needed.

    Raises HeadstartError for a text of another form, and if the engine's package is not installed.
    """
    address, *given = text.split(",")
    wanted = _wanted(given)
    kind, _, rest = address.partition(":")
    if kind == "local":
        return _local(rest, given)
    if kind == "ray":
        from headstart.training.cluster import on_ray

        return on_ray.engine(address, wanted)
    if address in ("slurm", "slurm-here"):
        from headstart.training.cluster import on_slurm

        return on_slurm.engine(wanted, here=address == "slurm-here")
    raise HeadstartError(f"--on must be local:N, ray, ray://HOST:PORT or slurm, not '{address}'")


def _local(count: str, given: Sequence[str]) -> Make:
    from headstart.training.cluster.local import Local

    if given:
        raise HeadstartError(f"--on local:N takes no settings: leave out {', '.join(given)}")
    if not count.isdecimal() or not 1 <= int(count) <= 2**10:
        raise HeadstartError(f"--on local:N needs the number of worker processes, such as local:2, not 'local:{count}'")
    return lambda: Local(int(count))


def _wanted(given: Sequence[str]) -> Wanted:
    kinds: dict[str, Callable[[str], Any]] = {"cpus": int, "gpus": int, "hours": float, "partition": str}
    found: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        check_known("setting of --on", name, kinds)
        try:
            found[name] = kinds[name](value)
        except ValueError:
            equals = ""
        if not equals or not value:
            raise HeadstartError(f"--on {name} needs a number, such as {name}=1, not '{value}'")
    return Wanted(**found)
