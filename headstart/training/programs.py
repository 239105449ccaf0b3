"""The programs of a run, each compiled once: draw and begin, advance by any number of updates, evaluate."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from headstart.core.env import Env
from headstart.core.episodes import evaluate, team_mean
from headstart.core.learner import Learner
from headstart.core.trainer import Trainer
from headstart.core.types import Metrics


def begin(trainer: Trainer, key: Array, seed: Array, params: PyTree = None, drawn: PyTree = None) -> PyTree:
    """A run's loop state: the training state, sums of metrics since the last row, and the update that broke (-1: none;
    -2 - update if the environment's own numbers were not finite). `params`, `drawn`: see `Trainer.init`."""
    state = trainer.init(key, seed, params, drawn)
    sums = jax.eval_shape(trainer.update, state, jnp.asarray(0), trainer.data)[1]
    return {
        "state": state,
        "sums": jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums),
        "broken": jnp.full((), -1, jnp.int32),
    }


def first(make: Callable[[PyTree], Trainer], keys: Array, seeds: Array, values: PyTree, compiled: Callable[..., Any]) -> Any:
    """The loop state with which a run begins, in all lanes [S ..]; each is trained by the trainer that `make` makes of its
    `values`. `compiled` is `lanes.compile_program`, or one that calls it.

    The networks are drawn by a program of their own, which all runs of a learner on agents like these find in JAX's cache.
    """
    draw = jax.vmap(lambda key, values: make(values).draw(key))
    drawn = compiled(draw, keys, values, mapped=2, runs_once=True)(keys, values).whole()
    start = jax.vmap(lambda key, seed, values, drawn: begin(make(values), key, seed, drawn=drawn))
    lanewise = (keys, seeds, values, drawn)
    return compiled(start, *lanewise, mapped=4, runs_once=True)(*lanewise)


def advance(trainer: Trainer) -> Callable[..., PyTree]:
    """`(loop, start, stop, data) -> loop` of all seeds [S ..] after the updates start .. stop − 1: see `advance_lanes`."""
    step = advance_lanes(lambda values: trainer)
    return lambda loop, start, stop, data: step(loop, {}, start, stop, data)


def advance_lanes(make: Callable[[PyTree], Trainer]) -> Callable[..., PyTree]:
    """`(loop, values, start, stop, data) -> loop` of all lanes [S ..] after the updates start .. stop − 1.

    Each lane is trained by the trainer that `make` makes of its `values`. The bounds are values, not shapes: one program serves
    pieces of every length, and cutting a run into pieces does not change a bit of it. `data` is one for all lanes.
    """

    def one(loop, values, index, data):
        trainer = make(values)
        state, metrics = trainer.update(loop["state"], index, data)
        floats = [x for x in jax.tree.leaves((state.params, metrics)) if jnp.issubdtype(x.dtype, jnp.floating)]
        fine = jnp.stack([jnp.isfinite(x).all() for x in floats]).all()
        given = (state.step.obs, state.step.final_obs, state.step.reward, state.returns, metrics["episodes"])
        floats = [x for x in jax.tree.leaves(given) if jnp.issubdtype(x.dtype, jnp.floating)]
        told = jnp.stack([jnp.isfinite(x).all() for x in floats]).all()
        # All parameters were finite when they acted in this update, so what the environment returned is its own doing.
        broken = jnp.where((loop["broken"] == -1) & ~(fine & told), jnp.where(told, index, -2 - index), loop["broken"])
        return {"state": state, "sums": jax.tree.map(jnp.add, loop["sums"], metrics), "broken": broken}

    lanes = jax.vmap(one, in_axes=(0, 0, None, None))
    return lambda loop, values, start, stop, data: jax.lax.fori_loop(
        start, stop, lambda i, loop: lanes(loop, values, i, data), loop
    )


def score(env: Env, learner: Learner, episodes: int) -> Callable[[PyTree, Array, Array], Metrics]:
    """`(params [S ..], keys [S], index) -> {"eval_return": [S], ..}` of fresh greedy episodes, new ones for each index."""
    lanes = score_lanes(lambda values: (env, learner), episodes)
    return lambda params, keys, index: lanes(params, keys, {}, index)


def score_lanes(make: Callable[[PyTree], tuple[Env, Learner]], episodes: int) -> Callable[..., Metrics]:
    """`(params [S ..], keys [S], values, index) -> {..}`: as `score`, with the environment and learner of a lane's `values`."""

    def one(params, key, values, index):
        out = evaluate(*make(values), episodes)(params, jr.fold_in(jr.fold_in(key, 1), index))
        roles = {f"eval_return/{role}": x.mean() for role, x in out["return"].items()} if len(out["return"]) > 1 else {}
        events = {f"eval_event/{name}": x.mean() for name, x in out["events"].items()}
        return {"eval_return": team_mean(out["return"]).mean(), "eval_length": out["length"].mean(), **roles, **events}

    return jax.vmap(one, in_axes=(0, 0, 0, None))


def use_compilation_cache() -> None:
    """Keep compiled programs between processes, unless the user has already set up JAX's cache, or has no home to keep them."""
    if jax.config.values.get("jax_compilation_cache_dir") is None:
        with contextlib.suppress(RuntimeError, OSError):
            cache = Path.home() / ".cache" / "headstart" / "jax"
            cache.mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", str(cache))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)  # those that are quickly compiled as well
