"""Columns of metrics.csv under the names that users of trackers expect, such as "eval/return"."""

from collections.abc import Mapping

import numpy as np


def tag(column: str) -> str:
    """The name of a column: evaluation is in "eval", training in "train", and what is minimised in "losses".

    >>> tag("eval_return/agent"), tag("eval_event/win"), tag("actor_loss"), tag("entropy")
    ('eval/return/agent', 'eval/win', 'losses/actor_loss', 'train/entropy')
    """
    for group in ("eval", "train"):
        for before in (f"{group}_event/", f"{group}_"):
            if column.startswith(before):
                return f"{group}/{column.removeprefix(before)}"
    return f"losses/{column}" if column.endswith("_loss") else f"train/{column}"


def of_seed(values: Mapping[str, np.ndarray], index: int) -> dict[str, float]:
    """{name: value of the seed at an index} of a row {column: [S]}; values that are missing are left out."""
    return {tag(column): float(x[index]) for column, x in values.items() if np.isfinite(x[index])}
