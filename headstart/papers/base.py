"""What an experiment is: arms made of stages, and claims to judge; and how it is run, resumed and reported."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headstart import files, papers, run, session
from headstart._version import __version__
from headstart.checks import HeadstartError, known
from headstart.config import Config
from headstart.envs.base import Drawable, Env
from headstart.guidance.base import GuidanceConfig
from headstart.learners.base import LearnerConfig
from headstart.policy import load
from headstart.replay import record
from headstart.report.build import build_report, read_curve, read_stage, write
from headstart.report.claims import Claim
from headstart.report.stats import iqm
from headstart.report.transfer import final
from headstart.rundir import go_on

Scale = Literal["smoke", "demo", "laptop", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "laptop", "paper")
"""Scales to choose from on the command line; `demo` is what `headstart demo` runs."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training. A guide's `teacher` is the name of an earlier stage."""

    name: str
    env: Env
    learner: LearnerConfig
    steps: int
    guidance: tuple[GuidanceConfig, ...] = ()
    evaluations: int = 25
    until: str = ""
    """An earlier stage whose final return this one is trained to reach, and no further."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """Stages in order; the last is the one that is measured, the others are the price of its teacher."""

    stages: tuple[Stage, ...]
    versus: str | None = None
    """The arm it is compared with."""
    measures: Mapping[str, Callable[[Path], np.ndarray]] = dataclasses.field(default_factory=dict)
    """Further quantities of the last stage for claims to be about: name -> (run directory -> one value a seed)."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A question of a paper: its arms, and what the paper claims of them."""

    title: str
    source: str
    """Paper and section."""
    seeds: int
    arms: dict[str, Arm]
    claims: tuple[Claim, ...]
    headline: str
    """The arm the report is about."""
    notes: tuple[str, ...] = ()
    """What differs from the paper, and why."""

    @property
    def stages(self) -> list[Stage]:
        """Every stage once, teachers before their students."""
        stages = {stage.name: stage for arm in self.arms.values() for stage in arm.stages}
        ordered: dict[str, Stage] = {}

        def add(stage: Stage) -> None:
            needs = [stage.until, *(str(guide.teacher) for guide in stage.guidance)]
            for name in needs:
                if name in stages and name not in ordered:
                    add(stages[name])
            ordered.setdefault(stage.name, stage)

        for stage in stages.values():
            add(stage)
        return list(ordered.values())


Watch = Callable[[str, session.Progress | None], None]
"""Told the stage's name with every piece of its progress, and with None when it ends."""


def reproduce(
    name: str, make: Callable[[Scale], Experiment], scale: Scale, out: str | Path, arms: tuple[str, ...] = (),
    seeds: int | None = None, watch: Watch | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run an experiment's stages, each once, into `out`/stages, and report; returns the content of report.json.

    The arms that others are compared with are always run. Refuses a directory that holds anything.
    """
    out = Path(out)
    experiment = _chosen(make(scale), arms)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HeadstartError(f"{out} already holds something: choose another --out{go_on(out)}")
    seeds = experiment.seeds if seeds is None else seeds
    about = {"experiment": name, "scale": scale, "arms": list(experiment.arms), "seeds": seeds, "headstart": __version__}
    files.write_json(out / "experiment.json", {"format": files.FORMAT, **about})
    return continue_experiment(name, experiment, scale, out, seeds, watch)


def continue_experiment(
    name: str, experiment: Experiment, scale: str, out: Path, seeds: int, watch: Watch | None = None
) -> dict[str, Any]:
    """Do what is left of an experiment: stages that are finished are read, a stage that was cut short is resumed."""
    for stage in experiment.stages:
        path = out / "stages" / stage.name
        told = (lambda progress, stage=stage: watch(stage.name, progress)) if watch else None
        try:
            _train_or_resume(stage, path, seeds, told)
        except session.Interrupted:
            raise session.Interrupted(f"stopped in stage '{stage.name}'; go on with: headstart resume {out}") from None
        if watch:
            watch(stage.name, None)
    return _report(name, experiment, scale, out, seeds)


def _train_or_resume(stage: Stage, path: Path, seeds: int, watch: session.Watch | None) -> None:
    if (path / "run.json").exists():
        run.resume(path, watch)
        return
    taught = tuple(dataclasses.replace(guide, teacher=path.parent / guide.teacher) for guide in stage.guidance)
    until = float(iqm(final(read_curve(path.parent / stage.until)))) if stage.until else None
    config = Config(stage.env, stage.learner, taught, stage.steps, seeds, evaluations=stage.evaluations, until=until)
    run.train(config, path, watch)


def resume(out: Path, watch: Watch | None = None) -> dict[str, Any]:
    """Go on with the experiment that was begun at `out`, and report."""
    return continue_experiment(*_begun(out), watch)


def report_again(out: Path) -> dict[str, Any]:
    """Report an experiment whose stages have all finished once more, from their files."""
    name, experiment, scale, out, seeds = _begun(out)
    for stage in experiment.stages:
        if not (out / "stages" / stage.name / "policy.json").exists():
            raise HeadstartError(f"stage '{stage.name}' of {out} has not finished: headstart resume {out}")
    return _report(name, experiment, scale, out, seeds)


def _begun(out: Path) -> tuple[str, Experiment, str, Path, int]:
    about = files.read_json(out / "experiment.json")
    try:
        name, scale, arms, seeds = about["experiment"], about["scale"], tuple(about["arms"]), int(about["seeds"])
    except (KeyError, TypeError, ValueError) as error:
        raise HeadstartError(f"{out / 'experiment.json'} is damaged ({error!r})") from None
    known("experiment", name, papers.experiments())
    known("scale", scale, (*SCALES, "demo"))
    return name, _chosen(papers.experiments()[name](scale), arms), scale, out, seeds


def _chosen(experiment: Experiment, arms: tuple[str, ...]) -> Experiment:
    for arm in arms:
        known("arm", arm, experiment.arms)
    wanted = set(arms or experiment.arms)
    wanted |= {versus for arm in wanted if (versus := experiment.arms[arm].versus)}
    # A stage that is trained to reach another's return cannot go without it.
    goals = {stage.until for arm in wanted for stage in experiment.arms[arm].stages if stage.until}
    wanted |= {name for name, arm in experiment.arms.items() if arm.stages[-1].name in goals}
    kept = {name: arm for name, arm in experiment.arms.items() if name in wanted}
    claims = tuple(claim for claim in experiment.claims if claim.arm in kept)
    headline = experiment.headline if experiment.headline in kept else list(kept)[-1]
    return dataclasses.replace(experiment, arms=kept, claims=claims, headline=headline)


def _report(name: str, experiment: Experiment, scale: str, out: Path, seeds: int) -> dict[str, Any]:
    arms = {}
    for arm_name, arm in experiment.arms.items():
        stages = [read_stage(out / "stages" / stage.name, stage.name) for stage in arm.stages]
        last = out / "stages" / arm.stages[-1].name
        measures = {quantity: measure(last) for quantity, measure in arm.measures.items()}
        arms[arm_name] = {"stages": stages, "curve": read_curve(last), "versus": arm.versus, "measures": measures}
    about = {"experiment": name, "title": experiment.title, "source": experiment.source, "scale": scale}
    report = build_report(about | {"metric": "episode_return", "headline": experiment.headline}, arms, experiment.claims)
    command = "headstart demo" if scale == "demo" else f"headstart reproduce {name} --scale {scale} --seeds {seeds}"
    provenance: dict[str, Any] = {"command": command, "notes": list(experiment.notes)}
    provenance["stages"] = {
        stage.name: files.read_json(out / "stages" / stage.name / "run.json") for stage in experiment.stages
    }
    write(out, report, _replays(experiment, out), provenance)
    return report


def _replays(experiment: Experiment, out: Path) -> list[dict[str, Any]]:
    runs = {name: out / "stages" / arm.stages[-1].name for name, arm in experiment.arms.items()}
    return [replay for name, path in runs.items() if (replay := replay_of(path, name))]


def replay_of(path: Path, title: str) -> dict[str, Any] | None:
    """The first start (alike for all teams) played by the seed of a run nearest to the middle of its seeds."""
    team, last = load(path), read_curve(path).returns[:, -1]
    env: Env | None = team.env
    if not isinstance(env, Drawable):
        return None
    return record(team, env, int(np.abs(last - np.median(last)).argmin()), title=title)


def report_runs(directories: list[Path], out: Path) -> dict[str, Any]:
    """Report finished runs beside each other; the first is what the others are compared with."""
    names = [path.name for path in directories]
    if len(set(names)) < len(names):
        raise HeadstartError(f"runs to compare need different names; these are {', '.join(names)}")
    abouts = {path.name: files.read_json(path / "run.json") for path in directories}
    for path in directories:
        if not abouts[path.name].get("finished"):
            raise HeadstartError(f"{path} has not finished: headstart resume {path}")
    rivals = {name: None if name == names[0] else names[0] for name in names}
    arms = {
        path.name: {
            "stages": [*abouts[path.name]["teachers"], read_stage(path, path.name)],
            "curve": read_curve(path),
            "versus": rivals[path.name],
        }
        for path in directories
    }
    kind = {"kind": "run"} if len(names) == 1 else {"kind": "experiment", "headline": names[-1]}
    report = build_report({"experiment": " vs ".join(names), "metric": "episode_return", **kind}, arms)
    replays = [replay for path in directories if (replay := replay_of(path, path.name))]
    write(out, report, replays, {"runs": abouts})
    return report
