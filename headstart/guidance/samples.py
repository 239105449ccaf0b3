"""Samples of the agents of a role, and draws from them that touch no other agent's and none that is left out.

X are the numbers of a sample, N is the number of samples, G of gradient steps, and B of samples in a batch.
"""

from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key


class Rows(NamedTuple):
    """Samples of which every agent has its own number."""

    x: Float[Array, "A N X"]
    """Those after the first `count` are padding."""
    count: Int[Array, " A"]  # pyright: ignore[reportIncompatibleMethodOverride]


class Samples(NamedTuple):
    """What the agents of a role are compared by: their demonstrations, and what they have done."""

    demos: Rows
    own: Float[Array, "A N X"]
    valid: Bool[Array, "A N"]
    """False where an agent is left out, e.g. because it was dead."""


class Plan(NamedTuple):
    """What the gradient steps draw."""

    demos: Int[Array, "G A B"]
    own: Int[Array, "G A B"]
    mix: Float[Array, "G A B 1"]
    """Uniform in [0, 1]."""


def rows(x: Float[np.ndarray, "*n A X"], valid: Bool[np.ndarray, "*n A"]) -> Rows:
    """Each agent's valid samples one after another, and the others left out; computed by NumPy."""
    x, valid = x.reshape(-1, *x.shape[-2:]), valid.reshape(-1, valid.shape[-1])
    count = valid.sum(0)
    out = np.zeros((x.shape[1], int(count.max(initial=0)), x.shape[2]), np.float32)
    for agent, n in enumerate(count):
        out[agent, :n] = x[valid[:, agent], agent]
    return Rows(jnp.asarray(out), jnp.asarray(count, jnp.int32))


def by_agent(demos: Rows, own: Float[Array, "T E A X"], valid: Bool[Array, "T E A"]) -> Samples:
    """The samples of a rollout beside the demonstrations."""
    first = lambda x: jnp.moveaxis(x.reshape(-1, *x.shape[2:]), 1, 0)
    return Samples(demos, first(own), first(valid))


def plan(key: Key[Array, ""], given: Samples, steps: int, size: int) -> Plan:
    """Batches of `size` samples of both kinds for every agent, drawn uniformly with replacement from the valid ones."""
    agents, count = given.valid.shape
    theirs, mine, mix = jr.uniform(key, (3, steps, agents, size))
    places = jnp.sort(jnp.where(given.valid, jnp.arange(count)[None], count))  # those of the valid samples come first
    nth = jnp.moveaxis(_below(given.valid.sum(-1), mine), 1, 0)
    own = jnp.take_along_axis(places, nth.reshape(agents, -1), -1).reshape(nth.shape)
    return Plan(_below(given.demos.count, theirs), jnp.moveaxis(own, 0, 1), mix[..., None])


def _below(count: Int[Array, " A"], uniform: Float[Array, "G A B"]) -> Int[Array, "G A B"]:
    """Whole numbers from 0 to `count` − 1 of numbers in [0, 1); 0 if the count is 0."""
    count = jnp.broadcast_to(count[:, None], uniform.shape)
    return jnp.clip(jnp.floor(uniform * count).astype(jnp.int32), 0, jnp.maximum(count - 1, 0))


def taken(given: Samples, demos: Int[Array, "A B"], own: Int[Array, "A B"]) -> tuple[Array, Array]:
    """The samples [A B X] of both kinds that were drawn; zeros of an agent that was left out all the time."""
    pick = lambda x, index: jnp.take_along_axis(x, jnp.minimum(index, x.shape[1] - 1)[..., None], 1)
    return pick(given.demos.x, demos), jnp.where(given.valid.any(-1)[:, None, None], pick(given.own, own), 0.0)
