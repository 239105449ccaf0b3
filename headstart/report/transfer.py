"""Measures of a teacher's help, from learning curves.

Jump start, time to threshold and asymptotic gain are those of Taylor & Stone 2009, "Transfer learning for reinforcement
learning domains: a survey", section 2. The exact windows below are ours, the same for every experiment and never tuned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.core.cost import total
from headstart.report.plain import number, plain, text
from headstart.report.stats import as_json, interval, iqm, ratio, versus

TENTH = 0.1  # the window of "initial" and of "final"
NEAR = 0.9  # the share of the baseline's improvement that the threshold asks for
SMOOTH = 3  # evaluations averaged before a curve is compared with the threshold


@dataclass(frozen=True)
class Curve:
    """The evaluation returns of one arm.

    env_steps [P]: env-steps of the last stage at each evaluation, strictly increasing; point 0 is before training.
    returns [S P]: mean evaluation return of each seed; values that are not finite, as after divergence, become nan.
    learning_starts: env-steps of warm-up, before the first gradient step.

    Raises ValueError if the shapes do not agree or env_steps do not increase.
    """

    env_steps: np.ndarray
    returns: np.ndarray
    learning_starts: int = 0

    def __post_init__(self) -> None:
        steps, returns = np.asarray(self.env_steps, np.int64), np.asarray(self.returns, float)
        if steps.ndim != 1 or returns.ndim != 2 or returns.shape[1] != len(steps) or returns.size == 0:
            raise ValueError(f"expected env_steps [P] and returns [S P], got {steps.shape} and {returns.shape}")
        if np.any(np.diff(steps) <= 0):
            raise ValueError("env_steps must increase from one evaluation to the next")
        object.__setattr__(self, "env_steps", steps)
        object.__setattr__(self, "returns", np.where(np.isfinite(returns), returns, np.nan))


def initial(curve: Curve) -> np.ndarray:
    """Return early in learning, [S]: the mean of the evaluations in the first tenth of learning.

    These are the evaluations at env-steps in ``(w, w + 0.1 (total - w)]`` with w = learning_starts; if there are none, the
    first one after w. An evaluation at w, before the first gradient step, shows what was copied and does not count. If
    training ended before learning started, it is the last evaluation.
    """
    steps, warm_up = curve.env_steps, curve.learning_starts
    chosen = (steps > warm_up) & (steps <= warm_up + TENTH * (steps[-1] - warm_up))
    if not chosen.any():
        chosen[min(np.searchsorted(steps, warm_up, side="right"), len(steps) - 1)] = True
    return curve.returns[:, chosen].mean(1)


def final(curve: Curve) -> np.ndarray:
    """Return at the end, [S]: the mean over the last tenth of the evaluations, but at least one."""
    return curve.returns[:, -max(1, int(TENTH * len(curve.env_steps))) :].mean(1)


def improvement(start: float | None, end: float | None, wavers: float | None) -> float | None:
    """What a team learned: end − start, interquartile means over seeds of `final` and of the evaluation before training.

    None if it did not improve by more than `wavers`, its mean `fluctuation` if that is known: a team that wins one battle in a
    thousand has not learned to win, and others are not measured by it.
    """
    if start is None or end is None or not end > start or (wavers is not None and end - start <= wavers):
        return None
    return end - start


def flat(arm: Mapping[str, Any]) -> str:
    """Why a described arm has no `improvement`, in words that follow its name."""
    return "diverged" if arm["final"]["iqm"] is None else "did not improve by more than it fluctuates"


def _improvement(curve: Curve) -> float | None:
    start, end = float(iqm(curve.returns[:, 0])), float(iqm(final(curve)))
    return improvement(start, end, number(fluctuation(curve).mean()))


def threshold(baseline: Curve) -> float | None:
    """The return that counts as having learned the task: ``start + 0.9 improvement`` of the baseline; see `improvement`."""
    learned = _improvement(baseline)
    return None if learned is None else float(iqm(baseline.returns[:, 0])) + NEAR * learned


def steps_to_threshold(curve: Curve, threshold: float) -> np.ndarray:
    """The first env-steps at which each seed reaches the threshold, [S]; inf if it never does.

    A seed is judged by the mean of three evaluations in a row, none of them from before learning starts: one lucky evaluation
    is not enough, nor is the score of a copied policy at the start. If there are fewer than three, all of them are used.
    """
    learning = curve.env_steps >= min(curve.learning_starts, curve.env_steps[-1])
    steps, returns = curve.env_steps[learning], curve.returns[:, learning]
    window = min(SMOOTH, len(steps))
    means = np.lib.stride_tricks.sliding_window_view(returns, window, axis=1).mean(-1)
    reached = means >= threshold
    return np.where(reached.any(1), steps[window - 1 :][reached.argmax(1)], np.inf)


def fluctuation(curve: Curve) -> np.ndarray:
    """Fluctuation of a curve, [S]: the standard deviation of its successive differences over the last half.

    The last half is every evaluation from half of the total env-steps on; nan if it has fewer than three evaluations.
    """
    late = curve.returns[:, curve.env_steps >= curve.env_steps[-1] / 2]
    return np.diff(late, axis=1).std(1) if late.shape[1] > 2 else np.full(len(late), np.nan)


def teacher_steps(stages: Sequence[Mapping[str, Any]]) -> int | None:
    """Env-steps of the stages before the last: the cost of teachers and companions; None if that of one is not known."""
    return total(stage.get("env_steps", 0) for stage in stages[:-1])


def teacher_cost(stages: Sequence[Mapping[str, Any]]) -> tuple[int | None, float]:
    """Env-steps of teachers before an arm's last stage (None: not known), and of companions for each of its own env-steps."""
    alongside = sum(int(stage.get("env_steps", 0)) for stage in stages[:-1] if stage.get("alongside"))
    own = int(stages[-1].get("env_steps", 0)) if stages else 0
    whole = teacher_steps(stages)
    return None if whole is None else whole - alongside, alongside / own if own else 0.0


def charged(steps: np.ndarray, stages: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Env-steps of an arm's last stage, with all that its teachers and companions have taken until then; nan if not known."""
    before, rate = teacher_cost(stages)
    return steps * (1 + rate) + (np.nan if before is None else before)


def describe(curve: Curve, stages: list[dict[str, Any]], threshold: float | None) -> dict[str, Any]:
    """One arm by itself, as in report.json.

    `reached` is the share of seeds that reached the threshold; `fluctuation` the mean over seeds.
    """
    never = np.full(len(curve.returns), np.nan)
    steps = never if threshold is None else steps_to_threshold(curve, threshold)
    return {
        "stages": plain(stages),
        "learning_starts": int(curve.learning_starts),
        "curve": {"env_steps": plain(curve.env_steps), **as_json(interval(curve.returns))},
        "initial": as_json(interval(initial(curve))),
        "final": as_json(interval(final(curve))),
        "steps_to_threshold": as_json(interval(steps)),
        "reached": None if threshold is None else number(np.isfinite(steps).mean()),
        "fluctuation": number(fluctuation(curve).mean()),
    }


def compare(
    curve: Curve,
    stages: list[dict[str, Any]],
    baseline: Curve,
    baseline_stages: list[dict[str, Any]],
    threshold: float | None,
) -> dict[str, Any]:
    """One arm beside its baseline, as in report.json.

    ``jump_start = initial(arm) - initial(baseline)``, ``asymptotic_gain = final(arm) - final(baseline)``,
    ``time_ratio = steps_to_threshold(arm) / steps_to_threshold(baseline)``, and the same with the env-steps of earlier
    stages, and of companions until then, added on both sides (a baseline trained from scratch has none), null if these are
    not known. A ratio is that of the interquartile means, and null if either never reached the threshold; its interval has
    the same name with `_interval`.
    `fluctuation_ratio` is below one for an arm that is smoother than its baseline. ``recovered = (final(arm) - start) /
    (final(baseline) - start)``, with start the baseline's interquartile mean before training, is the share of the baseline's
    improvement that the arm has in the end; null if the baseline has no `improvement`.
    """
    gain = {
        "jump_start": as_json(versus(initial(curve), initial(baseline))),
        "asymptotic_gain": as_json(versus(final(curve), final(baseline))),
    }
    wobble = as_json(ratio(fluctuation(curve), fluctuation(baseline), statistic=np.mean))
    start = float(iqm(baseline.returns[:, 0]))
    unknown = {"iqm": None, "low": None, "high": None}
    learned = unknown
    if _improvement(baseline) is not None:
        learned = as_json(ratio(final(curve) - start, final(baseline) - start))
    own, whole = unknown, unknown
    if threshold is not None:
        a, b = steps_to_threshold(curve, threshold), steps_to_threshold(baseline, threshold)
        own = _finite_ratio(a, b)
        if teacher_steps(stages) is not None and teacher_steps(baseline_stages) is not None:
            whole = _finite_ratio(charged(a, stages), charged(b, baseline_stages))
    return {
        **gain,
        "time_ratio": own["iqm"],
        "time_ratio_interval": own,
        "time_ratio_with_teacher": whole["iqm"],
        "time_ratio_with_teacher_interval": whole,
        "fluctuation_ratio": wobble,
        "recovered": learned,
    }


def time_bounds(arm: Mapping[str, Any], baseline: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Bounds (low, high) on the time ratio of two described arms, where too few seeds arrive for a ratio of their means.

    They are quotients of the ends of both arms' intervals of `steps_to_threshold`, which is wider than an interval of the
    ratio. An arm of which no seed arrives takes longer than its budget. None: no bound is known on that side.
    """
    (low, high), (least, most) = _times(arm), _times(baseline)
    return low / most if low and most else None, high / least if high and least else None


def bounds_text(low: float | None, high: float | None) -> str:
    """`time_bounds` in words; "" if neither is known."""
    ends = (f"{word} {text(end)}" for word, end in (("at least", low), ("at most", high)) if end is not None)
    return " and ".join(ends)


def _times(arm: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The ends of an arm's interval of env-steps to the threshold; None: not known, or never."""
    found = arm.get("steps_to_threshold") or {}
    budget = arm["curve"]["env_steps"][-1] if arm.get("reached") == 0 else None
    return found.get("low") or budget, found.get("high")


def _finite_ratio(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """The ratio of two times; undefined, not zero, if the baseline's middle seeds never reached the threshold."""
    out = as_json(ratio(a, b))
    return out if np.isfinite(iqm(b)) else {"iqm": None, "low": None, "high": None}
