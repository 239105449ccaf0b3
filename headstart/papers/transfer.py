"""Which team teaches whom: students of every size with teachers of every size, for three kinds of guidance.

This is in none of the papers. It asks a user's first question on three worlds, with one learner, and settings that are the same
in every cell.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from headstart.core.env import Env
from headstart.core.guidance import GuidanceConfig
from headstart.envs.battle.smax import SMAX
from headstart.envs.particle.spread import Spread
from headstart.envs.particle.tag import Tag
from headstart.experiments.base import Arm, Experiment, Scale, Stage, planned
from headstart.experiments.recordings import Recording
from headstart.guidance.distill import Distill
from headstart.guidance.gail import Gail
from headstart.guidance.warm_start import WarmStart
from headstart.learners.ppo import PPO
from headstart.report.claims import Claim
from headstart.report.matrix import Cell
from headstart.teams.demos import Demos
from headstart.teams.policy import TeamPolicy
from headstart.teams.recording import record


@dataclasses.dataclass(frozen=True)
class Plan:
    """Env-steps of every team, seeds, demonstrated episodes, evaluations, and settings that a scale changes."""

    steps: int
    seeds: int
    shown: int
    evaluations: int
    ppo: dict[str, Any]
    gail: dict[str, Any]


PLANS: dict[Scale, Plan] = {
    "smoke": Plan(512, 2, 8, 4, {"num_envs": 4, "rollout": 16, "hidden": (8,)}, {"steps": 2, "batch": 16, "hidden": (8,)}),
    "laptop": Plan(200_000, 3, 400, 20, {}, {"steps": 10, "batch": 512}),
    "paper": Plan(2_000_000, 10, 1_000, 40, {}, {"steps": 32, "batch": 1024}),
}


@dataclasses.dataclass(frozen=True)
class World:
    """Tasks that differ in the size of their teams, from few agents to many."""

    title: str
    sizes: Mapping[str, Callable[[], Env]]
    coefficient: float = 0.1
    """c of GAIL, one for all cells."""


WORLDS = {
    "spread": World("cooperative navigation", {str(n): partial(Spread, n) for n in (3, 4, 6, 8)}),
    "tag": World("predators of a random prey", {str(n): partial(Tag, n, policy="random") for n in (1, 3, 5)}),
    "smax": World("battles of marines", {name: partial(SMAX, name) for name in ("3m", "5m_vs_6m", "8m")}, 0.03),
}
"""A battle's best return is 2, a tenth of SMAC's, and so c is a tenth of DM²'s for marines."""


def transfer(name: str, scale: Scale) -> Experiment:
    """The matrix of a world; at smoke scale that of its two smallest teams."""
    world, plan = WORLDS[name], planned(PLANS, scale)
    sizes = {size: make() for size, make in list(world.sizes.items())[: 2 if scale == "smoke" else None]}
    learner = PPO(**plan.ppo)
    stage = lambda name, env, *guides: Stage(name, env, learner, plan.steps, guides, plan.evaluations)
    alone = {size: stage(f"alone-{size}", env) for size, env in sizes.items()}
    arms, cells = {first.name: Arm((first,)) for first in alone.values()}, []
    for teacher in sizes:
        for student, env in sizes.items():
            for method, guide in _guides(alone[teacher].name, env, student, plan, world.coefficient).items():
                taught = stage(f"{method}-{teacher}-to-{student}", env, guide)
                arms[taught.name] = Arm((alone[teacher], taught), alone[student].name)
                cells.append(Cell(taught.name, method, teacher, student))
    small, *_, large = sizes
    return Experiment(
        title=f"Transfer between teams of different sizes: {world.title}",
        source="ours",
        seeds=plan.seeds,
        arms=arms,
        claims=tuple(
            claim
            for method in dict.fromkeys(cell.method for cell in cells)
            for claim in _claims(method, small, large)
        ),
        headline=f"distill-{small}-to-{large}",
        matrix=tuple(cells),
        notes=(
            "A teacher of another size that is asked, or that demonstrates, sees as many of each kind of entity as in its own "
            "task: the nearest ones, or the first ones if actions choose among them. The agents of a larger team are paired "
            "with its agents in turn. Warm start copies the rows of a first layer by observed field.",
            "Distillation and warm start give a student of seed s the teacher of seed s. For GAIL the teacher's best seed "
            f"demonstrates in the student's own task, with its most likely actions. These {plan.shown} episodes, and as many "
            "of each other seed from which the best is chosen, are not counted among the teacher's env-steps.",
            f"Every team has {plan.steps:,} env-steps, and GAIL's coefficient is {world.coefficient} in every cell.",
        ),
    )  # fmt: skip


def _guides(teacher: str, env: Env, student: str, plan: Plan, coefficient: float) -> dict[str, GuidanceConfig]:
    """{method: guidance of a student on `env`}."""
    shown = Recording(f"{teacher}-in-{student}", (teacher,), lambda team: _best(team, env, plan.shown))
    return {"distill": Distill(teacher), "warm-start": WarmStart(teacher), "gail": Gail(shown, coefficient, **plan.gail)}


def _best(team: TeamPolicy, env: Env, episodes: int) -> Demos:
    """Demonstrations, on the student's task, of the teacher's seed that earns most there."""
    fitted = team.adapt(env)
    found = [record(fitted, env, episodes, seed, sample=False) for seed in range(len(team.seeds))]
    return found[int(np.argmax([demos.means["return"] for demos in found]))]


def _claims(method: str, small: str, large: str) -> tuple[Claim, ...]:
    """What a user hopes of the smallest team as the teacher of the largest, and of the largest as that of the smallest."""
    up, down = f"{method}-{small}-to-{large}", f"{method}-{large}-to-{small}"
    words = f"{method} from {small} to {large}"
    return (
        Claim(f"{words}: starts above the team alone", "ours", up, "jump_start", "positive"),
        Claim(f"{words}: needs fewer env-steps, the teacher's not counted", "ours", up, "time_ratio", "below one"),
        Claim(f"{words}: ends higher", "ours", up, "asymptotic_gain", "positive"),
        Claim(f"{method} from {large} to {small}: starts above the team alone", "ours", down, "jump_start", "positive"),
    )


EXPERIMENTS = {name: partial(transfer, name) for name in WORLDS}
"""Names on the command line, after `transfer/`."""
