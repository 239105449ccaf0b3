"""The seam between learners and critics, and what critics read.

Values of single steps have the agents first, [A *n], the layout in which a batch's matrix products are contiguous; values
along time have them last, [*n A], as observations do.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from headstart.core.learner import Attention
from headstart.core.networks import RoleNet
from headstart.core.ops import Cell
from headstart.core.types import Field, TeamSpec
from headstart.learners.bodies import Body

Values = dict[str, Array]
Nets = dict[str, dict[str, RoleNet]]
"""{network: {role: RoleNet}}, a part of a learner's parameters."""
Bodies = Callable[[str], Body]
"""role -> the body of its networks."""
Kind = Literal["joint", "local", "agp", "agnn", "attention"]


class Critic(NamedTuple):
    """Pure functions of a learner's parameters, of which they read `networks`. `alive` is {role: [*n A]}, or None if all live:
    a dead agent is no vertex of a graph, and nobody attends to it. Joint and local critics read zeros in place of what it
    observes and does."""

    init: Callable[[Callable[[int], Array]], Nets]
    """(number of a role -> key) -> `networks`."""
    q: Callable[[Nets, Values, Values, Values | None], Values]
    """params, obs {role: [*n A O]}, action {role: [*n A U]}, alive -> {role: [A *n]}: Q_i of the joint action."""
    q_own: Callable[[Nets, Values, Values, Values, Values | None], tuple[Values, Values]]
    """params, obs, action, fresh, alive -> Q_i(action), and Q_i(action with agent i's own part taken from `fresh`).

    The gradient of the second reaches `fresh` alone: it is an actor's objective and does not train the critic.
    """
    v: Callable[[Nets], Cell]
    """params -> a cell: carry, (obs, alive) -> carry, {role: [*n A]}, values without actions; the carry is () if the networks
    are feed-forward."""
    attention: Attention | None = None
    """Whom an agent attends to, averaged over heads; None for the critics that attend to nobody."""
    networks: tuple[str, ...] = ("critic",)
    """Names of the networks; each has a `RoleNet` for every role."""


def chosen(values: Float[Array, "A *n U"], action: Float[Array, "*n A U"]) -> Float[Array, " A *n"]:
    """The sum of values, each weighed by the numbers of an action."""
    return (values * jnp.moveaxis(action, -2, 0)).sum(-1)


def joint_fields(spec: TeamSpec, acts: bool) -> tuple[Field, ...]:
    """The fields of a joint critic in the order of `side_by_side`: all agents' observed fields, then all agents' actions."""
    seen, done = [], []
    for role, names in sorted(spec.names.items()):
        for name in names:
            named = lambda field, name=name: f"{name}/{field}"
            seen += [f._replace(name=named(f.name), follows=f.follows and named(f.follows)) for f in spec.roles[role].obs]
            done.append(Field(named("action"), 1, spec.roles[role].actions.size))
    return (*seen, *(done if acts else ()))


def side_by_side(*parts: Values) -> Array:
    """[*n J]: every agent's numbers {role: [*n A _]}, part after part, role after role by name.

    The order is by name because JAX sorts a dict's keys at the boundaries of its transformations.
    """
    return jnp.concatenate([x.reshape(*x.shape[:-2], -1) for part in parts for _, x in sorted(part.items())], -1)


def by_agent(spec: TeamSpec, values: Values) -> Values:
    """{role: [A *n]} -> {role: [*n A]}; a value that all agents of a role share is repeated."""
    last = {name: jnp.moveaxis(x, 0, -1) for name, x in values.items()}
    return {name: jnp.broadcast_to(x, (*x.shape[:-1], spec.roles[name].agents)) for name, x in last.items()}
