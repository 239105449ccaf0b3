"""DM² against independent PPO and QMIX on two battles, with demonstrations of two qualities (Fig. 2)."""

from headstart.experiments.base import Arm, Experiment, Scale, planned
from headstart.papers.dm2.task import MEASURES, NOTES, PLANS, QUALITIES, SOURCE, WIN, Battle, recording
from headstart.report.claims import Claim

# Of demonstrators for whom something counts after a death, one seed of six came to win in a million env-steps.
FIVE_MARINES = Battle("5m_vs_6m", epochs=10, clip=0.05, coefficient=0.3, shown={"after_death": False})
THREE_STALKERS = Battle("3s_vs_4z", epochs=15, clip=0.2, coefficient=0.05)


def five_marines(scale: Scale) -> Experiment:
    """Five marines against six."""
    figure, all_of_it = "Fig. 2, left", scale == "paper"  # in its middle DM² is ahead, and both end alike
    said = "ends no worse than IPPO" if all_of_it else "is ahead of IPPO long before both have converged"
    expected = "not negative" if all_of_it else "positive"
    claims = tuple(Claim(f"DM² at {q}% {said}", figure, f"dm2-{q}", "asymptotic_gain", expected) for q in QUALITIES)
    return _compared(FIVE_MARINES, scale, "five marines against six", figure, claims)


def three_stalkers(scale: Scale) -> Experiment:
    """Three stalkers against four zealots."""
    higher = tuple(
        Claim(f"DM² at {q}% ends above IPPO", "Fig. 2, right", f"dm2-{q}", "asymptotic_gain", "positive") for q in QUALITIES
    )
    best = Claim("QMIX ends above DM²", "Fig. 2, right", "qmix", "asymptotic_gain", "positive", "dm2-50")
    return _compared(THREE_STALKERS, scale, "three stalkers against four zealots", "Fig. 2, right", (*higher, best))


def _compared(battle: Battle, scale: Scale, title: str, figure: str, more: tuple[Claim, ...]) -> Experiment:
    plan = planned(PLANS, scale)
    shown = battle.demonstrators(plan)
    arms = {shown.name: Arm((shown,)), "ippo": Arm((battle.alone(plan),)), "qmix": Arm((battle.qmix(scale, plan),), "ippo")}
    claims = [Claim("QMIX learns faster than IPPO", figure, "qmix", "time_ratio", "below one")]
    for q in QUALITIES:
        taught = battle.taught(f"dm2-{q}", plan, recording(plan, q))
        arms[taught.name] = Arm((shown, taught), "ippo", MEASURES)
        claims += [
            Claim(f"DM² at {q}% learns faster than IPPO", figure, taught.name, "time_ratio", "below one"),
            Claim(f"QMIX learns faster than DM² at {q}%", figure, "qmix", "time_ratio", "below one", taught.name),
            Claim(f"DM² surpasses its demonstrators at {q}%", "§6.4", taught.name, "above_demonstrators", "positive"),
        ]
    same = "better demonstrations make no better team"
    return Experiment(
        title=f"DM² with demonstrations of two qualities, {title}",
        source=f"{SOURCE}, §6.4 and {figure}",
        seeds=plan.seeds,
        arms=arms,
        claims=(*claims, *more, Claim(same, "§6.4", "dm2-50", "asymptotic_gain", "not positive", "dm2-30")),
        headline="dm2-50",
        metric=WIN,
        notes=NOTES,
    )
