"""Interquartile means and bootstrap intervals over seeds.

Conventions for non-finite values: `inf` means "never reached" and sorts after every number, so it enters a statistic only
if it lies inside the middle half. `nan` means "unknown": a statistic of a sample with a nan is nan, because leaving out a
diverged seed would flatter the method that diverged. `as_json` turns both into null.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from headstart.report.plain import number

BLOCK = 4_000_000  # floats resampled at once: bounds memory at some tens of megabytes


def iqm(x: Any, axis: int = 0) -> np.ndarray:
    """Interquartile mean: the mean of the middle half of the sample.

    ``iqm(x) = 2 ∫_{1/4}^{3/4} Q(p) dp`` with Q the empirical quantile function, a step of width 1/n for each sorted
    value. A value that straddles a quartile counts with the fraction of its step that lies inside: three seeds weigh
    1/6, 2/3, 1/6 and five weigh 0, .3, .4, .3, 0. If n is a multiple of four this equals `scipy.stats.trim_mean(x, 0.25)`.
    For other n that function cuts whole values only: of three seeds it cuts none.

    Source: Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice", section 4.3.
    Shapes: x [.. n ..] reduced over `axis`. Raises ValueError if n is 0.
    """
    ordered = np.sort(np.moveaxis(np.asarray(x, float), axis, -1), axis=-1)
    n = ordered.shape[-1]
    if n == 0:
        raise ValueError("the interquartile mean of no values is undefined")
    weights = 2 * np.diff(np.clip(np.arange(n + 1) / n, 0.25, 0.75))
    kept = weights > 0
    with np.errstate(invalid="ignore"):
        middle = (ordered[..., kept] * weights[kept]).sum(-1)
    return np.where(np.isnan(ordered[..., -1]), np.nan, middle)


def interval(
    x: Any,
    statistic: Callable[..., np.ndarray] = iqm,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    strata: bool = False,
) -> dict[str, Any]:
    """A statistic and its percentile-bootstrap interval over seeds: {"iqm", "low", "high"}.

    Whole seeds (with all their trailing axes) are drawn with replacement; with `strata` they are drawn separately within
    each stratum (a task) and pooled. Bounds are the order statistics just outside the percentiles, never interpolated, so
    that an infinite resample stays infinite. A single seed gives no spread: its bounds are nan.

    Shapes: x [S ..], or [Q S ..] with `strata`; each result [..]. The same `seed` gives the same interval.
    """
    pooled = _stratified(x, strata)
    point = statistic(pooled.reshape(-1, *pooled.shape[2:]), axis=0)
    draws = _bootstrap(pooled, statistic, np.random.default_rng(seed), resamples)
    return _bounds(point, draws, confidence, known=pooled.shape[1] > 1)


def versus(
    a: Any,
    b: Any,
    statistic: Callable[..., np.ndarray] = iqm,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    strata: bool = False,
) -> dict[str, Any]:
    """``statistic(a) - statistic(b)`` with its interval; the two arms are resampled independently.

    Shapes: a [S ..] and b [S' ..] with the same trailing axes; each result [..].
    """
    return _combine(np.subtract, a, b, statistic, confidence, resamples, seed, strata)


def ratio(
    a: Any,
    b: Any,
    statistic: Callable[..., np.ndarray] = iqm,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    strata: bool = False,
) -> dict[str, Any]:
    """``statistic(a) / statistic(b)`` with its interval; the two arms are resampled independently.

    An infinite numerator (never reached) gives inf, an infinite denominator gives 0, and both at once give nan. Shapes: as
    in `versus`.
    """
    return _combine(np.divide, a, b, statistic, confidence, resamples, seed, strata)


def as_json(interval: dict[str, Any]) -> dict[str, Any]:
    """The interval in plain numbers or lists of them; null for infinite and unknown values."""
    return {k: number(v) if np.ndim(v) == 0 else [number(u) for u in v] for k, v in interval.items()}


def _combine(operation, a, b, statistic, confidence, resamples, seed, strata) -> dict[str, Any]:
    a, b = _stratified(a, strata), _stratified(b, strata)
    rng = np.random.default_rng(seed)
    points = [statistic(x.reshape(-1, *x.shape[2:]), axis=0) for x in (a, b)]
    draws = [_bootstrap(x, statistic, rng, resamples) for x in (a, b)]
    with np.errstate(invalid="ignore", divide="ignore"):
        point, drawn = operation(*points), operation(*draws)
    return _bounds(point, drawn, confidence, known=min(a.shape[1], b.shape[1]) > 1)


def _stratified(x: Any, strata: bool) -> np.ndarray:
    x = np.asarray(x, float)
    x = x if strata else x[None]
    if x.ndim < 2 or x.shape[1] == 0:
        raise ValueError(f"expected at least one seed, got an array of shape {x.shape}")
    return x


def _blocks(total: int, size: int) -> Iterator[int]:
    for start in range(0, total, size):
        yield min(size, total - start)


def _bootstrap(x: np.ndarray, statistic, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """[Q S ..] → the statistic of each resample, [R ..]."""
    strata, seeds = x.shape[:2]
    out = []
    for block in _blocks(resamples, max(1, BLOCK // x.size)):
        drawn = rng.integers(seeds, size=(block, strata, seeds))
        sample = x[np.arange(strata)[None, :, None], drawn]
        out.append(statistic(sample.reshape(block, strata * seeds, *x.shape[2:]), axis=1))
    return np.concatenate(out)


def _bounds(point: Any, draws: np.ndarray, confidence: float, known: bool) -> dict[str, Any]:
    """An undefined resample counts as -inf for the lower bound and as +inf for the upper one."""
    if not known:
        unknown = np.full(np.shape(point), np.nan)
        return {"iqm": point, "low": unknown, "high": unknown}
    tail, last = (1 - confidence) / 2, len(draws) - 1
    low = np.sort(np.where(np.isnan(draws), -np.inf, draws), axis=0)[int(np.floor(tail * last))]
    high = np.sort(np.where(np.isnan(draws), np.inf, draws), axis=0)[int(np.ceil((1 - tail) * last))]
    return {"iqm": point, "low": low, "high": high}
