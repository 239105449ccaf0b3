"""What DM²'s battles share: the armies, independent PPO with the paper's settings, and demonstrations of chosen quality.

Settings that the paper leaves to its public code are that code's. The demonstrators are teams of the baseline, independent PPO,
kept once they win 30% and 50% of the battles. Below the paper's ten million env-steps that baseline does not get so far: the
demonstrators' units then share weights, and those of all other arms do not.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from headstart.envs.battle.smax import SMAX
from headstart.envs.inputs import Inputs
from headstart.experiments.base import Measure, Scale, Stage
from headstart.experiments.recordings import Recording
from headstart.guidance.gail import Gail
from headstart.learners.ppo import PPO
from headstart.learners.qlearning import QMIX
from headstart.report.build import read_curve
from headstart.report.transfer import final
from headstart.storage import files, schema
from headstart.teams.demos import Demos
from headstart.teams.policy import TeamPolicy
from headstart.teams.recombined import independent, non_concurrent
from headstart.teams.recording import record

SOURCE = "Wang et al. 2022, DM²"
WIN = "win"
QUALITIES = (30, 50)
"""Percent of battles that demonstrators win."""
KEEP = (f"{WIN}={','.join(f'{quality / 100:g}' for quality in QUALITIES)}", "best")
"""What the stage of the demonstrators keeps."""
SHOWN = "demonstrators"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Env-steps of every stage, seeds, demonstrated episodes, and the settings that a scale changes."""

    steps: int
    seeds: int
    episodes: int
    ppo: dict[str, Any]
    gail: dict[str, Any]
    evaluations: int = 25
    shown: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Settings in which the demonstrators differ from the baseline; if there are none, teams of the baseline demonstrate."""
    qmix_steps: int = 0
    """Env-steps of QMIX; as many as of the others if 0."""
    shown_steps: int = 0
    """Env-steps of demonstrators that are not the baseline."""
    compared: tuple[int, ...] = QUALITIES
    """Qualities in the ablation."""


LIGHT: dict[str, Any] = {"capacity": 51_200, "gradient_steps": 4, "optimizer": "adam"}
"""QMIX at laptop scale: a memory of a third, half as many gradient steps, and Adam."""
FAST: dict[str, Any] = {
    "core": "mlp", "chunk": 0, "hidden": (64, 64), "num_envs": 32, "rollout": 64, "epochs": 5, "minibatches": 4, "lr": 1e-3,
    "clip": 0.2, "value_clip": 0.2, "entropy": 0.005,
}  # fmt: skip
"""PPO at laptop scale: small updates and large steps, since there are few env-steps, and no memory, which most of the time of
an update goes into."""
SMALL: dict[str, Any] = {"core": "mlp", "chunk": 0, "num_envs": 4, "rollout": 16, "hidden": (8,), "epochs": 1}
"""Without memory, since that is most of what is compiled."""
TOGETHER: dict[str, Any] = {"shared": True}
PLANS: dict[Scale, Plan] = {
    "smoke": Plan(1_024, 2, 12, SMALL, {"steps": 2, "batch": 16, "hidden": (8,)}, 4, TOGETHER, shown_steps=1_024),
    "laptop": Plan(
        500_000, 3, 1_000, FAST, {"steps": 10, "batch": 512}, shown=TOGETHER, shown_steps=1_000_000, qmix_steps=200_000,
        compared=QUALITIES[1:],
    ),
    "paper": Plan(10_000_000, 5, 1_000, {"num_envs": 256, "rollout": 128}, {"steps": 120, "batch": 2_048}),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Battle:
    """A map and the settings of the paper's tables 1 and 2 for it."""

    map: str
    epochs: int
    clip: float
    coefficient: float
    shown: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Settings of demonstrators that are not the baseline."""

    @property
    def env(self) -> Inputs:
        """Units also observe which they are and what they did last, and are paid as in SMAC, whose best return is 20."""
        return Inputs(SMAX(self.map, reward_scale="smac"), agent_id=True, last_action=True)

    def ippo(self, plan: Plan) -> PPO:
        """Independent PPO: no weights are shared, and stored memories of the GRU are not differentiated through."""
        paper = PPO(
            core="gru", hidden=(64, 64, 64), chunk=1, shared=False, layer_norm=True, value_norm="popart", value_loss="huber",
            value_clip=self.clip, lr=5e-4, anneal=False, gamma=0.99, lam=0.95, clip=self.clip, entropy=0.01, value=0.5,
            max_grad_norm=10.0, epochs=self.epochs, minibatches=1,
        )  # fmt: skip
        return dataclasses.replace(paper, **plan.ppo)

    def qmix(self, scale: Scale, plan: Plan) -> Stage:
        """QMIX as in pymarl, with one layer before the GRU."""
        small = {"core": "mlp", "batch": 4, "gradient_steps": 1, "exploration_steps": 500, "hidden": (8,), "train_every": 64}
        learner = dataclasses.replace(QMIX, **{"smoke": small, "laptop": LIGHT}.get(scale, {}))
        return Stage("qmix", self.env, learner, plan.qmix_steps or plan.steps, evaluations=plan.evaluations)

    def alone(self, plan: Plan) -> Stage:
        """The baseline, which keeps the demonstrators if they are its teams."""
        return Stage(
            "ippo", self.env, self.ippo(plan), plan.steps, evaluations=plan.evaluations, keep=() if plan.shown else KEEP
        )

    def demonstrators(self, plan: Plan) -> Stage:
        """The stage that keeps the demonstrators."""
        if not plan.shown:
            return self.alone(plan)
        learner = dataclasses.replace(self.ippo(plan), **plan.shown, **self.shown)
        return Stage(SHOWN, self.env, learner, plan.shown_steps, evaluations=plan.evaluations, keep=KEEP)

    def taught(self, name: str, plan: Plan, teacher: Recording, env_reward: bool = True) -> Stage:
        """Independent PPO that a discriminator for each unit rewards as well, or alone."""
        guide = Gail(teacher, self.coefficient, env_reward=env_reward, **plan.gail)  # pyright: ignore[reportArgumentType]
        return Stage(name, self.env, self.ippo(plan), plan.steps, (guide,), plan.evaluations)


def recording(plan: Plan, quality: int, together: bool = True, concurrent: bool = True) -> Recording:
    """Demonstrations of the demonstrators' team of a quality; of their best team if they were never that good.

    together: all units' are of one seed's team, the one that wins most nearly as often as asked; else unit k's are of the k-th
    seed, counted round and round. concurrent: they are of the same episodes; else each unit's are of episodes of its own.
    """
    count = plan.episodes

    def nearest(team: TeamPolicy) -> tuple[int, Demos]:
        found = [record(team, episodes=count, seed=i) for i in range(len(team.seeds))]
        distances = [abs(demos.means[WIN] - quality / 100) for demos in found]
        best = int(np.argmin(distances))
        return best, found[best]

    def made(team: TeamPolicy) -> Demos:
        agents, seeds = _agents(team), len(team.seeds)
        apart = [k % seeds for k in range(agents)]
        if together and concurrent:
            return nearest(team)[1]
        if together:
            return non_concurrent(record(team, episodes=agents * count, seed=nearest(team)[0]))
        if concurrent:
            return record(team, episodes=count, seed=apart)
        own = [record(team, episodes=count, seed=seed, first_episode=k * count) for k, seed in enumerate(apart)]
        return independent(*own)

    name = f"{'together' if together else 'apart'}-{'concurrent' if concurrent else 'separate'}-{quality}"
    stage = SHOWN if plan.shown else "ippo"
    return Recording(name, (f"{stage}/{WIN}={quality / 100:g}", f"{stage}/best"), made)


def _agents(team: TeamPolicy) -> int:
    """The number of agents of a team of one role."""
    (role,) = team.spec.roles.values()
    return role.agents


def _above(run: Path) -> np.ndarray:
    """[S]: how much more often a run wins at its end than the demonstrations that it learned from."""
    return final(read_curve(run, WIN)) - _means(run)[WIN]


def _shown(run: Path) -> np.ndarray:
    """[S]: the win rate of the demonstrations that a run learned from."""
    return np.full_like(final(read_curve(run, WIN)), _means(run)[WIN])


def _means(run: Path) -> dict[str, float]:
    return files.read_json(run / "teacher-0/demos.json", schema.Demonstrations)["means"]


MEASURES = {
    "demonstrations_win": Measure("the win rate in the demonstrations (sampled)", _shown),
    "above_demonstrators": Measure("the final win rate (greedy) minus that of the demonstrations (sampled)", _above),
}
"""For `Arm.measures`."""
NOTES = (
    "SMAX stands in for StarCraft II: no shields, at most 100 env-steps, a scripted enemy (see docs/environments.md). Rewards "
    "are scaled as in SMAC.",
    "The demonstrators are teams of the arm ippo, kept at the first evaluation whose mean win rate over seeds reaches 30% or "
    "50%. At the scales smoke and laptop, they are of an arm of their own, since the baseline does not win as often in so few "
    "env-steps: its units share weights, it has more env-steps, and nothing counts for its marines after their death. Of the "
    "seeds, the one nearest to the rate demonstrates. If a rate is never reached, the best team demonstrates: the quantity "
    "above_demonstrators is counted from what demonstrators really won.",
    "Discriminators see all that units observe, also which unit it is and what it did last; those of the paper's code do not. "
    "They compare the dead as zeros until the battle's end, as that code does. Steps after the end are left out, which it "
    "intends and does not do.",
    "A batch of the discriminators has single env-steps, about as many as 64 episodes have. An update collects a fixed number "
    "of env-steps in the place of 1,024 episodes.",
    "Laptop: a twentieth of the paper's env-steps, in many small updates with a larger learning rate and clip, and networks "
    "without memory. QMIX, which has a memory and is several times as slow, gets two fifths of the others' env-steps.",
)
