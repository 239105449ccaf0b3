"""Run a graph of tasks on an engine: each as soon as those that it needs have ended, with all their progress in one view.

A task that fails by its own fault stops the tasks that need it, and no others. A task whose process dies is begun again.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError, notice
from headstart.training.cluster.engine import Engine, Task
from headstart.training.cluster.telling import heard
from headstart.training.ends import Diverged, Interrupted
from headstart.training.signals import Signals
from headstart.training.watch import Progress, Watcher

POLL_SECONDS = 0.2
NAMED = 3
"""Tasks that an interruption names."""
View = Callable[[str], Watcher]
"""The name of a task -> what shows its progress, by `begin` with {"env_steps"} and `progress`."""


class Graph:
    """Tasks, and where they stand. `again`: the command that goes on after an interruption."""

    def __init__(self, tasks: Sequence[Task], engine: Engine, again: str, view: View | None = None):
        self.tasks = {task.name: task for task in tasks}
        self.engine, self.again = engine, again
        self.left = dict(self.tasks)
        """The tasks that have not begun."""
        self.running: dict[str, Task] = {}
        self.done: set[str] = set()
        self.failed: dict[str, dict[str, Any]] = {}
        """The last words of the tasks that failed."""
        self.tries = dict.fromkeys(self.tasks, 0)
        self.reached = dict.fromkeys(self.tasks, 0)
        """The env-steps after which a task's last process died: one that gets further is no failure."""
        self.shown = {name: _Shown(name, view) for name in self.tasks}

    def run(self) -> None:
        """Run all tasks. Raises HeadstartError if any failed, once no other can run, and Interrupted after Ctrl-C."""
        stop, asked = threading.Event(), False
        with contextlib.closing(self.engine), Signals(stop):
            while self.running or (not stop.is_set() and self._ready()):
                if stop.is_set() and not asked:
                    asked = True
                    self.engine.stop()
                if not asked:
                    self._begin()
                time.sleep(POLL_SECONDS)
                for name in self.running:
                    self.shown[name].show(heard(self.tasks[name].about))
                for name, why in self.engine.ended().items():
                    self._end(name, why, stop.is_set())
        if stop.is_set():
            left = [repr(name) for name in self.tasks if name in self.left]
            where = ", ".join(left[:NAMED]) + (f" and {len(left) - NAMED} more" if len(left) > NAMED else "")
            raise Interrupted(f"stopped in {where or 'the last task'}; go on with: {self.again}")
        if self.failed:
            raise self._error()

    def _ready(self) -> list[Task]:
        return [task for task in self.left.values() if self.done.issuperset(task.needs)]

    def _begin(self) -> None:
        """Give the engine as many tasks as it takes."""
        for task in self._ready()[: max(0, self.engine.slots - len(self.running))]:
            task.about.unlink(missing_ok=True)
            self.tries[task.name] += 1
            self.running[task.name] = self.left.pop(task.name)
            self.engine.begin(task)

    def _end(self, name: str, why: str, asked: bool) -> None:
        """A worker has ended: hear how."""
        task = self.running.pop(name)
        last = _last_words(task, 0.0 if asked else self.engine.late_seconds)
        self.shown[name].show(last)
        if last["state"] == "done":
            self.done.add(name)
            self.shown[name].fill()
        elif last["state"] == "failed":
            self.failed[name] = last
        elif asked:
            self.left[name] = task
        elif last["env_steps"] > self.reached[name] and self.engine.tries > 1:
            self.reached[name], self.tries[name] = last["env_steps"], 1
            self._again(task, why)
        elif self.tries[name] < self.engine.tries:
            self._again(task, why)
        else:
            many = "" if self.engine.tries == 1 else f" {self.tries[name]} times"
            self.failed[name] = {"error": f"its process died{many}{f' ({why})' * bool(why)}", "kind": ""}

    def _again(self, task: Task, why: str) -> None:
        """Begin a task once more whose process died."""
        self.left[task.name] = task
        notice(f"{task.name}: its process was ended{f' ({why})' * bool(why)}; it goes on from its last checkpoint")

    def _error(self) -> HeadstartError:
        """One line about all failures."""
        told = []
        for name, last in self.failed.items():
            log = self.tasks[name].log
            told.append(f"'{name}' failed: {last['error']}" + (f" (see {log})" if not last["kind"] and log.exists() else ""))
        told += [f"not started, because they depend on a failed task: {', '.join(self.left)}"] if self.left else []
        told += [f"after fixing this, continue with: {self.again}"] if self.done else []
        kind = Diverged if all(last["kind"] == "Diverged" for last in self.failed.values()) else HeadstartError
        return kind("; ".join(told))


def _last_words(task: Task, late_seconds: float) -> dict[str, Any]:
    """What a worker said last. If it was killed, it is still "running" after `late_seconds`."""
    until = time.monotonic() + late_seconds
    while (last := heard(task.about))["state"] in ("none", "running") and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return last


class _Shown:
    """What has been shown of a task."""

    def __init__(self, name: str, view: View | None):
        self.name, self.watcher = name, view(name) if view else None
        self.begun, self.lines, self.last = False, 0, {}

    def show(self, about: dict[str, Any]) -> None:
        """Print its new lines, and move its bar."""
        for stream, line in about["lines"][self.lines :]:
            if stream == "err":
                print(line, file=sys.stderr, flush=True)
            else:
                print(f"{self.name}: {line}", flush=True)
        self.lines, self.last = len(about["lines"]), about
        if self.watcher is None or not about["total_steps"]:
            return
        if not self.begun:
            self.watcher.begin({"env_steps": about["total_steps"]})
            self.begun = True
        returns = None if about.get("returns") is None else np.array(about["returns"])
        speed = about.get("steps_per_second", 0.0)
        self.watcher.progress(Progress(about["env_steps"], about["total_steps"], returns, speed))

    def fill(self) -> None:
        """Show that it has ended."""
        if self.begun:
            self.show(self.last | {"env_steps": self.last["total_steps"]})
