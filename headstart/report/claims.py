"""A paper's claims, judged by the intervals of a report alone."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from headstart.report.plain import interval_text
from headstart.report.transfer import bounds_text, flat, time_bounds

Expect = Literal[
    "positive", "negative", "above one", "below one", "above nine tenths",
    "not positive", "not negative", "not above one", "not below one", "not above nine tenths",
]  # fmt: skip
# The reference of each expectation, and the side of it on which the interval should lie.
SIDES = {"positive": (0, 1), "negative": (0, -1), "above one": (1, 1), "below one": (1, -1), "above nine tenths": (0.9, 1)}


@dataclass(frozen=True)
class Claim:
    """A paper's claim about one quantity of one arm.

    claim: the statement, in words. source: its place in the paper ("Fig. 5"). arm: the arm that it describes.
    quantity: a key of that arm in report.json that has an interval, such as "jump_start" or "time_ratio".
    versus: the arm to compare with, if that is not the arm's own baseline.
    expect: where the whole interval should lie; "not ..." expects it on the other side of the reference, as for the
    claim "this does not help".

    Raises ValueError for an unknown `expect`.
    """

    claim: str
    source: str
    arm: str
    quantity: str
    expect: str
    versus: str = ""

    def __post_init__(self) -> None:
        if self.expect.removeprefix("not ") not in SIDES:
            raise ValueError(f"expect must be one of {', '.join(SIDES)}, with or without 'not'; got {self.expect!r}")


def judge(claim: Claim, report: dict[str, Any]) -> dict[str, Any]:
    """The claim with its verdict and the numbers behind it: {"claim", "source", "verdict", "evidence", ...}.

    The whole interval on the expected side: `reproduced`. The whole interval on the other side: `not reproduced`.
    An interval that contains the reference, or a missing number: `undecided`. "not ..." swaps the two sides. Where too few
    seeds arrive for a time ratio, its bounds decide (`time_bounds`).
    """
    arm = report["arms"].get(claim.arm)
    if arm is None:
        verdict, evidence = "undecided", f"no arm {claim.arm} in this report"
    elif claim.versus and claim.versus not in arm.get("against", {}):
        verdict, evidence = "undecided", f"no arm {claim.versus} in this report"
    else:
        arm = {**arm, **arm["against"][claim.versus], "versus": claim.versus} if claim.versus else arm
        verdict, evidence = _weigh(claim, arm, report)
    return {**asdict(claim), "verdict": verdict, "evidence": evidence}


def _weigh(claim: Claim, arm: dict[str, Any], report: dict[str, Any]) -> tuple[str, str]:
    found = arm.get(f"{claim.quantity}_interval", arm.get(claim.quantity))
    if isinstance(found, dict) and found.get("iqm") is not None:
        endless = "never" if claim.quantity.startswith("time") else "∞"
        shown = interval_text(found, endless)
        return _verdict(claim.expect, found.get("low"), found.get("high"), f"{claim.quantity} {shown}")
    if claim.quantity == "time_ratio" and (baseline := report["arms"].get(arm.get("versus"))):
        low, high = time_bounds(arm, baseline)
        if low is not None or high is not None:
            shown = f"time_ratio {bounds_text(low, high)}"
            verdict, evidence = _verdict(claim.expect, low, high, shown, ", which allows")
            return verdict, f"{evidence}: {_arrivals(claim.arm, arm, report)}"
    if claim.quantity == "recovered" and found is not None:
        who = claim.arm if arm["final"]["iqm"] is None else arm["versus"]
        return "undecided", f"recovered is undefined: {who} {flat(report['arms'][who])}"
    if claim.quantity == "time_ratio":
        return "undecided", f"no interval: {_arrivals(claim.arm, arm, report)}"
    return "undecided", f"{claim.quantity} is not known" if found is None else f"{claim.quantity} has no interval"


def _arrivals(name: str, arm: dict[str, Any], report: dict[str, Any]) -> str:
    """How many seeds of an arm and of its baseline reach the threshold, in words."""
    other, seeds = arm.get("versus"), report["seeds"]
    shares = {name: arm.get("reached"), other: report["arms"].get(other, {}).get("reached")}
    found = [f"{round(share * seeds)} of {seeds} seeds of {who}" for who, share in shares.items() if share is not None]
    if not found:
        who = other if "matrix" in report else report["baseline"]
        return f"{who} {flat(report['arms'][who])}"
    return f"{' and '.join(found)} reach the threshold"


def _verdict(expect: str, low: float | None, high: float | None, shown: str, contains: str = " contains") -> tuple[str, str]:
    """(verdict, evidence). A null upper bound means "never", a null lower bound unknown: neither passes the reference."""
    reference, side = SIDES[expect.removeprefix("not ")]
    if low is None and high is None:
        return "undecided", f"{shown}, interval unknown"
    above = low is not None and low > reference
    below = high is not None and high < reference
    evidence = f"{shown}{' >' if above else ' <' if below else contains} {reference}"
    expected, other = (above, below) if side > 0 else (below, above)
    if not expect.startswith("not "):
        return ("reproduced" if expected else "not reproduced" if other else "undecided"), evidence
    # An unseen effect is no proof that there is none: only an interval beyond the reference is.
    return ("reproduced" if other else "not reproduced" if expected else "undecided"), evidence
