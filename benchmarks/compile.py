"""Seconds that the programs of a run take to trace and compile: draw, begin, advance and evaluate, on spread.

They are those of `headstart train` for one seed, with its default number of episodes in an evaluation and its options for the
compiler. Every turn finds empty caches, as a first run does; a later run finds its programs in the cache on disk.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.experimental.compilation_cache import compilation_cache

from benchmarks.common import Options, row
from headstart import registry
from headstart.core.guidance import Guidance
from headstart.core.learner import make_learner
from headstart.core.trainer import make_trainer
from headstart.envs.particle.spread import Spread
from headstart.training import lanes, programs
from headstart.training.config import Config

LEARNERS = ("ippo", "maddpg")


def main(options: Options) -> None:
    """Rows for each learner: seconds of each program, and of all of them."""
    for name in LEARNERS:
        with _without_cache():
            turns = [_compiled(name) for _ in range(1 if options.quick else 3)]
        taken = {program: [turn[program] for turn in turns] for program in turns[0]}
        for program, seconds in (taken | {"all": [sum(turn.values()) for turn in turns]}).items():
            row(f"compile-{name}-{program}", statistics.median(seconds), None, "none", "s", turns=seconds)


def _compiled(name: str) -> dict[str, float]:
    """{program: seconds}, of programs that are traced and compiled anew."""
    config = Config(Spread(agents=3), registry.preset("learner", name))
    env, learner = config.env, make_learner(config.learner, config.env.spec)
    trainer = make_trainer(env, learner, Guidance(), config.steps)
    keys, seeds, zero, seconds = jr.split(jr.key(0), 1), jnp.arange(1), jnp.asarray(0), {}
    begin = jax.vmap(lambda key, seed, drawn: programs.begin(trainer, key, seed, drawn=drawn))
    drawn = jax.eval_shape(jax.vmap(trainer.draw), keys)
    loop = jax.eval_shape(begin, keys, seeds, drawn)
    once = {"runs_once": True}
    for program, function, args, how in (
        ("draw", jax.vmap(trainer.draw), (keys,), {"mapped": 1, **once}),
        ("begin", begin, (keys, seeds, drawn), {"mapped": 3, **once}),
        ("advance", programs.advance(trainer), (loop, zero, zero, trainer.data), {"mapped": 1, "donate": 0}),
        ("evaluate", programs.score(env, learner, config.episodes), (loop["state"].params, keys, zero), {"mapped": 2}),
    ):
        jax.clear_caches()
        start = time.perf_counter()
        lanes.compile_program(function, *args, **how)
        seconds[program] = time.perf_counter() - start
    return seconds


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """Without programs that were compiled before, in this process or on disk."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # it remembers whether it is in use
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()
