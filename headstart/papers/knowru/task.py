"""What KnowRU's experiments share: a source and a target task that are trained alike, and the paper's claims."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from headstart.core.env import Env
from headstart.core.guidance import GuidanceConfig
from headstart.core.learner import LearnerConfig
from headstart.experiments.base import Arm, Experiment, Scale, Stage, planned
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.report.claims import Claim

SOURCE = "Gao et al. 2021, KnowRU"
EPISODE = 25
PLANS: dict[Scale, tuple[int, int]] = {"smoke": (240, 2), "demo": (1200, 3), "laptop": (3000, 5), "paper": (5000, 5)}
"""Episodes of every stage, and seeds, of the experiments on MADDPG."""
ALONE = "maddpg"
"""The arm without a teacher."""
ONE_AT_A_TIME = "The paper trains one environment at a time. Here 100 step together; both have one update per 100 env-steps."
NEAREST = (
    "The teacher sees its own state and as many entities as in its own task, the nearest ones. The authors do not say how they "
    "fed it observations of another size."
)
ANNEALED = "knowru lowers α from 0.5 to 0.02 along the run, as the paper says; knowru-constant keeps 0.5, as the code does."
CODE = Claim(
    "KnowRU with a constant α, as in the authors' code, ends no worse",
    "public code",
    "knowru-constant",
    "asymptotic_gain",
    "not negative",
)


@dataclasses.dataclass(frozen=True)
class Task:
    """A source task and a target task, trained alike."""

    source: Env
    target: Env
    learner: LearnerConfig
    steps: int
    evaluations: int
    alone: str = ALONE

    def arms(self, taught: Mapping[str, GuidanceConfig]) -> dict[str, Arm]:
        """The arm without a teacher, and one for each guidance, whose teacher is the stage `teacher`."""
        stage = lambda name, env, *guides: Stage(name, env, self.learner, self.steps, guides, self.evaluations)
        teacher = stage("teacher", self.source)
        arms = {self.alone: Arm((stage(self.alone, self.target),))}
        return arms | {name: Arm((teacher, stage(name, self.target, guide)), self.alone) for name, guide in taught.items()}


def on_maddpg(source: Env, target: Env, scale: Scale, part: int = 1, **settings: Any) -> Task:
    """A source and a target task for MADDPG with the settings of the public code, but for `settings`.

    part: 2 for half of the plan's episodes.
    """
    steps = planned(PLANS, scale)[0] * EPISODE // part
    learner = DDPG(gamma=0.97, batch=256 if scale == "smoke" else 1256, activation="leaky_relu", warmup=steps // 10)
    return Task(source, target, dataclasses.replace(learner, **settings), steps, 12 if scale == "smoke" else 50)


def transfers(arm: str, where: str) -> tuple[Claim, ...]:
    """The paper's claims about a taught arm."""
    return (
        Claim("KnowRU starts far above MADDPG", where, arm, "jump_start", "positive"),
        Claim("KnowRU needs fewer episodes to converge", where, arm, "time_ratio", "below one"),
        Claim("KnowRU fluctuates less than MADDPG", where, arm, "fluctuation_ratio", "below one"),
        Claim("KnowRU ends no worse than MADDPG", where, arm, "asymptotic_gain", "not negative"),
    )


def of_role(title: str, source: str, role: str, task: Task, seeds: int, claims: tuple[Claim, ...], note: str) -> Experiment:
    """An experiment that teaches one role and measures its return; the other roles learn as in the arm without a teacher."""
    taught = {
        "knowru": Distill("teacher", roles=(role,)),
        "knowru-constant": Distill("teacher", roles=(role,), schedule="constant"),
    }
    return Experiment(
        title=title,
        source=source,
        seeds=seeds,
        arms=task.arms(taught),
        claims=claims,
        headline="knowru",
        metric=f"return/{role}",
        notes=(ONE_AT_A_TIME, NEAREST, ANNEALED, note),
    )
