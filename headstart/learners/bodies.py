"""Bodies of networks, made from the fields that they read, for every learner's actors and critics."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key, PyTree

from headstart.core.checks import HeadstartError, check_known
from headstart.core.modules import GRU, Activation, Linear, gru, linear, mlp
from headstart.core.types import Field, TeamSpec

Body = Callable[[Key[Array, ""], tuple[Field, ...], int], PyTree]
"""key, the fields that it reads, number of outputs -> module. Encoders of entities find these in the fields."""


def width(fields: tuple[Field, ...]) -> int:
    """The size of an input of these fields."""
    return sum(field.width for field in fields)


def mlp_body(hidden: tuple[int, ...], activation: Activation, gains: tuple[float, float] | None = None) -> Body:
    """An `MLP` through `hidden`; `gains` as in `mlp`."""
    return lambda key, fields, outputs: mlp(key, (width(fields), *hidden, outputs), activation, gains, fields)


class Reduced(eqx.Module):
    """A linear layer that reduces an input to the size that a `trunk` reads (LLDR, linear-layer dimension reduction)."""

    embed: Linear
    trunk: PyTree

    def __call__(self, x: Float[Array, "*n I"]) -> Float[Array, "*n O"]:
        return self.trunk(self.embed(x))

    @property
    def input(self) -> Linear:
        """The first layer."""
        return self.embed

    def rest(self, x: Float[Array, "*n H"]) -> Float[Array, "*n O"]:
        """All that comes after the first layer."""
        return self.trunk(x)


def reduced_body(units: int, body: Body) -> Body:
    """A linear layer to `units` numbers in front of a `body`, whose first layer then reads no field itself."""

    def make(key, fields, outputs):
        embed, trunk = jr.split(key)
        made = body(trunk, (Field("reduced", 1, units, own=True),), outputs)
        made = eqx.tree_at(lambda net: net.input, made, dataclasses.replace(made.input, reads=()))
        return Reduced(linear(embed, width(fields), units, None, fields), made)

    return make


def reduced_bodies(setting: str, given: tuple[str, ...], body: Body, spec: TeamSpec) -> Callable[[str], Body]:
    """role -> `body`, behind a linear layer for the roles of a learner's setting ("ROLE=UNITS", ..).

    Raises HeadstartError for an entry that names no role of the team, or one twice, or no number of units.
    """
    units = {}
    for entry in given:
        role, _, number = entry.partition("=")
        if not (number.isascii() and number.isdigit() and 0 < int(number) <= 2**16):
            raise HeadstartError(f"learner.{setting} must be like {next(iter(spec.roles))}=12, not '{entry}'")
        check_known("role", role, spec.roles)
        if role in units:
            raise HeadstartError(f"learner.{setting} names '{role}' twice")
        units[role] = int(number)
    return lambda role: reduced_body(units[role], body) if role in units else body


class Core(eqx.Module):
    """A feed-forward network, or an encoder, a GRU and a head. Only continuous actors use `log_std`."""

    body: PyTree
    memory: GRU | None
    head: Linear | None
    log_std: Float[Array, "*a U"]

    def __call__(self, carry: PyTree, x: Float[Array, "*n I"]) -> tuple[PyTree, Float[Array, "*n O"]]:
        if self.memory is None or self.head is None:
            return carry, self.body(x)
        carry = self.memory(carry, jax.nn.relu(self.body(x)))
        return carry, self.head(carry)


def core_body(
    core: Literal["mlp", "gru"], hidden: tuple[int, ...], activation: Activation, gain: float, body: Body | None = None
) -> Body:
    """A `Core` with orthogonal weights: gain √2, and `gain` in the last layer. The last of `hidden` is the GRU's size.

    `body` makes the feed-forward network, or the encoder, in place of an MLP or a linear layer.
    """

    def make(key, fields, outputs):
        first, memory, head = jr.split(key, 3)
        log_std, size = jnp.full(outputs, -0.5), hidden[-1]
        if core == "mlp":
            feed = body or mlp_body(hidden, activation, (2**0.5, gain))
            return Core(feed(first, fields, outputs), None, None, log_std)
        encoder = body(first, fields, size) if body else linear(first, width(fields), size, 2**0.5, fields)
        return Core(encoder, gru(memory, size, size), linear(head, size, outputs, gain, last=True), log_std)

    return make


def recurrent_body(hidden: tuple[int, ...]) -> Body:
    """A recurrent `Core` with orthogonal weights. The last of `hidden` is the GRU's size, and those before it are the layers of
    its encoder, with ReLUs between them; if there is no other, it is the encoder's size too."""
    units, size = hidden[:-1] or hidden, hidden[-1]

    def encoder(key, fields):
        net = mlp(key, (width(fields), *units), "relu", (2**0.5, 2**0.5), fields)
        inner = dataclasses.replace(net.layers[-1], last=False)  # its outputs are no action's
        return dataclasses.replace(net, layers=[*net.layers[:-1], inner]) if len(units) > 1 else inner

    def make(key, fields, outputs):
        first, memory, head = jr.split(key, 3)
        cell, choices = gru(memory, units[-1], size), linear(head, size, outputs, 1.0, last=True)
        return Core(encoder(first, fields), cell, choices, jnp.full(outputs, -0.5))

    return make
