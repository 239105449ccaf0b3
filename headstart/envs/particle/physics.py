"""The physics that all particle worlds share: point masses with friction, thrust and soft contacts, in dense pairwise arrays.

Force on entity i: F_i = sens_i·u_i + Σ_j contact_ij, with contact_ij = 100·(Δ_ij/d_ij)·k·softplus((r_i + r_j − d_ij)/k),
k = 1e-3, between entities that collide. One step lasts 0.1 s and damps velocities by a quarter:

    openai:  v ← 0.75·v + 0.1·F/m,  x ← x + 0.1·v        (the original multi-agent particle environments)
    mpe2:    x ← x + 0.1·v,  v ← 0.75·v + 0.1·F/m        (PettingZoo since 1.23, and the package mpe2)

Lengths are in world units (the arena of a scenario is about [-1, 1]²), times in seconds.
"""

import functools
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from headstart.core.types import Discrete
from headstart.envs.host import meanings

Semantics = Literal["openai", "mpe2"]
MOVES = {"openai": ("stay", "right", "left", "up", "down"), "mpe2": meanings.MOVES}
"""The order of an action's five numbers."""

DT = 0.1
DAMPING = 0.25
CONTACT_FORCE = 100.0
CONTACT_MARGIN = 1e-3
SENSITIVITY = 5.0
"""Thrust per unit of action if a scenario sets no acceleration of its own."""


def moves(semantics: Semantics) -> Discrete:
    """The action that `thrust` takes: one of five moves, whose order depends on the semantics."""
    return Discrete((5,), options=(MOVES[semantics],))


class Bodies(NamedTuple):
    """Constants of the entities that take part in contacts, movable ones first; all [N] numpy arrays.

    Entities at rest (obstacles) push but are not pushed: they come after the movable ones.
    """

    radius: np.ndarray
    mass: np.ndarray
    max_speed: np.ndarray
    """Infinite if speed is not capped."""
    collides: np.ndarray


def bodies(radius, mass=1.0, max_speed=np.inf, collides=True) -> Bodies:
    """Constants of N entities; scalars are repeated."""
    count = np.size(radius)
    full = lambda x: np.broadcast_to(np.asarray(x, np.float32), (count,))
    return Bodies(full(radius), full(mass), full(max_speed), full(collides) > 0)


def total(x: Float[Array, "K ..."]) -> Float[Array, "..."]:
    """Sum over a short first axis, with one addition per entry.

    A reduction over three or eight entries costs XLA a separate pass over memory; additions fuse with the computation of `x`.
    """
    return functools.reduce(jnp.add, [x[k] for k in range(x.shape[0])])


def least(x: Float[Array, "K ..."]) -> Float[Array, "..."]:
    """Minimum over a short first axis, entry by entry for the reason given at `total`."""
    return functools.reduce(jnp.minimum, [x[k] for k in range(x.shape[0])])


def squared(gap: Float[Array, "*n 2"]) -> Float[Array, "*n"]:
    """Squared length of vectors in the plane."""
    return gap[..., 0] * gap[..., 0] + gap[..., 1] * gap[..., 1]


def _pressure(squared_distance: Float[Array, "*n"], reach: np.ndarray) -> Float[Array, "*n"]:
    """Contact force per unit of distance between bodies whose radii add up to `reach`."""
    distance = jnp.sqrt(squared_distance + 1e-24)  # avoids 0/0: two bodies in one place do not push each other
    overlap = (reach - distance) / CONTACT_MARGIN
    softplus = jnp.maximum(overlap, 0.0) + _log1p(jnp.exp(-jnp.abs(overlap)))
    return CONTACT_FORCE * CONTACT_MARGIN * softplus / distance


def _log1p(u: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """log(1 + u) for u in [0, 1], to 1e-7: the series 2·artanh(z), z = u/(2 + u) ≤ 1/3, six terms of it.

    A logarithm took half of the time of a step with many pairs; multiplications and additions take less.
    """
    z = u / (2.0 + u)
    square = z * z
    series = 1 / 11
    for odd in (9, 7, 5, 3, 1):
        series = series * square + 1 / odd
    return 2.0 * z * series


def contact(position: Float[Array, "N 2"], body: Bodies, movable: int) -> Float[Array, "M 2"]:
    """Sum of contact forces on each of the first `movable` entities; each pair that can touch is computed once."""
    first, second = np.triu_indices(len(body.radius), 1)
    kept = (first < movable) & body.collides[first] & body.collides[second]
    first, second = first[kept], second[kept]
    if not len(first):
        return jnp.zeros((movable, 2))
    gap = position[first] - position[second]  # [P 2]
    push = gap * _pressure(squared(gap), body.radius[first] + body.radius[second])[:, None]
    none = [jnp.zeros(2)]
    forces = [
        [push[p] for p in np.flatnonzero(first == i)] + [-push[p] for p in np.flatnonzero(second == i)] for i in range(movable)
    ]
    return jnp.stack([functools.reduce(jnp.add, parts or none) for parts in forces])


def contact_by_mass(position: Float[Array, "N 2"], body: Bodies, movable: int) -> Float[Array, "M 2"]:
    """As `contact`, but the force of a movable body j on i is m_j/m_i times as large: MAAC's variant of the original.

    Every pair is computed from both its ends and summed by reductions, whose results are stored once. Sums by `total` would
    be computed anew for each use of the positions: half as fast in a scenario that uses them many times.
    """
    pushed = np.arange(len(body.radius)) < movable
    touch = body.collides[:movable, None] & body.collides[None] & ~np.eye(movable, len(pushed), dtype=bool)  # [M N]
    if not touch.any():
        return jnp.zeros((movable, 2))
    weight = touch * np.where(pushed, body.mass[None] / body.mass[:movable, None], 1.0)
    x, y = (position[:movable, None, k] - position[None, :, k] for k in (0, 1))
    pressure = _pressure(x * x + y * y, body.radius[:movable, None] + body.radius[None]) * weight.astype(np.float32)
    return jnp.stack([(x * pressure).sum(1), (y * pressure).sum(1)], 1)


def move(
    position: Float[Array, "N 2"],
    velocity: Float[Array, "M 2"],
    thrust: Float[Array, "M 2"],
    body: Bodies,
    semantics: Semantics,
    by_mass: bool = False,
) -> tuple[Float[Array, "M 2"], Float[Array, "M 2"]]:
    """Positions and velocities of the M movable entities after one step of 0.1 s; `by_mass` picks `contact_by_mass`."""
    movable = velocity.shape[0]
    force = thrust + (contact_by_mass if by_mass else contact)(position, body, movable)
    faster = (1 - DAMPING) * velocity + force * (DT / body.mass[:movable, None])
    if np.isfinite(body.max_speed[:movable]).any():
        speed = jnp.sqrt(squared(faster))[:, None]
        faster = faster * jnp.minimum(1.0, body.max_speed[:movable, None] / jnp.maximum(speed, 1e-12))
    flight = faster if semantics == "openai" else velocity
    return position[:movable] + DT * flight, faster


def thrust(action: Float[Array, "A 5"], sensitivity, semantics: Semantics) -> Float[Array, "A 2"]:
    """Force of an action vector, in the order of `MOVES`; it may be soft.

    openai: (a₁ − a₂, a₃ − a₄), the sign of that package's action vectors. mpe2: (a₂ − a₁, a₄ − a₃), the sign of its integers.
    """
    sign = 1.0 if semantics == "openai" else -1.0
    push = jnp.stack([action[:, 1] - action[:, 2], action[:, 3] - action[:, 4]], -1)
    return push * (sign * np.asarray(sensitivity, np.float32)).reshape(-1, 1)


def others(x: Float[Array, "A F"]) -> Float[Array, "A A1 F"]:
    """Every other agent's rows of `x`, in order, for each agent. The index is static, so there is no gather at run time."""
    count = x.shape[0]
    index = np.array([[j for j in range(count) if j != i] for i in range(count)], int).reshape(count, count - 1)
    return x[index]
