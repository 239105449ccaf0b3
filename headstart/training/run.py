"""Runs on disk: train one, resume one, score its team."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart.core.checks import HeadstartError, notice
from headstart.core.env import Env
from headstart.core.episodes import actor_of, episodes, evaluate, team_mean
from headstart.core.errors import host_errors
from headstart.core.guidance import teacher_of
from headstart.core.part import checked
from headstart.core.ranges import Count
from headstart.core.scope import innermost, scope
from headstart.core.trust import trusting
from headstart.registry import command
from headstart.storage import files
from headstart.storage.places import sweep_of
from headstart.teams.playing import in_env
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.teams.saved_demos import load_teacher
from headstart.teams.scripted import Scripted
from headstart.training import cores, extend, footprint
from headstart.training.config import Config, restore
from headstart.training.directory import RunDir, check_free, undone_if_refused
from headstart.training.lanes import compile_program
from headstart.training.point import Point
from headstart.training.session import Session
from headstart.training.signals import Signals
from headstart.training.watch import Watcher


@scope()
def train(
    config: Config, out: str | Path, watchers: Sequence[Watcher] = (), elsewhere: Callable[[Path], None] | None = None
) -> TeamPolicy:
    """Train a team and write a run directory at `out`; returns the team. Refuses a directory that holds anything.

    `elsewhere` trains the run at a path to its end, in place of this process.
    """
    directory = RunDir(out)
    check_free(directory.path)
    point = Point(with_teachers(config), directory, watchers)
    session = Session([point])
    with Signals(innermost().stop), undone_if_refused(directory.path, lambda: session.begun):
        point.create()
        if not elsewhere:
            with directory.held():
                return session.go()[0]
    elsewhere(directory.path)
    return load(directory.path)


def with_teachers(config: Config) -> Config:
    """The configuration with every teacher loaded that was given by its path."""
    given = lambda guide: isinstance(teacher_of(guide), str | Path)
    load_for = lambda guide: load_teacher(teacher_of(guide), spec=config.env.spec)
    loaded = lambda guide: dataclasses.replace(guide, teacher=load_for(guide)) if given(guide) else guide
    return dataclasses.replace(config, guidance=tuple(loaded(guide) for guide in config.guidance))


@scope()
def resume(
    out: str | Path,
    watchers: Sequence[Watcher] = (),
    teacher: Any = None,
    accept_changed: bool = False,
    steps: int | None = None,
    trust: bool = False,
) -> TeamPolicy:
    """Go on with a run from its last checkpoint; a finished run is just loaded, unless it is to have more `steps`.

    `teacher`: its scripted teacher, or a list of them. `accept_changed`: go on even if files are not those that were written.
    `steps`: env-steps of each seed in all, in place of those that the run was asked for (see `extend`). `trust`: see
    `load_teacher`; that the run was begun so is not enough, as a stranger may have written it.

    Watchers of a finished run get its beginning and its end.
    """
    directory = RunDir(out)
    with directory.held(), files.accepting(accept_changed), trusting(trust):
        manifest = directory.manifest()
        if not manifest.get("finished") and (home := sweep_of(directory.path)):
            raise HeadstartError(f"{directory.path} is a point of a sweep: go on with {command('resume', home)}")
        if manifest.get("finished"):
            directory.clear(manifest)  # a kill may have left something to do
        if manifest.get("finished") and steps is None:
            team = load(directory.path)
            for watcher in watchers:
                watcher.begin(manifest)
                watcher.end(team)
            return team
        cores.use_pool(manifest.get("cores"))
        config = restore(manifest, directory.path, teacher)
        bound = bound_of(manifest)
        if steps is None:
            return Session([Point(config, directory, watchers, bound)]).go()[0]
        return _extended(directory, manifest, config, steps, watchers, bound).go()[0]


def endings(team: TeamPolicy, env: Env) -> list[Any]:
    """The last state of a greedy episode of each seed in `env`; see `scores` for what is translated and refused."""
    team, learner = in_env(team, env, False)
    key = jr.key(3)

    @jax.jit
    def play(params):
        keep = lambda now: (now.new_state, now.running)
        states, running = episodes(env, actor_of(env, learner, params), keep)(key[None], key)[1]
        last = running[:, 0].sum() - 1
        return jax.tree.map(lambda x: x[last, 0], states)

    return [jax.device_get(play(team.place(place))) for place in range(len(team.seeds))]


def bound_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a run that goes on keeps of its run.json beside the configuration."""
    return {name: manifest[name] for name in ("guides", "id", "worth", "extended") if name in manifest}


def _extended(
    directory: RunDir,
    manifest: dict[str, Any],
    config: Config,
    steps: int,
    watchers: Sequence[Watcher],
    bound: dict[str, Any],
) -> Session:
    """The session of a run that goes on to another length. Nothing is written before it goes on."""
    longer, extended, notes = extend.extension(directory, manifest, config, steps)
    if longer is config:
        return Session([Point(config, directory, watchers, bound)])
    bound |= {"extended": extended, "learning_starts": manifest.get("learning_starts")}
    point = Point(longer, directory, watchers, bound)
    session = Session([point], changed=True)
    if extended[-1]["env_steps"] and extend.follows_progress(session.trainer, session.shape["state"]):
        notes.append("its schedules follow the new length")
    rounded = extend.rounded(longer.steps, session.trainer.steps_per_update)
    for line in filter(None, (rounded, extend.told(directory, extended, notes, point.manifest["env_steps"]))):
        notice(line)
    if extended[-1]["fresh"]:
        directory.drop_checkpoints()
    return session


def score(team: TeamPolicy, env: Env, episodes: int, sample: bool = False) -> np.ndarray:
    """[S]: every seed's mean return of fresh episodes in `env`: see `scores`."""
    return scores(team, env, episodes, sample)["return"]


def scores(team: TeamPolicy, env: Env, episodes: int, sample: bool = False) -> dict[str, np.ndarray]:
    """{"return": [S], event: [S]}: means over fresh episodes in `env`: see `episode_scores`."""
    found = episode_scores(team, env, episodes, sample)
    return {name: np.asarray(x.mean(-1)) for name, x in found.items()}


@scope()
def episode_scores(team: TeamPolicy, env: Env, episodes: int, sample: bool = False) -> dict[str, Any]:
    """{"return": [S E], event: [S E]} of E fresh episodes in `env`, by greedy actions or by the learner's own (`sample`).

    If the environment's actions have other names, or other bounds, the team's are translated, and a line on stderr says so.
    Raises HeadstartError if the team does not fit the environment, if the episodes do not fit into memory, and for samples of
    a team fitted by `adapt`.
    """
    if not isinstance(team, TeamPolicy):
        told = f"team must be a trained team, e.g. headstart.load(directory), not a {type(team).__name__}"
        how = "; headstart.record(controller, env, episodes=50).means has its returns" if isinstance(team, Scripted) else ""
        raise HeadstartError(told + how)
    episodes = checked("episodes", episodes, Count)
    team, learner = in_env(team, env, sample)
    with footprint.no_overflow():
        footprint.check_evaluation(env, learner, episodes, len(team.seeds))
    keys = jax.vmap(lambda seed: jr.fold_in(jr.key(2), seed))(jnp.asarray(team.seeds))
    run = compile_program(jax.vmap(evaluate(env, learner, episodes, sample)), team.params, keys, mapped=2)
    with host_errors():
        found = run(team.params, keys).whole()
    return {"return": team_mean(found["return"]), **found["events"]}
