"""Cooperative navigation on MADDPG: the teams of six and of eight, and what their results depend on."""

import dataclasses

from headstart.envs.particle.spread import Spread
from headstart.experiments.base import Experiment, Scale, planned
from headstart.guidance.distill import Distill
from headstart.guidance.warm_start import WarmStart
from headstart.papers.knowru.task import ANNEALED, CODE, NEAREST, ONE_AT_A_TIME, PLANS, SOURCE, Task, on_maddpg, transfers
from headstart.report.claims import Claim, Expect

TEACHERS = 4


def spread_task(agents: int, scale: Scale) -> Task:
    """Cooperative navigation: four agents teach `agents`."""
    return on_maddpg(Spread(TEACHERS, semantics="openai"), Spread(agents, semantics="openai"), scale)


def spread(agents: int, scale: Scale) -> Experiment:
    """Cooperative navigation with `agents` agents and landmarks, taught by a team of four (I → II, I → III)."""
    taught = {
        "maddpg+init": WarmStart("teacher"),
        "knowru": Distill("teacher"),
        "knowru-constant": Distill("teacher", schedule="constant"),
    }
    return Experiment(
        title=f"KnowRU on cooperative navigation: {TEACHERS} agents teach {agents}",
        source=f"{SOURCE}, §4.2 and Fig. 5",
        seeds=planned(PLANS, scale)[1],
        arms=spread_task(agents, scale).arms(taught),
        claims=(
            *transfers("knowru", "§4.3, Fig. 5"),
            CODE,
            Claim("initialising from the teacher does not clearly help", "§4.3", "maddpg+init", "jump_start", "not positive"),
        ),
        headline="knowru",
        notes=(
            ONE_AT_A_TIME,
            NEAREST,
            ANNEALED,
            "maddpg+init copies the teacher's actors, first-layer weights by observed field.",
        ),
    )


def losses(scale: Scale) -> Experiment:
    """Squared error, cross-entropy and KL divergence as the distillation loss, from four agents to six."""
    taught = {"mse": Distill("teacher")}
    taught |= {"ce": Distill("teacher", loss="ce", scale=100.0), "kl": Distill("teacher", loss="kl", scale=100.0)}
    bounds: tuple[tuple[str, Expect], ...] = (("no lower", "not negative"), ("no higher", "not positive"))
    return Experiment(
        title="KnowRU with other distillation losses",
        source=f"{SOURCE}, §4.3",
        seeds=planned(PLANS, scale)[1],
        arms=spread_task(6, scale).arms(taught),
        claims=tuple(
            Claim(f"with {loss} for mse, KnowRU ends {words}", "§4.3", loss, "asymptotic_gain", expect, "mse")
            for loss in ("ce", "kl")
            for words, expect in bounds
        ),
        headline="mse",
        notes=(
            ONE_AT_A_TIME,
            NEAREST,
            "ce and kl have the factor 100 that the public code defines for them and does not use.",
            "ce and kl differ by the teacher's entropy alone and have the same gradient: these arms differ by rounding.",
        ),
    )


def schedules(scale: Scale) -> Experiment:
    """What lowers α: the run's progress, nothing, or the paper's literal decrement, from four agents to six."""
    taught = {
        "annealed": Distill("teacher"),
        "constant": Distill("teacher", schedule="constant"),
        "literal": Distill("teacher", schedule="literal"),
    }
    return Experiment(
        title="KnowRU with other schedules of α",
        source=f"{SOURCE}, Algorithm 1; public code",
        seeds=planned(PLANS, scale)[1],
        arms=spread_task(6, scale).arms(taught),
        claims=(
            Claim("the literal decrement gives a smaller jump start", "ours", "literal", "jump_start", "negative", "annealed"),
            Claim("a constant α ends above an annealed one", "ours", "constant", "asymptotic_gain", "positive", "annealed"),
            *(Claim(f"KnowRU ({name}) ends no worse than MADDPG", "§4.3", name, "asymptotic_gain", "not negative")
              for name in taught),
        ),
        headline="annealed",
        notes=(
            ONE_AT_A_TIME,
            NEAREST,
            "literal takes the paper's β of 0.002 from α after every episode, from the first on: α is down to 0.02 after 240 "
            "episodes, and learning starts after a tenth of the run, which is later.",
        ),
    )  # fmt: skip


def alpha_sweep(scale: Scale) -> Experiment:
    """The time that KnowRU takes as a function of α, from four agents to eight (Fig. 7)."""
    seeds = min(planned(PLANS, scale)[1], 5 if scale == "paper" else 3)
    alphas = [round(0.1 * i, 1) for i in range(11)]
    taught = {f"alpha-{alpha}": Distill("teacher", alpha=alpha, schedule="constant") for alpha in alphas[1:]}
    arms = dataclasses.replace(spread_task(8, scale), alone="alpha-0.0").arms(taught)
    points = {f"alpha-{alpha}": {"sweep": "alphas", "name": f"alpha={alpha:g}"} for alpha in alphas[1:]}
    for name, point in points.items():
        *before, last = arms[name].stages
        arms[name] = dataclasses.replace(arms[name], stages=(*before, dataclasses.replace(last, **point)))
    faster = "needs fewer episodes to converge"
    return Experiment(
        title="KnowRU with other weights of the teacher",
        source=f"{SOURCE}, Fig. 7",
        seeds=seeds,
        arms=arms,
        claims=(
            *(Claim(f"α = {alpha} {faster} than α = 0", "Fig. 7", f"alpha-{alpha}", "time_ratio", "below one")
              for alpha in alphas[2:]),
            *(Claim(f"α = 0.4 {faster} than α = {alpha}", "Fig. 7", "alpha-0.4", "time_ratio", "below one", f"alpha-{alpha}")
              for alpha in (0.1, 1.0)),
        ),
        headline="alpha-0.4",
        notes=(
            ONE_AT_A_TIME,
            NEAREST,
            "α is constant, so that arms differ in one number; the paper does not say if it lowers α there. α = 0 is MADDPG.",
            "Fig. 7 shows ln(T₀/T), the negative logarithm of the time ratio: above 0 where that is below 1.",
        ),
    )  # fmt: skip
