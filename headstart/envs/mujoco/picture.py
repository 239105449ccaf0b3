"""A body seen from its right side, as circles: enough for a replay, without OpenGL."""

from typing import Any

import numpy as np

from headstart.envs.mujoco.simulator import Simulator
from headstart.envs.particle.world import BLUE, GREY, RED, YELLOW, entity

MARKS = 5
"""Marks on the ground, a metre apart; they move as the body walks."""
LIFT = -1.0
"""The ground's height in the picture, whose middle is at 0."""


def entities(body: Simulator) -> list[dict[str, Any]]:
    """The marks, then the circles of every part; left limbs have another colour than right ones, and the rest a third."""
    out = [entity(f"mark {i}", "landmark", 0.03, GREY) for i in range(MARKS)]
    for geom in _geoms(body):
        name, radius = body.model.geom(geom).name, float(body.model.geom_size[geom, 0])
        part = body.model.body(body.model.geom_bodyid[geom]).name
        middle = part in ("torso", "lwaist", "pelvis")
        color = YELLOW if middle else RED if "left" in part else BLUE
        out += [entity(f"{name} {i}", "limb", radius, color) for i in range(len(_along(body, geom)))]
    return out


def places(body: Simulator, rows: np.ndarray) -> np.ndarray:
    """[n M 2]: where the entities of states [n D] are, x and z with the torso's x in the middle."""
    out = np.zeros((len(rows), len(entities(body)), 2), np.float32)
    data = body.mujoco.MjData(body.model)
    for i, row in enumerate(rows):
        body.mujoco.mj_setState(body.model, data, row[:-1], body.whole_state)
        body.mujoco.mj_kinematics(body.model, data)
        middle = data.xpos[1, 0]
        marks = np.arange(MARKS) - MARKS // 2 - middle % 1
        points = [np.stack([marks, np.zeros(MARKS), np.zeros(MARKS)], -1)]
        for geom in _geoms(body):
            axis = data.geom_xmat[geom].reshape(3, 3)[:, 2]
            points.append(data.geom_xpos[geom] - [middle, 0, 0] + _along(body, geom)[:, None] * axis)
        out[i] = np.concatenate(points)[:, [0, 2]] + [0, LIFT]
    return out


def _geoms(body: Simulator) -> range:
    """All but the ground, which is the first."""
    return range(1, body.model.ngeom)


def _along(body: Simulator, geom: int) -> np.ndarray:
    """Where the circles of a capsule lie along its axis, from its middle: about a radius apart; a sphere has one."""
    radius, half = body.model.geom_size[geom, :2]
    return np.linspace(-half, half, 1 + int(np.ceil(2 * half / radius))) if half else np.zeros(1)
