"""The rules of a battle: units move, hit, die and push each other, in arrays over units, pairs of units and environments.

Axes: n units, allies first (a allies, e enemies); the environments `E` come last, so that every operation runs over long
contiguous vectors (see `last.environments_last`). Sums over opponents are written out, one addition for each, since XLA fuses
those with what they add up.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from headstart.envs.battle.units import MOVES, Units
from headstart.envs.particle.physics import total

SIZE = 32.0
"""Sides of the field, which reaches from 0 to SIZE; its walls kill."""
TICKS, TICK = 8, 1 / 16
"""Ticks of an env-step, and seconds of a tick."""
JITTER = (-1 * TICK, 2 * TICK)
"""A cooldown is longer by a number drawn from this range."""
MARCH = len(MOVES)
"""The number of the first order that is an attack."""


class Army(NamedTuple):
    """What changes about all units in a battle, each [n E]."""

    x: Array
    y: Array
    health: Array
    """0 for a dead unit."""
    cooldown: Array
    """Seconds until it can hit again; negative if it could have before."""

    @property
    def alive(self) -> Bool[Array, " n *E"]:
        """Which units live; [n] of a single battle."""
        return self.health > 0


def steps(order: Int[Array, "n E"]) -> tuple[Float[Array, "n E"], Float[Array, "n E"]]:
    """Right and up, each -1, 0 or 1, of the moves among the orders."""
    up, right, down, left = ((order == move).astype(jnp.float32) for move in range(4))
    return right - left, up - down


def fight(units: Units, army: Army, order: Int[Array, "n E"], jitter: Float[Array, "#t n E"]) -> Army:
    """The armies after one env-step of TICKS ticks; `jitter` is added to the cooldowns of units that hit, in each tick its own
    or the same in all.

    One tick: all living units move; those that are ready hit the unit they are to attack, if it was alive and in reach
    before; who touches a wall dies; living units push each other apart. No unit can hit twice in an env-step.
    """
    aim, (right, up) = _targets(units, order), steps(order)
    dx, dy = right * (units.speed * TICK), up * (units.speed * TICK)

    def tick(now: Army, extra):
        hits, damage = _hits(units, now, *aim)
        alive = now.alive
        x = jnp.where(alive, jnp.clip(now.x + dx, 0.0, SIZE), now.x)
        y = jnp.where(alive, jnp.clip(now.y + dy, 0.0, SIZE), now.y)
        wall = (x <= 0) | (y <= 0) | (x >= SIZE) | (y >= SIZE)
        health = jnp.where(wall, 0.0, jnp.maximum(now.health - damage, 0.0))
        cooldown = jnp.where(hits, units.cooldown + extra, now.cooldown - TICK)
        return push(units, Army(x, y, health, cooldown)), None

    return jax.lax.scan(tick, army, jnp.broadcast_to(jitter, (TICKS, *order.shape)))[0]


def _targets(units: Units, order: Int[Array, "n E"]) -> tuple[Float[Array, "e a E"], Float[Array, "a e E"]]:
    """Whether each opponent is the one that each unit, an ally or an enemy, is to attack."""
    a, e = units.allies, units.enemies
    allies = order[None, :a] == MARCH + np.arange(e)[:, None, None]
    enemies = order[None, a:] == MARCH + np.arange(a)[::-1, None, None]  # they count from the last ally to the first
    return allies.astype(jnp.float32), enemies.astype(jnp.float32)


def _hits(
    units: Units, now: Army, allies: Float[Array, "e a E"], enemies: Float[Array, "a e E"]
) -> tuple[Bool[Array, "n E"], Float[Array, "n E"]]:
    """Which units hit, and the health that each unit loses."""
    living, ready = now.alive.astype(jnp.float32), now.alive & (now.cooldown <= 0)

    def side(aim, own, other):
        x, y, there = (total(aim * values[other][:, None]) for values in (now.x, now.y, living))
        close = jnp.square(now.x[own] - x) + jnp.square(now.y[own] - y) < units.reach[own] ** 2
        hits = ready[own] & close & (there > 0)
        return hits, total(aim.swapaxes(0, 1) * jnp.where(hits, units.attack[own], 0.0)[:, None])

    first, second = slice(0, units.allies), slice(units.allies, None)
    hits, hurt_enemies = side(allies, first, second)
    hits_back, hurt_allies = side(enemies, second, first)
    return jnp.concatenate([hits, hits_back]), jnp.concatenate([hurt_allies, hurt_enemies])


def push(units: Units, army: Army) -> Army:
    """Living units that overlap move apart, each by half of the overlap.

    These sums are reductions, whose results are stored: `total` would be computed anew wherever a position is used.
    """
    living = army.alive.astype(jnp.float32)
    dx, dy = (v[None] - v[:, None] for v in (army.x, army.y))  # [n n E], from the first unit to the second
    both = units.radius[None] + units.radius[:, None]
    overlap = jnp.maximum(both * jax.lax.rsqrt(dx * dx + dy * dy + 1e-12) - 1, 0.0) * living[:, None]
    half = 0.5 * living
    return army._replace(x=army.x + half * (dx * overlap).sum(0), y=army.y + half * (dy * overlap).sum(0))
