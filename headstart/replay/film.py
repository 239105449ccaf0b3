"""An environment's own pictures as frames of a replay, with the title and the return so far above them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headstart.replay.draw import INK, PAGE, SOFT, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

LONGEST = 6.0
"""Inches of a picture's longer side, at 100 dots an inch."""
HEAD = 0.6
"""Inches for the title and the caption."""
SAMPLES = 8
"""Frames from which the colours of a GIF are taken."""


def film_picture(replay: dict[str, Any]) -> tuple["Figure", Callable[[int], None]]:
    """A figure, and a function that shows one of the replay's pictures in it."""
    from matplotlib.figure import Figure

    pictures = replay["pictures"]
    height, width = pictures[0].shape[:2]
    scale = min(LONGEST / max(height, width), 0.04)  # a tiny picture is shown at four times its size at most
    wide, high = max(scale * width, 3.0), scale * height
    figure = Figure((wide, high + HEAD), dpi=100, facecolor=PAGE)
    axes = figure.add_axes((0.0, 0.0, 1.0, high / (high + HEAD)))
    axes.set_axis_off()
    shown = axes.imshow(pictures[0])
    line = lambda inches: (high + HEAD - inches) / (high + HEAD)
    title = shortened(replay["title"], int(6.5 * wide))
    figure.text(0.02, line(0.28), title, fontsize=14, weight="bold", color=INK, parse_math=False)
    caption = figure.text(0.02, line(0.5), "", fontsize=11, color=SOFT)

    def show(index: int) -> None:
        picture = pictures[index]
        if picture.shape != pictures[0].shape:  # an environment may change the size of its pictures: stretched to the first
            shown.set_extent((-0.5, width - 0.5, height - 0.5, -0.5))
        shown.set_data(picture)
        caption.set_text(f"step {index} of {len(pictures) - 1}    return {round(replay['score'][index], 1) + 0.0:.1f}")

    return figure, show


def film_palette(figure: "Figure", show: Callable[[int], None], count: int) -> "Image":
    """The colours of all frames of a GIF, from some of them: a palette for each frame would flicker."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas, seen = FigureCanvasAgg(figure), []
    for index in sorted({round(i * (count - 1) / max(SAMPLES - 1, 1)) for i in range(SAMPLES)}):
        show(index)
        canvas.draw()
        seen.append(np.array(canvas.buffer_rgba())[::2, ::2, :3])  # a copy: the canvas draws in place
    pixels = np.concatenate(seen)
    colors, count_of = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    colors = colors[np.argsort(-count_of, kind="stable")]
    if len(colors) > 256:  # half are the most frequent ones as they are, and the others stand for the rest
        rest = Image.fromarray(pixels).quantize(128).getpalette() or []
        colors = np.concatenate([colors[:128], np.array(rest, np.uint8).reshape(-1, 3)])
    palette = Image.new("P", (1, 1))
    palette.putpalette(colors[:256].tobytes())
    return palette
