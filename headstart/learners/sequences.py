"""Rollouts of recurrent networks as items of memory: sequences that start from the carry that was stored there."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from headstart.core.types import Transition


def sequences(rollout: Transition, carry: PyTree, carries: PyTree, steps: int) -> Transition:
    """A rollout [T E ..] as items [N steps ..] of `steps` steps each, N = E·T/steps, those of one environment in a row.

    `extras["carry"]` [N ..] is the carry before each item's first step: `carry` [E ..] at the rollout's start, and from
    `carries` [T E ..], those after each step, at the later ones. An item whose first step begins an episode starts afresh
    (`ops.unroll`). The carries are stored numbers, so no gradient passes an item's start (truncated back-propagation through
    time, Williams and Peng 1990).
    """

    count = rollout.first.size // steps

    def pieces(x):
        x = jnp.moveaxis(x, 0, 1)  # [E T ..]
        return x.reshape(count, steps, *x.shape[2:])

    def starts(begin, after):
        x = jnp.concatenate([begin[None], after[steps - 1 : -1 : steps]])
        return jnp.moveaxis(x, 0, 1).reshape(count, *x.shape[2:])

    items = jax.tree.map(pieces, rollout)
    return dataclasses.replace(items, extras=items.extras | {"carry": jax.tree.map(starts, carry, carries)})
