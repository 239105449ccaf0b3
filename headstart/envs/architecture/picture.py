"""An architecture as a graph: the nodes are layers, and each is joined to the layers that it reads.

Layers stand in rows of four below the input, so that `add-4` reads the layer above its own one.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from headstart.core.env import Scene
from headstart.envs.architecture.operations import BACK, BLOCK, OPERATIONS

WIDE = len(BLOCK)
COLORS = {"conv": "#4477aa", "gconv": "#66ccee", "dwconv": "#44aa99", "max": "#ddaa33", "avg": "#eecc77"}
COLORS |= {"identity": "#bbbbbb", "add": "#ee6677", "concat": "#aa3377", "terminal": "#1c2127"}
"""Colours of the operations, by the letters of their names."""


def nodes(count: int) -> list[dict[str, Any]]:
    """The input, and `count` layers whose colour and label are those of their operations."""
    radius = min(0.3 * _spacing(count)[1], 0.09)
    colors = [COLORS[name.rstrip("-0123456789")] for name in OPERATIONS]
    layer = {"kind": "agent", "radius": radius, "colors": colors, "labels": list(OPERATIONS)}
    start = {"name": "input", "kind": "agent", "radius": radius, "colors": ["#5f6873"], "labels": ["input"]}
    return [start, *({"name": f"layer {n + 1}", **layer} for n in range(count))]


def graph(operations: Int[Array, " L"]) -> Scene:
    """The picture of L layers of which some are decided (the others have -1)."""
    count = operations.shape[0]
    decided = jnp.concatenate([jnp.ones(1, bool), operations >= 0])
    shade = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.maximum(operations, 0)])
    number = jnp.arange(1, count + 1)
    far = jnp.asarray(BACK)[jnp.maximum(operations, 0)]
    read = jnp.stack([number - 1, jnp.where(far > 1, number - far, -1)], -1)
    links = jnp.concatenate([jnp.full((1, 2), -1), jnp.where((operations >= 0)[:, None], read, -1)])
    shown = jnp.where(decided[:, None], _places(count).astype(np.float32), jnp.nan)
    return Scene(shown, jnp.full(count + 1, -1, jnp.int32), shade, links=links.astype(jnp.int32))


def _spacing(count: int) -> tuple[float, float]:
    """Between columns, and between the rows of `count` layers and the input's row."""
    return 0.55, 2.0 / -(-count // WIDE)


def _places(count: int) -> np.ndarray:
    """[count + 1, 2] of the input, which is above the fourth layer as that is above the eighth, and of the layers."""
    right, down = _spacing(count)
    number = np.arange(-1, count)
    return np.stack([right * (number % WIDE - (WIDE - 1) / 2), 1 - down * (number // WIDE + 1)], -1)
