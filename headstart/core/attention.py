"""Additive attention over any number of vertices: message passing, and pooling into one vector.

Bahdanau et al. 2015 for the attention; Li et al. 2020, "Towards practical multi-object manipulation using relational
reinforcement learning", for blocks and pooling. No parameter depends on the number of vertices.

====  ==============================================  ====  ==================================
`V`   vertices                                        `E`   numbers of a vertex
`M`   vertices that attend                            `H`   attention heads
====  ==============================================  ====  ==================================

Inside a `Graph` the batch `B` is the last axis, [E V B]: sums over numbers and over vertices then add whole vectors, which
takes a CPU a fraction of the time of sums along the last axis.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Key

from headstart.core.modules import ACTIVATIONS, Linear, linear, standardised

There = Bool[Array, "*n V"] | None
"""False for a vertex that is not there; None if all are. At least one of them has to be."""
Mask = Bool[Array, "V B"] | None
"""The same within a `Graph`."""
HIDDEN = -1e30
"""The score of a vertex that is not there: its weight is exactly 0."""


def column(x: Float[Array, " E"], like: Float[Array, " E *n"]) -> Float[Array, " E *n"]:
    """`x` along the first axis of `like`."""
    return jnp.broadcast_to(x.reshape(-1, *(1 for _ in like.shape[1:])), like.shape)


def along_first(layer: Linear, x: Float[Array, " I *n"]) -> Float[Array, " O *n"]:
    """A linear layer along the first axis."""
    y = (layer.weight.T @ x.reshape(x.shape[0], -1)).reshape(-1, *x.shape[1:])
    return y + column(layer.bias, y)


def scores(query: Float[Array, "E H M B"], key: Float[Array, "E V B"], score: Float[Array, " E"]) -> Float[Array, "H M V B"]:
    """vᵀtanh(q_i + k_j) for each head, i and j, in the memory of its result.

    The numbers of a vertex are added one after another, and the gradient computes each tanh again: all of them at once, [E H M
    V B], are gigabytes for a team of 24, and a CPU waits for memory then. For the same reason the loop is not unrolled: eight
    numbers at a time take a team of 24 half as long again.
    """

    def add(total, now):
        query, key, score = now
        return total + score * jnp.tanh(query[:, :, None] + key[None, None]), None

    shape = (*query.shape[1:3], *key.shape[1:])
    return jax.lax.scan(jax.checkpoint(add, prevent_cse=False), jnp.zeros(shape), (query, key, score))[0]


class LayerNorm(eqx.Module):
    """That of `core.modules` along the first axis."""

    scale: Float[Array, "*a E"]
    shift: Float[Array, "*a E"]

    def __call__(self, x: Float[Array, " E *n"]) -> Float[Array, " E *n"]:
        x = standardised(x, 0)
        return x * column(self.scale, x) + column(self.shift, x)


def layer_norm(size: int) -> LayerNorm:
    """A `LayerNorm` that only normalises, until it learns."""
    return LayerNorm(jnp.ones(size), jnp.zeros(size))


class Heads(eqx.Module):
    """Each head attends with w_ij = softmax_j vᵀtanh(q_i + k_j) and sums Σ_j w_ij·m_j; a linear layer reduces all heads."""

    score: Float[Array, "*a E"]
    """v, the same for all heads."""
    reduce: Linear

    def __call__(
        self, query: Float[Array, "E H M B"], key: Float[Array, "E V B"], memory: Float[Array, "E V B"], mask: Mask
    ) -> tuple[Float[Array, "E M B"], Float[Array, "H M V B"]]:
        """The reduced sums of each attending vertex, and the weights."""
        score = scores(query, key, self.score)
        if mask is not None:
            score = jnp.where(mask[None, None], score, HIDDEN)
        weights = jax.nn.softmax(score, 2)
        summed = ACTIVATIONS["leaky_relu"](jnp.einsum("hmvb,evb->ehmb", weights, memory))
        return along_first(self.reduce, summed.reshape(-1, *summed.shape[2:])), weights


def _heads(key: Key[Array, ""], size: int, heads: int) -> Heads:
    score, reduce = jr.split(key)
    return Heads(jax.nn.initializers.glorot_uniform()(score, (size, 1))[:, 0], linear(reduce, heads * size, size))


class Block(eqx.Module):
    """One round of message passing, v_i ← LayerNorm(LeakyReLU(v_i + attention of i over all j))."""

    inputs: Linear
    """A vertex's queries (one for each head), its key and its message."""
    heads: Heads
    norm: LayerNorm

    def __call__(self, x: Float[Array, "E V B"], mask: Mask = None) -> tuple[Float[Array, "E V B"], Float[Array, "H V V B"]]:
        """The vertices after the round, and the weights."""
        out, size = along_first(self.inputs, x), x.shape[0]
        query = out[: -2 * size].reshape(size, -1, *x.shape[1:])
        gathered, weights = self.heads(query, out[-2 * size : -size], out[-size:], mask)
        return self.norm(ACTIVATIONS["leaky_relu"](x + gathered)), weights


class Pooling(eqx.Module):
    """Attentive pooling: a learned query, the same for every input, attends over the vertices themselves."""

    query: Float[Array, "*a E H"]
    heads: Heads

    def __call__(self, x: Float[Array, "E V B"], mask: Mask = None) -> tuple[Float[Array, "E B"], Float[Array, "H 1 V B"]]:
        """One vector for all vertices, and the weights."""
        query = jnp.broadcast_to(self.query[..., None, None], (*self.query.shape, 1, x.shape[-1]))
        pooled, weights = self.heads(query, x, x, mask)
        return pooled[:, 0], weights


class Graph(eqx.Module):
    """Vertices to one vector: layer norm, rounds of message passing (none for plain pooling), attentive pooling."""

    norm: LayerNorm
    blocks: list[Block]
    pool: Pooling

    def __call__(
        self, x: Float[Array, "*n V E"], mask: There = None
    ) -> tuple[Float[Array, "*n E"], list[Float[Array, "*n H _ V"]]]:
        """The vector, and who attends to whom: [H V V] of each round, then [H 1 V] of the pooling."""
        shape, rounds = x.shape[:-2], []
        x = self.norm(x.reshape(-1, *x.shape[-2:]).T)
        mask = None if mask is None else mask.reshape(-1, mask.shape[-1]).T
        for block in self.blocks:
            x, weights = block(x, mask)
            rounds.append(weights)
        pooled, weights = self.pool(x, mask)
        last = lambda x: jnp.moveaxis(x, -1, 0).reshape(*shape, *x.shape[:-1])
        return last(pooled), [last(w) for w in (*rounds, weights)]


def graph(key: Key[Array, ""], size: int, heads: int, blocks: int) -> Graph:
    """A `Graph` of vertices of `size` numbers: Xavier-uniform weights, and a query near 0, which at first weighs all alike."""
    pool_key, query_key, *keys = jr.split(key, 2 + blocks)

    def block(key):
        inputs, attend = jr.split(key)
        return Block(linear(inputs, size, (heads + 2) * size), _heads(attend, size, heads), layer_norm(size))

    query = jr.uniform(query_key, (size, heads), minval=-3e-3, maxval=3e-3)
    return Graph(layer_norm(size), [block(k) for k in keys], Pooling(query, _heads(pool_key, size, heads)))
