"""What CESMA's particle experiments share: navigation as in App. D.2, an expert that sees everything, and its students."""

import dataclasses
from typing import Any, Literal

from headstart.core.env import Env
from headstart.envs.centralized import centralized
from headstart.envs.particle.spread import Spread
from headstart.experiments.base import Scale, Stage
from headstart.guidance.dagger import Dagger
from headstart.learners.ddpg import DDPG
from headstart.learners.imitator import Imitator

SOURCE = "Lin et al. 2019, CESMA"
GAMMA = 0.9
RADII, ACCELERATIONS = (0.1, 0.15, 0.2), (7.0, 5.0, 3.5)
"""Small and fast, medium, big and slow: the paper gives no numbers."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Env-steps of each kind of stage, and seeds. A rival alone has as many as an expert and its students together."""

    expert: int
    students: int
    rivals: int
    seeds: int


PLANS: dict[Scale, Plan] = {
    "smoke": Plan(1_500, 1_500, 1_500, 2),
    "demo": Plan(1_500, 1_500, 1_500, 2),
    "laptop": Plan(250_000, 150_000, 400_000, 3),
    "paper": Plan(1_250_000, 250_000, 1_500_000, 3),
}


def navigation(agents: int = 3, mixed: bool = False, control: Literal["moves", "force"] = "moves") -> Spread:
    """Cooperative navigation as in App. D.2, with all agents alike or of three kinds (`mixed`)."""
    times = agents // 3 if mixed else 0
    kinds: dict[str, Any] = {"radii": RADII * times, "accelerations": ACCELERATIONS * times}
    return Spread(agents, semantics="openai", observe="cesma", reward="pairs", control=control, **kinds)


def small(scale: Scale, learner: Any) -> Any:
    return dataclasses.replace(learner, warmup=500, batch=32) if scale in ("smoke", "demo") else learner


def expert_of(env: Env, hidden: int, plan: Plan, scale: Scale) -> Stage:
    learner = DDPG(
        hidden=(hidden, hidden), gamma=GAMMA, actor_lr=1e-3, critic_lr=1e-3, tau=0.01, clip=0.1,
        batch=64, gradient_steps=5, warmup=2_000, train_every=25, num_envs=25,
    )  # fmt: skip
    return Stage("expert", centralized(env), small(scale, learner), plan.expert)


def students_of(
    env: Env, hidden: int, plan: Plan, scale: Scale, name: str = "cesma", expert: str = "expert", **guide: Any
) -> Stage:
    learner = small(scale, Imitator(hidden=(hidden, hidden)))
    return Stage(name, env, learner, plan.students, (Dagger(expert, **guide),), evaluations=50)
