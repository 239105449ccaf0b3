"""Pictures of a host environment: taken in its worker by its own `render`, and kept in the run's process as a film."""

import json
import os
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.named import called

MODE = "rgb_array"
QUIET = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
"""Many environments draw by pygame, which looks for a screen and a loudspeaker although none is needed here."""
SIZE = struct.Struct("<II")
LARGEST = 4096
"""Pixels of a side."""
LONGEST = SIZE.size + 3 * LARGEST**2


def made_to_draw(make: Any, id: str, options: Mapping[str, Any]) -> Any:
    """`make(**options)` with render_mode="rgb_array"; HeadstartError if the environment has no such mode."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    modes = f"{id} cannot be drawn: it offers no {MODE}"
    try:
        env = called(make, id, {**options, "render_mode": MODE})
    except HeadstartError as error:
        called(make, id, dict(options)).close()  # says what is wrong with the options themselves
        why = "it takes no render_mode" if "unexpected keyword argument 'render_mode'" in str(error) else error
        raise HeadstartError(f"{modes} ({why})") from None
    known = (getattr(env, "metadata", None) or {}).get("render_modes")
    if known is not None and MODE not in known:
        raise HeadstartError(f"{modes} (its render_modes are {json.dumps(list(known), default=str)})")
    return env


def taken(env: Any) -> bytes:
    """The environment's picture of this moment: height and width, then [H W 3] bytes."""
    try:
        found = env.render()
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise HeadstartError(f"its render() failed ({why})") from None
    picture: Any = np.asarray(found) if found is not None else np.zeros(())
    if picture.ndim != 3 or picture.shape[-1] not in (3, 4) or picture.dtype != np.uint8:
        what = "None" if found is None else f"{picture.dtype} of shape {picture.shape}"
        raise HeadstartError(f"it offers no {MODE}: its render() returns {what}")
    height, width = picture.shape[:2]
    if not 1 <= min(height, width) <= max(height, width) <= LARGEST:
        raise HeadstartError(f"its pictures have {width} × {height} pixels, and {LARGEST} a side is most")
    return SIZE.pack(height, width) + np.ascontiguousarray(picture[..., :3]).tobytes()


class Film:
    """The pictures of one episode, in order: of its start, and after each env-step up to its end."""

    def __init__(self):
        self.frames: list[tuple[tuple[int, int, int], bytes]] = []

    def add(self, picture: bytes) -> None:
        """Keep what `taken` returned, packed: a long episode in colour would fill the memory."""
        height, width = SIZE.unpack_from(picture)
        if len(picture) != SIZE.size + 3 * height * width:
            raise HeadstartError(f"a picture of {width} × {height} pixels came with {len(picture) - SIZE.size} bytes")
        self.frames.append(((height, width, 3), zlib.compress(picture[SIZE.size :], 1)))

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        shape, packed = self.frames[index]
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)
