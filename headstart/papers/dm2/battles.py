"""DM² against independent PPO and QMIX on two battles, with demonstrations of two qualities (Fig. 2)."""

from headstart.experiments.base import Arm, Experiment, Scale, planned
from headstart.papers.dm2.task import MEASURES, NOTES, PLANS, QUALITIES, SOURCE, WIN, Battle, recording
from headstart.report.claims import Claim

FIVE_MARINES = Battle("5m_vs_6m", epochs=10, clip=0.05, coefficient=0.3)
THREE_STALKERS = Battle("3s_vs_4z", epochs=15, clip=0.2, coefficient=0.05)


def five_marines(scale: Scale) -> Experiment:
    """Five marines against six."""
    said, figure = "DM² with demonstrations at {}% is ahead of IPPO if both stop early", "Fig. 2, left"
    early = () if scale == "paper" else QUALITIES
    ahead = tuple(Claim(said.format(q), figure, f"dm2-{q}", "asymptotic_gain", "positive") for q in early)
    return _compared(FIVE_MARINES, scale, "five marines against six", figure, ahead)


def three_stalkers(scale: Scale) -> Experiment:
    """Three stalkers against four zealots."""
    higher = tuple(
        Claim(f"DM² with demonstrations at {q}% ends above IPPO", "Fig. 2, right", f"dm2-{q}", "asymptotic_gain", "positive")
        for q in QUALITIES
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
            Claim(f"DM² with demonstrations at {q}% learns faster than IPPO", figure, taught.name, "time_ratio", "below one"),
            Claim(
                f"with demonstrations at {q}%, DM² ends no worse than IPPO",
                figure,
                taught.name,
                "asymptotic_gain",
                "not negative",
            ),
            Claim("QMIX learns faster than DM²", figure, "qmix", "time_ratio", "below one", taught.name),
            Claim("DM² surpasses its demonstrators", "§6.4", taught.name, "above_demonstrators", "positive"),
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
