"""The result of a report in one sentence, from the intervals alone."""

from collections import Counter
from typing import Any

from headstart.report import matrix
from headstart.report.plain import interval_text, text
from headstart.report.sweep import sweep_headline

SMOKE = "A smoke run shows that everything works: its numbers and verdicts mean nothing."


def leading_arm(report: dict[str, Any]) -> str | None:
    """The arm that the page shows first: `report["headline"]` if given, else the first that has a baseline."""
    chosen = report.get("headline")
    taught = [name for name, arm in report["arms"].items() if arm.get("versus")]
    return chosen if chosen in report["arms"] else taught[0] if taught else None


def shown_arms(report: dict[str, Any]) -> list[str]:
    """The arms of which the page's first sentence tells: an experiment's leading one, and all that runs are compared with."""
    taught = [name for name, arm in report["arms"].items() if arm.get("versus")]
    leading = leading_arm(report)
    return taught if "title" not in report and "sweep" not in report else [name for name in taught if name == leading]


def caution(report: dict[str, Any]) -> str:
    """A warning about the numbers of a smoke run, and that of the report itself; "" if there is none."""
    told = [SMOKE] if report["scale"] == "smoke" else []
    if own := report.get("caution"):
        told.append(f"{own[0].upper()}{own[1:]}.")
    return " ".join(told)


def headline(report: dict[str, Any]) -> str:
    """The report in one sentence: verdicts counted and the leading arm beside its baseline; or the best point of a sweep."""
    if "sweep" in report:
        return sweep_headline(report)
    shown = shown_arms(report)
    if "matrix" in report:
        sentence = matrix.headline(report)
    else:
        sentence = " ".join(_taught(name, report["arms"][name]) for name in shown) or _alone(report)
    counted = _counts(report["claims"])
    return " ".join(filter(None, [caution(report), f"{counted}: {sentence}" if counted else sentence]))


def _counts(claims: list[dict[str, Any]]) -> str:
    if not claims:
        return ""
    counts = Counter(claim["verdict"] for claim in claims)
    words = [f"{counts[v]} {v}" for v in ("not reproduced", "undecided") if counts[v]]
    noun = "claim" if len(claims) == 1 else "claims"
    return ", ".join([f"{counts['reproduced']} of {len(claims)} {noun} reproduced", *words])


def _taught(name: str, arm: dict[str, Any]) -> str:
    baseline = arm["versus"]
    parts = [f"{name} starts {_beside(arm['jump_start'], baseline)}"]
    if arm["time_ratio"] is not None:
        share = f"reaches the threshold in {text(arm['time_ratio'])} × as many env-steps"
        charged = arm["time_ratio_with_teacher"]
        if charged is not None and charged != arm["time_ratio"]:
            share += f" ({text(charged)} × with the teacher's steps charged)"
        parts.append(share)
    elif arm.get("reached") == 0:
        parts.append("never reaches the threshold")
    parts.append(f"ends {_beside(arm['asymptotic_gain'], 'it')}")
    return ", ".join(parts[:-1]) + f" and {parts[-1]}."


def _beside(gain: dict[str, Any], other: str) -> str:
    low, high = gain["low"], gain["high"]
    if gain["iqm"] is None:
        return f"at an unknown distance from {other}"
    if low is None or high is None:
        return f"{text(gain['iqm'])} from {other} (interval unknown)"
    if low <= 0 <= high:
        return f"level with {other} ({interval_text(gain)})"
    size = {"iqm": abs(gain["iqm"]), "low": min(abs(low), abs(high)), "high": max(abs(low), abs(high))}
    return f"{interval_text(size)} {'above' if low > 0 else 'below'} {other}"


def _alone(report: dict[str, Any]) -> str:
    parts = []
    for name, arm in report["arms"].items():
        steps, start = arm["curve"]["env_steps"][-1], arm["curve"]["iqm"][0]
        parts.append(f"{name} went from {text(start)} to {interval_text(arm['final'])} in {steps:,} env-steps")
    return "; ".join(parts) + "."
