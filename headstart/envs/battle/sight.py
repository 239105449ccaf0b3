"""What units observe, what they may do, and the global state: numbers of SMAX in headstart's order.

An entity begins with its position relative to the observer, and ends with the one-hot vector of its kind.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from headstart.core.types import Field
from headstart.envs.battle.combat import MARCH, SIZE, Army, steps
from headstart.envs.battle.units import KINDS, MOVES, Units

SEEN = 7 + len(KINDS)
"""Numbers about a unit that is seen: gap 2, health, last move 2, last order, cooldown, kind."""
UNIT = 4 + len(KINDS)
"""Numbers about a unit in the global state: position 2, health, cooldown, kind."""


def fields(units: Units) -> tuple[Field, ...]:
    """The fields of an ally's observation."""
    kinds = (len(KINDS),)
    own = Field("position", 1, 2, own=True), Field("health", 1, 1, own=True), Field("cooldown", 1, 1, own=True)
    others = Field("allies", units.allies - 1, SEEN, kinds=kinds), Field("enemies", units.enemies, SEEN, kinds=kinds)
    return (*own, Field("kind", 1, len(KINDS), own=True, kinds=kinds), *others)


def look(units: Units, army: Army, order: Int[Array, "n E"]) -> Float[Array, "a O E"]:
    """Every ally's observation: zeros for what it does not see, and for a dead ally.

    Gaps are in units of the observer's range of sight, health and cooldowns in those of the unit itself, positions in those
    of the field. A last order is its number divided by the largest one, 0 if it was no attack.
    """
    a, count, alive = units.allies, len(units.kind), army.alive
    dx, dy = (v[None] - v[:a, None] for v in (army.x, army.y))
    sees = alive[:a, None] & alive[None] & (dx * dx + dy * dy < units.sight[:a, None] ** 2)  # [a n E]
    largest = MARCH - 1 + np.where(np.arange(count) < a, units.enemies, a)[:, None]
    right, up = steps(order)
    attack = jnp.where(order >= MARCH, order, 0) / largest.astype(np.float32)
    health, cooldown = _shares(units, army)
    told = [v[None] for v in (health, right, up, attack, cooldown, *_kinds(units))]
    parts = (dx / units.sight[:a, None], dy / units.sight[:a, None], *told)
    seen = jnp.stack([jnp.where(sees, part, 0.0) for part in parts], 2)  # [a n SEEN E]
    own = army.x[:a] / SIZE, army.y[:a] / SIZE, health[:a], cooldown[:a], *(part[:a] for part in _kinds(units))
    self = jnp.stack([jnp.where(alive[:a], part, 0.0) for part in own], 1)
    flat = lambda block: block.reshape(a, -1, block.shape[-1])
    return jnp.concatenate([self, flat(_mates(seen[:, :a])), flat(seen[:, a:])], 1)


def may(units: Units, army: Army) -> Bool[Array, "a U E"]:
    """What allies may do: stop; if they live also move, and attack living enemies in reach."""
    a, alive = units.allies, army.alive
    dx, dy = (v[None, a:] - v[:a, None] for v in (army.x, army.y))
    near = dx * dx + dy * dy < units.reach[:a, None] ** 2
    moves = alive[:a, None] | (np.arange(len(MOVES)) == MOVES.index("stop"))[None, :, None]
    return jnp.concatenate([moves, near & alive[:a, None] & alive[None, a:]], 1)


def state(units: Units, army: Army) -> Float[Array, "Z E"]:
    """The global state: for every unit its position (from -1 to 1, 0 at the centre), health, cooldown and kind, all between
    -1 and 1; zeros for a dead unit."""
    parts = 2 / SIZE * army.x - 1, 2 / SIZE * army.y - 1, *_shares(units, army), *_kinds(units)
    told = jnp.stack([jnp.where(army.alive, part, 0.0) for part in parts], 1)
    return told.reshape(-1, told.shape[-1])


def _shares(units: Units, army: Army) -> tuple[Float[Array, "n E"], Float[Array, "n E"]]:
    """Health and cooldown as shares of the full ones, between 0 and 1."""
    return army.health / units.health, jnp.clip(army.cooldown / units.cooldown, 0.0, 1.0)


def _kinds(units: Units) -> np.ndarray:
    """[kinds n 1]: whether each unit is of each kind."""
    return (units.kind[None] == np.arange(len(KINDS))[:, None, None]).astype(np.float32)


def _mates(seen: Float[Array, "a a F E"]) -> Float[Array, "a m F E"]:
    """Each row without its own entry: a choice between two slices, not a gather."""
    count = seen.shape[0]
    before = np.arange(count - 1)[None] < np.arange(count)[:, None]
    return jnp.where(before[..., None, None], seen[:, :-1], seen[:, 1:])
