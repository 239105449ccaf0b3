"""Cooperative navigation of another library, on MADDPG."""

import dataclasses

from headstart.envs.pettingzoo import PettingZoo
from headstart.experiments.base import Experiment, Scale, planned
from headstart.guidance.distill import Distill
from headstart.papers.knowru.task import ANNEALED, NEAREST, PLANS, on_maddpg, transfers


def pettingzoo(scale: Scale) -> Experiment:
    """Another library's environment: three agents teach five on PettingZoo's cooperative navigation."""
    fields = lambda n: ("velocity=2", "position=2", f"landmarks={n}x2", f"agents={n - 1}x2", f"messages={n - 1}x2@agents")
    world = lambda n: PettingZoo("mpe2.simple_spread_v3", options={"N": n}, fields=fields(n))
    part = {"smoke": 10, "laptop": 2}.get(scale, 1)  # workers step Python environments
    task = on_maddpg(world(3), world(5), scale, part, num_envs=20, capacity=100_000)
    task = dataclasses.replace(task, evaluations=task.evaluations // 2)
    return Experiment(
        title="KnowRU on PettingZoo's cooperative navigation: three agents teach five",
        source="ours",
        seeds=min(3, planned(PLANS, scale)[1]),
        arms=task.arms({"knowru": Distill("teacher"), "knowru-constant": Distill("teacher", schedule="constant")}),
        claims=transfers("knowru", "ours"),
        headline="knowru",
        notes=("The environment names no observed fields, so the experiment does (--env.fields).", NEAREST, ANNEALED),
    )
