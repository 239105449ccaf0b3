"""Run an experiment: train its stages in order, each once, resume them after an interruption, and report."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headstart import registry
from headstart._version import __version__
from headstart.core.checks import HeadstartError, check_known
from headstart.core.guidance import teacher_of
from headstart.experiments.base import SCALES, Experiment, Scale, Stage
from headstart.experiments.report import report_experiment
from headstart.report.build import read_curve
from headstart.report.stats import iqm
from headstart.report.transfer import final
from headstart.storage import files
from headstart.training import cores, run, session
from headstart.training.config import Config
from headstart.training.directory import go_on, undone_if_refused
from headstart.training.watch import Watcher

Watch = Callable[[str], Watcher]
"""The name of a stage -> the watcher of its run."""


def reproduce(
    name: str, make: Callable[[Scale], Experiment], scale: Scale, out: str | Path, arms: tuple[str, ...] = (),
    seeds: int | None = None, watch: Watch | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run an experiment's stages, each once, into `out`/stages, and report; returns the content of report.json.

    Arms that the chosen ones are compared with run too. Refuses a directory that holds anything.
    """
    out = Path(out)
    experiment = make(scale).only(arms)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HeadstartError(f"{out} already holds something: choose another --out{go_on(out)}")
    seeds = experiment.seeds if seeds is None else seeds
    manifest = {"experiment": name, "scale": scale, "arms": list(experiment.arms), "seeds": seeds, "headstart": __version__}
    with undone_if_refused(out, lambda: any(out.glob("stages/*/run.json"))):
        files.write_json(out / "experiment.json", {"format": files.FORMAT, **manifest})
        return continue_experiment(name, experiment, scale, out, seeds, watch)


def continue_experiment(
    name: str, experiment: Experiment, scale: str, out: Path, seeds: int, watch: Watch | None = None
) -> dict[str, Any]:
    """Complete an experiment: finished stages are read, an interrupted stage is resumed, and the rest are trained."""
    for stage in experiment.stages:
        path = out / "stages" / stage.name
        try:
            _train_or_resume(stage, path, seeds, (watch(stage.name),) if watch else ())
        except session.Interrupted:
            again = registry.command("resume", out)
            raise session.Interrupted(f"stopped in stage '{stage.name}'; go on with: {again}") from None
    return report_experiment(name, experiment, scale, out, seeds)


def _train_or_resume(stage: Stage, path: Path, seeds: int, watchers: tuple[Watcher, ...]) -> None:
    if (path / "run.json").exists():
        run.resume(path, watchers)
        return
    named = lambda guide: isinstance(teacher_of(guide), str)
    found = lambda guide: dataclasses.replace(guide, teacher=path.parent / teacher_of(guide)) if named(guide) else guide
    taught = tuple(found(guide) for guide in stage.guidance)
    until = float(iqm(final(read_curve(path.parent / stage.until)))) if stage.until else None
    config = Config(stage.env, stage.learner, taught, stage.steps, seeds, evaluations=stage.evaluations, until=until)
    run.train(config, path, watchers)


def resume(out: Path, watch: Watch | None = None) -> dict[str, Any]:
    """Go on with the experiment at `out`, and report."""
    begun = _begun(out)
    for manifest in sorted(out.glob("stages/*/run.json"))[:1]:  # stages of one experiment are of one pool
        cores.use_pool(files.read_json(manifest).get("cores"))
    return continue_experiment(*begun, watch)


def report_again(out: Path) -> dict[str, Any]:
    """Write the report of an experiment again from its files, if all its stages have finished."""
    name, experiment, scale, out, seeds = _begun(out)
    for stage in experiment.stages:
        if not (out / "stages" / stage.name / "policy.json").exists():
            raise HeadstartError(f"stage '{stage.name}' of {out} has not finished: {registry.command('resume', out)}")
    return report_experiment(name, experiment, scale, out, seeds)


def _begun(out: Path) -> tuple[str, Experiment, str, Path, int]:
    saved = files.read_json(out / "experiment.json")
    try:
        name, scale, arms, seeds = saved["experiment"], saved["scale"], tuple(saved["arms"]), int(saved["seeds"])
    except (KeyError, TypeError, ValueError) as error:
        raise HeadstartError(f"{out / 'experiment.json'} is damaged ({error!r})") from None
    check_known("experiment", name, registry.experiments())
    check_known("scale", scale, (*SCALES, "demo"))
    return name, registry.experiments()[name](scale).only(arms), scale, out, seeds
