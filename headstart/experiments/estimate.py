"""How long an experiment takes on this machine, from a few timed updates of each of its stages.

An estimate, not a promise: teachers stand in by networks that have learned nothing, and a stage that ends as soon as it has
reached another's return is counted whole.
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart.core.guidance import chain, teacher_of
from headstart.core.learner import Learner, make_learner
from headstart.core.scope import scope
from headstart.core.trainer import Trainer, make_trainer
from headstart.experiments.base import Experiment, Stage, stage_of
from headstart.experiments.recordings import Recording
from headstart.teams.demos import Demos
from headstart.teams.policy import TeamPolicy
from headstart.training import footprint, lanes, programs
from headstart.training.config import Config

SECONDS = 1.0
"""How long updates of one kind are timed."""
LONG = ("paper", "literal")
"""Scales whose duration is told before they start."""

Clock = Callable[[], float]


def tell(name: str, experiment: Experiment, seeds: int) -> None:
    """Print how long an experiment will take: each stage as soon as it has been timed, then the sum."""
    print(f"{name} with {seeds} seed{'s' * (seeds != 1)} on this machine takes", flush=True)
    found = estimate(experiment, seeds, lambda stage, seconds: print(f"  about {in_words(seconds)} for {stage}", flush=True))
    print(f"  about {in_words(sum(found.values()))} in all", flush=True)


def estimate(
    experiment: Experiment,
    seeds: int,
    told: Callable[[str, float], None] = lambda stage, seconds: None,
    clock: Clock = time.perf_counter,
) -> dict[str, float]:
    """{stage: seconds}, evaluations and compilation included; `told` hears of each stage once it has been timed.

    Raises HeadstartError for a stage that cannot run.
    """
    programs.use_compilation_cache()
    teams, found = {}, {}
    for stage in experiment.stages:
        with scope():
            found[stage.name], teams[stage.name] = _timed(stage, seeds, teams, clock)
        told(stage.name, found[stage.name])
    return found


def in_words(seconds: float) -> str:
    """E.g. "40 s", "12 min", "3 h 20 min", "4 days 5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes if minutes < 180 else 5 * round(minutes / 5), 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def _timed(stage: Stage, seeds: int, teams: dict[str, TeamPolicy], clock: Clock) -> tuple[float, TeamPolicy]:
    """Seconds of a stage, and a team of its kind that has learned nothing."""
    began = clock()
    taught = lambda guide: dataclasses.replace(guide, teacher=_stand_in(teacher_of(guide), teams))
    guides = tuple(taught(guide) if stage_of(teacher_of(guide)) else guide for guide in stage.guidance)
    config = Config(stage.env, stage.learner, guides, stage.steps, seeds)
    spec = stage.env.spec
    learner = make_learner(stage.learner, spec)
    trainer = make_trainer(stage.env, learner, chain(*(g.make(spec, learner) for g in config.guidance)), stage.steps)
    with footprint.no_overflow():
        shape = jax.eval_shape(lambda key: programs.begin(trainer, key, jnp.asarray(0)), jr.key(0))
        footprint.check_training(config, learner, shape)
    advance, evaluate, loop = _compiled(config, trainer, learner, shape)
    prepared = clock() - began
    warm, loop = _pace(advance, loop, 0, trainer.warmup_updates, clock)
    # A run collects before it learns. Where that takes long, the first batches here are drawn from less.
    learning, loop = _pace(advance, loop, trainer.warmup_updates, trainer.updates, clock)
    params = loop["state"].map(lambda state: state.params)
    evaluation = min(_seconds(lambda: evaluate(params), clock) for _ in range(2))
    total = prepared + warm * trainer.warmup_updates + learning * (trainer.updates - trainer.warmup_updates)
    team = TeamPolicy(spec, stage.learner, params.whole(), tuple(range(seeds)), stage.env)
    return total + evaluation * (stage.evaluations + 1), team


def _stand_in(teacher: str | Recording, teams: dict[str, TeamPolicy]) -> TeamPolicy | Demos:
    """The teacher with a team that has learned nothing; demonstrations are recorded, which takes its time too."""
    team = teams[stage_of(teacher)]
    return teacher.record(team) if isinstance(teacher, Recording) else team


def _compiled(config: Config, trainer: Trainer, learner: Learner, shape):
    """The programs of a run and its first loop state: advance(loop, start, stop), evaluate(params), loop."""
    seeds, zero = jnp.arange(config.seeds), jnp.asarray(0)
    keys = jax.vmap(lambda seed: jr.fold_in(jr.key(0), seed))(seeds)
    of_all = lambda x: jax.ShapeDtypeStruct((config.seeds, *x.shape), x.dtype, weak_type=x.weak_type)
    shapes = jax.tree.map(of_all, shape)
    step = lanes.compile_program(programs.advance(trainer), shapes, zero, zero, trainer.data, mapped=1, donate=0)
    score = programs.score(config.env, learner, config.episodes)
    score = lanes.compile_program(score, shapes["state"].params, keys, zero, mapped=2)
    loop = programs.first(lambda values: trainer, keys, seeds, {}, lanes.compile_program)
    advance = lambda loop, start, stop: step(loop, jnp.asarray(start), jnp.asarray(stop), trainer.data)
    return advance, lambda params: score(params, keys, zero).whole(), loop


def _pace(advance, loop, start: int, stop: int, clock: Clock):
    """Seconds an update from `start` on, of as many as fit into `SECONDS`, and the loop state after them."""
    done, piece, spent = start, 1, 0.0
    while done < stop and spent < SECONDS:
        until, began = min(done + piece, stop), clock()
        loop = advance(loop, done, until)
        jax.block_until_ready(loop.trees)
        spent, done, piece = spent + clock() - began, until, 2 * piece
    return spent / max(done - start, 1), loop


def _seconds(run: Callable[[], object], clock: Clock) -> float:
    began = clock()
    jax.tree.map(np.asarray, run())
    return clock() - began
