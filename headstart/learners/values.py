"""How value functions learn: the loss of an estimate, plain or clipped, and targets in units of their own deviation.

A learner that offers these settings inherits `ValueSettings`. With `value_norm`, a value function puts out (V − mean)/deviation
with the running mean and deviation of its targets, which are `params["stats"]`: those of each agent, or of all agents of a role
that share a network. Without it there are no statistics, and what it puts out is V.
"""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Bool, Float

from headstart.core.modules import Linear
from headstart.core.networks import RoleNet, role_net
from headstart.core.ranges import NonNegative, Positive, Share
from headstart.core.types import TeamSpec
from headstart.learners.normaliser import EPSILON, moments

Values = dict[str, Array]
"""{role: [*n A]}."""
Nets = dict[str, RoleNet]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValueSettings:
    """Settings of value functions."""

    value_loss: Literal["mse", "huber"] = "mse"
    """Half the squared error (mse), or the same up to an error of `huber_delta` and linear beyond it (huber)."""
    huber_delta: Positive = 10.0
    """δ of the Huber loss, in the units of what the value function puts out."""
    value_clip: NonNegative = 0.0
    """ε of the clipped value loss, in the units of what the value function puts out; 0 does not clip."""
    value_norm: Literal["none", "running", "popart"] = "none"
    """Whether a value function puts out values themselves (none) or in units of the running mean and deviation of its targets
    (running, as MAPPO); popart also rescales its last layer, so that its values stay the same when these move."""
    value_beta: Share = 0.99999
    """β: what earlier targets weigh in these statistics with every update that passes; 1 is the mean of all."""


def value_loss(
    own: ValueSettings, value: Float[Array, "*n"], target: Float[Array, "*n"], before: Float[Array, "*n"] | None = None
) -> Float[Array, "*n"]:
    """l(V − y), or max(l(V − y), l(V_before + clip(V − V_before, −ε, ε) − y)), with l as `value_loss` says.

    The larger one is pessimistic, as PPO's surrogate is: a step beyond ε is not rewarded (openai/baselines, ppo2; Yu et al.
    2022). `before` are the estimates before the update.
    """

    def loss(value):
        if own.value_loss == "huber":
            return optax.huber_loss(value, target, delta=own.huber_delta)
        return 0.5 * jnp.square(value - target)

    if before is None:
        return loss(value)
    return jnp.maximum(loss(value), loss(before + jnp.clip(value - before, -own.value_clip, own.value_clip)))


def fresh_stats(own: ValueSettings, spec: TeamSpec, shared: bool) -> dict[str, Nets]:
    """The statistics of a new team as a part of its parameters; nothing without `value_norm`."""
    if own.value_norm == "none":
        return {}
    new = lambda agents: role_net(lambda key: moments(1), jr.key(0), agents, shared)
    return {"stats": {name: new(role.agents) for name, role in spec.roles.items()}}


def values_of(params: dict[str, Nets], out: Values) -> Values:
    """Values in units of reward from what value functions put out."""
    if "stats" not in params:
        return out
    return {name: _affine(x, *_scale(params["stats"][name])) for name, x in out.items()}


def outputs_for(params: dict[str, Nets], values: Values) -> Values:
    """What value functions should put out for values in units of reward."""
    if "stats" not in params:
        return values
    return {name: _affine(x, *_inverse(*_scale(params["stats"][name]))) for name, x in values.items()}


def learn_scale(
    own: ValueSettings, params: dict[str, Nets], targets: Values, alive: dict[str, Bool[Array, "*n _"]]
) -> dict[str, Nets]:
    """The parameters with the targets of the agents in `alive`, whose values are learned, counted in the statistics.

    With popart the last layers of the critics change too, so that values are what they were (van Hasselt et al. 2016,
    "Learning values across many orders of magnitude", Proposition 1).
    """
    if "stats" not in params:
        return params
    stats = {name: _moved(team, targets[name], alive[name], own.value_beta) for name, team in params["stats"].items()}
    critics = params["critic"]
    if own.value_norm == "popart":
        critics = {name: _rescaled(net, params["stats"][name], stats[name]) for name, net in critics.items()}
    return params | {"stats": stats, "critic": critics}


def _moved(team: RoleNet, x: Float[Array, "*n A"], alive: Bool[Array, "*n A"], keep) -> RoleNet:
    move = lambda moments, x, alive: moments.moved(x[..., None], alive, keep)
    if team.shared:
        return RoleNet(move(team.net, x, alive), True)
    return RoleNet(jax.vmap(move, in_axes=(0, -1, -1))(team.net, x, alive), False)


def _scale(team: RoleNet) -> tuple[Float[Array, "*a"], Float[Array, "*a"]]:
    """Deviation and mean, [] of a shared network, else [A]."""
    own = jax.lax.stop_gradient(team.net)
    return jnp.sqrt(own.variance[..., 0] + EPSILON), own.mean[..., 0]


def _inverse(factor, shift):
    return 1 / factor, -shift / factor


def _affine(x: Float[Array, "*n A"], factor: Float[Array, "*a"], shift: Float[Array, "*a"]) -> Float[Array, "*n A"]:
    return x * jnp.broadcast_to(factor, x.shape) + jnp.broadcast_to(shift, x.shape)


def _rescaled(net: RoleNet, before: RoleNet, after: RoleNet) -> RoleNet:
    """W ← W·σ/σ', b ← (σ·b + μ − μ')/σ' in the last layer."""
    (deviation, mean), (new_deviation, new_mean) = _scale(before), _scale(after)
    factor, shift = (deviation / new_deviation)[..., None], ((mean - new_mean) / new_deviation)[..., None]

    def changed(layer):
        if not isinstance(layer, Linear) or not layer.last:
            return layer
        bias = layer.bias * factor + shift
        return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (layer.weight * factor[..., None], bias))

    return jax.tree.map(changed, net, is_leaf=lambda x: isinstance(x, Linear))
