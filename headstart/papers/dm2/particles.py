"""GAIL for a second team on particle worlds, from demonstrations of a first one; these tasks are not in the paper.

Both teams learn by MADDPG, which replays: rewards are asked for with every batch, of discriminators that have just learned.
"""

import dataclasses
from typing import Any

import numpy as np

from headstart.core.env import Env
from headstart.envs.particle.spread import Spread
from headstart.envs.particle.tag import Tag
from headstart.experiments.base import Arm, Experiment, Scale, Stage, planned
from headstart.experiments.recordings import Recording
from headstart.guidance.gail import Gail
from headstart.learners.ddpg import DDPG
from headstart.report.claims import Claim
from headstart.teams.demos import Demos
from headstart.teams.policy import TeamPolicy
from headstart.teams.recording import record

ENVS, EPISODE = 100, 25
COEFFICIENT = 0.1
"""c of GAIL: with 1, a team on cooperative navigation ended below one without demonstrations."""
FIRST = "maddpg"
"""The arm of the first team, which is the baseline too."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Episodes of every team, seeds, demonstrated episodes, and settings of the discriminators."""

    episodes: int
    seeds: int
    shown: int
    gail: dict[str, Any]


PLANS: dict[Scale, Plan] = {
    "smoke": Plan(300, 2, 12, {"steps": 2, "batch": 16, "hidden": (8,)}),
    "laptop": Plan(6_000, 5, 1_000, {"steps": 10, "batch": 512}),
    "paper": Plan(60_000, 5, 1_000, {"steps": 10, "batch": 512}),
}


def spread(scale: Scale) -> Experiment:
    """Three agents cover three landmarks."""
    return _second_team(Spread(), "cooperative navigation", scale)


def tag(scale: Scale) -> Experiment:
    """Three predators hunt a prey that moves at random."""
    return _second_team(Tag(3, policy="random"), "predators of a random prey", scale)


def _second_team(env: Env, title: str, scale: Scale) -> Experiment:
    plan = planned(PLANS, scale)
    # An update sees whole episodes, all of which begin together: discriminators would tell single env-steps by their time.
    learner = DDPG(
        train_every=ENVS * EPISODE, gradient_steps=EPISODE, num_envs=ENVS, warmup=ENVS * EPISODE,
        batch=64 if scale == "smoke" else 1024,
    )  # fmt: skip
    stage = lambda name, *guides: Stage(name, env, learner, plan.episodes * EPISODE, guides, 6 if scale == "smoke" else 24)
    first, taught = stage(FIRST), Recording("first", (FIRST,), lambda team: _best(team, plan.shown))
    gail = lambda **settings: Gail(taught, COEFFICIENT, **settings, **plan.gail)
    seconds = stage("gail", gail()), stage("imitation", gail(env_reward=False))
    return Experiment(
        title=f"GAIL for a second team: {title}",
        source="ours",
        seeds=plan.seeds,
        arms={FIRST: Arm((first,))} | {second.name: Arm((first, second), FIRST) for second in seconds},
        claims=(
            Claim("a team with demonstrations learns faster", "ours", "gail", "time_ratio", "below one"),
            Claim("it begins above the first team", "ours", "gail", "jump_start", "positive"),
            Claim("it ends no worse", "ours", "gail", "asymptotic_gain", "not negative"),
            Claim("imitation alone ends worse", "ours", "imitation", "asymptotic_gain", "negative"),
        ),
        headline="gail",
        notes=(
            f"The seed with the largest return of the arm {FIRST} demonstrates {plan.shown} episodes, with its exploration.",
            "The arm imitation has GAIL's reward alone.",
        ),
    )


def _best(team: TeamPolicy, episodes: int) -> Demos:
    """Demonstrations of the seed that earns most."""
    found = [record(team, episodes=episodes, seed=seed) for seed in range(len(team.seeds))]
    return found[int(np.argmax([demos.means["return"] for demos in found]))]
