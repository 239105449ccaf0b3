"""What a teacher is good for: a student that imitates it, one that learns from rewards beside it, and one without."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import headstart as hs
from headstart.report import read_curve


def students(env: hs.Env, teacher, learner: hs.PPO, imitator: hs.Imitator, out: Path, **settings) -> dict[str, float]:
    """Train the three students in `out`; returns {name: mean return at the end}."""
    runs = {
        "imitates it": (imitator, [hs.Dagger(teacher)]),
        "learns beside it": (learner, [hs.Distill(teacher, loss="kl")]),
        "has no teacher": (learner, []),
    }
    return compared(env, runs, out, **settings)


def compared(env: hs.Env, runs: Mapping[str, tuple[Any, Sequence[Any]]], out: Path, **settings) -> dict[str, float]:
    """Train runs, {name: (learner, guidance)}, in `out`; returns {name: mean return at the end}."""
    found = {}
    for name, (learner, guidance) in runs.items():
        run = out / name.replace(" ", "-")
        hs.train(env, learner, run, guidance=guidance, **{"evaluations": 1, "worth": 0} | settings)
        found[name] = float(read_curve(run).returns[:, -1].mean())
    return found


def tell(found: dict[str, float]) -> dict[str, float]:
    """Print returns by name; returns them."""
    for name, value in found.items():
        print(f"{name}: return {value:.1f}")
    return found
