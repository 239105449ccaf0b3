"""Env-steps that a team or recordings cost, which nobody may know: of a model from elsewhere, say."""

from collections.abc import Iterable


def total(costs: Iterable[int | None]) -> int | None:
    """The sum of numbers of env-steps; None if one of them is not known."""
    found = list(costs)
    return None if None in found else sum(int(cost) for cost in found if cost is not None)
