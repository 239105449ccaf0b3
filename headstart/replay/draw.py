"""A picture of each moment of a recorded episode: a matplotlib figure, and a function that shows a frame in it."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


GROUND = ("landmark", "obstacle", "treasure")

"""Kinds of entities drawn in outline, below the agents; the report's page has the same list."""

TRAIL = 8

"""Length in steps of the trail behind a body."""

BODY_ALPHA = 0.78

"""Opacity of bodies: entities below them show through."""

BEND = 0.5

"""How far the middle of a bent line's control polygon lies beside the straight line, as a share of its length."""

PAGE, LINE, INK, SOFT = "#f7f7f5", "#e2e4e7", "#1c2127", "#5f6873"


def palette(entities: list[dict[str, Any]]) -> "Image":
    """The colours of all frames of a GIF: a new palette for each frame takes longer than drawing it, and flickers.

    They are the colours of the entities and of the text, fading into white, then those of bodies over other colours.
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


def picture(replay: dict[str, Any]) -> tuple["Figure", Callable[[int], None]]:
    """A figure, and a function that shows one of the replay's frames in it."""
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
    title = shortened(replay["title"], 40)
    figure.text(0.022, 0.948, title, fontsize=14, weight="bold", color=INK, parse_math=False)
    caption = figure.text(0.022, 0.913, "", fontsize=11, color=SOFT)

    entities = replay["entities"]
    silent, plain = [-1] * len(entities), [0] * len(entities)
    bodies = [i for i, entity in enumerate(entities) if entity["kind"] not in GROUND]
    trails = LineCollection([], linewidths=2, zorder=2)
    axes.add_collection(trails)
    bars, shots = LineCollection([], linewidths=3, zorder=5), LineCollection([], linewidths=1.2, zorder=4)
    links = LineCollection([], linewidths=1.4, zorder=1)
    for lines in (bars, shots, links):
        axes.add_collection(lines)
    circles, labels, names = [], [], []
    for i, entity in enumerate(entities):
        style = {"linewidth": 1.5, "zorder": 3} if i in bodies else {"linewidth": 2, "zorder": 1}
        circles.append(axes.add_patch(Circle((0, 0), max(entity["radius"], 0.01 * reach), **style)))
        bubble = {"boxstyle": "round,pad=0.3", "facecolor": "white", "linewidth": 1.3}
        names.append(axes.text(0, 0, "", fontsize=7, color=INK, zorder=4, ha="center", va="bottom", clip_on=True))
        labels.append(axes.text(0, 0, "", fontsize=11, weight="bold", color=INK, zorder=4, bbox=bubble, clip_on=True))

    def show(index: int) -> None:
        words = replay["words"][index] if "words" in replay else silent
        shades = replay["shades"][index] if "shades" in replay else plain
        colors = [entity["colors"][shade] for entity, shade in zip(entities, shades, strict=True)]
        for i, place in enumerate(replay["frames"][index]):
            circles[i].set_visible(place is not None)
            labels[i].set_visible(place is not None and words[i] >= 0)
            names[i].set_visible(place is not None and "labels" in entities[i])
            if place is None:
                continue
            face, edge = (to_rgba(colors[i], BODY_ALPHA), "white") if i in bodies else (to_rgba(colors[i], 0.4), colors[i])
            circles[i].set(center=place, facecolor=face, edgecolor=edge)
            if "labels" in entities[i]:
                above = place[1] + entities[i]["radius"] + 0.01 * reach
                names[i].set(x=place[0], y=above, text=entities[i]["labels"][shades[i]])
            # Above and to the right of the speaker, unless that is outside the picture.
            right, up = (1 if x < 0.8 * reach else -1 for x in place)
            off = 0.75 * entities[i]["radius"] + 0.03 * reach
            labels[i].set(x=place[0] + right * off, y=place[1] + up * off, text=letters(words[i]))
            labels[i].set(ha="left" if right > 0 else "right", va="bottom" if up > 0 else "top")
            labels[i].get_bbox_patch().set_edgecolor(colors[i])
        pieces = [(*piece, colors[i]) for i in bodies for piece in _trail(replay, i, index)]
        trails.set_segments([piece[:2] for piece in pieces])
        trails.set_color([to_rgba(color, 0.55 * (1 - back / TRAIL)) for _, _, back, color in pieces])
        _set(bars, _bars(replay, index, colors))
        _set(shots, _shots(replay, index, colors))
        _set(links, _links(replay, index, colors))
        step = f"step {index} of {len(replay['frames']) - 1}"
        caption.set_text(f"{step}    return {round(replay['score'][index], 1) + 0.0:.1f}")

    return figure, show


def _trail(replay: dict[str, Any], entity: int, index: int) -> list[tuple[list[float], list[float], int]]:
    """An entity's last moves: (to, from, steps ago), back to the step in which it was hidden or placed anew."""
    pieces = []
    for back in range(min(TRAIL, index)):
        to, start = replay["frames"][index - back][entity], replay["frames"][index - back - 1][entity]
        if to is None or start is None or math.dist(to, start) > replay["extent"] / 3:
            break
        pieces.append((to, start, back))
    return pieces


Piece = tuple[tuple[tuple[float, float], ...], Any]
"""A line through points, and its colour."""


def _set(lines: Any, pieces: list[Piece]) -> None:
    lines.set_segments([piece for piece, _ in pieces])
    lines.set_color([color for _, color in pieces])


def _bars(replay: dict[str, Any], index: int, colors: list[str]) -> list[Piece]:
    """A bar above every entity that has health: all of it in grey, and over that what is left."""
    pieces = []
    for i, place in enumerate(replay["frames"][index] if "health" in replay else ()):
        if place is None:
            continue
        wide = max(replay["entities"][i]["radius"], 0.02 * replay["extent"])
        left, y = place[0] - wide, place[1] + 1.6 * wide
        for share, color in ((1.0, LINE), (replay["health"][index][i], colors[i])):
            pieces.append((((left, y), (left + 2 * wide * share, y)), color))
    return pieces


def _shots(replay: dict[str, Any], index: int, colors: list[str]) -> list[Piece]:
    """A line from every entity that has just hit another one to where that is, or was before it died."""
    frames, pieces = replay["frames"], []
    for i, other in enumerate(replay["hits"][index] if "hits" in replay else ()):
        ends = [frames[index][j] or frames[max(index - 1, 0)][j] for j in (i, other)]
        if other >= 0 and None not in ends:
            pieces.append(((tuple(ends[0]), tuple(ends[1])), colors[i]))
    return pieces


def _links(replay: dict[str, Any], index: int, colors: list[str]) -> list[Piece]:
    """Lines from every entity to those that it is joined to: the first one straight, the others bent beside it."""
    frame, pieces = replay["frames"][index], []
    for i, others in enumerate(replay["links"][index] if "links" in replay else ()):
        for number, other in enumerate(others):
            if other >= 0 and frame[i] is not None and frame[other] is not None:
                pieces.append((_curve(frame[other], frame[i], BEND if number else 0.0), colors[i] if number else SOFT))
    return pieces


def _curve(start: list[float], end: list[float], bend: float) -> tuple[tuple[float, float], ...]:
    """Points of a quadratic Bézier curve whose control point lies beside the middle, to the left on the way."""
    a, b = np.asarray(start), np.asarray(end)
    control = (a + b) / 2 + bend * np.array([-(b - a)[1], (b - a)[0]])
    t = np.linspace(0, 1, 13 if bend else 2)[:, None]
    points = (1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * b
    return tuple((float(x), float(y)) for x, y in points)


def letters(word: int) -> str:
    """The name of a word, by its number: A, B, .., Z, AA, AB, ..; empty for silence."""
    return letters(word // 26 - 1) + chr(ord("A") + word % 26) if word >= 0 else ""


def shortened(text: str, most: int) -> str:
    """A text of at most `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
