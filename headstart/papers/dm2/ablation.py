"""Which demonstrations help: of units trained together or apart, concurrent or not (Fig. 3); and GAIL's reward alone."""

import itertools

from headstart.experiments.base import Arm, Experiment, Scale, planned
from headstart.papers.dm2.battles import FIVE_MARINES
from headstart.papers.dm2.task import MEASURES, NOTES, PLANS, SOURCE, WIN, recording
from headstart.report.claims import Claim


def ablation(scale: Scale) -> Experiment:
    """Five marines against six, each with demonstrations of four kinds and two qualities."""
    plan = planned(PLANS, scale)
    shown, claims = FIVE_MARINES.demonstrators(plan), []
    arms = {shown.name: Arm((shown,)), "ippo": Arm((FIVE_MARINES.alone(plan),))}
    for q, together, concurrent in itertools.product(plan.compared, (True, False), (True, False)):
        data = recording(plan, q, together, concurrent)
        arms[data.name] = Arm((shown, FIVE_MARINES.taught(data.name, plan, data)), "ippo", MEASURES)
    for q in plan.compared:
        together = recording(plan, q)
        imitators = FIVE_MARINES.taught(f"imitation-{q}", plan, together, env_reward=False)
        arms[imitators.name] = Arm((shown, imitators), "ippo", MEASURES)
        said = f"at {q}%, agents paid by discriminators alone win less often than with the battle's reward"
        claims.append(Claim(said, "public code", imitators.name, "asymptotic_gain", "negative", together.name))
        for kind in ("concurrent", "separate"):
            said = f"at {q}%, {kind} demonstrations help more if they are of units trained together"
            claims.append(Claim(said, "Fig. 3", f"together-{kind}-{q}", "asymptotic_gain", "positive", f"apart-{kind}-{q}"))
        said = f"at {q}%, demonstrations of the same episodes help no more than those of different ones"
        claims.append(Claim(said, "Fig. 3", together.name, "asymptotic_gain", "not positive", f"together-separate-{q}"))
    return Experiment(
        title="DM² with demonstrations of units trained together or apart, concurrent or not, five marines against six",
        source=f"{SOURCE}, §6.5 and Fig. 3",
        seeds=plan.seeds,
        arms=arms,
        claims=tuple(claims),
        headline=f"together-concurrent-{plan.compared[-1]}",
        metric=WIN,
        notes=(
            *NOTES,
            "Units trained apart are those of the demonstrators' seeds, counted round and round: with fewer seeds than units, "
            "some were trained together. If their demonstrations are concurrent, these strangers play together.",
            "At laptop scale, there are demonstrators of 50% only, with whom students learn most in so few env-steps.",
            "The arms imitation have GAIL's reward alone, without the battle's; the paper does not show them.",
        ),
    )
