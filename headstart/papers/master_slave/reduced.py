"""Humanoid: the slave observes positions and velocities alone, and does not move its arms (Table 2, Fig. 6 to 8)."""

from headstart.envs.mujoco.env import MuJoCo
from headstart.experiments.base import Experiment, Scale, planned
from headstart.papers.master_slave.task import NOTES, PLANS, SOURCE, Pair
from headstart.report.claims import Claim

LOWER_BODY = ("abdomen_y", "abdomen_z", "abdomen_x", "right_hip_x", "right_hip_z", "right_hip_y", "right_knee", "left_hip_x",
              "left_hip_z", "left_hip_y", "left_knee")  # fmt: skip
TASKS = Pair(master=MuJoCo("Humanoid-v3"), slave=MuJoCo("Humanoid-v3", observed=45, actuators=LOWER_BODY))
TABLE = "Table 2"


def humanoid(scale: Scale) -> Experiment:
    """Observations and actions that the slave does not have."""
    plan = planned(PLANS, scale)
    gain = lambda said, arm, quantity, expect, versus="": Claim(said, TABLE, arm, f"{quantity}_gain", expect, versus)
    return Experiment(
        title="Humanoid with all observations and actions, helped by one with a part of them",
        source=f"{SOURCE}, §4.3, {TABLE} and Fig. 6 to 8",
        seeds=plan.seeds,
        arms=TASKS.arms(plan),
        claims=(
            gain("the slave has a higher reward in its task than the master alone", "slave", "reward", "positive", "master"),
            gain("pre-training has a higher reward than the master alone", "pretrain", "reward", "positive"),
            gain("pre-training has a higher reward than the slave", "pretrain", "reward", "positive", "slave"),
            gain("pre-training keeps its balance longer than the master alone", "pretrain", "length", "positive"),
            gain("multi-tasking has a lower reward than the master alone", "multitask", "reward", "negative"),
            Claim("pre-training is better at the beginning", "Fig. 8", "pretrain", "jump_start", "positive"),
        ),
        headline="pretrain",
        notes=(
            *NOTES,
            "The slave observes 45 numbers, all positions and velocities; the 46th of the paper's is always 0. It moves the 11 "
            "actuators of abdomen, hips and knees: the 17 that the paper gives it are all there are, against its text.",
            "The paper's rewards are below what standing alone earns (5 an env-step), so that it must have scaled them: the "
            "order of its numbers is compared, not their size.",
            "Observations differ, so that the backbone alone is shared.",
        ),
    )
