"""KnowRU (Gao et al. 2021): teams of six and of eight reuse the knowledge of a team of four on cooperative navigation.

Tasks I → II and I → III of §4.2 on MADDPG. Settings not in the paper are those of the authors' public code: γ 0.97, batch
1256, learning starts after 500 of 5000 episodes, leaky ReLU.
"""

import dataclasses

from headstart.envs.particle.spread import Spread
from headstart.experiments.base import Arm, Experiment, Scale, Stage, planned
from headstart.guidance.distill import Distill
from headstart.guidance.warm_start import WarmStart
from headstart.learners.ddpg import DDPG
from headstart.report.claims import Claim

EPISODE = 25
TEACHERS = 4
PLANS: dict[Scale, tuple[int, int]] = {"smoke": (240, 2), "demo": (1200, 3), "laptop": (3000, 5), "paper": (5000, 5)}
"""Episodes of every stage, and seeds."""

CLAIMS = (
    Claim("KnowRU starts far above MADDPG", "§4.3, Fig. 5", "knowru", "jump_start", "positive"),
    Claim("KnowRU needs fewer episodes to converge", "§4.3, Fig. 5", "knowru", "time_ratio", "below one"),
    Claim("KnowRU fluctuates less than MADDPG", "§4.3, Fig. 5", "knowru", "fluctuation_ratio", "below one"),
    Claim("KnowRU ends no worse than MADDPG", "§4.3, Fig. 5", "knowru", "asymptotic_gain", "not negative"),
    Claim(
        "KnowRU with a constant α, as in the authors' code, ends no worse",
        "public code",
        "knowru-constant",
        "asymptotic_gain",
        "not negative",
    ),
    Claim("initialising from the teacher does not clearly help", "§4.3", "maddpg+init", "jump_start", "not positive"),
)


def spread(agents: int, scale: Scale) -> Experiment:
    """Cooperative navigation with `agents` agents and landmarks, taught by a team of four."""
    episodes, seeds = planned(PLANS, scale)
    steps = episodes * EPISODE
    learner = DDPG(gamma=0.97, batch=1256, activation="leaky_relu", warmup=steps // 10)
    if scale == "smoke":
        learner = dataclasses.replace(learner, batch=256)
    evaluations = 12 if scale == "smoke" else 50
    world = Spread(agents, semantics="openai")
    teacher = Stage("teacher", Spread(TEACHERS, semantics="openai"), learner, steps, evaluations=evaluations)
    student = lambda name, *guides: Stage(name, world, learner, steps, guides, evaluations)
    return Experiment(
        title=f"KnowRU on cooperative navigation: {TEACHERS} agents teach {agents}",
        source="Gao et al. 2021, KnowRU, §4.2 and Fig. 5",
        seeds=seeds,
        arms={
            "maddpg": Arm((student("maddpg"),)),
            "maddpg+init": Arm((teacher, student("maddpg+init", WarmStart("teacher"))), "maddpg"),
            "knowru": Arm((teacher, student("knowru", Distill("teacher"))), "maddpg"),
            "knowru-constant": Arm((teacher, student("knowru-constant", Distill("teacher", schedule="constant"))), "maddpg"),
        },
        claims=CLAIMS,
        headline="knowru",
        notes=(
            "The paper trains one environment at a time. Here 100 step together; both have one update per 100 env-steps.",
            "The teacher sees its own state, the 4 nearest landmarks and the 3 nearest agents. The authors do not say how "
            "they fed it observations of another size.",
            "knowru lowers α from 0.5 to 0.02 along the run, as the paper says; knowru-constant keeps 0.5, as the code does.",
            "maddpg+init copies the teacher's actors, first-layer weights by observed field.",
        ),
    )


EXPERIMENTS = {
    "spread-6": lambda scale: spread(6, scale),
    "spread-8": lambda scale: spread(8, scale),
}
"""Names on the command line, after `knowru/`."""
