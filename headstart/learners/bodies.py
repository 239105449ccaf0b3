"""Bodies of networks, made from the fields that they read, for every learner's actors and critics."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key, PyTree

from headstart.core.modules import GRU, MLP, Activation, Linear, gru, linear, mlp
from headstart.core.types import Field

Body = Callable[[Key[Array, ""], tuple[Field, ...], int], PyTree]
"""key, the fields that it reads, number of outputs -> module. Encoders of entities find these in the fields."""


def width(fields: tuple[Field, ...]) -> int:
    """The size of an input of these fields."""
    return sum(field.width for field in fields)


def mlp_body(hidden: tuple[int, ...], activation: Activation, gains: tuple[float, float] | None = None) -> Body:
    """An `MLP` through `hidden`; `gains` as in `mlp`."""
    return lambda key, fields, outputs: mlp(key, (width(fields), *hidden, outputs), activation, gains, fields)


class Core(eqx.Module):
    """An MLP, or an encoder, a GRU and a head. Only continuous actors use `log_std`."""

    body: MLP | Linear
    memory: GRU | None
    head: Linear | None
    log_std: Float[Array, "*a U"]

    def __call__(self, carry: PyTree, x: Float[Array, "*n I"]) -> tuple[PyTree, Float[Array, "*n O"]]:
        if self.memory is None or self.head is None:
            return carry, self.body(x)
        carry = self.memory(carry, jax.nn.relu(self.body(x)))
        return carry, self.head(carry)


def core_body(core: Literal["mlp", "gru"], hidden: tuple[int, ...], activation: Activation, gain: float) -> Body:
    """A `Core` with orthogonal weights: gain √2, and `gain` in the last layer. The last of `hidden` is the GRU's size."""

    def make(key, fields, outputs):
        body, memory, head = jr.split(key, 3)
        log_std, size = jnp.full(outputs, -0.5), hidden[-1]
        if core == "mlp":
            return Core(mlp_body(hidden, activation, (2**0.5, gain))(body, fields, outputs), None, None, log_std)
        encoder = linear(body, width(fields), size, 2**0.5, fields)
        return Core(encoder, gru(memory, size, size), linear(head, size, outputs, gain, last=True), log_std)

    return make
