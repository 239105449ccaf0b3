"""One ring buffer and two ways to read it: everything just collected (on-policy), or anything kept (replay).

The ring holds no counter of its own: the write position and the number of valid items follow from the index of the update.
That index is the same for all seeds, so under `vmap` a write stays a contiguous copy in place and never becomes a scatter.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int, PyTree


class Memory(NamedTuple):
    """A capacity in items, and `plan(key, size) -> [G B]`: the items of each of G gradient steps, out of `size` valid ones."""

    capacity: int
    plan: Callable[[Array, Array], Int[Array, "G B"]]
    replays: bool = False
    """Whether batches hold items of earlier updates too, so that rewards are computed anew for each batch."""

    def init(self, items: PyTree, updates: int) -> PyTree:
        """An empty ring for items shaped like the `items` [N ..] of one update; its length is a whole number of writes.

        If the run's `updates` do not fill the capacity, the ring has room for exactly those updates.
        """
        count = jax.tree.leaves(items)[0].shape[0]
        room = count * min(-(-self.capacity // count), updates)
        return jax.tree.map(lambda x: jnp.zeros((room, *x.shape[1:]), x.dtype), items)

    def add(self, ring: PyTree, items: PyTree, update: Array) -> tuple[PyTree, Array]:
        """Write the items [N ..] of the `update`-th update; returns the ring and the number of valid items."""
        count, room = jax.tree.leaves(items)[0].shape[0], jax.tree.leaves(ring)[0].shape[0]
        writes = room // count
        start = (update % writes) * count
        ring = jax.tree.map(lambda r, x: jax.lax.dynamic_update_slice_in_dim(r, x, start, 0), ring, items)
        return ring, jnp.minimum(update + 1, writes) * count


def latest(count: int, epochs: int, minibatches: int) -> Memory:
    """On-policy: `epochs` passes over the `count` items just collected, each in `minibatches` shuffled parts."""

    def plan(key, size):
        # An item's index rides in the low bits of its random number, so one plain sort shuffles.
        low = (count - 1).bit_length()
        tagged = (jr.bits(key, (epochs, count)) >> low << low) | jnp.arange(count, dtype=jnp.uint32)[None]
        order = (jnp.sort(tagged, -1) & (2**low - 1)).astype(jnp.int32)
        return order.reshape(epochs * minibatches, count // minibatches)

    return Memory(count, plan)


def uniform(capacity: int, batch: int, steps: int) -> Memory:
    """Replay: `steps` batches drawn uniformly with replacement from the last `capacity` items."""
    return Memory(capacity, lambda key, size: jr.randint(key, (steps, batch), 0, size), replays=True)
