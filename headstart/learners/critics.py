"""Critics estimate the values of an agent's states or actions, from its own view or from the team's.

A critic is local (its own agent's observation and action) or joint (those of all agents side by side). Each role has one
`RoleNet`: a network for each agent, or one that all agents of the role share. Values of single steps have the agents first,
[A *n], the layout in which a batch's matrix products are contiguous; values along time have them last, [*n A], as
observations do.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from headstart.core.networks import RoleNet, role_net
from headstart.core.types import Field, TeamSpec
from headstart.learners.bodies import Body

Values = dict[str, Array]
Nets = dict[str, RoleNet]
Kind = Literal["joint", "local"]


class Critic(NamedTuple):
    """Pure functions of a critic's networks, {role: RoleNet}."""

    init: Callable[[Callable[[int], Array]], Nets]
    """(number of a role -> key) -> networks."""
    q: Callable[[Nets, Values, Values], Values]
    """nets, obs {role: [*n A O]}, action {role: [*n A U]} -> {role: [A *n]}: Q_i of the joint action."""
    q_own: Callable[[Nets, Values, Values, Values], tuple[Values, Values]]
    """nets, obs, action, fresh -> Q_i(action), and Q_i(action with agent i's own part taken from `fresh`).

    The gradient of the second reaches `fresh` alone: it is an actor's objective and does not train the critic.
    """
    v: Callable[[Nets, PyTree, Values], tuple[PyTree, Values]]
    """nets, carry, obs -> carry, {role: [*n A]}: values without actions; the carry is () if the networks are feed-forward."""


def critic(kind: Kind, spec: TeamSpec, body: Body, shared: bool, acts: bool) -> Critic:
    """A joint or local critic of a team. With `acts`, its networks read actions too (Q); else observations alone (V)."""
    return {"local": _local, "joint": _joint}[kind](spec, body, shared, acts)


def _local(spec: TeamSpec, body: Body, shared: bool, acts: bool) -> Critic:
    def init(key_of):
        nets = {}
        for i, (name, role) in enumerate(spec.roles.items()):
            fields = (*role.obs, *([Field("action", 1, role.actions.size)] if acts else []))
            make = lambda k, fields=fields: body(k, fields, 1)
            nets[name] = role_net(make, key_of(i), role.agents, shared)
        return nets

    def q(nets, obs, action):
        beside = lambda name: jnp.moveaxis(jnp.concatenate([obs[name], action[name]], -1), -2, 0)
        return {name: net.agent_first(beside(name))[..., 0] for name, net in nets.items()}

    def v(nets, carry, obs):
        outs = {name: nets[name](carry[name] if carry else (), x) for name, x in obs.items()}
        return {name: out[0] for name, out in outs.items()} if carry else (), {n: out[1][..., 0] for n, out in outs.items()}

    def q_own(nets, obs, action, fresh):
        return q(nets, obs, action), q(jax.lax.stop_gradient(nets), obs, fresh)

    return Critic(init, q, q_own, v)


def _joint(spec: TeamSpec, body: Body, shared: bool, acts: bool) -> Critic:
    """Without actions, a shared network has one output for each agent of its role, since their rewards may differ."""
    fields = joint_fields(spec, acts)

    def init(key_of):
        nets = {}
        for i, (name, role) in enumerate(spec.roles.items()):
            make = lambda k, role=role: body(k, fields, role.agents if shared and not acts else 1)
            nets[name] = role_net(make, key_of(i), role.agents, shared)
        return nets

    def q(nets, obs, action):
        joint = side_by_side(obs, action)
        return {name: net.for_each(joint)[..., 0] for name, net in nets.items()}

    def q_own(nets, obs, action, fresh):
        joint, taken, own = side_by_side(obs, action), {}, {}
        at = sum(role.agents * role.obs_size for role in spec.roles.values())
        for name, net in sorted(nets.items()):
            # The first layer multiplies the joint input once: a change of one agent's action is a change of low rank.
            product = net.mapped(lambda net: net.first(joint))
            taken[name] = net.mapped(lambda net, h: net.rest(h), product)[..., 0]
            agents, size = action[name].shape[-2:]
            change = jnp.moveaxis(fresh[name] - action[name], -2, 0)
            change = jnp.einsum("a...u,auh->a...h", change, jax.lax.stop_gradient(_own_rows(net, at, agents, size)))
            frozen = jax.lax.stop_gradient(net)
            own[name] = frozen.mapped(lambda net, h: net.rest(h), jax.lax.stop_gradient(product) + change)[..., 0]
            at += agents * size
        return taken, own

    def v(nets, carry, obs):
        joint, after, values = side_by_side(obs), {}, {}
        for name, net in nets.items():
            after[name], out = net.together(carry[name] if carry else (), joint)
            values[name] = out[..., 0, :] if shared else out[..., 0]
        return after if carry else (), values

    return Critic(init, q, q_own, v)


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


def _own_rows(net: RoleNet, at: int, agents: int, size: int) -> Array:
    """[A U H]: the rows of each agent's first layer for its own action; the role's actions begin at row `at`."""
    weight = net.net.layers[0].weight
    if net.shared:
        return weight[at : at + agents * size].reshape(agents, size, -1)
    return jnp.stack([weight[i, at + i * size : at + (i + 1) * size] for i in range(agents)])
