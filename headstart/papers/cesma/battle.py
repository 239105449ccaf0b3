"""CESMA on StarCraft-like battles (Fig. 4): an expert that moves all units, its students, and independent Q-learning."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from headstart.envs.battle.smax import SMAX
from headstart.envs.centralized import centralized
from headstart.envs.inputs import Inputs
from headstart.experiments.base import Arm, Experiment, Measure, Scale, Stage, planned
from headstart.guidance.dagger import Dagger
from headstart.learners.imitator import Imitator
from headstart.learners.qlearning import QMIX, QLearning
from headstart.papers.cesma.task import SOURCE, Plan
from headstart.report.build import read_curve
from headstart.report.claims import Claim
from headstart.report.transfer import final

PLANS: dict[Scale, Plan] = {
    "smoke": Plan(2_048, 1_024, 3_072, 2),
    "laptop": Plan(200_000, 100_000, 300_000, 3),
    "paper": Plan(2_000_000, 500_000, 2_500_000, 5),
}
COLLECTED: dict[str, Any] = {"num_envs": 8, "train_every": 256, "gradient_steps": 12, "capacity": 160_000}
"""Sequences of 32 env-steps, 5,000 of them in memory, and a gradient step about every 20 env-steps."""
LIGHT: dict[str, Any] = {"capacity": 51_200, "gradient_steps": 4}
"""Settings of the laptop scale: three seeds of 160,000 env-steps take 5 GB of memory, and as much in each checkpoint."""
QUICK: dict[str, Any] = {"gradient_steps": 8, "lr": 5e-4, "tau": 5e-3}
"""The expert's at laptop scale, whose gradient steps are a fifteenth of the paper's."""


def _earned(run: Path) -> np.ndarray:
    """[S]: what a run earns at its end, less what IQL's does."""
    return final(read_curve(run)) - final(read_curve(run.parent / "iql"))


EARNED = {"return_gain": Measure("the final return less that of iql", _earned)}
"""It tells teams apart that win too rarely to be counted."""


def battle(scale: Scale) -> Experiment:
    """Three stalkers and five zealots on each side."""
    plan, changes = planned(PLANS, scale), {"smoke": {"batch": 4, "gradient_steps": 1}, "laptop": LIGHT}
    own = changes.get(scale, {})
    env = Inputs(SMAX("3s5z", reward_scale="smac"), agent_id=True, last_action=True)
    expert = QLearning(
        core="gru", hidden=(64,), lr=2e-4, weight_decay=1e-4, tau=1e-3, loss="mse", exploration_steps=plan.expert // 10,
        **COLLECTED,
    )  # fmt: skip
    students = Imitator(core="gru", shared=True, hidden=(64,), lr=2e-4, weight_decay=1e-4, **COLLECTED)
    iql = dataclasses.replace(QMIX, mixing="none", exploration_steps=min(50_000, plan.rivals // 2))
    expert = dataclasses.replace(expert, **(own | (QUICK if scale == "laptop" else {})))
    teacher = Stage("expert", centralized(env), expert, plan.expert, keep=("best",))
    taught = Stage("cesma", env, dataclasses.replace(students, **own), plan.students, (Dagger("expert/best"),))
    alone = Stage("iql", env, dataclasses.replace(iql, **own), plan.rivals)
    return Experiment(
        title="CESMA on a battle of three stalkers and five zealots",
        source=f"{SOURCE}, §6.1 and Fig. 4",
        seeds=plan.seeds,
        arms={
            "iql": Arm((alone,)),
            "expert": Arm((teacher,), "iql", EARNED),
            "cesma": Arm((teacher, taught), "iql", EARNED),
        },
        claims=(
            Claim("the centralised expert wins more often than IQL", "Fig. 4", "expert", "asymptotic_gain", "positive"),
            Claim("the students win more often than IQL", "Fig. 4", "cesma", "asymptotic_gain", "positive"),
            Claim("the students reach the expert", "Fig. 4", "cesma", "recovered", "above nine tenths", "expert"),
            Claim("the centralised expert earns more than IQL", "ours", "expert", "return_gain", "positive"),
            Claim("the students earn more than IQL", "ours", "cesma", "return_gain", "positive"),
        ),
        headline="cesma",
        metric="win",
        notes=(
            "SMAX stands in for StarCraft II: no shields, at most 100 env-steps, a scripted enemy (see docs/environments.md).",
            "All units also observe which they are and what they did last, as in the code that the paper takes IQL from; the "
            "expert sees the observations of all of them side by side.",
            "Networks learn from sequences of 32 env-steps in the place of episodes, and 8 environments step together.",
            "At laptop scale, memory keeps 51,200 env-steps in the place of 160,000, with 4 gradient steps per 256 env-steps.",
            "The expert has 8 there, with 2.5 times the learning rate and a target that follows five times as fast.",
            "The students learn from the expert of the best evaluation, by the mean return over seeds.",
            "Exploration of the expert falls within a tenth of its env-steps: the paper's 3,000 episodes are about that.",
        ),
    )
