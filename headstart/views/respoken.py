"""Networks of a team whose actions mean something else, as networks for ours: the rows and columns of actions translated."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from headstart.core.checks import HeadstartError
from headstart.core.modules import Linear
from headstart.core.networks import RoleNet
from headstart.views.meaning import Translation

Inputs = Mapping[str, Translation]
"""{name of a field that holds an action: its translation}."""


def acting(net: RoleNet, found: Translation, role: str) -> RoleNet:
    """An actor (or a network of action values) whose outputs are translated. Those for entities beyond as many as it knows are
    the mean of those for entities that it knows.

    Raises HeadstartError for actions in other bounds, which no parameters express, and for networks without a last layer.
    """
    layers = jax.tree.leaves(net, is_leaf=lambda x: isinstance(x, Linear))
    if found.same or not any(isinstance(layer, Linear) for layer in layers):  # statistics have no layers
        return net
    order, signs = np.array(found.order), _signs(found, role)
    done = []

    def taken(x):
        ours = _taken(x, np.maximum(order, 0), signs)
        for there, here in found.among:
            unknown = [i for i in here if order[i] < 0]
            ours = ours.at[..., unknown].set(x[..., there.start : there.stop].mean(-1, keepdims=True) if there else 0.0)
        return ours

    def changed(layer):
        if not isinstance(layer, Linear) or not layer.last:
            return layer
        done.append(layer)
        return Linear(taken(layer.weight), taken(layer.bias), layer.reads, True)

    out = jax.tree.map(changed, net, is_leaf=lambda x: isinstance(x, Linear))
    if len(done) != 1 or done[0].weight.shape[-1] != (found.width or len(order)):
        raise HeadstartError(
            f"the teacher's '{role}' acts by other actions, and the layer that puts them out is not marked "
            "(Linear.last): its parameters cannot be copied"
        )
    if hasattr(out.net, "log_std"):
        out = eqx.tree_at(lambda net: net.net.log_std, out, out.net.log_std[..., order])
    return out


def widened(net: RoleNet, own: RoleNet, places: tuple[int, ...]) -> RoleNet:
    """An actor of a part of our numbers as one of all of them, which puts out 0 for those that it lacks (see `part_of`).

    Their deviations are those of `own`, our actor.
    """
    there, known = np.maximum(places, 0), np.array(places) >= 0
    grown = lambda x, other: jnp.where(known.reshape((1,) * (x.ndim - 1) + (-1,)), x[..., there], other)

    def changed(layer):
        if not isinstance(layer, Linear) or not layer.last:
            return layer
        return Linear(grown(layer.weight, 0.0), grown(layer.bias, 0.0), layer.reads, True)

    out = jax.tree.map(changed, net, is_leaf=lambda x: isinstance(x, Linear))
    if not hasattr(net.net, "log_std"):
        return out
    alike = own.net.log_std.reshape(-1, len(places))[0]  # those of all agents are the same before training
    wide = jnp.broadcast_to(alike, (*net.net.log_std.shape[:-1], len(places)))
    return eqx.tree_at(lambda net: net.net.log_std, out, grown(net.net.log_std, wide))


def judging(net: RoleNet, inputs: Inputs, role: str) -> RoleNet:
    """A critic that reads actions, the rows of its first layers translated."""
    if all(found.same for found in inputs.values()):
        return net

    def changed(layer):
        if not isinstance(layer, Linear) or not layer.reads:
            return layer
        order, signs = np.arange(layer.weight.shape[-2]), np.ones(layer.weight.shape[-2])
        end = len(order)
        for field in reversed(layer.reads):  # actions come after all observations
            if field.name != "action" and not field.name.endswith("/action"):
                break
            start, found = end - field.width, inputs.get(field.name)
            if found is not None and not found.width and len(found.order) == field.width:
                order[start:end], signs[start:end] = start + np.array(found.order), _signs(found, role)
            end = start
        columns = _taken(jnp.swapaxes(layer.weight, -1, -2), order, tuple(signs))
        return Linear(jnp.swapaxes(columns, -1, -2), layer.bias, layer.reads, layer.last)

    return jax.tree.map(changed, net, is_leaf=lambda x: isinstance(x, Linear))


def reseated(net: RoleNet, pairs: np.ndarray) -> RoleNet:
    """A critic that all agents of a role share, with one output for each: its outputs in our order of the same agents.

    `pairs` [agents]: where each of ours is among theirs. A critic with fewer or other outputs is returned as it is.
    """
    if not net.shared or sorted(pairs.tolist()) != list(range(len(pairs))):
        return net

    def changed(layer):
        if not isinstance(layer, Linear) or not layer.last or layer.weight.shape[-1] != len(pairs):
            return layer
        return Linear(layer.weight[..., pairs], layer.bias[..., pairs], layer.reads, True)

    return jax.tree.map(changed, net, is_leaf=lambda x: isinstance(x, Linear))


def _taken(x: Float[Array, "*n _"], order: np.ndarray, signs: tuple[float, ...]) -> Float[Array, "*n U"]:
    return x[..., order] * np.asarray(signs, np.float32).reshape((1,) * (x.ndim - 1) + (-1,))


def _signs(found: Translation, role: str) -> tuple[float, ...]:
    if found.signs is None:
        raise HeadstartError(
            f"the teacher's '{role}' acts by numbers in other bounds: its parameters cannot be copied, distil it"
        )
    return found.signs
