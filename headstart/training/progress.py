"""The progress display of a run while it trains: a bar for each stage."""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from headstart.training.watch import Progress, Watcher

QUIET_SECONDS = 60.0
"""Where there is no terminal, and so no bar, a run that trains says once in so many seconds how far it is."""


class Bar(Watcher):
    """One line of a `rich` display: return with its interval over seeds, env-steps per second, time left."""

    def __init__(self, display: Any, name: str):
        self.display, self.name, self.task, self.told_at = display, name, None, math.inf

    def begin(self, manifest: dict[str, Any]) -> None:
        """Show the bar; it appears only now, so that an error before the start prints without an empty bar."""
        self.display.start()
        self.task = self.display.add_task(self.name, total=manifest["env_steps"], status="compiling")

    def told(self, lines: list[str]) -> None:
        """Print the lines, above the bar if there is one."""
        for line in lines:
            print(f"{self.name}: {line}", flush=True)

    def progress(self, progress: Progress) -> None:
        """Move the bar."""
        status = f"return {spread(progress.returns)}  {progress.steps_per_second:,.0f} steps/s"
        self.display.update(self.task, total=progress.total_steps, completed=progress.env_steps, status=status)
        if self.display.disable:
            self._tell(f"{progress.env_steps:,} of {progress.total_steps:,} env-steps, {status}")

    def _tell(self, line: str) -> None:
        now = time.monotonic()
        self.told_at = min(self.told_at, now)
        if now - self.told_at >= QUIET_SECONDS:
            self.told_at = now
            print(f"{self.name}: {line}", file=sys.stderr, flush=True)

    def end(self, team: Any) -> None:
        """Fill the bar."""
        total = self.display.tasks[self.task].total
        self.display.update(self.task, completed=total, total=total)


class Opening(Watcher):
    """Prints lines once a run begins, so that a run that is refused has none. Points of a sweep may share it."""

    def __init__(self, lines: Sequence[str]):
        self.lines = list(lines)

    def begin(self, manifest: dict[str, Any]) -> None:
        """Print the lines, once."""
        while self.lines:
            print(self.lines.pop(0), flush=True)


class Behind(Watcher):
    """Moves the bar that the points of a sweep share; it shows the best return of those that train. `bests`: by point."""

    def __init__(self, bar: Bar, name: str, bests: dict[str, Any]):
        self.bar, self.name, self.bests = bar, name, bests

    def begin(self, manifest: dict[str, Any]) -> None:
        """Show the bar, once for all points."""
        self.leads = self.bar.task is None
        if self.leads:
            self.bar.begin(manifest)

    def worth(self, lines: list[str]) -> None:
        """Print the lines, which are the same for all points."""
        if self.leads:
            self.bar.worth(lines)

    def memory(self, lines: list[str]) -> None:
        """Print the lines, which are about all points together."""
        if self.leads:
            self.bar.memory(lines)

    def progress(self, progress: Progress) -> None:
        """Move the bar."""
        if progress.returns is not None:
            self.bests[self.name] = progress.returns
        best = max(self.bests.values(), key=lambda returns: returns.mean(), default=None)
        self.bar.progress(dataclasses.replace(progress, returns=best))

    def end(self, team: Any) -> None:
        """Fill the bar."""
        self.bar.end(team)


@contextlib.contextmanager
def sweep_bar(name: str) -> Iterator[Callable[[str], Sequence[Watcher]]]:
    """One bar for a sweep: a function from the name of a point to its watchers."""
    bests: dict[str, Any] = {}
    with progress() as bar:
        shared = bar(name)
        yield lambda point: (Behind(shared, point, bests),)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], Bar]]:
    """A display of bars: a function from the name of a run or stage to its watcher."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(bar_width=20), "{task.percentage:>3.0f}%", TextColumn("{task.fields[status]}"))
    console = Console(stderr=True)
    times = TimeElapsedColumn(), TimeRemainingColumn(compact=True)
    # A file or a pipe gets no bars, only a line now and then.
    display = Progress(*columns, *times, console=console, disable=not console.is_terminal)
    try:
        yield lambda name: Bar(display, name)
    finally:
        if display.live.is_started:  # else it would print an empty line
            display.stop()


def spread(returns: Any) -> str:
    """Returns of the seeds as "interquartile mean [low, high]"."""
    from headstart.report.plain import interval_text
    from headstart.report.stats import as_json, interval

    if returns is None:
        return "–"
    return interval_text(as_json(interval(returns)))
