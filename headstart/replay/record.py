"""One greedy episode of a team, as plain numbers that a page or an animation can draw.

A `Drawable` environment is drawn by its scene, and one of another library by its own pictures, in its worker.
"""

from typing import Any

import jax
import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.env import Drawable, Env, unwrapped
from headstart.core.episodes import Moment, actor_of, episodes, team_mean
from headstart.core.errors import host_errors
from headstart.core.scope import interruptible, scope
from headstart.envs.host.env import HostEnv
from headstart.teams.policy import TeamPolicy


def record(team: TeamPolicy, env: Env, seed: int = 0, episode: int = 0, title: str = "") -> dict[str, Any]:
    """One episode: {"title", "subtitle", "extent", "entities", "frames" [T+1][M][2], "score" [T+1]}.

    If entities speak or change colour, there are "words" and "shades" [T+1][M] as well, if they have health or hit each
    other, "health" and "hits", and if they are joined, "links" [T+1][M][L]; a hidden entity is at None. Another library's
    environment has "pictures" [T+1][H W 3] in place of the extent, the entities and the frames.
    `seed` is an index of the team's seeds. `episode` draws the start: teams that replay the same episode start alike.
    """
    if not isinstance(env, Drawable):
        return _film(team, env, seed, episode, title)
    reset_key, key = jax.random.split(jax.random.fold_in(jax.random.key(1), episode))
    look = jax.vmap(env.scene)

    def keep(now: Moment):
        return now.new.reward, now.running, look(now.new_state)

    @jax.jit
    def play(params, keys):
        (state, _), kept = episodes(env, actor_of(env, team.learner, params), keep)(keys, key)
        return look(state), *kept

    with scope():
        start, reward, running, seen = jax.block_until_ready(play(team.place(seed), reset_key[None]))
    score, length = _scored(reward, running)
    scene = jax.tree.map(lambda first, rest: np.concatenate([first, rest[:length, 0]]), start, seen)
    place, word, shade = scene.place, scene.word, scene.shade
    reach = np.nanmax(np.abs(place), initial=1.0)
    extra = {"words": word.tolist()} if (word >= 0).any() else {}
    extra |= {"shades": shade.tolist()} if (shade > 0).any() else {}
    extra |= {"health": np.round(scene.health, 3).tolist()} if scene.health is not None else {}
    extra |= {"hits": scene.hit.tolist()} if scene.hit is not None else {}
    extra |= {"links": scene.links.tolist()} if scene.links is not None else {}
    return {
        **_headed(team, title, score),
        "extent": float(np.clip(reach + 0.2, 1.2, 2.0)),  # a stray agent must not make the others tiny
        "entities": list(env.entities),
        "frames": [[None if np.isnan(p).any() else p for p in frame] for frame in np.round(place, 4).tolist()],
        **extra,
    }


def check_drawable(env: Env) -> None:
    """Raise HeadstartError, which says why, if no episode in an environment can be drawn."""
    if not isinstance(env, Drawable):
        _host(env).check_drawn()


def _host(env: Env) -> HostEnv:
    """The environment of another library inside all wrappers; HeadstartError if it is none."""
    inner = unwrapped(env)
    if not isinstance(inner, HostEnv):
        raise HeadstartError(f"{type(env).__name__} cannot be drawn: give it `entities` and `scene` (docs/your-own.md)")
    return inner


def _film(team: TeamPolicy, env: Env, seed: int, episode: int, title: str) -> dict[str, Any]:
    """The record of an episode in another library's environment."""
    inner = _host(env)
    reset_key, key = jax.random.split(jax.random.fold_in(jax.random.key(1), episode))

    @jax.jit
    def play(params, keys):
        return episodes(env, actor_of(env, team.learner, params), lambda now: (now.new.reward, now.running))(keys, key)[1]

    with scope(), host_errors():
        film = inner.filmed()
        args = team.place(seed), reset_key[None]
        program = play.lower(*args).compile()  # in this thread, which knows the scope
        reward, running = interruptible(lambda: jax.block_until_ready(program(*args)))
    return {**_headed(team, title, _scored(reward, running)[0]), "pictures": film}


def _scored(reward: Any, running: Any) -> tuple[np.ndarray, int]:
    """The return so far [T+1] of the one episode in rewards {role: [T 1 A]}, and T, its length."""
    length = int(running.sum())
    return np.concatenate([[0.0], np.cumsum(np.asarray(team_mean(reward))[:length, 0])]), length


def _headed(team: TeamPolicy, title: str, score: np.ndarray) -> dict[str, Any]:
    subtitle = f"return {score[-1]:.1f}"
    return {"title": title or type(team.config).__name__, "subtitle": subtitle, "score": np.round(score, 4).tolist()}
