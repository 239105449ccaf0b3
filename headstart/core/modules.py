"""Layers as equinox modules whose every leaf is an array.

A module maps `[.. I]` to `[.. O]` for any leading axes.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key

from headstart.core.ops import Real
from headstart.core.types import Field

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.01),
    "tanh": jnp.tanh,
}

Activation = Literal["relu", "leaky_relu", "tanh"]


class PerNumber(eqx.Module):
    """Arrays [.. I] with an entry for each number of an input."""

    reads: tuple[Field, ...] = eqx.field(static=True, default=(), kw_only=True)
    """The observation fields that the numbers are; empty if they are no observation."""


class Linear(eqx.Module):
    """y = x·W + b."""

    weight: Float[Array, "*a I O"]
    bias: Float[Array, "*a O"]
    reads: tuple[Field, ...] = eqx.field(static=True, default=())
    """The observation fields that a first layer reads; empty for later layers."""
    last: bool = eqx.field(static=True, default=False)
    """Whether its outputs are those of the whole network: the numbers of an action, if that is an actor."""

    def __call__(self, x: Float[Array, "*n I"]) -> Float[Array, "*n O"]:
        y = x @ self.weight
        return y + jnp.broadcast_to(self.bias, y.shape)


def linear(
    key: Key[Array, ""],
    inputs: int,
    outputs: int,
    gain: Real | None = None,
    reads: tuple[Field, ...] = (),
    last: bool = False,
) -> Linear:
    """A linear layer, biases 0: Xavier-uniform weights, or orthogonal ones of the given `gain`."""
    shape = (inputs, outputs)
    if inputs == 0:
        weight = jnp.zeros(shape)
    else:
        weight = jax.nn.initializers.glorot_uniform()(key, shape) if gain is None else gain * orthogonal(key, shape)
    return Linear(weight, jnp.zeros(outputs), reads, last)


def orthogonal(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "I O"]:
    """A uniformly random matrix. If it has fewer rows than columns, its rows are orthonormal, else its columns.

    It is the polar factor of a Gaussian matrix, by the iteration X ← X·(3/2 − ½·XᵀX), which brings every singular value
    in (0, √3) to 1 (Björck and Bowie 1971). It uses matrix products only: a batched QR factorisation waits on the threads
    it runs on, and on a machine with two cores it can wait for ever.
    """
    x = jr.normal(key, (max(shape), min(shape)))
    x = x / jnp.sqrt((x * x).sum())
    x = jax.lax.fori_loop(0, 50, lambda _, x: 1.5 * x - 0.5 * x @ (x.T @ x), x)
    return x if shape[0] >= shape[1] else x.T


class MLP(eqx.Module):
    """Linear layers with an activation between them, none after the last."""

    layers: list[Linear]
    activation: Activation = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*n I"]) -> Float[Array, "*n O"]:
        return self.rest(self.input(x))

    @property
    def input(self) -> Linear:
        """The first layer."""
        return self.layers[0]

    def rest(self, x: Float[Array, "*n H"]) -> Float[Array, "*n O"]:
        """All that comes after the first layer, its activation included."""
        for layer in self.layers[1:]:
            x = layer(ACTIVATIONS[self.activation](x))
        return x


def mlp(
    key: Key[Array, ""],
    sizes: tuple[int, ...],
    activation: Activation = "relu",
    gains: tuple[Real, Real] | None = None,
    reads: tuple[Field, ...] = (),
    last: bool = True,
) -> MLP:
    """An `MLP` through `sizes`. `gains` (hidden, last) asks for orthogonal weights; without it they are Xavier-uniform.

    `last`: whether its outputs are those of the whole network, see `Linear`.
    """
    keys = jr.split(key, len(sizes) - 1)
    layer_gains = [None] * len(keys) if gains is None else [gains[0]] * (len(keys) - 1) + [gains[1]]
    fields = [reads, *[()] * (len(keys) - 1)]
    lasts = [*[False] * (len(keys) - 1), last]
    layers = [linear(*args) for args in zip(keys, sizes[:-1], sizes[1:], layer_gains, fields, lasts, strict=True)]
    return MLP(layers, activation)


def standardised(x: Float[Array, "*n"], axis: int) -> Float[Array, "*n"]:
    """(x − mean)/√(variance + 1e-5) along an axis; zeros stay zeros."""
    x = x - x.mean(axis, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis, keepdims=True) + 1e-5)


class LayerNorm(eqx.Module):
    """A vector `standardised`, times `scale`, plus `shift` (Ba et al. 2016, "Layer Normalization")."""

    scale: Float[Array, "*a I"]
    shift: Float[Array, "*a I"]
    reads: tuple[Field, ...] = eqx.field(static=True, default=())
    """The observation fields that it normalises together, if it stands before a first layer."""

    def __call__(self, x: Float[Array, "*n I"]) -> Float[Array, "*n I"]:
        x = standardised(x, -1)
        return x * jnp.broadcast_to(self.scale, x.shape) + jnp.broadcast_to(self.shift, x.shape)


def layer_norm(size: int, reads: tuple[Field, ...] = ()) -> LayerNorm:
    """A `LayerNorm` that only standardises, until it learns."""
    return LayerNorm(jnp.ones(size), jnp.zeros(size), reads)


class NormedMLP(eqx.Module):
    """An `MLP` with a `LayerNorm` before each of its layers: of its input, then of what the activation puts out."""

    layers: list[Linear]
    norms: list[LayerNorm]
    activation: Activation = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*n I"]) -> Float[Array, "*n O"]:
        x = self.layers[0](self.norms[0](x))
        for layer, norm in zip(self.layers[1:], self.norms[1:], strict=True):
            x = layer(norm(ACTIVATIONS[self.activation](x)))
        return x


def normed(net: MLP) -> NormedMLP:
    """The same layers with layer norms."""
    return NormedMLP(net.layers, [layer_norm(x.weight.shape[-2], x.reads) for x in net.layers], net.activation)


class GRU(eqx.Module):
    """A gated recurrent unit (Cho et al. 2014): carry and input to the new carry, which is also the output."""

    inputs: Linear
    hidden: Linear

    def __call__(self, carry: Float[Array, "*n H"], x: Float[Array, "*n I"]) -> Float[Array, "*n H"]:
        return self.advance(carry, self.inputs(x))

    def advance(self, carry: Float[Array, "*n H"], taken: Float[Array, "*n G"]) -> Float[Array, "*n H"]:
        """The new carry from what `inputs` put out, G = 3·H numbers."""
        xr, xz, xn = jnp.split(taken, 3, -1)
        hr, hz, hn = jnp.split(self.hidden(carry), 3, -1)
        update = jax.nn.sigmoid(xz + hz)
        return (1 - update) * jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn) + update * carry


def gru(key: Key[Array, ""], inputs: int, hidden: int) -> GRU:
    """A `GRU` with orthogonal weights."""
    first, second = jr.split(key)
    return GRU(linear(first, inputs, 3 * hidden, 1.0), linear(second, hidden, 3 * hidden, 1.0))
