"""`RoleNet`: one network for each agent of a role, or one that all of them share.

It holds a network stacked along a leading agent axis (separate parameters) or a single one (shared), and applies it along
the agent axis of its input.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import Array, Float, Key, PyTree


class RoleNet(eqx.Module):
    """One role's network: `net` has a leading agent axis unless `shared`."""

    net: PyTree
    shared: bool = eqx.field(static=True)

    def __call__(self, *xs: PyTree) -> PyTree:
        """Agent a's network on agent a's input: every leaf of `xs` and of the result is [*n A _]."""
        return self.each(lambda net, *x: net(*x), *xs)

    def each(self, function: Callable, *xs: PyTree) -> PyTree:
        """`function(net, *x)` for agent a's network and input: every leaf of `xs` and of the result is [*n A _]."""
        if self.shared:
            return function(self.net, *xs)
        return jax.vmap(function, in_axes=(0, *(-2 for _ in xs)), out_axes=-2)(self.net, *xs)

    def agent_first(self, x: Float[Array, "A *n I"]) -> Float[Array, "A *n O"]:
        """The same with the agent axis first, the layout in which a batch's matrix products are contiguous."""
        return self.net(x) if self.shared else jax.vmap(lambda net, x: net(x))(self.net, x)

    def for_each(self, x: Float[Array, "*n I"]) -> Float[Array, "_ *n O"]:
        """Every agent's network on the same input, agent axis first (of length 1 if one network is shared)."""
        return self.mapped(lambda net: net(x))

    def mapped(self, function: Callable, *xs: Float[Array, "_ *n I"]) -> PyTree:
        """`function(net, *x)` for every agent, agent axis first in `xs` and in the result; of length 1 if shared."""
        if self.shared:
            return function(self.net, *xs) if xs else function(self.net)[None]
        return jax.vmap(function)(self.net, *xs)

    def together(self, function: Callable, x: Float[Array, "*n I"]) -> Float[Array, "*n _ O"]:
        """`function(net, x)` of every agent's network and the same input; the agent axis has length 1 if it is shared."""
        if self.shared:
            return function(self.net, x[..., None, :])
        return jax.vmap(lambda net: function(net, x), out_axes=-2)(self.net)


def role_net(make: Callable[[Array], PyTree], key: Key[Array, ""], agents: int, shared: bool) -> RoleNet:
    """A `RoleNet` of `agents` independent draws of `make(key)`, or of one that all share."""
    return RoleNet(make(key) if shared else jax.vmap(make)(jr.split(key, agents)), shared)
