"""Trainings as tasks of an engine: the stages of an experiment, a run, or the points of a sweep, each in its usual directory.

DIR/tasks/   what the workers tell while they work; it stays if one failed without a line of its own
"""

import dataclasses
import os
import shlex
import shutil
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from headstart import registry
from headstart.core import own
from headstart.core.trust import trusts
from headstart.experiments.base import Experiment
from headstart.storage import files, places, schema
from headstart.storage.places import SWEEP, inside
from headstart.training import cores, devices
from headstart.training.cluster.engine import Make, Task
from headstart.training.cluster.graph import Graph, View

WORKER = "headstart.experiments.worker"
TASKS = "tasks"


def train_all(experiment: Experiment, out: Path, on: Make, done: Set[str] = frozenset(), view: View | None = None) -> None:
    """Train all stages of the experiment at `out` on an engine, or go on with them: teachers before their students.

    `done`: the names of the trainings that have finished. Raises HeadstartError if a stage failed by its own fault, once all
    have ended that do not need it, and Interrupted if it was asked to stop.
    """
    left = [task for task in tasks_of(experiment, out) if task.name not in done]
    _carry_out([dataclasses.replace(task, needs=tuple(set(task.needs) - done)) for task in left], out, on, view)


def tasks_of(experiment: Experiment, out: Path) -> list[Task]:
    """A task for each training, and for each recording that a stage learns from."""
    trained_by = {stage.name: name for name, stages in experiment.trainings.items() for stage in stages}
    tasks: dict[str, Task] = {}
    for name, stages in experiment.trainings.items():
        needs = {trained_by[need] for stage in stages for need in stage.needs if need in trained_by}
        for recording in (recording for stage in stages for recording in stage.recordings):
            made = f"demos {recording.name}"
            tasks[made] = _task(made, out, "demos", recording.name, (trained_by[recording.stage],))
            needs.add(made)
        tasks[name] = _task(name, out, "training", name, tuple(sorted(needs)))
    return list(tasks.values())


def go_on_with_run(path: Path, on: Make, view: View | None = None) -> None:
    """Train the run at `path` to its end on an engine."""
    _carry_out([_task(path.name, path, "run", path.name)], path, on, view)


def go_on_with_sweep(home: Path, on: Make, view: View | None = None) -> None:
    """Train the points of a sweep to their ends on an engine: in one task, or each in its own if the sweep is `separate`."""
    about = files.read_json(home / SWEEP, schema.Sweep)
    if not about["separate"]:
        return _carry_out([_task(home.name, home, "sweep", home.name)], home, on, view)
    with places.held(home):
        points = [each["name"] for each in about["points"]]
        _carry_out([_task(name, home, "point", name) for name in points], home, on, view)


def _task(name: str, out: Path, kind: str, which: str, needs: tuple[str, ...] = ()) -> Task:
    """A task of the `kind` that `worker` knows."""
    about = out.absolute() / TASKS / f"{name}.json"
    return Task(name, {"out": str(out.absolute()), "kind": kind, "which": which} | _surroundings(about), needs, about)


def _surroundings(about: Path) -> dict[str, Any]:
    """What a worker needs to compute as this process does: the user's modules, the size of XLA's pool, trust."""
    return {
        "worker": WORKER,
        "about": str(about),
        "cwd": os.getcwd(),
        "own": own.as_json(),
        "use": sorted(registry.used),
        "cores": cores.pool(),
        "devices": devices.most(),
        "accept": files.accepts(),
        "trust": trusts(),
    }


def _carry_out(tasks: Sequence[Task], out: Path, on: Make, view: View | None) -> None:
    folder = inside(out, TASKS)
    with files.writing(folder):
        folder.mkdir(exist_ok=True)
    keep = False
    try:
        graph = Graph(tasks, on(), f"{registry.command('resume', out)} --on {shlex.quote(on.address)}", view)
        try:
            graph.run()
        finally:
            keep = any(not last["kind"] for last in graph.failed.values())
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
