"""Experiments: arms made of stages, and claims to judge."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from headstart.core.checks import HeadstartError, check_known
from headstart.core.env import Env
from headstart.core.guidance import GuidanceConfig, teacher_of
from headstart.core.learner import LearnerConfig
from headstart.experiments.recordings import Recording
from headstart.report.claims import Claim
from headstart.report.matrix import Cell
from headstart.storage.places import POINTS, inside

Scale = Literal["smoke", "demo", "laptop", "paper", "literal"]
SCALES: tuple[Scale, ...] = ("smoke", "laptop", "paper", "literal")
"""Scales to choose from on the command line; `headstart demo` runs the scale `demo`. Few papers have `literal`: a number that
they state and that can hardly be meant, taken at its word."""
Plan = TypeVar("Plan")


def planned(plans: Mapping[Scale, Plan], scale: Scale) -> Plan:
    """A paper's plan for a scale; raises HeadstartError if it has none."""
    if scale not in plans:
        raise HeadstartError(f"this experiment has no scale '{scale}': take {', '.join(s for s in SCALES if s in plans)}")
    return plans[scale]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training. A guide's `teacher` is the name of an earlier stage, or STAGE/KEPT for a team that the stage keeps, or a
    `Recording` of such a team."""

    name: str
    env: Env
    learner: LearnerConfig
    steps: int
    guidance: tuple[GuidanceConfig, ...] = ()
    evaluations: int = 25
    until: str = ""
    """An earlier stage: training stops once this stage has reached its final return."""
    sweep: str = ""
    """Stages of one sweep train in one program. They may differ only in real settings, and have the names of its points."""
    keep: tuple[str, ...] = ()
    """What it keeps beside its last team (see `training.keep`): "best" is the teacher STAGE/best."""

    @property
    def needs(self) -> list[str]:
        """The names of the stages that must end before it begins."""
        return list(filter(None, (self.until, *(stage_of(teacher_of(guide)) for guide in self.guidance))))

    @property
    def recordings(self) -> list[Recording]:
        """The demonstrations that it learns from."""
        return [teacher for guide in self.guidance if isinstance(teacher := teacher_of(guide), Recording)]

    def path(self, out: Path) -> Path:
        """The directory of its run in an experiment at `out`."""
        return inside(out, "stages", self.sweep, POINTS, self.name) if self.sweep else inside(out, "stages", self.name)


def stage_of(teacher: Any) -> str:
    """The name of the stage that trains the teacher of a stage's guide; empty if none does."""
    if isinstance(teacher, Recording):
        return teacher.stage
    return teacher.partition("/")[0] if isinstance(teacher, str) else ""


@dataclasses.dataclass(frozen=True)
class Measure:
    """A further quantity of a run, for claims and for the report."""

    meaning: str
    """What it is, in words, for a table's caption."""
    of: Callable[[Path], np.ndarray]
    """The run's directory -> [S], one value per seed."""

    def __call__(self, run: Path) -> np.ndarray:
        """[S] of a run."""
        return self.of(run)


@dataclasses.dataclass(frozen=True)
class Arm:
    """Stages in order: the last one is measured, and the others are the cost of its teacher."""

    stages: tuple[Stage, ...]
    versus: str | None = None
    """The arm to compare it with."""
    measures: Mapping[str, Measure] = dataclasses.field(default_factory=dict)
    """Further quantities of the last stage, by name; arms that share a name share its meaning."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A question of a paper: its arms, and the paper's claims about them."""

    title: str
    source: str
    """Paper and section."""
    seeds: int
    arms: dict[str, Arm]
    claims: tuple[Claim, ...]
    headline: str
    """The arm that the report shows first."""
    metric: str = "return"
    """The metric of its arms: "return" (the mean over the team), "return/ROLE", or the name of an event ("win")."""
    goal: float | None = None
    """The value of the metric that counts as having learned the task, if the paper states one; else the baseline sets it."""
    matrix: tuple[Cell, ...] = ()
    """The arms' places in a transfer matrix, if it is one."""
    notes: tuple[str, ...] = ()
    """Differences from the paper, and their reasons."""

    @property
    def stages(self) -> list[Stage]:
        """Every stage once, teachers before their students."""
        stages = {stage.name: stage for arm in self.arms.values() for stage in arm.stages}
        ordered: dict[str, Stage] = {}

        def add(stage: Stage) -> None:
            for name in stage.needs:
                if name in stages and name not in ordered:
                    add(stages[name])
            ordered.setdefault(stage.name, stage)

        for stage in stages.values():
            add(stage)
        return list(ordered.values())

    @property
    def trainings(self) -> dict[str, list[Stage]]:
        """The stages in order, those of one sweep together, by the name of the sweep or of the stage."""
        groups: dict[tuple[bool, str], list[Stage]] = {}
        for stage in self.stages:
            groups.setdefault((bool(stage.sweep), stage.sweep or stage.name), []).append(stage)
        return {name: stages for (_, name), stages in groups.items()}

    def only(self, arms: tuple[str, ...]) -> "Experiment":
        """The experiment with these arms and the arms that they are compared with; all arms if `arms` is empty."""
        for arm in arms:
            check_known("arm", arm, self.arms)
        wanted = set(arms or self.arms)
        wanted |= {versus for arm in wanted if (versus := self.arms[arm].versus)}
        # A stage that trains to another's return needs that other stage.
        goals = {stage.until for arm in wanted for stage in self.arms[arm].stages if stage.until}
        wanted |= {name for name, arm in self.arms.items() if arm.stages[-1].name in goals}
        kept = {name: arm for name, arm in self.arms.items() if name in wanted}
        claims = tuple(claim for claim in self.claims if claim.arm in kept)
        headline = self.headline if self.headline in kept else list(kept)[-1]
        matrix = tuple(cell for cell in self.matrix if cell.arm in kept)
        return dataclasses.replace(self, arms=kept, claims=claims, headline=headline, matrix=matrix)
