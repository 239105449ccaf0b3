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
from headstart.core.modules import GRU, Activation, LayerNorm, Linear, gru, layer_norm, linear, mlp, normed
from headstart.core.networks import RoleNet
from headstart.core.ops import Cell, Real
from headstart.core.types import Field, TeamSpec

Body = Callable[[Key[Array, ""], tuple[Field, ...], int], PyTree]
"""key, the fields that it reads, number of outputs -> module. Encoders of entities find these in the fields."""


def width(fields: tuple[Field, ...]) -> int:
    """The size of an input of these fields."""
    return sum(field.width for field in fields)


def mlp_body(hidden: tuple[int, ...], activation: Activation, gains: tuple[Real, Real] | None = None) -> Body:
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
    norms: tuple[LayerNorm, ...] = ()
    """Of what the GRU takes in and of what it puts out; empty without layer norms. The carry itself is not normalised."""

    def __call__(self, carry: PyTree, x: Float[Array, "*n I"]) -> tuple[PyTree, Float[Array, "*n O"]]:
        return Cell(self.enter, self.advance, self.leave)(carry, x)

    def enter(self, x: Float[Array, "*n I"]) -> Float[Array, "*n G"]:
        """See `Cell`: the encoder and the products of the GRU's input, or the whole of a feed-forward network."""
        if self.memory is None:
            return self.body(x)
        encoded = jax.nn.relu(self.body(x))
        return self.memory.inputs(self.norms[0](encoded) if self.norms else encoded)

    def advance(self, carry: PyTree, taken: Float[Array, "*n G"]) -> PyTree:
        """See `Cell`."""
        return carry if self.memory is None else self.memory.advance(carry, taken)

    def leave(self, carry: PyTree, taken: Float[Array, "*n G"]) -> Float[Array, "*n O"]:
        """See `Cell`: the head."""
        if self.head is None:
            return taken
        return self.head(self.norms[1](carry) if self.norms else carry)


def cell_of(nets: dict[str, RoleNet]) -> Cell:
    """The `Core`s of a team as one `Cell`: carry {role: [*n A H]} or (), obs {role: [*n A O]} -> outputs {role: [*n A U]}."""
    own = lambda carry, name: carry[name] if carry else ()
    enter = lambda obs: {name: nets[name].each(Core.enter, x) for name, x in obs.items()}
    leave = lambda carry, taken: {name: nets[name].each(Core.leave, own(carry, name), x) for name, x in taken.items()}

    def advance(carry, taken):
        return carry and {name: nets[name].each(Core.advance, carry[name], x) for name, x in taken.items()}

    return Cell(enter, advance, leave)


@dataclasses.dataclass(frozen=True)
class CoreBody:
    """A `Body` of `Core`s with orthogonal weights: gain √2, and `gain` in the last layer.

    The last of `hidden` is the GRU's size, and those before it are the layers of its encoder; if there is no other, it is the
    encoder's size too. `body` makes the feed-forward network, or the encoder, in their place. `norms` asks for layer norms of
    the input and of every hidden layer, the GRU's included.
    """

    core: Literal["mlp", "gru"]
    hidden: tuple[int, ...]
    activation: Activation
    gain: Real
    body: Body | None = None
    norms: bool = False

    def __call__(self, key: Key[Array, ""], fields: tuple[Field, ...], outputs: int) -> Core:
        first, memory, head = jr.split(key, 3)
        log_std, size = jnp.full(outputs, -0.5), self.hidden[-1]
        if self.core == "mlp":
            return Core(self._feed_forward(first, fields, outputs), None, None, log_std)
        units = self.hidden[:-1] or self.hidden
        encoder = self.body(first, fields, size) if self.body else self._encoder(first, fields, units)
        norms = (layer_norm(units[-1]), layer_norm(size)) if self.norms else ()
        inputs = size if self.body else units[-1]
        return Core(encoder, gru(memory, inputs, size), linear(head, size, outputs, self.gain, last=True), log_std, norms)

    def _feed_forward(self, key, fields, outputs):
        if self.body:
            return self.body(key, fields, outputs)
        net = mlp(key, (width(fields), *self.hidden, outputs), self.activation, (2**0.5, self.gain), fields)
        return normed(net) if self.norms else net

    def _encoder(self, key, fields, units):
        """Layers with ReLUs between them; `Core` applies the last one's."""
        if len(units) == 1 and not self.norms:
            return linear(key, width(fields), units[0], 2**0.5, fields)
        net = mlp(key, (width(fields), *units), "relu", (2**0.5, 2**0.5), fields, last=False)
        return normed(net) if self.norms else net


def recurrent_body(hidden: tuple[int, ...]) -> Body:
    """A recurrent `Core` whose outputs have gain 1: see `CoreBody`."""
    return CoreBody("gru", hidden, "relu", 1.0)
