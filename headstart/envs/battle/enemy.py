"""The scripted opponent of SMAX: attack the closest unit, else follow one that is seen, else march to the other side."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from headstart.envs.battle.combat import MARCH, SIZE, Army
from headstart.envs.battle.units import Units


class Plan(NamedTuple):
    """What the enemies remember, each [e E]."""

    target: Array
    """Number of the ally that it attacked last; -1 for none."""
    goal_x: Array
    """Where it goes if it sees nobody."""
    goal_y: Array


def begin(units: Units, army: Army) -> Plan:
    """The plan at the start of a battle: each enemy marches to its own place mirrored at the centre of the field."""
    x, y = army.x[units.allies :], army.y[units.allies :]
    return Plan(jnp.full(x.shape, -1, jnp.int32), SIZE - x, SIZE - y)


def command(units: Units, army: Army, plan: Plan, chance: Float[Array, "e E"]) -> tuple[Int[Array, "e E"], Plan]:
    """The enemies' orders, and their plan from now on; `chance` in [0, 1) draws whom an enemy follows.

    1. An enemy attacks the ally that it attacked last while that is in reach, else the closest one in reach. 2. If none is in
    reach, it moves along one axis towards an ally that it draws from those it sees. 3. If it sees none, towards its goal.
    """
    a, alive = units.allies, army.alive
    x, y, living = army.x[a:], army.y[a:], alive[a:]
    gaps, seen, in_reach = [], [], []
    for ally in reversed(range(a)):  # the order in which SMAX's enemies count, which decides draws
        one = slice(ally, ally + 1)
        dx, dy = army.x[one] - x, army.y[one] - y
        distance = dx * dx + dy * dy
        sees = living & alive[one] & (distance < units.sight[a:] ** 2)
        gaps.append((dx, dy, distance))
        seen.append(sees)
        in_reach.append(sees & (distance < units.reach[a:] ** 2))

    closest, best, keeps = jnp.full(x.shape, -1, jnp.int32), jnp.full(x.shape, jnp.inf, x.dtype), jnp.zeros(x.shape, bool)
    for ally, (_, _, distance), reached in zip(reversed(range(a)), gaps, in_reach, strict=True):
        closer = reached & (distance < best)
        closest, best = jnp.where(closer, ally, closest), jnp.where(closer, distance, best)
        keeps = keeps | (reached & (plan.target == ally))
    target = jnp.where(keeps, plan.target, closest)

    drawn = jnp.ceil((1 - chance) * sum(sees.astype(x.dtype) for sees in seen))  # its rank among those that are seen
    counted, right, up = jnp.zeros_like(x), plan.goal_x - x, plan.goal_y - y
    for (dx, dy, _), sees in zip(gaps, seen, strict=True):
        counted = counted + sees
        it = sees & (counted == drawn)
        right, up = jnp.where(it, dx, right), jnp.where(it, dy, up)
    move, most = jnp.zeros(x.shape, jnp.int32), up
    for number, along in enumerate((right, -up, -right), 1):
        move, most = jnp.where(along > most, number, move), jnp.maximum(along, most)
    order = jnp.where(target >= 0, MARCH + a - 1 - target, move)
    return order.astype(jnp.int32), plan._replace(target=target)
