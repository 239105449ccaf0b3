"""CESMA with continuous actions: how return and imitation loss belong together (Fig. 9)."""

import dataclasses
from pathlib import Path

import numpy as np
import scipy.stats

from headstart.experiments.base import Arm, Experiment, Measure, Scale, planned
from headstart.papers.cesma.task import PLANS, SOURCE, expert_of, navigation, students_of
from headstart.report.build import read_column
from headstart.report.claims import Claim


def reward_vs_loss(scale: Scale) -> Experiment:
    """Return against imitation loss, and each agent's loss, with continuous actions (Fig. 9)."""
    plan = planned(PLANS, scale)
    arms = {}
    for name, mixed in (("homogeneous", False), ("nonhomogeneous", True)):
        env = navigation(3, mixed, control="force")
        expert = dataclasses.replace(expert_of(env, 225, plan, scale), name=f"expert-{name}")
        students = students_of(env, 128, plan, scale, name, f"expert-{name}")
        arms[name] = Arm((expert, students), measures=MEASURES)
    return Experiment(
        title="CESMA with continuous actions: return against imitation loss",
        source=f"{SOURCE}, Fig. 9",
        seeds=plan.seeds,
        arms=arms,
        claims=(
            Claim("return falls as loss grows (all alike)", "Fig. 9", "homogeneous", "loss_correlation", "negative"),
            Claim("return falls as loss grows (three kinds)", "Fig. 9", "nonhomogeneous", "loss_correlation", "negative"),
            Claim("the big, slow agent has the largest loss, the small, fast one the smallest", "Fig. 9", "nonhomogeneous",
                  "loss_of_slow_over_fast", "above one"),
        ),
        headline="nonhomogeneous",
        notes=(
            "The loss is the squared distance between a student's action and the expert's on the students' own observations, "
            "at each evaluation; the correlation is Spearman's, over the evaluations of a run.",
        ),
    )  # fmt: skip


def _errors(run: Path) -> np.ndarray:
    """[A S P]: each agent's error against the expert along the run, without the point before training."""
    return np.stack([read_column(run, f"error/agent_{i}")[:, 1:] for i in range(3)])


def _correlation(run: Path) -> np.ndarray:
    losses, returns = _errors(run).mean(0), read_column(run, "eval_return")[:, 1:]
    return np.array([scipy.stats.spearmanr(a, b)[0] for a, b in zip(losses, returns, strict=True)])


def _slow_over_fast(run: Path) -> np.ndarray:
    """For each seed, the loss of the big, slow agent over that of the small, fast one; agents follow the order of `RADII`."""
    mean = _errors(run).mean(-1)
    return mean[2] / mean[0]


MEASURES = {
    "loss_correlation": Measure("rank correlation of imitation loss and return along the run", _correlation),
    "loss_of_slow_over_fast": Measure("imitation loss of the slowest agent over that of the fastest", _slow_over_fast),
}
