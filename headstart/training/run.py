"""Runs on disk: train one, resume one, score its team."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.env import Env
from headstart.core.episodes import evaluate, team_mean
from headstart.core.guidance import teacher_of
from headstart.core.part import checked
from headstart.core.ranges import Count
from headstart.core.scope import innermost, scope
from headstart.core.types import TeamSpec
from headstart.storage import files
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.training import cores, footprint
from headstart.training.config import Config, bind, restore
from headstart.training.directory import RunDir, check_free, undone_if_refused
from headstart.training.lanes import compile_program
from headstart.training.programs import host_errors
from headstart.training.session import Session, Signals
from headstart.training.watch import Watcher


@scope()
def train(config: Config, out: str | Path, watchers: Sequence[Watcher] = ()) -> TeamPolicy:
    """Train a team and write a run directory at `out`; returns the team. Refuses a directory that holds anything."""
    directory = RunDir(out)
    check_free(directory.path)
    session = Session(_with_teachers(config), directory, watchers)
    teachers = [teacher_of(guide) for guide in session.config.guidance]
    with Signals(innermost().stop), undone_if_refused(directory.path, lambda: session.begun):
        session.manifest = directory.create(session.manifest, lambda path: bind(session.manifest, teachers, path))
        with directory.held():
            return session.go()


def _with_teachers(config: Config) -> Config:
    """The configuration with every teacher loaded that was given by its path."""
    given = lambda guide: isinstance(teacher_of(guide), str | Path)
    loaded = lambda guide: dataclasses.replace(guide, teacher=load(teacher_of(guide))) if given(guide) else guide
    return dataclasses.replace(config, guidance=tuple(loaded(guide) for guide in config.guidance))


@scope()
def resume(out: str | Path, watchers: Sequence[Watcher] = (), teacher: Any = None, accept_changed: bool = False) -> TeamPolicy:
    """Go on with a run from its last checkpoint; a finished run is just loaded.

    `teacher`: its scripted teacher, or a list of them. `accept_changed`: go on even if files are not those that were written.

    Watchers of a finished run get its beginning and its end.
    """
    directory = RunDir(out)
    with directory.held(), files.accepting(accept_changed):
        manifest = directory.manifest()
        if manifest.get("finished"):
            team = load(directory.path)
            directory.drop_checkpoints()  # a kill may have left them
            for watcher in watchers:
                watcher.begin(manifest)
                watcher.end(team)
            return team
        cores.use_pool(manifest.get("cores"))
        config = restore(manifest, directory.path, teacher)
        bound = {name: manifest[name] for name in ("guides", "id", "worth") if name in manifest}
        return Session(config, directory, watchers, bound).go()


@scope()
def score(team: TeamPolicy, env: Env, episodes: int, sample: bool = False) -> np.ndarray:
    """[S]: every seed's mean return of fresh episodes in `env`, by greedy actions or by the learner's own (`sample`).

    If the environment's actions have other names, or other bounds, the team's are translated, and a line on stderr says so.
    Raises HeadstartError if the team does not fit the environment, if the episodes do not fit into memory, and for samples of
    a team fitted by `adapt`.
    """
    if not isinstance(team, TeamPolicy):
        raise HeadstartError(f"team must be a trained team, e.g. headstart.load(directory), not a {type(team).__name__}")
    if isinstance(env, type) or not isinstance(env, Env):
        raise HeadstartError(f"env must be an environment, e.g. headstart.Spread(), not {env!r}")
    episodes = checked("episodes", episodes, Count)
    if not team.same_sizes(env.spec):
        sizes = f"{_sizes(team.spec)} and this environment has {_sizes(env.spec)}"
        raise HeadstartError(f"the team was trained for {sizes}: fit it by --adapt, or team.adapt(env.spec) in Python")
    if sample and team.trained is not None:
        raise HeadstartError("a team that was fitted to other agents has greedy actions only: leave --sample out")
    team = team.seated(env.spec)
    learner = team.learner_in(env.spec)
    with footprint.no_overflow():
        footprint.check_evaluation(env, learner, episodes, len(team.seeds))
    keys = jax.vmap(lambda seed: jr.fold_in(jr.key(2), seed))(jnp.asarray(team.seeds))
    run = compile_program(jax.vmap(evaluate(env, learner, episodes, sample)), team.params, keys, mapped=2)
    with host_errors():
        return np.asarray(team_mean(run(team.params, keys)["return"].whole()).mean(-1))


def _sizes(spec: TeamSpec) -> str:
    return ", ".join(f"{r.agents} × {name} observing {r.obs_size} numbers" for name, r in spec.roles.items())
