"""One greedy episode of a team, as plain numbers that a page or an animation can draw.

Only a `Drawable` environment has replays.
"""

import math
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from headstart.checks import HeadstartError, require
from headstart.envs.base import Drawable, Env
from headstart.files import replacing
from headstart.policy import TeamPolicy
from headstart.trainer import play, team_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

GROUND = ("landmark", "obstacle", "treasure")
"""Kinds of entities drawn in outline, below everything that acts; the report's page has the same."""
TRAIL = 8
"""Steps of its past that a body trails behind it."""
BODY_ALPHA = 0.78
"""Opacity of bodies: what they stand on shows through."""
PAGE, LINE, INK, SOFT = "#f7f7f5", "#e2e4e7", "#1c2127", "#5f6873"


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
    place, word, shade = (np.asarray(x)[: length + 1, 0] for x in seen)
    score = np.concatenate([[0.0], np.cumsum(np.asarray(team_mean(reward))[:length, 0])])
    reach = np.nanmax(np.abs(place), initial=1.0)
    extra = {"words": word.tolist()} if (word >= 0).any() else {}
    extra |= {"shades": shade.tolist()} if (shade > 0).any() else {}
    return {
        "title": title or type(team.config).__name__,
        "subtitle": f"return {score[-1]:.1f}",
        "extent": float(np.clip(reach + 0.2, 1.2, 2.0)),  # a stray agent must not make the others tiny
        "entities": list(env.entities),
        "frames": [[None if np.isnan(p).any() else p for p in frame] for frame in np.round(place, 4).tolist()],
        "score": np.round(score, 4).tolist(),
        **extra,
    }


def animate(replay: dict[str, Any], path: str | Path, fps: float = 10, watch: Callable[[range], Iterable[int]] = iter) -> None:
    """Write a replay as a GIF or an MP4, as the suffix of `path` says: a frame for each moment, `fps` frames a second.

    `watch` hands on the numbers of the frames as they are drawn: the place for a progress bar. Raises HeadstartError for
    any other suffix, and where there is no ffmpeg to make an MP4 with.
    """
    require(1 <= fps <= 50, "fps", fps, "between 1 and 50, what a GIF can show")
    ffmpeg, path = encoder(path), Path(path).absolute()
    import matplotlib.style

    with matplotlib.style.context("default"), replacing(path) as temporary:
        figure, show = _picture(replay)
        frames = watch(range(len(replay["frames"])))
        if ffmpeg is None:
            _save_gif(figure, show, frames, temporary, fps, _palette(replay["entities"]))
        else:
            _save_mp4(figure, show, frames, temporary, fps, ffmpeg)


def encoder(path: str | Path) -> str | None:
    """The ffmpeg that makes an MP4, None for a GIF; HeadstartError where `animate` could not write the file."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".gif", ".mp4"):
        raise HeadstartError(f"an animation must end in .gif or .mp4, not '{Path(path).name}'")
    if suffix == ".gif":
        return None
    from matplotlib.animation import FFMpegWriter

    if FFMpegWriter.isAvailable():
        return FFMpegWriter.bin_path()
    try:
        from imageio_ffmpeg import get_ffmpeg_exe  # pyright: ignore[reportMissingImports]

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise HeadstartError("an MP4 needs ffmpeg: pip install 'headstart[video]' (a GIF does not)") from None


def _save_gif(
    figure: "Figure", show: Callable[[int], None], frames: Iterable[int], path: Path, fps: float, palette: "Image"
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas, images = FigureCanvasAgg(figure), []
    for frame in frames:
        show(frame)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        images.append(image.quantize(palette=palette, dither=Image.Dither.NONE))
    shown = [round(1000 / fps)] * (len(images) - 1) + [1000]  # a moment's rest before it starts again
    images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=shown, loop=0)


def _palette(entities: list[dict[str, Any]]) -> "Image":
    """The colours of all frames of a GIF: finding them anew in each frame takes longer than drawing it, and flickers.

    They are the entities' colours and the text's, fading into white, then the bodies' over the others.
    """
    from matplotlib.colors import to_rgb
    from PIL import Image

    pure = np.array([to_rgb(color) for color in sorted({INK, *(color for e in entities for color in e["colors"])})])
    fixed = np.array([to_rgb(color) for color in ("white", PAGE, LINE)])
    fade = np.linspace(1, 0.08, max(2, 160 // len(pure)))[:, None, None]
    mixed = BODY_ALPHA * pure + (1 - BODY_ALPHA) * pure[:, None]
    colors = np.concatenate([fixed, (1 - fade * (1 - pure)).reshape(-1, 3), mixed.reshape(-1, 3)])[:256]
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.round(255 * colors).astype(np.uint8).tobytes())
    return palette


def _save_mp4(
    figure: "Figure", show: Callable[[int], None], frames: Iterable[int], path: Path, fps: float, ffmpeg: str
) -> None:
    import matplotlib
    from matplotlib.animation import FFMpegWriter

    # The temporary file's name does not tell its format; with its index in front a video starts before it is all there.
    options = ["-f", "mp4", "-movflags", "+faststart"]
    try:
        with matplotlib.rc_context({"animation.ffmpeg_path": ffmpeg}):
            writer = FFMpegWriter(fps=fps, codec="h264", extra_args=options)  # pyright: ignore[reportArgumentType]
            with writer.saving(figure, str(path), figure.dpi):
                for frame in frames:
                    show(frame)
                    writer.grab_frame()
    except (subprocess.CalledProcessError, BrokenPipeError) as error:
        raise HeadstartError(f"{ffmpeg} could not make an MP4 ({error}); a GIF needs no ffmpeg") from None


def _picture(replay: dict[str, Any]) -> tuple["Figure", Callable[[int], None]]:
    """A figure, and what makes it show one of the replay's frames."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    figure = Figure((6.0, 6.6), dpi=100, facecolor=PAGE)
    reach = replay["extent"]
    axes = figure.add_axes((0.02, 0.02 / 1.1, 0.96, 0.96 / 1.1), xlim=(-reach, reach), ylim=(-reach, reach))
    axes.set(xticks=[-reach / 2, 0, reach / 2], yticks=[-reach / 2, 0, reach / 2], facecolor="white", axisbelow=True)
    axes.grid(color=LINE, linewidth=0.8)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.spines[:].set_color(LINE)
    title = _shortened(replay["title"], 40)
    figure.text(0.022, 0.948, title, fontsize=14, weight="bold", color=INK, parse_math=False)
    told = figure.text(0.022, 0.913, "", fontsize=11, color=SOFT)

    entities = replay["entities"]
    silent, plain = [-1] * len(entities), [0] * len(entities)
    bodies = [i for i, entity in enumerate(entities) if entity["kind"] not in GROUND]
    trails = LineCollection([], linewidths=2, zorder=2)
    axes.add_collection(trails)
    circles, labels = [], []
    for i, entity in enumerate(entities):
        style = {"linewidth": 1.5, "zorder": 3} if i in bodies else {"linewidth": 2, "zorder": 1}
        circles.append(axes.add_patch(Circle((0, 0), max(entity["radius"], 0.01 * reach), **style)))
        bubble = {"boxstyle": "round,pad=0.3", "facecolor": "white", "linewidth": 1.3}
        labels.append(axes.text(0, 0, "", fontsize=11, weight="bold", color=INK, zorder=4, bbox=bubble, clip_on=True))

    def show(index: int) -> None:
        words = replay["words"][index] if "words" in replay else silent
        shades = replay["shades"][index] if "shades" in replay else plain
        colors = [entity["colors"][shade] for entity, shade in zip(entities, shades, strict=True)]
        for i, place in enumerate(replay["frames"][index]):
            circles[i].set_visible(place is not None)
            labels[i].set_visible(place is not None and words[i] >= 0)
            if place is None:
                continue
            face, edge = (to_rgba(colors[i], BODY_ALPHA), "white") if i in bodies else (to_rgba(colors[i], 0.4), colors[i])
            circles[i].set(center=place, facecolor=face, edgecolor=edge)
            # Above and to the right of the speaker, unless that is outside the picture.
            right, up = (1 if x < 0.8 * reach else -1 for x in place)
            off = 0.75 * entities[i]["radius"] + 0.03 * reach
            labels[i].set(x=place[0] + right * off, y=place[1] + up * off, text=letters(words[i]))
            labels[i].set(ha="left" if right > 0 else "right", va="bottom" if up > 0 else "top")
            labels[i].get_bbox_patch().set_edgecolor(colors[i])
        pieces = [(*piece, colors[i]) for i in bodies for piece in _trail(replay, i, index)]
        trails.set_segments([piece[:2] for piece in pieces])
        trails.set_color([to_rgba(color, 0.55 * (1 - back / TRAIL)) for _, _, back, color in pieces])
        told.set_text(f"step {index} of {len(replay['frames']) - 1}    return {round(replay['score'][index], 1) + 0.0:.1f}")

    return figure, show


def _trail(replay: dict[str, Any], entity: int, index: int) -> list[tuple[list[float], list[float], int]]:
    """Where an entity came from: (to, from, steps ago), until it was hidden or put somewhere else."""
    pieces = []
    for back in range(min(TRAIL, index)):
        to, start = replay["frames"][index - back][entity], replay["frames"][index - back - 1][entity]
        if to is None or start is None or math.dist(to, start) > replay["extent"] / 3:
            break
        pieces.append((to, start, back))
    return pieces


def letters(word: int) -> str:
    """A word as people read it, by its number: A, B, .., Z, AA, AB, ..; nothing for silence."""
    return letters(word // 26 - 1) + chr(ord("A") + word % 26) if word >= 0 else ""


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
