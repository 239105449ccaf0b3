"""One or two layers before the GRU of QMIX's agents (Fig. 4)."""

import dataclasses

from headstart.envs.battle.smax import SMAX
from headstart.envs.inputs import Inputs
from headstart.experiments.base import Arm, Experiment, Scale, Stage, planned
from headstart.learners.qlearning import QMIX
from headstart.papers.dm2.task import LIGHT, SOURCE
from headstart.report.claims import Claim

PLANS: dict[Scale, tuple[int, int]] = {"smoke": (2_048, 2), "laptop": (300_000, 3), "paper": (10_000_000, 5)}
"""Env-steps of every stage, and seeds."""


def qmix_architecture(scale: Scale) -> Experiment:
    """One or two layers before the GRU of QMIX's agents, five marines against six (Fig. 4)."""
    steps, seeds = planned(PLANS, scale)
    env = Inputs(SMAX("5m_vs_6m", reward_scale="smac"), agent_id=True, last_action=True)
    light = {"smoke": {"batch": 4, "gradient_steps": 1, "exploration_steps": 500}, "laptop": LIGHT}
    learner = dataclasses.replace(QMIX, **light.get(scale, {}))
    of = lambda name, *hidden: Stage(name, env, dataclasses.replace(learner, hidden=hidden), steps)
    return Experiment(
        title="QMIX with one or two layers before the GRU, five marines against six",
        source=f"{SOURCE}, App. D and Fig. 4",
        seeds=seeds,
        arms={"one-layer": Arm((of("one-layer", 64, 64),)), "two-layers": Arm((of("two-layers", 64, 64, 64),), "one-layer")},
        claims=(
            Claim("with a second layer before the GRU, QMIX wins less", "Fig. 4", "two-layers", "asymptotic_gain", "negative"),
        ),
        headline="two-layers",
        metric="win",
        notes=(
            "SMAX stands in for StarCraft II: no shields, at most 100 env-steps, a scripted enemy (see docs/environments.md).",
            "Sequences of 32 env-steps stand for pymarl's episodes.",
            "At laptop scale, memory keeps 51,200 env-steps in the place of 160,000, with 4 gradient steps per 256 env-steps.",
        ),
    )
