"""Networks as equinox modules whose every leaf is an array, and the one way to give each agent its own.

A network maps `[.. I]` to `[.. O]` whatever the leading axes are. `Team` holds one network for a role: stacked along a
leading agent axis (separate parameters) or single (shared), and applies it along the agent axis of its input.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Key, PyTree

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.01),
    "tanh": jnp.tanh,
}
Activation = Literal["relu", "leaky_relu", "tanh"]


class Linear(eqx.Module):
    """y = x·W + b."""

    weight: Float[Array, "*a I O"]
    bias: Float[Array, "*a O"]

    def __call__(self, x: Float[Array, "*n I"]) -> Float[Array, "*n O"]:
        y = x @ self.weight
        return y + jnp.broadcast_to(self.bias, y.shape)


def linear(key: Key[Array, ""], inputs: int, outputs: int, gain: float | None = None) -> Linear:
    """A linear layer, biases 0: Xavier-uniform weights, or orthogonal ones of the given `gain`."""
    shape = (inputs, outputs)
    weight = jax.nn.initializers.glorot_uniform()(key, shape) if gain is None else gain * orthogonal(key, shape)
    return Linear(weight, jnp.zeros(outputs))


def orthogonal(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "I O"]:
    """A uniformly random matrix with orthonormal rows or columns, whichever are fewer.

    It is the polar factor of a Gaussian matrix, by the iteration X ← X·(3/2 − ½·XᵀX), which brings every singular value
    in (0, √3) to 1 (Björck and Bowie 1971). Matrix products only: a batched QR factorisation waits on the very threads
    it runs on, and on a machine with two cores that can be for ever.
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
        act = ACTIVATIONS[self.activation]
        for layer in self.layers[:-1]:
            x = act(layer(x))
        return self.layers[-1](x)


def mlp(
    key: Key[Array, ""],
    sizes: tuple[int, ...],
    activation: Activation = "relu",
    gains: tuple[float, float] | None = None,
) -> MLP:
    """An `MLP` through `sizes`. `gains` (hidden, last) asks for orthogonal weights; without it they are Xavier-uniform."""
    keys = jr.split(key, len(sizes) - 1)
    layer_gains = [None] * len(keys) if gains is None else [gains[0]] * (len(keys) - 1) + [gains[1]]
    layers = [linear(*args) for args in zip(keys, sizes[:-1], sizes[1:], layer_gains, strict=True)]
    return MLP(layers, activation)


class GRU(eqx.Module):
    """A gated recurrent unit (Cho et al. 2014): carry and input to the new carry, which is also the output."""

    inputs: Linear
    hidden: Linear

    def __call__(self, carry: Float[Array, "*n H"], x: Float[Array, "*n I"]) -> Float[Array, "*n H"]:
        xr, xz, xn = jnp.split(self.inputs(x), 3, -1)
        hr, hz, hn = jnp.split(self.hidden(carry), 3, -1)
        update = jax.nn.sigmoid(xz + hz)
        return (1 - update) * jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn) + update * carry


def gru(key: Key[Array, ""], inputs: int, hidden: int) -> GRU:
    """A `GRU` with orthogonal weights."""
    first, second = jr.split(key)
    return GRU(linear(first, inputs, 3 * hidden, 1.0), linear(second, hidden, 3 * hidden, 1.0))


class Team(eqx.Module):
    """One role's network: `net` has a leading agent axis unless `shared`."""

    net: PyTree
    shared: bool = eqx.field(static=True)

    def __call__(self, *xs: PyTree) -> PyTree:
        """Agent a's network on agent a's input: every leaf of `xs` and of the result is [*n A _]."""
        if self.shared:
            return self.net(*xs)
        axes = (0, *(-2 for _ in xs))
        return jax.vmap(lambda net, *x: net(*x), in_axes=axes, out_axes=-2)(self.net, *xs)

    def agent_first(self, x: Float[Array, "A *n I"]) -> Float[Array, "A *n O"]:
        """The same with the agent axis first, the layout in which a batch's matrix products are contiguous."""
        return self.net(x) if self.shared else jax.vmap(lambda net, x: net(x))(self.net, x)

    def for_each(self, x: Float[Array, "*n I"]) -> Float[Array, "_ *n O"]:
        """Every agent's network on the same input, agent axis first (of length 1 where one network is shared)."""
        return self.net(x)[None] if self.shared else jax.vmap(lambda net: net(x))(self.net)


def team(make: Callable[[Array], PyTree], key: Key[Array, ""], agents: int, shared: bool) -> Team:
    """`agents` independent draws of `make(key)`, or one that all share."""
    return Team(make(key) if shared else jax.vmap(make)(jr.split(key, agents)), shared)


def per_team(transforms: dict[str, optax.GradientTransformation]) -> optax.GradientTransformation:
    """`transforms[network]` applied to every role's `Team` of that network, to each agent's own parameters.

    A norm clipped over a whole stacked tree would couple agents: one agent's large gradient would shrink its mates'.
    """

    def init(params):
        start = lambda name, t: transforms[name].init(t.net) if t.shared else jax.vmap(transforms[name].init)(t.net)
        return {name: {role: start(name, t) for role, t in roles.items()} for name, roles in params.items()}

    def update(updates, state, params=None):
        assert params is not None
        grads, updates, states = updates, {}, {}
        for name, roles in params.items():
            step = transforms[name].update
            outs = {
                role: (step if t.shared else jax.vmap(step))(grads[name][role].net, state[name][role], t.net)
                for role, t in roles.items()
            }
            updates[name] = {role: Team(out[0], roles[role].shared) for role, out in outs.items()}
            states[name] = {role: out[1] for role, out in outs.items()}
        return updates, states

    return optax.GradientTransformation(init, update)


def clip_per_variable(limit: float) -> optax.GradientTransformation:
    """Each array's gradient scaled down to norm `limit` on its own, as openai/maddpg does (tf.clip_by_norm)."""

    def update(updates, state, params=None):
        clip = lambda g: g * jnp.minimum(1.0, limit / (jnp.sqrt((g * g).sum()) + 1e-12))
        return jax.tree.map(clip, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
