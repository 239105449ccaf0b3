"""CESMA beside MADDPG and independent DDPG, on navigation with and without communication (Figs. 5 and 6); datasets (Fig. 8)."""

import dataclasses

import jax
import numpy as np

from headstart.core.env import Env
from headstart.core.learner import LearnerConfig
from headstart.envs.particle.reference import Reference
from headstart.envs.particle.speaker_listener import SpeakerListener
from headstart.experiments.base import Arm, Experiment, Scale, Stage, planned
from headstart.learners.ddpg import DDPG
from headstart.learners.imitator import Imitator
from headstart.papers.cesma.task import GAMMA, PLANS, SOURCE, expert_of, navigation, small, students_of
from headstart.report.claims import Claim


def parameters(env: Env, learner: LearnerConfig) -> int:
    """Number of parameters in all networks of a learner, without targets."""
    params = jax.eval_shape(learner.make(env.spec).init, jax.random.key(0))
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


def compared(title: str, env: Env, expert_hidden: int, hidden: int, scale: Scale) -> Experiment:
    """An expert, its students, MADDPG and independent DDPG (Figs. 5 and 6)."""
    plan, talk = planned(PLANS, scale), bool(env.spec.messages)
    expert, students = expert_of(env, expert_hidden, plan, scale), students_of(env, hidden, plan, scale)
    early = dataclasses.replace(expert, name="expert-early", until="maddpg")
    students_early = students_of(env, hidden, plan, scale, "cesma-early", "expert-early")
    rival = small(scale, DDPG(hidden=(hidden, hidden), gamma=GAMMA))
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
            "Env-steps are charged for expert and students together in the row 'with teacher'.",
            "Students are evaluated 50 times and the others 25 times, in fewer env-steps: their curves are finer, which also "
            "makes them smoother from one evaluation to the next.",
            "The paper trains one environment at a time; here 25 to 100 step together. The expert has batches of 64 and a "
            "learning rate of 1e-3 in all tasks and learns once every 5 env-steps, which the paper does not say; τ is 0.01.",
        ),
    )


def datasets(scale: Scale) -> Experiment:
    """One dataset for all agents, or one each (Fig. 8)."""
    plan, env = planned(PLANS, scale), navigation(3, mixed=True)
    expert = expert_of(env, 225, plan, scale)
    own, shared = students_of(env, 128, plan, scale, "own", datasets="own"), students_of(env, 128, plan, scale, "shared")
    own = dataclasses.replace(own, learner=small(scale, Imitator(hidden=(128, 128), batch=3 * 32)))
    return Experiment(
        title="CESMA with a dataset for each agent",
        source=f"{SOURCE}, Fig. 8",
        seeds=plan.seeds,
        arms={"shared": Arm((expert, shared)), "own": Arm((expert, own), "shared")},
        claims=(Claim("a dataset for each agent makes no difference", "Fig. 8", "own", "recovered", "above nine tenths"),),
        headline="own",
        notes=("With a dataset each, every agent still learns from 32 samples in a gradient step, all its own.",),
    )


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
