"""A sweep over a teacher's weight and a learning rate, beside its points trained one after another.

`sweep-200` has eight points of three seeds and 200 updates each. Nothing that was compiled before counts: each training finds
an empty cache, so that a sweep, which compiles once, saves the more, the shorter its runs. Both sides end with run
directories that are ready for a report. The bare numbers have the largest difference between a parameter of a point and that
of the run that trained alone.
"""

import tempfile
import time
from pathlib import Path

import jax
import numpy as np

import headstart as hs
from benchmarks.common import Options, row
from headstart.training import run, settings, sweep
from headstart.training.config import Config

OVER = {"guidance.alpha": [0.0, 0.1, 0.5, 1.0], "learner.actor_lr": [1e-2, 1e-3]}
SEEDS = 3


def main(options: Options) -> None:
    """One row for short runs and, unless `quick`, one for longer runs, whose work weighs more beside compilation."""
    for updates in (20,) if options.quick else (20, 200):
        _row(updates)


def _row(updates: int) -> None:
    learner = hs.DDPG(warmup=1000, capacity=20_000)
    steps = learner.warmup + updates * learner.train_every
    old = jax.config.values["jax_compilation_cache_dir"]
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        teacher = run.train(Config(hs.Spread(4), learner, steps=2000, evaluations=1), out / "teacher")
        guide = hs.Distill(teacher, schedule="constant")
        config = Config(hs.Spread(6), learner, (guide,), steps=steps, seeds=SEEDS, evaluations=5, worth=0)
        swept, together = _timed(lambda: sweep.sweep(config, OVER, out / "sweep"), out / "cache")
        apart, differences = 0.0, []
        for name, point in swept.points.items():
            alone = config
            for setting, value in point.values.items():
                alone = settings.changed(alone, setting, value)
            team, seconds = _timed(lambda alone=alone, name=name: run.train(alone, out / name), out / f"cache-{name}")
            apart += seconds
            pairs = zip(jax.tree.leaves(team.params), jax.tree.leaves(point.team.params), strict=True)
            differences.append(max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs))
    jax.config.update("jax_compilation_cache_dir", old)
    seen = {"points": len(differences), "seeds": SEEDS, "updates": updates, "goal": 0.5}
    row(f"sweep-{updates}", together, apart, "its points one after another", "s", largest_difference=max(differences), **seen)


def _timed(work, cache: Path):
    """What `work` returns, and its seconds, with an empty cache of compiled programs."""
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.clear_caches()
    start = time.perf_counter()
    done = work()
    return done, time.perf_counter() - start
