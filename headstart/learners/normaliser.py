"""Running means and variances of what a team sees and does, as batch normalisation without an affine part subtracts them.

Ioffe and Szegedy 2015, "Batch Normalization". The statistics are those of all env-steps so far, not of a batch: they are a
network, which `Learner.prepare` moves and no gradient does, so a saved team has them.

A learner that offers `InputSettings` has them in `params["inputs"]`, one `Moments` for each role, and names that network in
`Learner.policy_networks`. All agents of a role share their statistics.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from headstart.core.modules import PerNumber
from headstart.core.networks import RoleNet
from headstart.core.ops import Real, masked_mean
from headstart.core.ranges import Positive
from headstart.core.types import Field, TeamSpec

EPSILON = 1e-5
"""Added to variances: a number that never changes becomes 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSettings:
    """Settings of what networks read."""

    obs_norm: bool = False
    """Whether networks read observations less their running mean, divided by their running deviation. All agents of a role
    share these statistics."""
    obs_clip: Positive = 10.0
    """Largest size of a number that is normalised so."""


class Moments(PerNumber):
    """Means and variances of the numbers of a vector."""

    mean: Float[Array, " I"]
    variance: Float[Array, " I"]
    count: Float[Array, " I"]
    """Vectors seen so far, for each number: a team of another size, whose means do not fit, does not take over the count.
    With `keep` below 1, the weight of all of them beside a new one."""

    def __call__(self, x: Float[Array, "*n I"]) -> Float[Array, "*n I"]:
        """(x − mean)/√(variance + ε); no gradient reaches the statistics."""
        mean, variance = jax.lax.stop_gradient((self.mean, self.variance))
        over_all = lambda y: jnp.broadcast_to(y, x.shape)
        return (x - over_all(mean)) * over_all(jax.lax.rsqrt(variance + EPSILON))

    def moved(self, x: Float[Array, "*n I"], mask: Bool[Array, "*n"], keep: Real = 1.0) -> "Moments":
        """With the vectors whose mask is true counted in (Chan et al. 1983, the pairwise update).

        What was seen before weighs `keep` times what it did. If each call brings as many vectors, these are the debiased
        exponential averages of a mean and a mean square: the weight of call t is (1 − keep)/(1 − keep^t).
        """
        x, there = x.reshape(-1, x.shape[-1]), jnp.broadcast_to(mask.reshape(-1, 1), (mask.size, x.shape[-1]))
        count = keep * self.count + mask.sum()
        weight = mask.sum() / jnp.maximum(count, 1)
        mean = masked_mean(x, there, 0)
        variance = masked_mean(jnp.square(x - mean[None]), there, 0)
        shift = mean - self.mean
        spread = variance - self.variance + (1 - weight) * jnp.square(shift)
        return Moments(self.mean + weight * shift, self.variance + weight * spread, count, reads=self.reads)


def moments(size: int, reads: tuple[Field, ...] = ()) -> Moments:
    """Before anything is seen: mean 0 and variance 1, which leave vectors as they are."""
    return Moments(jnp.zeros(size), jnp.ones(size), jnp.zeros(size), reads=reads)


Inputs = dict[str, dict[str, RoleNet]]
"""A learner's parameters, of which `inputs` is read here."""
Obs = dict[str, Array]
"""{role: [*n A O]}."""


def fresh_inputs(own: InputSettings, spec: TeamSpec) -> Inputs:
    """The statistics of a new team as a part of its parameters; nothing without `obs_norm`."""
    new = lambda role: RoleNet(moments(role.obs_size, role.obs), True)
    return {"inputs": {name: new(role) for name, role in spec.roles.items()}} if own.obs_norm else {}


def read(own: InputSettings, params: Inputs, obs: Obs) -> Obs:
    """Observations as networks read them."""
    if "inputs" not in params:
        return obs
    return {name: jnp.clip(params["inputs"][name](x), -own.obs_clip, own.obs_clip) for name, x in obs.items()}


def learn_inputs(params: Inputs, obs: Obs, alive: dict[str, Bool[Array, "*n _"]]) -> Inputs:
    """The parameters with what living agents observed counted in the statistics."""
    if "inputs" not in params:
        return params
    moved = lambda team, name: RoleNet(team.net.moved(obs[name], alive[name]), True)
    return params | {"inputs": {name: moved(team, name) for name, team in params["inputs"].items()}}
