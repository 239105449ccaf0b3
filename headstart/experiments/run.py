"""Run an experiment: train its stages in order, each once, resume them after an interruption, and report."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from headstart import registry
from headstart._version import __version__
from headstart.core.checks import HeadstartError, check_known
from headstart.core.guidance import teacher_of
from headstart.experiments import distributed
from headstart.experiments.base import SCALES, Experiment, Scale, Stage
from headstart.experiments.recordings import Recording
from headstart.experiments.report import report_experiment
from headstart.report.build import read_curve
from headstart.report.stats import iqm
from headstart.report.transfer import final
from headstart.storage import files, places, schema
from headstart.teams.saved_demos import holds_demos
from headstart.training import cores, run, session, settings, sweep
from headstart.training.cluster.engine import Make
from headstart.training.config import Config, differences
from headstart.training.directory import check_free, undone_if_refused
from headstart.training.watch import Watcher

Watch = Callable[[str], Watcher]
"""The name of a stage -> the watcher of its run."""


def reproduce(
    name: str, make: Callable[[Scale], Experiment], scale: Scale, out: str | Path, arms: tuple[str, ...] = (),
    seeds: int | None = None, watch: Watch | None = None, before: Callable[[Experiment, int], None] | None = None,
    on: Make | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run an experiment's stages, each once, into `out`/stages, and report; returns the content of report.json.

    Arms that the chosen ones are compared with run too. Refuses a directory that holds anything. `before` is called with
    what will be run and the number of seeds, before anything is written. `on`: the engine that trains the stages, each as soon
    as its teachers have ended, in place of this process, which trains one after another.
    """
    out = places.located(out)
    experiment = make(scale).only(arms)
    check_free(out)
    seeds = experiment.seeds if seeds is None else seeds
    if before:
        before(experiment, seeds)
    manifest = {"experiment": name, "scale": scale, "arms": list(experiment.arms), "seeds": seeds, "headstart": __version__}
    with undone_if_refused(out, lambda: any(out.glob("stages/**/run.json"))):
        with places.made_at_once(out) as staged:
            files.write_json(staged / "experiment.json", manifest, schema.Experiment)
        return continue_experiment(name, experiment, scale, out, seeds, watch, on)


def continue_experiment(
    name: str, experiment: Experiment, scale: str, out: Path, seeds: int, watch: Watch | None = None, on: Make | None = None
) -> dict[str, Any]:
    """Complete an experiment: finished stages are read, an interrupted stage is resumed, and the rest are trained."""
    with files.writing(out):
        out.mkdir(parents=True, exist_ok=True)
    with places.held(out):
        places.tidy(out)
        if on:
            distributed.train_all(experiment, out, on, _finished(experiment, out, seeds), watch)
        else:
            _train_in_turn(experiment, out, seeds, watch)
        return report_experiment(name, experiment, scale, out, seeds)


def _train_in_turn(experiment: Experiment, out: Path, seeds: int, watch: Watch | None) -> None:
    """Train all stages in this process, one after another."""
    for name, stages in experiment.trainings.items():
        try:
            complete(stages, out, seeds, watch)
        except session.Interrupted:
            again = registry.command("resume", out)
            raise session.Interrupted(f"stopped in stage '{name}'; go on with: {again}") from None
        except files.NotWritten as error:
            raise files.NotWritten(error.what, registry.command("resume", out)) from None


def _finished(experiment: Experiment, out: Path, seeds: int) -> set[str]:
    """The names of the trainings that have finished, once each is checked as in `complete`."""
    names = set()
    for name, stages in experiment.trainings.items():
        manifests = [stage.path(out) / "run.json" for stage in stages]
        if all(path.exists() and files.read_json(path, schema.Run).get("finished") for path in manifests):
            complete(stages, out, seeds)
            names.add(name)
    return names


def complete(stages: Sequence[Stage], out: Path, seeds: int, watch: Watch | None = None) -> None:
    """Train a stage, or the stages of one sweep, or go on with them; what has finished is read and checked."""
    if stages[0].sweep:
        _sweep_or_resume(stages, out, seeds, watch)
    else:
        _train_or_resume(stages[0], out, seeds, (watch(stages[0].name),) if watch else ())


def _train_or_resume(stage: Stage, out: Path, seeds: int, watchers: tuple[Watcher, ...]) -> None:
    path = stage.path(out)
    if (path / "run.json").exists():
        _check_stage(stage, out, seeds)
        run.resume(path, watchers)
        return
    run.train(_taught(stage, out, seeds), path, watchers)


def _sweep_or_resume(stages: Sequence[Stage], out: Path, seeds: int, watch: Watch | None) -> None:
    """Train the stages of a sweep as its points, in one program."""
    home, watchers = stages[0].path(out).parents[1], lambda name: (watch(name),) if watch else ()
    if (home / places.SWEEP).exists():
        for stage in stages:
            _check_stage(stage, out, seeds)
        sweep.resume(home, watchers)
        return
    configs = [_taught(stage, out, seeds) for stage in stages]
    sweep.sweep(configs[0], settings.differing(configs), home, watch=watchers)


def _taught(stage: Stage, out: Path, seeds: int) -> Config:
    """The configuration of a stage, with its teachers as paths."""
    found = lambda guide: dataclasses.replace(guide, teacher=_place(teacher_of(guide), out)) if _named(guide) else guide
    return dataclasses.replace(_config(stage, out, seeds), guidance=tuple(map(found, stage.guidance)))


def _named(guide: Any) -> bool:
    """Whether the teacher is one that the experiment makes."""
    return isinstance(teacher_of(guide), str | Recording)


def _place(teacher: str | Recording, out: Path) -> Path:
    """The directory of a teacher; demonstrations are recorded unless they are there."""
    return teacher.made(out) if isinstance(teacher, Recording) else out / "stages" / teacher


def _config(stage: Stage, out: Path, seeds: int) -> Config:
    """The configuration of a stage; its teachers are names of stages."""
    until = float(iqm(final(read_curve(out / "stages" / stage.until)))) if stage.until else None
    numbers: dict[str, Any] = {"steps": stage.steps, "seeds": seeds, "evaluations": stage.evaluations, "keep": stage.keep}
    return Config(stage.env, stage.learner, stage.guidance, until=until, **numbers)


def _check_stage(stage: Stage, out: Path, seeds: int) -> None:
    """Refuse a run that is not the one that the experiment defines, e.g. because two stages were exchanged."""
    path = stage.path(out)
    manifest = files.read_json(path / "run.json", schema.Run)
    if manifest["format"] < 2:  # written before runs had digests
        return
    if odd := differences(manifest, _config(stage, out, seeds)):
        where = f"{path} is not the stage '{stage.name}' that the experiment defines"
        return files.refuse_change(f"{where}: it differs in {', '.join(odd)}")
    for i, guide in enumerate(stage.guidance):
        if _named(guide):
            _check_teacher(path, i, manifest.get("guides"), _place(teacher_of(guide), out))


def _check_teacher(path: Path, index: int, digests: list[str | None] | None, source: Path) -> None:
    """Refuse a run whose saved teacher is not the one it began with, or not the one that the experiment made."""
    demos = holds_demos(source)
    file, kind = ("demos.json", schema.Demonstrations) if demos else ("policy.json", schema.Policy)
    saved, given = (files.read_json(place / file, kind) for place in (places.inside(path, f"teacher-{index}"), source))
    # Arrays are compared, as another version of headstart may have written the settings around them in another way.
    numbers = "arrays" if demos else "parameters"
    other = saved.get(numbers) != given.get(numbers) and numbers in given
    if other or (digests is not None and files.digest_of(saved) not in digests):
        files.refuse_change(f"the teacher of {path} is not the {'demonstrations' if demos else 'team'} in {source}")


def resume(out: Path, watch: Watch | None = None, on: Make | None = None) -> dict[str, Any]:
    """Go on with the experiment at `out`, and report. `on`: see `reproduce`."""
    out = places.located(out)
    saved = begun(out)
    for stage in saved[1].stages:  # stages of one experiment are of one pool
        if (manifest := stage.path(out) / "run.json").exists():
            cores.use_pool(files.read_json(manifest, schema.Run).get("cores"))
            break
    return continue_experiment(*saved, watch, on)


def report_again(out: Path) -> dict[str, Any]:
    """Write the report of an experiment again from its files, if all its stages have finished."""
    name, experiment, scale, out, seeds = begun(places.located(out))
    for stage in experiment.stages:
        if not (stage.path(out) / "policy.json").exists():
            raise HeadstartError(f"stage '{stage.name}' of {out} has not finished: {registry.command('resume', out)}")
        _check_stage(stage, out, seeds)
    return report_experiment(name, experiment, scale, out, seeds)


def arms_of(out: Path) -> dict[str, Path]:
    """{arm: the directory of its last run} of an experiment."""
    _, experiment, _, out, _ = begun(places.located(out))
    return {name: arm.stages[-1].path(out) for name, arm in experiment.arms.items()}


def begun(out: Path) -> tuple[str, Experiment, str, Path, int]:
    """(name, experiment, scale, directory, seeds) of the experiment at `out`, as experiment.json says."""
    saved = files.read_json(out / "experiment.json", schema.Experiment)
    name, scale, arms, seeds = saved["experiment"], saved["scale"], tuple(saved["arms"]), saved["seeds"]
    check_known("experiment", name, registry.experiments())
    check_known("scale", scale, (*SCALES, "demo"))
    return name, registry.experiments()[name](scale).only(arms), scale, out, seeds
