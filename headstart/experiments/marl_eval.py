"""The results of runs as JSON for marl-eval, and for other tools that read its format.

    {environment: {task: {algorithm: {"seed_0": {"step_0": {"step_count": 0, "mean_episode_return": [-50.2]}, ..,
                                                 "absolute_metrics": {"mean_episode_return": [-21.0]}}}}}}

Gorsane et al. 2022, "Towards a Standardised Performance Evaluation Protocol for Cooperative MARL". The absolute metric is that
of the best team in ten times as many episodes as an evaluation has.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError, notice
from headstart.experiments.comparable import incomparable
from headstart.experiments.run import arms_of
from headstart.registry import command
from headstart.report.build import read_curve
from headstart.report.metric import RATES, RETURN
from headstart.report.transfer import Curve
from headstart.storage import files, places, schema
from headstart.storage.tables import read_table
from headstart.teams.saved import load
from headstart.training.run import scores
from headstart.training.sweep import swept

MORE = 10
"""Episodes of the absolute metric for each of an evaluation."""


def write_marl_eval(directories: Sequence[Path], file: str | Path) -> dict[str, Any]:
    """Write the results of runs, of the points of sweeps and of the arms of experiments to a new file; returns its content.

    The best team is the one that the run has kept (`--keep best`), else its last one; it is scored anew. Raises HeadstartError
    if the file exists, for runs that have not finished, and for two of one name.
    """
    file = places.located(file)
    if file.exists():
        raise HeadstartError(f"{file} already exists: choose another name for --marl-eval")
    runs: dict[str, Path] = {}
    for directory in directories:
        for name, path in runs_of(places.located(directory)).items():
            if name in runs:
                raise HeadstartError(f"two runs have the name {name}: {runs[name]} and {path}; they need different ones")
            runs[name] = path
    manifests = {name: files.read_json(path / "run.json", schema.Run) for name, path in runs.items()}
    for name, manifest in manifests.items():
        if not manifest.get("finished"):
            raise HeadstartError(f"{runs[name]} has not finished: {command('resume', runs[name], saved=manifest['config'])}")
    tasks: dict[tuple[str, str], list[str]] = {}
    for name, manifest in manifests.items():
        tasks.setdefault(task_of(manifest["config"]["env"]), []).append(name)
    found: dict[str, Any] = {}
    for (environment, task), names in tasks.items():
        if caution := incomparable({name: manifests[name] for name in names}):
            notice(f"warning: {caution}")
        found.setdefault(environment, {})[task] = {name: _seeds(runs[name], manifests[name]) for name in names}
    files.write_text(file, json.dumps(found, allow_nan=False, indent=1) + "\n")
    return found


def runs_of(directory: Path) -> dict[str, Path]:
    """{name: run directory}: the run itself, the points of a sweep, or the last stage of each arm of an experiment."""
    if (directory / "experiment.json").exists():
        return arms_of(directory)
    if (directory / places.SWEEP).exists():
        return {name: point.path for name, point in swept(directory).points.items() if point.returns is not None}
    return {directory.resolve().name: directory}


def task_of(env: Mapping[str, Any]) -> tuple[str, str]:
    """(environment, task) of an environment in run.json, of the one inside a wrapper: (smax, 3m), or (spread, 3-agents)."""
    settings = env.get("settings", {})
    if isinstance(inner := settings.get("env"), Mapping) and "name" in inner:
        return task_of(inner)
    if isinstance(settings.get("id"), str):
        return env["name"], settings["id"]
    return env["name"], f"{settings['agents']}-agents" if "agents" in settings else env["name"]


def _seeds(path: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """{"seed_N": its evaluations} of a run."""
    columns = [name for name in read_table(path / "metrics.csv").columns if name.startswith(("eval_return", "eval_event/"))]
    curves = {_named(name): read_curve(path, _metric(name)) for name in columns}
    best = load(path / "best") if (path / "best").is_dir() else load(path)
    if best.env is None:
        raise HeadstartError(f"{path} was trained in an environment that is not known here: add its module by --use")
    scored = scores(best, best.env, MORE * manifest["config"]["episodes"])
    absolute = {_named(f"eval_{RETURN}" if name == RETURN else f"eval_event/{name}"): x for name, x in scored.items()}
    return {
        f"seed_{seed}": _evaluations(curves, i) | {"absolute_metrics": {name: [float(x[i])] for name, x in absolute.items()}}
        for i, seed in enumerate(manifest["seeds"])
    }


def _evaluations(curves: Mapping[str, Curve], index: int) -> dict[str, Any]:
    """{"step_K": its env-steps, and each metric} of the seed at an index; a missing value is left out."""
    found: dict[int, dict[str, Any]] = {}
    for name, curve in curves.items():
        for env_steps, value in zip(curve.env_steps.tolist(), curve.returns[index].tolist(), strict=True):
            if np.isfinite(value):
                found.setdefault(int(env_steps), {"step_count": int(env_steps)})[name] = [value]
    return {f"step_{k}": found[env_steps] for k, env_steps in enumerate(sorted(found))}


def _metric(column: str) -> str:
    """The metric of a column of metrics.csv, as `read_curve` takes it."""
    return column.removeprefix("eval_event/").removeprefix("eval_")


def _named(column: str) -> str:
    """A column under marl-eval's names: mean_episode_return, mean_episode_return/ROLE, win_rate, mean_episode_EVENT."""
    metric = _metric(column)
    if column.startswith("eval_event/") and metric in RATES:
        return RATES[metric].replace(" ", "_")
    return f"mean_episode_{metric}"
