"""A recorded episode as a GIF or an MP4."""

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.core.checks import HeadstartError, require
from headstart.replay.draw import palette, picture
from headstart.replay.film import film_palette, film_picture
from headstart.storage.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


def animate(replay: dict[str, Any], path: str | Path, fps: float = 10, watch: Callable[[range], Iterable[int]] = iter) -> None:
    """Write a replay as a GIF or an MP4, by the suffix of `path`: a frame for each moment, `fps` frames per second.

    `watch` iterates over the frame numbers as they are drawn, e.g. with a progress bar. Raises HeadstartError for any
    other suffix, and for an MP4 if there is no ffmpeg.
    """
    require(1 <= fps <= 50, "fps", fps, "between 1 and 50, the rates that a GIF can show")
    ffmpeg, path = encoder(path), Path(path).absolute()
    import matplotlib.style

    with matplotlib.style.context("default"), replacing(path) as temporary:
        count, filmed = len(replay["score"]), "pictures" in replay
        figure, show = film_picture(replay) if filmed else picture(replay)
        frames = watch(range(count))
        if ffmpeg is None:
            colours = film_palette(figure, show, count) if filmed else palette(replay["entities"])
            _save_gif(figure, show, frames, temporary, fps, colours)
        else:
            _save_mp4(figure, show, frames, temporary, fps, ffmpeg)


def encoder(path: str | Path) -> str | None:
    """The ffmpeg for an MP4, None for a GIF; HeadstartError if `animate` could not write the file."""
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
    shown = [round(1000 / fps)] * (len(images) - 1) + [1000]  # the last frame rests for a second
    images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=shown, loop=0)


def _save_mp4(
    figure: "Figure", show: Callable[[int], None], frames: Iterable[int], path: Path, fps: float, ffmpeg: str
) -> None:
    import matplotlib
    from matplotlib.animation import FFMpegWriter

    # The temporary file has no suffix, so the format is given. With its index in front, a video plays while it still loads.
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
