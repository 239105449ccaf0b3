"""Walker2d: the master falls outside a narrow range of heights, the slave outside a wide one (Table 1, Fig. 5)."""

from headstart.envs.mujoco.env import MuJoCo
from headstart.experiments.base import Experiment, Scale, planned
from headstart.papers.master_slave.task import NOTES, PLANS, SOURCE, Pair
from headstart.report.claims import Claim

TASKS = Pair(master=MuJoCo("Walker2d-v3", healthy_z=(1.1, 1.4)), slave=MuJoCo("Walker2d-v3"))
TABLE, FIGURE = "Table 1", "Fig. 5"


def walker2d(scale: Scale) -> Experiment:
    """A constraint that the slave does not have."""
    plan = planned(PLANS, scale)
    more = lambda said, arm, versus="": Claim(said, TABLE, arm, "success_rate_gain", "positive", versus)
    return Experiment(
        title="Walker2d within a narrow range of heights, helped by one within a wide range",
        source=f"{SOURCE}, §4.2, {TABLE} and {FIGURE}",
        seeds=plan.seeds,
        arms=TASKS.arms(plan),
        claims=(
            more("the slave succeeds more often in its task than the master alone", "slave", "master"),
            more("multi-tasking succeeds more often than the master alone", "multitask"),
            more("multi-tasking succeeds more often than pre-training", "multitask", "pretrain"),
            Claim("multi-tasking has a higher reward than the master alone", TABLE, "multitask", "reward_gain", "positive"),
            Claim("pre-training has no higher reward than the master alone", TABLE, "pretrain", "reward_gain", "not positive"),
            Claim("multi-tasking converges faster", FIGURE, "multitask", "time_ratio", "below one"),
            Claim("pre-training is better at the beginning", FIGURE, "pretrain", "jump_start", "positive"),
        ),
        headline="multitask",
        notes=(
            *NOTES,
            "Both observe the same numbers, so that stem and backbone are shared.",
        ),
    )
