"""The physics all particle worlds share: point masses with friction, thrust and soft contacts, in dense pairwise arrays.

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

Semantics = Literal["openai", "mpe2"]

DT = 0.1
DAMPING = 0.25
CONTACT_FORCE = 100.0
CONTACT_MARGIN = 1e-3
SENSITIVITY = 5.0
"""Thrust per unit of action where a scenario sets no acceleration of its own."""


class Bodies(NamedTuple):
    """Constants of the entities that take part in contacts, movable ones first; all [N] numpy arrays.

    Entities at rest (obstacles) push but are not pushed: they come after the movable ones.
    """

    radius: np.ndarray
    mass: np.ndarray
    max_speed: np.ndarray
    """Infinite where speed is not capped."""
    collides: np.ndarray


def bodies(radius, mass=1.0, max_speed=np.inf, collides=True) -> Bodies:
    """Constants of N entities; scalars are repeated."""
    count = np.size(radius)
    full = lambda x: np.broadcast_to(np.asarray(x, np.float32), (count,))
    return Bodies(full(radius), full(mass), full(max_speed), full(collides) > 0)


def total(x: Float[Array, "K ..."]) -> Float[Array, "..."]:
    """Sum over a short first axis, one addition an entry.

    A reduction over three or eight entries costs XLA a pass over memory of its own; additions fuse with what made `x`.
    """
    return functools.reduce(jnp.add, [x[k] for k in range(x.shape[0])])


def least(x: Float[Array, "K ..."]) -> Float[Array, "..."]:
    """Minimum over a short first axis, for the reason given at `total`."""
    return functools.reduce(jnp.minimum, [x[k] for k in range(x.shape[0])])


def squared(gap: Float[Array, "*n 2"]) -> Float[Array, "*n"]:
    """Squared length of vectors in the plane."""
    return gap[..., 0] * gap[..., 0] + gap[..., 1] * gap[..., 1]


def contact(position: Float[Array, "N 2"], body: Bodies, movable: int) -> Float[Array, "M 2"]:
    """Sum of contact forces on each of the first `movable` entities; each pair that can touch is computed once."""
    first, second = np.triu_indices(len(body.radius), 1)
    kept = (first < movable) & body.collides[first] & body.collides[second]
    first, second = first[kept], second[kept]
    if not len(first):
        return jnp.zeros((movable, 2))
    gap = position[first] - position[second]  # [P 2]
    distance = jnp.sqrt(squared(gap) + 1e-24)  # two bodies in one place do not push each other, rather than 0/0
    overlap = (body.radius[first] + body.radius[second] - distance) / CONTACT_MARGIN
    softplus = jnp.maximum(overlap, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(overlap)))
    push = gap * (CONTACT_FORCE * CONTACT_MARGIN * softplus / distance)[:, None]
    # +1 where the pair's first body is the entity, −1 where its second is, 0 elsewhere: [P M].
    ends = (first[:, None] == np.arange(movable)).astype(np.float32) - (second[:, None] == np.arange(movable))
    return total(push[:, None] * ends[..., None])


def move(
    position: Float[Array, "N 2"],
    velocity: Float[Array, "M 2"],
    thrust: Float[Array, "M 2"],
    body: Bodies,
    semantics: Semantics,
) -> tuple[Float[Array, "M 2"], Float[Array, "M 2"]]:
    """Positions and velocities of the M movable entities after one step of 0.1 s."""
    movable = velocity.shape[0]
    force = thrust + contact(position, body, movable)
    faster = (1 - DAMPING) * velocity + force * (DT / body.mass[:movable, None])
    if np.isfinite(body.max_speed[:movable]).any():
        speed = jnp.sqrt(squared(faster))[:, None]
        faster = faster * jnp.minimum(1.0, body.max_speed[:movable, None] / jnp.maximum(speed, 1e-12))
    flight = faster if semantics == "openai" else velocity
    return position[:movable] + DT * flight, faster


def thrust(action: Float[Array, "A 5"], sensitivity, semantics: Semantics) -> Float[Array, "A 2"]:
    """Force of an action vector [stay, x one way, x the other, y one way, y the other]; it may be soft.

    openai: (a₁ − a₂, a₃ − a₄), the sign of that package's action vectors; mpe2: (a₂ − a₁, a₄ − a₃), of its integers.
    """
    sign = 1.0 if semantics == "openai" else -1.0
    push = jnp.stack([action[:, 1] - action[:, 2], action[:, 3] - action[:, 4]], -1)
    return push * (sign * np.asarray(sensitivity, np.float32)).reshape(-1, 1)


def others(x: Float[Array, "A F"]) -> Float[Array, "A A1 F"]:
    """Row a of the result holds every other agent's row of `x`, in order; a static index, so no gather at run time."""
    count = x.shape[0]
    index = np.array([[j for j in range(count) if j != i] for i in range(count)], int).reshape(count, count - 1)
    return x[index]
