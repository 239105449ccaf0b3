"""How value functions learn: the loss of an estimate, plain or clipped.

A learner that offers these settings inherits `ValueSettings`.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from headstart.core.ranges import NonNegative, Positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValueSettings:
    """Settings of value functions."""

    value_loss: Literal["mse", "huber"] = "mse"
    """Half the squared error (mse), or the same up to an error of `huber_delta` and linear beyond it (huber)."""
    huber_delta: Positive = 10.0
    """δ of the Huber loss, in the units of what the value function puts out."""
    value_clip: NonNegative = 0.0
    """ε of the clipped value loss, in the units of what the value function puts out; 0 does not clip."""


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
