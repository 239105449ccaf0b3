"""What the experiments of the master-slave framework share: PPO, the arms, and the quantities of the paper's tables.

The paper gives a four-layer MLP for actor and critic, and PPO. All other settings are those in general use for MuJoCo.
"""

import dataclasses
from typing import Any

from headstart.envs.mujoco.env import MuJoCo
from headstart.experiments.base import Arm, Scale, Stage
from headstart.guidance.companion import Companion
from headstart.guidance.warm_start import WarmStart
from headstart.learners.ppo import PPO
from headstart.papers.master_slave.tested import MEASURES

SOURCE = "Guo and Duan, Master-Slave Framework"
MASTER, SLAVE = "master", "slave"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Env-steps of a learner in a stage, seeds, evaluations, episodes' length, and the settings of PPO that a scale changes."""

    steps: int
    seeds: int
    evaluations: int
    horizon: int = 1000
    ppo: dict[str, Any] = dataclasses.field(default_factory=dict)


SMALL: dict[str, Any] = {"hidden": (8, 8), "num_envs": 2, "rollout": 16, "epochs": 1, "minibatches": 1}
PLANS: dict[Scale, Plan] = {
    "smoke": Plan(256, 2, 2, 20, SMALL),
    "laptop": Plan(250_000, 3, 8),
    "paper": Plan(3_000_000, 5, 30),
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """The full task and the easier one."""

    master: MuJoCo
    slave: MuJoCo

    def arms(self, plan: Plan) -> dict[str, Arm]:
        """The slave on its own task, the master alone, and three ways in which the slave helps it."""
        learner = ppo(plan)
        longest = lambda env: dataclasses.replace(env, horizon=plan.horizon)
        stage = lambda name, env, *guides: Stage(name, longest(env), learner, plan.steps, guides, plan.evaluations)
        companion = Companion(longest(self.slave))
        slave = stage(SLAVE, self.slave)
        taught = {
            "pretrain": WarmStart(SLAVE, ("actor", "critic", "inputs")),
            "multitask": companion,
            "momentum": dataclasses.replace(companion, coupling="momentum"),
        }
        arms = {SLAVE: Arm((slave,), measures=MEASURES), MASTER: Arm((stage(MASTER, self.master),), measures=MEASURES)}
        for name, guide in taught.items():
            before = (slave,) if name == "pretrain" else ()
            arms[name] = Arm((*before, stage(name, self.master, guide)), MASTER, MEASURES)
        return arms


def ppo(plan: Plan) -> PPO:
    """Four layers, normalised observations, 2,048 env-steps between updates, and 10 passes over them in batches of 64."""
    settings = {"hidden": (64, 64, 64), "num_envs": 8, "rollout": 256, "epochs": 10, "minibatches": 32} | plan.ppo
    return PPO(lr=3e-4, gamma=0.99, lam=0.95, clip=0.2, entropy=0.0, obs_norm=True, **settings)  # pyright: ignore[reportArgumentType]


NOTES = (
    "The slave's env-steps are charged to pretrain, and a companion's to multitask and momentum, as it takes them.",
    "The slave is tested in its own task, and all others in the master's.",
    "The paper shows no results of gradient momentum in these tasks. Here the companion has one update for each of the "
    "master's, β is 0.9, and eq. 2 is read as the text explains it (see docs/companion.md).",
    "Only the network's four layers and PPO are the paper's. Critics are values of states, as PPO needs them, where the paper "
    "says Q-values.",
    "A hundred greedy test episodes of each seed have the same random numbers in all arms.",
)
