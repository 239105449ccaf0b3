"""One greedy episode of a team, as plain numbers that a page or an animation can draw.

Only a `Drawable` environment has replays.
"""

from typing import Any

import jax
import numpy as np

from headstart.checks import HeadstartError
from headstart.envs.base import Drawable, Env, Scene
from headstart.policy import TeamPolicy
from headstart.trainer import play, team_mean


def record(team: TeamPolicy, env: Env, seed: int = 0, episode: int = 0, title: str = "") -> dict[str, Any]:
    """One episode: {"title", "subtitle", "extent", "entities", "frames" [T+1][M][2], "score" [T+1]}.

    Where entities speak or change colour there are "words" and "shades" [T+1][M] as well; a hidden one is at None.
    `seed` counts the team's seeds, `episode` draws the start: teams that replay the same episode start alike.
    """
    if not isinstance(env, Drawable):
        raise HeadstartError(f"{type(env).__name__} cannot be drawn: it has no scene")
    reset_key, key = jax.random.split(jax.random.fold_in(jax.random.key(1), episode))
    reward, alive, seen = jax.jit(play(env, team.learner, env.scene))(team.place(seed), reset_key[None], key)
    length = int(alive.sum())
    scenes = Scene(*(np.asarray(x)[: length + 1, 0] for x in seen))
    score = np.concatenate([[0.0], np.cumsum(np.asarray(team_mean(reward))[:length, 0])])
    reach = np.nanmax(np.abs(scenes.place), initial=1.0)
    extra = {"words": scenes.word.tolist()} if (scenes.word >= 0).any() else {}
    extra |= {"shades": scenes.shade.tolist()} if (scenes.shade > 0).any() else {}
    return {
        "title": title or type(team.config).__name__,
        "subtitle": f"return {score[-1]:.1f}",
        "extent": float(np.clip(reach + 0.2, 1.2, 2.0)),  # a stray agent must not make the others tiny
        "entities": list(env.entities),
        "frames": [[None if np.isnan(p).any() else p for p in frame] for frame in np.round(scenes.place, 4).tolist()],
        "score": np.round(score, 4).tolist(),
        **extra,
    }


def animate(replay: dict[str, Any], path: str, fps: int = 10) -> None:
    """Write a replay as an animated GIF."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.patches import Circle

    figure, axes = plt.subplots(figsize=(4, 4.4), layout="constrained")
    reach = replay["extent"]
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    circles = []
    for entity, place in zip(replay["entities"], replay["frames"][0], strict=True):
        agent = entity["kind"] == "agent"
        circle = Circle(place, entity["radius"], color=entity["color"], alpha=0.75 if agent else 1.0, zorder=1 if agent else 2)
        circles.append(axes.add_patch(circle))

    def draw(index: int) -> list[Any]:
        for circle, place in zip(circles, replay["frames"][index], strict=True):
            circle.center = tuple(place)
        axes.set_title(f"{replay['title']}   step {index}   return {replay['score'][index]:.1f}", fontsize=9)
        return circles

    FuncAnimation(figure, draw, frames=len(replay["frames"])).save(path, writer=PillowWriter(fps=fps))  # pyright: ignore
    plt.close(figure)
