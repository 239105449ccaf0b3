"""CESMA (Lin et al. 2019): centralised experts, decentralised by imitation, on navigation with and without communication.

Figs. 5 to 9 without StarCraft. The paper does not give: how often and how long the expert learns, the sizes and strengths
of non-homogeneous agents, the weight of moving in the one-at-a-time loss, the students' warm-up.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import scipy.stats

from headstart.core.env import Env
from headstart.core.learner import LearnerConfig
from headstart.envs.centralized import centralized
from headstart.envs.particle.reference import Reference
from headstart.envs.particle.speaker_listener import SpeakerListener
from headstart.envs.particle.spread import Spread
from headstart.experiments.base import Arm, Experiment, Measure, Scale, Stage, planned
from headstart.guidance.dagger import Dagger
from headstart.learners.ddpg import DDPG
from headstart.learners.imitator import Imitator
from headstart.learners.qlearning import QLearning
from headstart.report.build import read_column
from headstart.report.claims import Claim
from headstart.views.central import Actions

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


def parameters(env: Env, learner: LearnerConfig) -> int:
    """Number of parameters in all networks of a learner, without targets."""
    params = jax.eval_shape(learner.make(env.spec).init, jax.random.key(0))
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


def _small(scale: Scale, learner: Any) -> Any:
    return dataclasses.replace(learner, warmup=500, batch=32) if scale in ("smoke", "demo") else learner


def _expert(env: Env, hidden: int, plan: Plan, scale: Scale) -> Stage:
    learner = DDPG(
        hidden=(hidden, hidden), gamma=GAMMA, actor_lr=1e-3, critic_lr=1e-3, tau=0.01, clip=0.1,
        batch=64, gradient_steps=5, warmup=2_000, train_every=25, num_envs=25,
    )  # fmt: skip
    return Stage("expert", centralized(env), _small(scale, learner), plan.expert)


def _students(
    env: Env, hidden: int, plan: Plan, scale: Scale, name: str = "cesma", expert: str = "expert", **guide: Any
) -> Stage:
    learner = _small(scale, Imitator(hidden=(hidden, hidden)))
    return Stage(name, env, learner, plan.students, (Dagger(expert, **guide),), evaluations=50)


def compared(title: str, env: Env, expert_hidden: int, hidden: int, scale: Scale) -> Experiment:
    """An expert, its students, MADDPG and independent DDPG (Figs. 5 and 6)."""
    plan, talk = planned(PLANS, scale), bool(env.spec.messages)
    expert, students = _expert(env, expert_hidden, plan, scale), _students(env, hidden, plan, scale)
    early = dataclasses.replace(expert, name="expert-early", until="maddpg")
    students_early = _students(env, hidden, plan, scale, "cesma-early", "expert-early")
    rival = _small(scale, DDPG(hidden=(hidden, hidden), gamma=GAMMA))
    rivals = {
        name: Stage(name, env, dataclasses.replace(rival, critic=critic), plan.rivals)
        for name, critic in (("maddpg", "joint"), ("independent-ddpg", "local"))
    }
    figure = "Figs. 5, 6"
    claims = [
        Claim("the students reach the expert", figure, "cesma", "recovered", "above nine tenths", "expert"),
        Claim("CESMA needs fewer samples than MADDPG, the expert's included", "Fig. 5", "cesma-early",
              "time_ratio_with_teacher", "below one"),
        Claim("CESMA ends above MADDPG", "Fig. 6", "cesma", "asymptotic_gain", "positive"),
        Claim("CESMA ends above independent DDPG", "Fig. 6", "cesma", "asymptotic_gain", "positive", "independent-ddpg"),
    ]  # fmt: skip
    if talk:
        claims += [
            Claim("independent DDPG does not learn to communicate: it ends below MADDPG", "§6.4, Fig. 6",
                  "independent-ddpg", "asymptotic_gain", "negative"),
            Claim("CESMA fluctuates less than MADDPG", "§6.3, Fig. 5", "cesma", "fluctuation_ratio", "below one"),
        ]  # fmt: skip
    sizes = parameters(expert.env, expert.learner), parameters(env, rivals["maddpg"].learner)
    return Experiment(
        title=f"CESMA on {title}",
        source=f"{SOURCE}, {figure}",
        seeds=plan.seeds,
        arms={
            "maddpg": Arm((rivals["maddpg"],)),
            "independent-ddpg": Arm((rivals["independent-ddpg"],), "maddpg"),
            "expert": Arm((expert,)),
            "cesma": Arm((expert, students), "maddpg"),
            "cesma-early": Arm((early, students_early), "maddpg"),
        },
        claims=tuple(claims),
        headline="cesma",
        notes=(
            f"The expert's networks have {sizes[0]:,} parameters, MADDPG's {sizes[1]:,}.",
            "cesma-early stops its expert once that has reached MADDPG's final return, as in Fig. 5; cesma lets it train on.",
            "Env-steps are charged for expert and students together in the column 'with teacher'.",
            "Students are evaluated 50 times and the others 25 times, in fewer env-steps: their curves are finer, which also "
            "makes them smoother from one evaluation to the next.",
            "The paper trains one environment at a time; here 25 to 100 step together. The expert has batches of 64 and a "
            "learning rate of 1e-3 in all tasks and learns once every 5 env-steps, which the paper does not say; τ is 0.01.",
        ),
    )


def dqn_experts(scale: Scale) -> Experiment:
    """Q-learning experts on all joint actions and on a sum of values (Fig. 7, left and middle)."""
    plan, env = planned(PLANS, scale), navigation(3, mixed=True)
    learner = QLearning(
        hidden=(200, 200), gamma=GAMMA, lr=5e-4, tau=0.01, batch=256, warmup=2_000, train_every=25, num_envs=25,
        exploration_share=0.5,
    )  # fmt: skip
    arms = {}
    views: dict[str, Actions] = {"joint": "joint", "sum": "heads"}
    for name, actions in views.items():
        expert = Stage(f"expert-{name}", centralized(env, actions), _small(scale, learner), plan.expert)
        arms[f"expert-{name}"] = Arm((expert,))
        students = _students(env, 128, plan, scale, f"cesma-{name}", f"expert-{name}")
        arms[f"cesma-{name}"] = Arm((expert, students), f"expert-{name}")
    return Experiment(
        title="CESMA with Q-learning experts: all joint actions, and a sum of values",
        source=f"{SOURCE}, Fig. 7 (left, middle)",
        seeds=plan.seeds,
        arms=arms,
        claims=tuple(
            Claim(f"the students reach the {kind} expert", "Fig. 7", f"cesma-{name}", "recovered", "above nine tenths")
            for name, kind in (("joint", "exponential"), ("sum", "sum-of-values"))
        ),
        headline="cesma-sum",
        notes=("ε falls from 1 to 0.05 over the first half of the run; the paper says 'noisy action selection'.",),
    )


def one_at_a_time(scale: Scale) -> Experiment:
    """An expert that moves one agent at a time, whose students move together (Fig. 7, right)."""
    plan = planned(PLANS, scale)
    arms, claims = {}, []
    for agents, envs, weights, settings in (
        (3, 25, (1, 5, 20), {"lr": 1e-3, "batch": 64, "gradient_steps": 5}),
        (6, 100, (20,), {"lr": 5e-4, "batch": 128, "gradient_steps": 4}),
    ):
        env, times = navigation(agents), envs // 25
        learner = QLearning(
            hidden=(380, 380), gamma=GAMMA, tau=0.01, warmup=2_000, train_every=envs, num_envs=envs, exploration_share=0.5,
            capacity=250_000, **settings,
        )  # fmt: skip
        expert = Stage(f"expert-{agents}", centralized(env, "one_at_a_time"), _small(scale, learner), times * plan.expert)
        arms[expert.name] = Arm((expert,))
        for weight in weights:
            name = f"cesma-{agents}-weight-{weight}"
            students = _students(env, 128, plan, scale, name, expert.name, active_weight=float(weight))
            arms[name] = Arm((expert, students), expert.name)
            claim = (
                f"students who weigh moving {weight} times as much, and move together, end above the expert ({agents} agents)"
            )
            if weight > 1:
                claims.append(Claim(claim, "Fig. 7", name, "asymptotic_gain", "positive"))
    return Experiment(
        title="CESMA with an expert that moves one agent at a time",
        source=f"{SOURCE}, Fig. 7 (right)",
        seeds=plan.seeds,
        arms=arms,
        claims=tuple(claims),
        headline=f"cesma-{6 if scale == 'paper' else 3}-weight-20",
        notes=(
            "The paper has six agents; with three the expert learns far sooner. That of six gets four times the env-steps.",
            "In the students' loss the paper gives more weight to moving than to doing nothing, but states no number.",
            "The expert's discount is 0.9, as elsewhere in the paper. With 0.99 some seeds unlearn.",
        ),
    )


def datasets(scale: Scale) -> Experiment:
    """One dataset for all agents, or one each (Fig. 8)."""
    plan, env = planned(PLANS, scale), navigation(3, mixed=True)
    expert = _expert(env, 225, plan, scale)
    own, shared = _students(env, 128, plan, scale, "own", datasets="own"), _students(env, 128, plan, scale, "shared")
    own = dataclasses.replace(own, learner=_small(scale, Imitator(hidden=(128, 128), batch=3 * 32)))
    return Experiment(
        title="CESMA with a dataset for each agent",
        source=f"{SOURCE}, Fig. 8",
        seeds=plan.seeds,
        arms={"shared": Arm((expert, shared)), "own": Arm((expert, own), "shared")},
        claims=(Claim("a dataset for each agent makes no difference", "Fig. 8", "own", "recovered", "above nine tenths"),),
        headline="own",
        notes=("With a dataset each, every agent still learns from 32 samples in a gradient step, all its own.",),
    )


def reward_vs_loss(scale: Scale) -> Experiment:
    """Return against imitation loss, and each agent's loss, with continuous actions (Fig. 9)."""
    plan = planned(PLANS, scale)
    arms = {}
    for name, mixed in (("homogeneous", False), ("nonhomogeneous", True)):
        env = navigation(3, mixed, control="force")
        expert = dataclasses.replace(_expert(env, 225, plan, scale), name=f"expert-{name}")
        students = _students(env, 128, plan, scale, name, f"expert-{name}")
        arms[name] = Arm((expert, students), measures=MEASURES)
    return Experiment(
        title="CESMA with continuous actions: return against imitation loss",
        source=f"{SOURCE}, Fig. 9",
        seeds=plan.seeds,
        arms=arms,
        claims=(
            Claim("return falls as loss grows (all alike)", "Fig. 9", "homogeneous", "loss_correlation", "negative"),
            Claim("return falls as loss grows (three kinds)", "Fig. 9", "nonhomogeneous", "loss_correlation", "negative"),
            Claim("the big, slow agent has the largest loss, the small, fast one the smallest", "Fig. 9", "nonhomogeneous",
                  "loss_of_slow_over_fast", "above one"),
        ),
        headline="nonhomogeneous",
        notes=(
            "The loss is the squared distance between a student's action and the expert's on the students' own observations, "
            "at each evaluation; the correlation is Spearman's, over the evaluations of a run.",
        ),
    )  # fmt: skip


def _errors(run: Path) -> np.ndarray:
    """[A S P]: each agent's error against the expert along the run, without the point before training."""
    return np.stack([read_column(run, f"error/agent_{i}")[:, 1:] for i in range(3)])


def _correlation(run: Path) -> np.ndarray:
    losses, returns = _errors(run).mean(0), read_column(run, "eval_return")[:, 1:]
    return np.array([scipy.stats.spearmanr(a, b)[0] for a, b in zip(losses, returns, strict=True)])


def _slow_over_fast(run: Path) -> np.ndarray:
    """For each seed, the loss of the big, slow agent over that of the small, fast one; agents follow the order of `RADII`."""
    mean = _errors(run).mean(-1)
    return mean[2] / mean[0]


MEASURES = {
    "loss_correlation": Measure("rank correlation of imitation loss and return along the run", _correlation),
    "loss_of_slow_over_fast": Measure("imitation loss of the slowest agent over that of the fastest", _slow_over_fast),
}


def _talk(agents: int, landmarks: int) -> Reference:
    return Reference(agents, landmarks, semantics="openai", reward="distance")


COMPARED = {
    "navigation-3": ("navigation, 3 agents", navigation(3), 225, 128),
    "navigation-3-nonhomogeneous": ("navigation, 3 kinds of agents", navigation(3, mixed=True), 225, 128),
    "navigation-6": ("navigation, 6 agents", navigation(6), 240, 128),
    "navigation-6-nonhomogeneous": ("navigation, 6 agents of 3 kinds", navigation(6, mixed=True), 240, 128),
    "speaker-listener": ("speaker and listener", SpeakerListener(semantics="openai"), 64, 64),
    "communication-2": ("navigation with communication, 2 agents", _talk(2, 3), 95, 64),
    "communication-3": ("navigation with communication, 3 agents", _talk(3, 5), 95, 64),
}
"""Title, environment, hidden units of the expert, hidden units of all others (App. E.2)."""

EXPERIMENTS = {name: partial(compared, *settings) for name, settings in COMPARED.items()} | {
    "dqn-experts": dqn_experts,
    "one-at-a-time": one_at_a_time,
    "datasets": datasets,
    "reward-vs-loss": reward_vs_loss,
}
"""Names on the command line, after `cesma/`."""
