"""From runs on disk to report.json and report.html."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.report import transfer
from headstart.report.claims import Claim, judge
from headstart.report.metric import RETURN, column, name_in_report
from headstart.report.plain import number, plain
from headstart.report.stats import as_json, interval, versus
from headstart.report.transfer import Curve
from headstart.storage import files, places, schema
from headstart.storage.tables import Table, read_table

FORMAT = 1


def build_report(
    experiment: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]], claims: Sequence[Claim] = ()
) -> dict[str, Any]:
    """The content of report.json, ready for `json.dumps(..., allow_nan=False)`.

    experiment: {"experiment": name, "scale", "metric", ...}. `metric` is that of the curves, from
    `metric.name_in_report`. `seeds` (their number) is counted from the curves if not given. `baseline` names the arm
    that sets the threshold; without it, that is the first arm that others are compared with, or else the first arm.
    `goal` is a threshold that the experiment states. `measures` says what the quantities of the arms' "measures" are:
    {quantity: meaning}; the tables show these. Other keys ("title", "source", "kind": "run" or "sweep", "headline",
    "caution": a warning in words, "sweep": of `sweep.sweep_summary`, "matrix": of `matrix.summary`) are carried over.
    In a matrix each arm has the threshold of the arm that it is compared with, since these learn tasks of their own.
    arms: name → {"stages": [{"name", "env", "env_steps", "run_s", "compile_s"}, ...], "curve": Curve,
    "versus": name or None, "measures": {quantity: [S]} (optional), "worth": that of run.json (optional), "attention":
    {"agents", "vertices", "weights": [agents][vertices]} (optional)}. The curve is that of an arm's last stage; the stages
    before it are its teacher's cost. A measure that the compared arms share has a "QUANTITY_gain".

    Raises ValueError if there is no arm, or if an arm is compared with a missing one.
    """
    if not arms:
        raise ValueError("a report needs at least one arm")
    others = {name: arm.get("versus") for name, arm in arms.items()}
    for name, other in others.items():
        if other is not None and other not in arms:
            raise ValueError(f"arm {name!r} is compared with {other!r}, which is not one of {', '.join(arms)}")
    baseline = experiment.get("baseline") or next((o for o in others.values() if o is not None), next(iter(arms)))
    if baseline not in arms:
        raise ValueError(f"the baseline {baseline!r} is not one of {', '.join(arms)}")
    levels = _levels(experiment, arms, baseline)
    described = {name: _arm(name, arms, levels[name]) for name in arms}
    for claim in claims:
        if claim.versus in arms and claim.arm in arms:
            pair = transfer.compare(*_run(arms[claim.arm]), *_run(arms[claim.versus]), levels[claim.arm])
            pair |= _measured_gains(arms[claim.arm], arms[claim.versus])
            described[claim.arm].setdefault("against", {})[claim.versus] = pair
    report = {
        "format": FORMAT,
        "kind": "experiment",
        "scale": None,
        "metric": name_in_report(RETURN),
        "seeds": max(len(arm["curve"].returns) for arm in arms.values()),
        **plain(dict(experiment)),
        "baseline": baseline,
        "threshold": None if "matrix" in experiment else levels[baseline],
        "arms": described,
    }
    return {**report, "claims": [judge(claim, report) for claim in claims]}


def _levels(
    experiment: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]], baseline: str
) -> dict[str, int | float | None]:
    """The threshold of each arm."""
    if "goal" in experiment:
        return dict.fromkeys(arms, number(experiment["goal"]))
    alone = {name: arm.get("versus") or name if "matrix" in experiment else baseline for name, arm in arms.items()}
    return {name: number(transfer.threshold(arms[other]["curve"])) for name, other in alone.items()}


def _run(arm: Mapping[str, Any]) -> tuple[Curve, list[dict[str, Any]]]:
    return arm["curve"], list(arm["stages"])


def _arm(name: str, arms: Mapping[str, Mapping[str, Any]], level: float | None) -> dict[str, Any]:
    arm = arms[name]
    other, out = arm.get("versus"), transfer.describe(*_run(arm), level)
    out |= {quantity: as_json(interval(values)) for quantity, values in arm.get("measures", {}).items()}
    if arm.get("worth"):
        out["worth"] = [_worth(each) for each in arm["worth"]]
    if arm.get("attention"):
        out["attention"] = plain(arm["attention"], 4)
    if other is None:
        return out
    compared = transfer.compare(*_run(arm), *_run(arms[other]), level) | _measured_gains(arm, arms[other])
    return {**out, "versus": other, **compared}


def _measured_gains(arm: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """{"QUANTITY_gain": the arm's minus the other's} of the measures that both have."""
    mine, theirs = arm.get("measures", {}), other.get("measures", {})
    return {f"{name}_gain": as_json(versus(mine[name], theirs[name])) for name in mine if name in theirs}


def _worth(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a teacher was worth before training, with intervals over seeds in place of each seed's return."""
    spread = {who: as_json(interval(np.array(found[who], float))) for who in ("teacher", "random", "student")}
    return plain(dict(found)) | spread


def read_worth(run_dir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """What a run's teachers were worth before training, as run.json keeps it; [] if that was not measured."""
    return list(files.read_json(places.located(run_dir) / "run.json", schema.Measured).get("worth", ()))


def read_curve(run_dir: str | os.PathLike[str], metric: str = RETURN) -> Curve:
    """The evaluation curve of a run on disk, from its run.json and metrics.csv.

    metric: "return" (the team's mean), "return/ROLE", or the name of an event that the environment counts.

    Only points at which every seed of the run was evaluated count, so an interrupted run can be read. If a point stands
    twice, as after a resume, the later row counts. Rows without an evaluation are skipped.

    Raises HeadstartError if a file is missing, damaged or changed, if no evaluation is complete, or if the metric is missing.
    """
    run_dir, name = places.located(run_dir), column(metric)
    settings = files.read_json(run_dir / "run.json", schema.Measured)
    table = _table(run_dir, settings)
    if name not in table.columns:
        known = ", ".join(x for x in table.columns if x.startswith(("eval_return", "eval_event/")))
        raise HeadstartError(f"{run_dir.name}: metrics.csv has no column {name} for the metric {metric!r}: {known}")
    seeds, found = settings["seeds"], {}
    for row in table.rows:
        if (value := row.values[name]) is not None:
            found.setdefault(row.values["env_steps"], {})[row.values["seed"]] = value
    steps = sorted(step for step, point in found.items() if set(seeds) <= set(point))
    if not steps:
        raise HeadstartError(f"{run_dir.name}: metrics.csv holds no point at which all of the seeds {seeds} were evaluated")
    returns = np.array([[found[step][seed] for step in steps] for seed in seeds])
    return Curve(np.array(steps), returns, settings.get("learning_starts") or 0)


def _table(run_dir: Path, settings: dict[str, Any]) -> Table:
    """The rows of a run's metrics.csv, which has to be the one that its finished run.json knows."""
    path = run_dir / "metrics.csv"
    table = read_table(path)
    if settings.get("finished") and "files" in settings and files.sha256(path) != settings["files"]["metrics"]:
        files.refuse_change(f"{path} is not the one that {run_dir / 'run.json'} knows")
    for name in ("seed", "env_steps"):
        if name not in table.columns:
            raise HeadstartError(f"{path} is damaged: it has no column {name}")
    return table


def read_column(run_dir: str | os.PathLike[str], name: str) -> np.ndarray:
    """A column of a run's metrics.csv, [S P]: one row per seed, one value per point; nan for a missing value."""
    run_dir = places.located(run_dir)
    about = run_dir / "run.json"
    table = _table(run_dir, files.read_json(about, schema.Measured) if files.kind(about) else {})
    if not table.rows or name not in table.columns:
        raise HeadstartError(f"{run_dir.name}: metrics.csv has no column {name}")
    found: dict[Any, dict[Any, float]] = {}
    for row in table.rows:
        value = row.values[name]
        found.setdefault(row.values["seed"], {})[row.values["env_steps"]] = np.nan if value is None else value
    if len({tuple(points) for points in found.values()}) > 1:
        raise HeadstartError(f"{run_dir.name}: metrics.csv has other evaluations of one seed than of another")
    return np.array([list(points.values()) for points in found.values()])


def read_stage(run_dir: str | os.PathLike[str], name: str = "student", env: str | None = None) -> dict[str, Any]:
    """The cost of one run, as a stage of an arm: {"name", "env", "env_steps", "run_s", "compile_s"}, times in seconds.

    `env` is taken from the run's configuration if it is not given.
    """
    settings = files.read_json(places.located(run_dir) / "run.json", schema.Measured)
    timing = settings.get("timing") or {}
    return {
        "name": name,
        "env": env or _named(settings.get("config", {}).get("env", {})),
        "env_steps": settings["env_steps"],
        "run_s": number(timing.get("run_s")),
        "compile_s": number(timing.get("compile_s")),
    }


def _named(env: Mapping[str, Any]) -> str:
    """An environment's name on the command line, with that of another library's, e.g. pettingzoo:sisl.multiwalker_v9."""
    settings = env.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}  # a stranger's file may hold anything
    inside = settings.get("env")
    parts = (env.get("name"), _named(inside) if isinstance(inside, Mapping) else settings.get("id"))
    return ":".join(part for part in parts if isinstance(part, str) and part)


def read_stages(run_dirs: Mapping[str, Path]) -> list[dict[str, Any]]:
    """The stages of an arm, {name: its run's directory}: each run's cost, and that of its companions before it."""
    found = []
    for name, run_dir in run_dirs.items():
        spent = files.read_json(places.located(run_dir) / "run.json", schema.Measured).get("teachers", ())
        mine = [{**stage, "name": f"companion of {name}"} for stage in spent if stage.get("alongside")]
        found = [{key: x for key, x in stage.items() if key != "alongside"} for stage in found]  # had ended before
        found += [*mine, read_stage(run_dir, name)]
    return found


def write(
    out_dir: str | os.PathLike[str],
    report: dict[str, Any],
    replays: Sequence[dict[str, Any]] = (),
    provenance: dict[str, Any] | None = None,
) -> tuple[Path, Path]:
    """Write report.json and report.html, each in one step, and return their paths.

    Both are made before either is written, so a report that fails leaves an older one unchanged.
    """
    from headstart.report.html import render_html

    out_dir = places.located(out_dir)
    data = json.dumps(report, allow_nan=False, indent=1, ensure_ascii=False) + "\n"
    page = render_html(report, list(replays), provenance or {})
    paths = out_dir / "report.json", out_dir / "report.html"
    for path, content in zip(paths, (data, page), strict=True):
        files.write_text(path, content)
    return paths
