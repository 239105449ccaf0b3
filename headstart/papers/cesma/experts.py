"""CESMA with other experts: Q-learning (Fig. 7, left and middle), and one that moves an agent at a time (right)."""

from headstart.envs.centralized import centralized
from headstart.experiments.base import Arm, Experiment, Scale, Stage, planned
from headstart.learners.qlearning import QLearning
from headstart.papers.cesma.task import GAMMA, PLANS, SOURCE, navigation, small, students_of
from headstart.report.claims import Claim
from headstart.views.central import Actions


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
        expert = Stage(f"expert-{name}", centralized(env, actions), small(scale, learner), plan.expert)
        arms[f"expert-{name}"] = Arm((expert,))
        students = students_of(env, 128, plan, scale, f"cesma-{name}", f"expert-{name}")
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
        expert = Stage(f"expert-{agents}", centralized(env, "one_at_a_time"), small(scale, learner), times * plan.expert)
        arms[expert.name] = Arm((expert,))
        for weight in weights:
            name = f"cesma-{agents}-weight-{weight}"
            students = students_of(env, 128, plan, scale, name, expert.name, active_weight=float(weight))
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
