"""Mixers make a team's value of its agents' values: their sum, or a monotone function that depends on the global state.

A mixer that is monotone in every agent's value lets each agent choose for itself: the choices that are best for the agents
are together the best for the team.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key

from headstart.core.modules import MLP, Linear, linear, mlp
from headstart.core.networks import RoleNet
from headstart.core.ops import shown
from headstart.core.types import TeamSpec, Transition
from headstart.learners.bodies import width
from headstart.learners.critics.base import joint_fields, side_by_side

Nets = dict[str, RoleNet]
Kind = Literal["none", "sum", "monotone"]


class Mixer(NamedTuple):
    """Pure functions of a mixer's networks, {role: RoleNet}."""

    init: Callable[[Array], Nets]
    """key -> networks; {} if there is nothing to learn."""
    mix: Callable[[Nets, Array, Array], Array] | None
    """nets, values [A *n] of the agents of all roles (in the spec's order, 0 for a dead agent), state [*n Z] -> [*n]; None if
    values are not mixed, so that every agent learns from its own reward."""
    reads_state: bool = False


def mixer(kind: Kind, spec: TeamSpec, units: int, hypernet: int) -> Mixer:
    """The mixer of a team: no mixing, the sum of values (VDN), or QMIX with `units` and `hypernet` hidden units."""
    if kind == "monotone":
        return _monotone(spec, units, hypernet)
    return Mixer(lambda key: {}, (lambda nets, values, state: values.sum(0)) if kind == "sum" else None)


class TeamPart(eqx.Module):
    """What a monotone mixer has once: hypernetworks for the bias of its hidden layer and for its last layer."""

    bias: Linear
    last: MLP
    value: MLP


class Hypernet(eqx.Module):
    """A role's part of a monotone mixer: a hypernetwork from the state to the weights of its agents' values."""

    weights: MLP
    team: TeamPart | None
    """With the first role only."""


def _monotone(spec: TeamSpec, units: int, hypernet: int) -> Mixer:
    """QMIX (Rashid et al. 2018, "QMIX: Monotonic Value Function Factorisation for Deep Multi-Agent Reinforcement Learning").

    Q_tot = |w₂(s)|·ELU(Σ_i q_i·|W_i(s)| + b(s)) + V(s) with E = `units`, W_i and w₂ in R^E by hypernetworks with one hidden
    layer of `hypernet` ReLU units, b by a linear layer, and V by a network with one hidden layer of E ReLU units.
    """
    size, lead = state_size(spec), next(iter(spec.roles))

    def team_part(key: Key[Array, ""]) -> TeamPart:
        bias, last, value = jr.split(key, 3)
        return TeamPart(linear(bias, size, units), mlp(last, (size, hypernet, units)), mlp(value, (size, units, 1)))

    def init(key):
        nets = {}
        for i, (name, role) in enumerate(spec.roles.items()):
            own, shared = jr.split(jr.fold_in(key, i))
            weights = mlp(own, (size, hypernet, role.agents * units))
            nets[name] = RoleNet(Hypernet(weights, team_part(shared) if name == lead else None), shared=True)
        return nets

    def mix(nets, values, state):
        team, at = nets[lead].net.team, 0
        hidden = team.bias(state)
        for name, role in spec.roles.items():
            weights = jnp.abs(nets[name].net.weights(state)).reshape(*state.shape[:-1], role.agents, units)
            own = jnp.moveaxis(values[at : at + role.agents], 0, -1)
            hidden = hidden + (own[..., None] * weights).sum(-2)
            at += role.agents
        return (jax.nn.elu(hidden) * jnp.abs(team.last(state))).sum(-1) + team.value(state)[..., 0]

    return Mixer(init, mix, reads_state=True)


def state_size(spec: TeamSpec) -> int:
    """Z, the numbers of `states_of`."""
    return spec.state_size or width(joint_fields(spec, acts=False))


def states_of(spec: TeamSpec, batch: Transition) -> tuple[Float[Array, "*n Z"], Float[Array, "*n Z"]]:
    """The global state and the next one: the environment's, or if it has none all agents' observations side by side, with zeros
    for dead agents."""
    if spec.state_size:
        return batch.state, batch.next_state
    return side_by_side(shown(batch.obs, batch.alive)), side_by_side(shown(batch.next_obs, batch.next_alive))
