"""Reports of experiments and of runs side by side, from their directories."""

from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError, notice
from headstart.core.env import Drawable, Env
from headstart.experiments.attention import attention_of
from headstart.experiments.base import Experiment
from headstart.experiments.comparable import incomparable
from headstart.registry import command
from headstart.replay.record import record
from headstart.report import matrix
from headstart.report.build import build_report, read_curve, read_stage, read_stages, read_worth, write
from headstart.report.metric import RETURN, name_in_report
from headstart.report.sweep import sweep_summary
from headstart.storage import files, places, schema
from headstart.teams.saved import load
from headstart.training.sweep import swept


def report_experiment(name: str, experiment: Experiment, scale: str, out: Path, seeds: int) -> dict[str, Any]:
    """Report an experiment whose stages have all finished; returns the content of report.json."""
    arms = {}
    for arm_name, arm in experiment.arms.items():
        stages = read_stages({stage.name: stage.path(out) for stage in arm.stages})
        last = arm.stages[-1].path(out)
        measures = {quantity: measure(last) for quantity, measure in arm.measures.items()}
        arms[arm_name] = {
            "stages": stages,
            "curve": read_curve(last, experiment.metric),
            "versus": arm.versus,
            "measures": measures,
            "worth": read_worth(last),
            "attention": _attention(last, experiment.metric),
        }
    header: dict[str, Any] = {"experiment": name, "title": experiment.title, "source": experiment.source, "scale": scale}
    header |= {"goal": experiment.goal} if experiment.goal is not None else {}
    header |= {"matrix": matrix.summary(experiment.matrix)} if experiment.matrix else {}
    header["measures"] = {key: measure.meaning for arm in experiment.arms.values() for key, measure in arm.measures.items()}
    report = build_report(
        header | {"metric": name_in_report(experiment.metric), "headline": experiment.headline}, arms, experiment.claims
    )
    command = "headstart demo" if scale == "demo" else f"headstart reproduce {name} --scale {scale} --seeds {seeds}"
    provenance: dict[str, Any] = {"command": command, "notes": list(experiment.notes)}
    provenance["stages"] = {
        stage.name: files.read_json(stage.path(out) / "run.json", schema.Run) for stage in experiment.stages
    }
    write(out, report, _replays(experiment, out), provenance)
    return report


def _replays(experiment: Experiment, out: Path) -> list[dict[str, Any]]:
    cells = {cell.arm for cell in experiment.matrix}  # too many to watch
    runs = {name: arm.stages[-1].path(out) for name, arm in experiment.arms.items() if name not in cells}
    return [replay for name, path in runs.items() if (replay := replay_of(path, name, experiment.metric))]


def replay_of(path: Path, title: str, metric: str = RETURN) -> dict[str, Any] | None:
    """A replay of episode 0 (the same start for all teams) by the `_middle` seed of a run."""
    team = load(path)
    env: Env | None = team.env
    if not isinstance(env, Drawable):
        return None
    return record(team, env, _middle(path, metric), title=title)


def _attention(path: Path, metric: str = RETURN) -> dict[str, Any] | None:
    """Whom the critics of the same seed attend to; None if they do not."""
    return attention_of(load(path), _middle(path, metric))


def _middle(path: Path, metric: str) -> int:
    """The index of the seed of a run whose final value is nearest to the median."""
    last = read_curve(path, metric).returns[:, -1]
    return int(np.abs(last - np.median(last)).argmin())


def report_sweep(home: Path) -> dict[str, Any]:
    """Report a sweep whose points have all ended: the grid, the best point, and all learning curves."""
    home = places.located(home)
    found = swept(home)
    runs = {name: point.path for name, point in found.points.items() if point.returns is not None}
    manifests = {name: files.read_json(point.path / "run.json", schema.Run) for name, point in found.points.items()}
    points = [
        {"name": name, "values": point.values, "diverged": manifests[name].get("diverged")}
        for name, point in found.points.items()
    ]
    curves = {name: read_curve(path) for name, path in runs.items()}
    summary = sweep_summary(points, curves)
    best = summary["best"]
    arms = {
        name: {"stages": [*manifests[name].get("teachers", ()), read_stage(path, name)], "curve": curves[name]}
        for name, path in runs.items()
    }
    header = {"experiment": home.resolve().name, "kind": "sweep", "baseline": best, "headline": best, "sweep": summary}
    report = build_report(header, arms)
    replay = replay_of(runs[best], best)
    write(home, report, [replay] if replay else [], {"points": manifests})
    return report


def report_runs(directories: list[Path], out: Path, metric: str = RETURN) -> dict[str, Any]:
    """Report finished runs side by side; the others are compared with the first. `metric` is as in `read_curve`."""
    directories = [places.located(path) for path in directories]
    names = [path.name for path in directories]
    if len(set(names)) < len(names):
        raise HeadstartError(f"runs to compare need different names; these are {', '.join(names)}")
    manifests = {path.name: files.read_json(path / "run.json", schema.Run) for path in directories}
    for path in directories:
        if not manifests[path.name].get("finished"):
            raise HeadstartError(f"{path} has not finished: {command('resume', path, saved=manifests[path.name]['config'])}")
    rivals = {name: None if name == names[0] else names[0] for name in names}
    arms = {
        path.name: {
            "stages": [*manifests[path.name].get("teachers", ()), read_stage(path, path.name)],
            "curve": read_curve(path, metric),
            "versus": rivals[path.name],
            "worth": manifests[path.name].get("worth", ()),
            "attention": _attention(path, metric),
        }
        for path in directories
    }
    kind = {"kind": "run"} if len(names) == 1 else {"kind": "experiment", "headline": names[-1]}
    header: dict[str, Any] = {"experiment": " vs ".join(names), "metric": name_in_report(metric), **kind}
    if caution := incomparable(manifests):
        notice(f"warning: {caution}")
        header["caution"] = caution
    report = build_report(header, arms)
    replays = [replay for path in directories if (replay := replay_of(path, path.name, metric))]
    write(out, report, replays, {"runs": manifests})
    return report
