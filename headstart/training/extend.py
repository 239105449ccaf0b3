"""A run that goes on to another length: its new configuration, its evaluations, and how it differs from a run of that length.

A training state depends on a run's length in two ways only: the length of its memory, which is made to fit, and the progress of
schedules. So a run that goes on from its last training state is bitwise one that had the new length from the start, unless a
part uses the progress. If only its team was kept, the optimiser and the memory begin afresh.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval
from jaxtyping import PyTree

from headstart.core.checks import HeadstartError
from headstart.core.env import Vectorised
from headstart.core.guidance import Clock
from headstart.core.part import checked
from headstart.core.ranges import Steps
from headstart.core.trainer import Trainer
from headstart.report.build import read_column
from headstart.storage.places import sweep_of
from headstart.training.config import Config, resumption
from headstart.training.directory import RunDir


class Extension(NamedTuple):
    """A run that goes on to another length."""

    config: Config
    extended: list[dict[str, Any]]
    """What run.json keeps of the lengths that the run had before: see `schema.Extended`."""
    notes: list[str]
    """Differences from a run that had the new length from the start, as far as the new programs need not be known."""


def extension(directory: RunDir, manifest: dict[str, Any], config: Config, steps: Any) -> Extension:
    """The run of `manifest` as it goes on to `steps` env-steps in all; HeadstartError unless that is more than it has."""
    path, steps = directory.path, checked("steps", steps, Steps)
    _check_stage(path)
    learner = config.learner.make(config.env.spec)
    per_update = learner.rollout * learner.num_envs
    finished, kept = bool(manifest.get("finished")), directory.newest() * per_update
    before = list(manifest.get("extended", ()))
    had = manifest["env_steps"] if finished else max(kept, fresh_at(before, per_update) * per_update)
    if -(-steps // per_update) * per_update <= had:
        on = "" if finished else f"go on to {config.steps:,} with: {resumption(config, path)}, or "
        longer = resumption(config, path, 2 * had)
        raise HeadstartError(f"{path} has {had:,} env-steps already: {on}ask for more in all, e.g. {longer}")
    if not finished and steps == config.steps:
        return Extension(config, before, [])
    entry = {"steps": config.steps, "evaluations": config.evaluations, "env_steps": had, "finished": finished}
    entry |= {"fresh": finished and kept != had, "timing": manifest.get("timing")}
    entry |= {"policy": manifest["files"]["policy"]} if "files" in manifest else {}
    spacing = _spacing([*before, entry], per_update)
    evaluations = max(1, int(np.ceil(-(-steps // per_update) / spacing - 1e-9)))
    longer = dataclasses.replace(config, steps=steps, evaluations=evaluations)
    notes = []
    if finished and _goal_reached(path, config):
        longer = dataclasses.replace(longer, until=None)
        notes.append(f"the goal of a return of {config.until:g} has been reached and no longer counts")
    if entry["fresh"]:
        what = "the optimiser and the replay memory start" if learner.memory.replays else "the optimiser starts"
        what = f"{what}, and so does what guidance has learned," if config.guidance else what
        notes.append(
            f"{what} afresh from the team's parameters, because the last training state was not kept: train with --keep last"
        )
    elif had and isinstance(config.env, Vectorised) and hasattr(config.env, "at_once"):
        notes.append("episodes that were running in the environment's own processes are cut off")
    if finished and -(-learner.warmup // per_update) >= had // per_update:
        notes.append("its warm-up ended with the run")
    return Extension(longer, [*before, entry], notes)


def _check_stage(path: Path) -> None:
    """Refuse a stage of an experiment or a point of a sweep, which defines its length."""
    if path.resolve().parent.name == "stages" and (path.resolve().parents[1] / "experiment.json").exists():
        raise HeadstartError(f"{path} is a stage of an experiment, which defines its length: --steps is for runs of their own")
    if sweep_of(path):
        raise HeadstartError(f"{path} is a point of a sweep, which defines its length: copy it to go on with --steps")


def _goal_reached(path: Path, config: Config) -> bool:
    return config.until is not None and bool(read_column(path, "eval_return")[:, -1].mean() >= config.until)


def fresh_at(extended: Any, per_update: int) -> int:
    """The update before which the optimiser was fresh and the memory empty for the last time."""
    return beginnings(extended, per_update)[-1]


def beginnings(extended: Any, per_update: int) -> list[int]:
    """The numbers of updates before which optimiser, memory and guidance were fresh, from 0 on."""
    return [0, *(entry["env_steps"] // per_update for entry in extended if entry["fresh"])]


def _spacing(extended: Any, per_update: int) -> float:
    """Updates between two evaluations, as the run began."""
    return -(-extended[0]["steps"] // per_update) / extended[0]["evaluations"]


def evaluated_after(updates: int, evaluations: int, extended: Any, per_update: int) -> np.ndarray:
    """The numbers of updates after which a run is evaluated: 0, its end, the ends that it had before, and between them at
    the spacing with which it began."""
    if not extended:
        return np.unique(np.linspace(0, updates, evaluations + 1).round().astype(int))
    spacing = _spacing(extended, per_update)
    spaced = (np.arange(int(updates / spacing) + 1) * spacing).round().astype(int)
    ends = [entry["env_steps"] // per_update for entry in extended if entry["finished"]]
    return np.unique([*spaced[spaced <= updates], *ends, updates])


def follows_progress(trainer: Trainer, state: PyTree) -> bool:
    """Whether an update depends on how far the run is, apart from its index: by a schedule of the learner or of guidance.

    `state` has the shapes of a training state. A part that uses the progress within a Python callback counts as dependent.
    """
    update = lambda progress, state, index: trainer.update_at(state, Clock(index, progress), trainer.data)
    program = jax.make_jaxpr(update)(jnp.zeros(()), state, jnp.asarray(0)).jaxpr
    return partial_eval.dce_jaxpr(program, [True] * len(program.outvars))[1][0]


def in_room(state: PyTree, shape: PyTree) -> PyTree:
    """A training state [S ..] whose memory is made as long as in `shape`.

    What is cut or added has never been written: a memory that has been full once has the same room in every length.
    """

    def fitted(x: Any, want: Any) -> Any:
        if x.shape == want.shape:
            return x
        out = np.zeros(want.shape, want.dtype)
        count = min(x.shape[1], want.shape[1])
        out[:, :count] = np.asarray(x)[:, :count]
        return jnp.array(out)

    return _with_memory(state, jax.tree.map(fitted, state.memory, shape.memory))


def _with_memory(state: PyTree, memory: PyTree) -> PyTree:
    return eqx.tree_at(lambda state: state.memory, state, memory)


def with_room(state: PyTree, room: int) -> PyTree:
    """The shapes of a training state [S ..] whose memory has another room."""
    resized = lambda x: jax.ShapeDtypeStruct((x.shape[0], room, *x.shape[2:]), x.dtype, weak_type=x.weak_type)
    return _with_memory(state, jax.tree.map(resized, state.memory))


def rounded(steps: int, per_update: int) -> str:
    """One line if so many env-steps are no whole number of updates, and become more; else empty."""
    whole = -(-steps // per_update) * per_update
    return "" if whole == steps else f"{steps:,} env-steps become {whole:,}: whole updates of {per_update:,}"


def told(directory: RunDir, extended: Any, notes: list[str], end: int) -> str:
    """One line about how the run goes on; empty if it is just as if it had been that long from the start."""
    if not notes:
        return ""
    lengths = f"{directory.path} goes on from {extended[-1]['env_steps']:,} to {end:,} env-steps"
    return f"{lengths}, but not as if it had been that long from the start: {'; '.join(notes)}"
