"""Leader (Chen et al. 2022): a predator that has hunted alone leads novices, on predator and prey.

Figs. 3 to 5 and §4.1's linear layers in actor and critic. The paper gives the numbers of agents, the prey's speeds, episodes of
100 steps and how long it trains, and nothing else: learning rates, batches and exploration are those of the public code it
seems to build on. That code counts env-steps where the paper says episodes.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from headstart.envs.particle.tag import Tag
from headstart.envs.regrouped import Regrouped, regrouped
from headstart.experiments.base import Arm, Experiment, Scale, Stage, planned
from headstart.experiments.hunting import MEASURES
from headstart.guidance.warm_start import WarmStart
from headstart.learners.ddpg import DDPG
from headstart.report.claims import Claim

SOURCE = "Chen et al. 2022, Leader-based pre-training"
ALONE = Tag(1, policy="random", semantics="openai", horizon=100)
"""The leader's own task: one predator, one prey, two obstacles."""
EMBEDDED = {"actor": ALONE.spec.roles["adversary"].obs_size, "critic": ALONE.spec.roles["adversary"].obs_size + 5}
"""Inputs of the leader's actor and of its critic."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Env-steps of the leader and of each team, seeds, and the learner."""

    leader: int
    team: int
    seeds: int
    learner: DDPG


_SMALL = DDPG(batch=32, warmup=500, train_every=25, num_envs=25, hidden=(16, 16), embedding=8, blocks=1)
_LAPTOP = DDPG(batch=256, warmup=5_000, train_every=25, num_envs=25, capacity=200_000, embedding=32, blocks=2)
# One gradient step per env-step, as in the public code, and 25 environments side by side.
_PAPER = DDPG(
    hidden=(64, 64, 64), actor_lr=1e-4, critic_lr=1e-3, batch=256, warmup=5_000, train_every=25, num_envs=25, gradient_steps=25,
    capacity=500_000,
)  # fmt: skip
PLANS: dict[Scale, Plan] = {
    "smoke": Plan(1_500, 1_500, 2, _SMALL),
    "demo": Plan(1_500, 1_500, 2, _SMALL),
    "laptop": Plan(100_000, 200_000, 3, _LAPTOP),
    "paper": Plan(1_000_000, 1_000_000, 5, _PAPER),
    "literal": Plan(100_000_000, 100_000_000, 5, _PAPER),  # a million episodes, as the paper says
}


def hunt(**settings: Any) -> Regrouped:
    """The target task: a leader and two novices after random prey."""
    tag = dataclasses.replace(ALONE, adversaries=3, **settings)
    return regrouped(tag, "adversary", {"leader": [0], "adversary": [1, 2]})


@dataclasses.dataclass(frozen=True)
class Method:
    """How a leader gets into a team: the learner's settings in its own task and in the team's, and what is copied."""

    alone: dict[str, Any]
    team: dict[str, Any]
    guides: Callable[[str], tuple[WarmStart, ...]]
    """name of the leader's stage -> guidance."""


def _into(teacher: str, network: str, **settings: Any) -> WarmStart:
    return WarmStart(teacher, networks=(network,), roles=("adversary",), into=("leader",), **settings)


_ACTOR = {"reduce_actor": (f"leader={EMBEDDED['actor']}",)}
_CRITIC = {"reduce_critic": (f"leader={EMBEDDED['critic']}",)}


def _graph(kind: str, **settings: Any) -> Method:
    """The leader's actor behind a linear layer, and its graph critic but for the layer that embeds agents."""
    critic = {"critic": kind, **settings}
    copied = lambda leader: (_into(leader, "actor", at="trunk"), _into(leader, "critic", resize=False))
    return Method(critic, critic | _ACTOR, copied)


METHODS = {
    "maddpg": Method({}, {}, lambda leader: ()),
    "lldr": Method({}, _ACTOR, lambda leader: (_into(leader, "actor", at="trunk"),)),
    "by-field": Method({}, {}, lambda leader: (_into(leader, "actor"),)),
    "by-field-held": Method({}, {}, lambda leader: (_into(leader, "actor", hold=0.25),)),
    "lldr-critic": Method(
        {}, _ACTOR | _CRITIC, lambda leader: (_into(leader, "actor", at="trunk"), _into(leader, "critic", at="trunk"))
    ),
    "agp": _graph("agp"),
    "agnn": _graph("agnn"),
    "agp-prey": _graph("agp", nodes=("prey",)),
    "agnn-prey": _graph("agnn", nodes=("prey",)),
}
NAMES = {"lldr": "LLDR", "agp": "AGP", "agnn": "AGNN", "lldr-critic": "LLDR in actor and critic"}
NOTES = (
    "The paper's million episodes are read as env-steps: its code base counts those, and 10⁸ env-steps are the scale literal.",
    "Predators choose one of five moves (Gumbel-softmax samples), the prey thrusts at random, as the paper says.",
    "The leader is the role leader; it hunted alone with the same kind of critic. Novices are fresh in every arm.",
    "LLDR puts a new linear layer in front of the leader's actor. AGP and AGNN do the same, and copy the leader's critic but "
    "for the layer that embeds agents. A leader alone is one vertex, so that its attention has learned no scores.",
    "by-field is no method of the paper: the leader's actor with the rows of its first layer for the fields that both tasks "
    "have, and zeros for the others, so that it begins with what it knows. by-field-held keeps that actor for a quarter of "
    "learning, while the critics and the novices learn.",
    "Targets start as copies of what was copied, optimisers are new, and the leader's env-steps are charged.",
)


def _stages(methods: tuple[str, ...], env: Regrouped, plan: Plan) -> dict[str, tuple[Stage, ...]]:
    """{method: its leader's stage, unless it has none, and its team's}."""
    out = {}
    for name in methods:
        method = METHODS[name]
        # Leaders that train alike are one stage.
        leader = "leader" + "".join(f"-{x}" for x in (method.alone.get("critic", ""), *method.alone.get("nodes", ())) if x)
        guides = method.guides(leader)
        alone = Stage(leader, ALONE, dataclasses.replace(plan.learner, **method.alone), plan.leader)
        team = Stage(name, env, dataclasses.replace(plan.learner, **method.team), plan.team, guides)
        out[name] = (alone, team) if guides else (team,)
    return out


def _experiment(title: str, figure: str, scale: Scale, stages: dict[str, tuple[Stage, ...]], claims: tuple[Claim, ...]):
    versus = lambda name: None if name == "maddpg" else "maddpg"
    return Experiment(
        title=title,
        source=f"{SOURCE}, {figure}",
        seeds=planned(PLANS, scale).seeds,
        arms={name: Arm(each, versus(name), MEASURES) for name, each in stages.items()},
        claims=claims,
        headline="lldr",
        notes=NOTES,
    )


def _better(name: str, figure: str) -> tuple[Claim, ...]:
    return (
        Claim(f"{NAMES[name]} ends above MADDPG", figure, name, "asymptotic_gain", "positive"),
        Claim(f"{NAMES[name]} learns faster than MADDPG", figure, name, "time_ratio", "below one"),
    )


def default(scale: Scale) -> Experiment:
    """One prey, three predators, two obstacles: all four methods (Fig. 3), and a leader without a new layer."""
    around = "the team surrounds the prey from more directions than MADDPG's"
    claims = (
        *_better("lldr", "Fig. 3"),
        Claim("AGNN ends above MADDPG", "Fig. 3", "agnn", "asymptotic_gain", "positive"),
        Claim("AGNN is slow at first", "§4.1", "agnn", "jump_start", "not positive"),
        Claim("AGP ends below MADDPG", "Fig. 3", "agp", "asymptotic_gain", "negative"),
        Claim(
            "a leader that is copied field by field learns faster than MADDPG", "ours", "by-field", "time_ratio", "below one"
        ),
        Claim(
            "if it is also held while the critics learn, it is ahead from the start",
            "ours",
            "by-field-held",
            "jump_start",
            "positive",
        ),
        Claim(f"LLDR: {around}", "§4.1", "lldr", "surround_gain", "positive"),
        Claim(f"AGNN: {around}", "§4.1", "agnn", "surround_gain", "positive"),
    )
    stages = _stages(("maddpg", "lldr", "agp", "agnn", "by-field", "by-field-held"), hunt(), planned(PLANS, scale))
    return _experiment("A leader among novices", "Fig. 3", scale, stages, claims)


def longer(scale: Scale) -> Experiment:
    """The default task with five times the env-steps: whether LLDR and MADDPG had time to learn."""
    plan = planned(PLANS, scale)
    stages = _stages(("maddpg", "lldr"), hunt(), dataclasses.replace(plan, team=5 * plan.team))
    return _experiment("A leader among novices, five times as long", "Fig. 3", scale, stages, _better("lldr", "Fig. 3"))


def critic_compression(scale: Scale) -> Experiment:
    """A linear layer in front of the leader's critic as well (§4.1)."""
    stages = _stages(("maddpg", "lldr", "lldr-critic", "agp"), hunt(), planned(PLANS, scale))
    claims = (
        Claim("with linear layers in actor and critic, the team ends below LLDR", "§4.1", "lldr-critic", "asymptotic_gain",
              "negative", "lldr"),
        Claim("with linear layers in actor and critic, the team ends no higher than AGP", "§4.1", "lldr-critic",
              "asymptotic_gain", "not positive", "agp"),
    )  # fmt: skip
    return _experiment("A leader's critic behind a linear layer", "§4.1", scale, stages, claims)


def prey_as_node(scale: Scale) -> Experiment:
    """The critic's graph with the prey as a vertex, as the paper's text has it, and without, as its code base has it."""
    names = ("agp", "agnn")
    stages = _stages(("maddpg", *names, *(f"{name}-prey" for name in names)), hunt(), planned(PLANS, scale))
    claims = tuple(
        Claim(f"{NAMES[name]} ends higher if the prey is a vertex", "ours", f"{name}-prey", "asymptotic_gain", "positive", name)
        for name in names
    )
    return dataclasses.replace(
        _experiment("Prey as vertices of the critic's graph", "§3.2", scale, stages, claims), headline="agnn-prey"
    )


def harder(title: str, figure: str, env: Regrouped, scale: Scale) -> Experiment:
    """LLDR and MADDPG on a harder task (Fig. 4)."""
    plan = planned(PLANS, scale)
    if scale == "paper" and figure == "Fig. 4b":
        plan = dataclasses.replace(plan, team=200_000)
    return _experiment(title, figure, scale, _stages(("maddpg", "lldr"), env, plan), _better("lldr", figure))


FAST = {"prey_speed": 1.8, "scale_acceleration": True}


def few_shot(scale: Scale) -> Experiment:
    """All predators begin as those of the default task, each method's own, after faster prey (Fig. 5)."""
    plan, methods = planned(PLANS, scale), ("maddpg", "lldr", "agp", "agnn")
    before, stages = _stages(methods, hunt(), plan), {}
    for name, each in before.items():
        early = dataclasses.replace(each[-1], name=f"default-{name}")
        guide = WarmStart(early.name, networks=("actor", "critic"))
        stages[name] = (*each[:-1], early, Stage(name, hunt(**FAST), early.learner, plan.team, (guide,)))
    claims = (
        *(Claim(f"LLDR ends above {NAMES.get(name, 'MADDPG')}", "Fig. 5", "lldr", "asymptotic_gain", "positive", name)
          for name in ("maddpg", "agp", "agnn")),
        Claim("AGNN ends above MADDPG", "Fig. 5", "agnn", "asymptotic_gain", "positive"),
    )  # fmt: skip
    return _experiment("Few-shot: a whole team after faster prey", "Fig. 5", scale, stages, claims)


EXPERIMENTS = {
    "default": default,
    "longer": longer,
    "three-prey": lambda scale: harder("Three prey", "Fig. 4a", hunt(prey=3), scale),
    "fast-prey": lambda scale: harder("Fast prey", "Fig. 4b", hunt(obstacles=3, **FAST), scale),
    "fast-prey-literal": lambda scale: harder(
        "Fast prey that only may be faster", "Fig. 4b", hunt(obstacles=3, prey_speed=1.8), scale
    ),
    "evasive-prey": lambda scale: harder("Prey that flee", "ours", hunt(policy="evasive"), scale),
    "few-shot": few_shot,
    "critic-compression": critic_compression,
    "prey-as-node": prey_as_node,
}
"""Names on the command line, after `leader/`."""
