"""Helpers of the particle scenarios beside the physics: time steps, distances in the plane, words, colours, pictures."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from headstart.core.env import Scene
from headstart.core.types import TimeStep
from headstart.envs.particle import physics

BLUE, RED, YELLOW, GREEN, PURPLE, GREY = "#4477aa", "#ee6677", "#ccbb44", "#228833", "#aa3377", "#777777"
PALETTE = (RED, GREEN, BLUE, YELLOW, PURPLE, "#66ccee", GREY, "#997700")
"""Colours of kinds (goals, treasures, ..), in their order; colour-blind readers can tell them apart."""
MIXTURES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1))
"""The channels that are bright in a colour, in the order of `PALETTE`."""


def time_step(
    obs: dict[str, Float[Array, "_ _"]],
    reward: dict[str, Float[Array, " _"]],
    state: tuple[Array, ...],
    over: Array,
    events: dict[str, Array] | None = None,
) -> TimeStep:
    """A time step of an episode that only the clock ends: no agent dies, no task terminates. `state` is flattened."""
    everything = jnp.concatenate([x.reshape(-1) for x in state])
    number = jnp.result_type(float)  # the same in a reset and a step, with or without JAX_ENABLE_X64
    obs, reward, counts = jax.tree.map(lambda x: x.astype(number), (obs, reward, events or {}))
    return TimeStep(
        obs=obs,
        final_obs=obs,
        state=everything,
        final_state=everything,
        reward=reward,
        terminated=jnp.zeros((), bool),
        truncated=over,
        alive={role: jnp.ones(x.shape[0], bool) for role, x in obs.items()},
        events=counts,
    )


def side_by_side(*blocks: Float[Array, "A ..."]) -> Float[Array, "A O"]:
    """Observations of A agents from blocks [A ..], each flattened."""
    return jnp.concatenate([x.reshape(x.shape[0], -1) for x in blocks], -1)


def gaps(here: Float[Array, "A 2"], there: Float[Array, "B 2"]) -> Float[Array, "A B 2"]:
    """Vectors from every point of `here` to every point of `there`."""
    return there[None] - here[:, None]


def ranks(x: Float[Array, "A X"]) -> Int[Array, "A X"]:
    """Each entry's rank in its row, from 0; of equal entries the earlier comes first."""
    width = x.shape[1]
    rank = [jnp.zeros(x.shape[0], jnp.int32)] * width
    for later in range(width):
        for earlier in range(later):
            before = (x[:, earlier] <= x[:, later]).astype(jnp.int32)
            rank[earlier], rank[later] = rank[earlier] + (1 - before), rank[later] + before
    return jnp.stack(rank, 1)


def nearest(
    away: Float[Array, "A X"], gaps: Float[Array, "A X 2"], features: Float[Array, "X F"] | None, count: int
) -> Float[Array, "A k G"]:
    """(gap, features) of the `count` entities nearest to each agent, nearest first; `away` ranks them.

    It multiplies with one-hot vectors of the ranks: sorting and gathering rows this short takes twice as long.
    """
    rank = ranks(away).T  # [X A]
    slot = (rank[..., None] == np.arange(count)[None, None]).astype(jnp.float32)[..., None]  # [X A k 1]
    place = physics.total(slot * gaps.swapaxes(0, 1)[:, :, None])
    return place if features is None else jnp.concatenate([place, physics.total(slot * features[:, None, None])], -1)


def touching(
    here: Float[Array, "A 2"], radius: np.ndarray | float, there: Float[Array, "B 2"], reach: np.ndarray | float
) -> Bool[Array, "A B"]:
    """Which circles of `radius` overlap which circles of radius `reach`."""
    own = np.broadcast_to(np.asarray(radius, np.float32), here.shape[:1])[:, None]
    limit = own + np.asarray(reach, np.float32).reshape(1, -1)
    return physics.squared(gaps(here, there)) < limit**2


def colours(count: int, dim: float, bright: float) -> np.ndarray:
    """[count 3] distinct colours: bright in one channel, in two, in all; from the eighth on again at half the contrast."""
    rank = np.arange(count)
    contrast = (bright - dim) * 0.5 ** (rank // len(MIXTURES))
    return (dim + contrast[:, None] * np.array(MIXTURES)[rank % len(MIXTURES)]).astype(np.float32)


def picked(choice: Float[Array, "A L"], rows: Float[Array, "L F"] | np.ndarray) -> Float[Array, "A F"]:
    """The row that each agent's one-hot `choice` marks, by products and additions: no gather at run time."""
    return physics.total(choice.T[:, :, None] * rows[:, None])


def entity(name: str, kind: str, radius: float, *colors: str) -> dict[str, Any]:
    """One entry of `Drawable.entities`."""
    return {"name": name, "kind": kind, "radius": radius, "colors": list(colors)}


def entities(name: str, kind: str, radii: Any, *colors: str) -> list[dict[str, Any]]:
    """Entries for entities of one kind, numbered from 0; `radii` has one value each."""
    return [entity(f"{name} {i}", kind, float(radius), *colors) for i, radius in enumerate(radii)]


def scene(*places: Float[Array, "_ 2"], words: Array | None = None, shades: Array | None = None) -> Scene:
    """A picture of all entities; `words` and `shades` belong to the FIRST entities, and the others are silent."""
    place = jnp.concatenate(places)
    filled = lambda x, default: (
        jnp.full(place.shape[0], default, jnp.int32)
        .at[: 0 if x is None else x.shape[0]]
        .set(0 if x is None else x.astype(jnp.int32))
    )
    return Scene(place, filled(words, -1), filled(shades, 0))


def spoken(message: Float[Array, "A C"]) -> Array:
    """[A] the word of each agent: the largest entry of its message, or -1 if it is silent."""
    return jnp.where((message != 0).any(-1), message.argmax(-1), -1)
