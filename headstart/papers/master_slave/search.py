"""Architecture search: two slaves in a smaller search space help a master in the full one (§5 and Fig. 9).

Every learner does inverse RL: it is paid for what ResNeXt's design visits more often than its own designs. The figure's loss is
the distance between the feature expectations of the two.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from headstart.envs.architecture.env import Architecture
from headstart.experiments.base import Arm, Experiment, Measure, Scale, Stage, planned
from headstart.guidance.companion import Companion
from headstart.guidance.feature_matching import FeatureMatching
from headstart.learners.ppo import PPO
from headstart.papers.master_slave.task import SOURCE
from headstart.report.build import read_column, read_stages
from headstart.report.claims import Claim
from headstart.report.transfer import charged

MASTER, SLAVE = Architecture(), Architecture(8, "reduced")
FIGURE = "Fig. 9"
DIRECT = "direct"
COUPLINGS: dict[str, dict[str, Any]] = {
    "momentum": {"coupling": "momentum"},
    "literal": {"coupling": "momentum", "form": "literal"},
    "naive": {"coupling": "sum"},
}
"""What each arm with slaves sets of `Companion`."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Env-steps of the master, seeds, evaluations, length of a slave's rollout, and settings of PPO that a scale changes."""

    steps: int
    seeds: int
    evaluations: int = 25
    rollout: int = 5 * (SLAVE.layers + 1)
    ppo: dict[str, Any] = dataclasses.field(default_factory=dict)


PLANS: dict[Scale, Plan] = {
    "smoke": Plan(256, 2, 2, 9, {"hidden": (8, 8), "num_envs": 2, "rollout": 32, "epochs": 1, "minibatches": 1}),
    "laptop": Plan(150_000, 3),
    "paper": Plan(1_000_000, 10, 50),
}


def nas(scale: Scale) -> Experiment:
    """The full search space alone, and with two slaves by momentum, by eq. 2 as it is printed, and by a sum of gradients."""
    plan = planned(PLANS, scale)
    less = lambda said, quantity, versus="", source=FIGURE: Claim(said, source, "momentum", quantity, "negative", versus)
    return Experiment(
        title="Architecture search by inverse RL, helped by two slaves in a smaller search space",
        source=f"{SOURCE}, §5 and {FIGURE}",
        seeds=plan.seeds,
        arms=_arms(plan),
        claims=(
            less("with slaves, the master ends nearer to the expert than alone", "final_distance_gain"),
            less("with slaves, the master comes near the expert sooner than alone", "mean_distance_gain"),
            Claim(
                "a sum of gradients ends farther from the expert",
                "Fig. 3",
                "naive",
                "final_distance_gain",
                "positive",
                "momentum",
            ),
            less("it comes near sooner than by eq. 2 as printed", "mean_distance_gain", "literal", "ours"),
            less("with slaves' env-steps counted, it is nearer than the master alone", "charged_distance_gain", source="ours"),
        ),
        headline="momentum",
        metric="agreement",
        notes=(
            "The loss is the distance between feature expectations, ‖μ_E − μ_π‖₂, which linear inverse RL descends. The paper "
            "follows IRLAS, which adds trained networks' accuracies to the reward. Here no network is trained on images.",
            "Master and slaves learn by PPO from ResNeXt's design in their own search space: 24 layers of 15 operations, and 8 "
            "of 11. One recorded episode is enough, since the game has no chance; its env-steps are not charged.",
            "The paper gives no numbers but these, and 1 master and 2 slaves. A slave has 2 updates for each of the master's, "
            f"from rollouts of {plan.rollout} env-steps, since its episodes are a third as long. β is 0.9.",
            "Arms are compared at equal env-steps of the master, as in the figure; slaves' env-steps are counted in "
            "charged_distance and in the row with teacher.",
            "All layers but the last ones are shared: both search spaces are observed alike. In the arm literal, slaves cannot "
            "influence the master, which has momentum nonetheless.",
        ),
    )


def _arms(plan: Plan) -> dict[str, Arm]:
    learner = dataclasses.replace(PPO(lr=3e-3, entropy=0.0), **plan.ppo)
    matching = lambda env: FeatureMatching(expert=env, fields=("operation", "back", "bigram"), gamma=0.9)
    own = dataclasses.replace(learner, rollout=plan.rollout)
    slaves = Companion(SLAVE, own, (matching(SLAVE),), count=2, updates=2)
    stage = lambda name, *guides: Stage(name, MASTER, learner, plan.steps, (matching(MASTER), *guides), plan.evaluations)
    helped = {name: stage(name, dataclasses.replace(slaves, **how)) for name, how in COUPLINGS.items()}
    return {DIRECT: Arm((stage(DIRECT),), measures=MEASURES)} | {
        name: Arm((last,), DIRECT, MEASURES) for name, last in helped.items()
    }


def measure(quantity: str, run: Path) -> np.ndarray:
    """[S]: a quantity of each seed of a run with feature matching."""
    steps, distance = read_column(run, "env_steps")[0], read_column(run, "feature_distance")
    return of_distances(steps, distance, charged(steps, read_stages({run.name: run})))[quantity]


def of_distances(steps: np.ndarray, distance: np.ndarray, with_slaves: np.ndarray) -> dict[str, np.ndarray]:
    """{quantity: [S]} of distances [S P] after so many env-steps [P] of the master, and so many with those of slaves [P]."""
    known = ~np.isnan(distance).any(0)  # before the first update there is no distance
    affordable = known & (with_slaves <= steps[-1])
    end = lambda chosen: distance[:, chosen][:, -max(1, chosen.sum() // 10) :]
    mean = lambda x: x.mean(1) if x.size else np.full(len(x), np.nan)
    return {
        "final_distance": mean(end(known)),
        "mean_distance": mean(distance[:, known]),
        "charged_distance": mean(end(affordable)),
    }


QUANTITIES = {
    "final_distance": "feature distance to the expert, the mean over the last tenth of training",
    "mean_distance": "the same over all of training, which is lower if it falls sooner",
    "charged_distance": "the same over the last tenth until master and slaves together have taken the env-steps of the "
    "master's whole training",
}
"""What each measure is, in words."""
MEASURES = {name: Measure(meaning, functools.partial(measure, name)) for name, meaning in QUANTITIES.items()}
"""For `Arm.measures`."""
