"""Critics estimate the values of an agent's states or actions, from its own view or from the team's.

A critic is local (its own agent's observation and action), joint (those of all agents side by side) or a graph of all agents
(agp, agnn), whose networks take any number of agents. Each role has one `RoleNet`: a network for each agent, or one that
all agents of the role share. Values of single steps have the agents first,
[A *n], the layout in which a batch's matrix products are contiguous; values along time have them last, [*n A], as
observations do.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from headstart.core.checks import check_known
from headstart.core.learner import Attention
from headstart.core.networks import RoleNet, role_net
from headstart.core.types import Field, RoleSpec, TeamSpec
from headstart.learners.bodies import Body
from headstart.learners.graphs import Graphs, groups, numbers

Values = dict[str, Array]
Nets = dict[str, RoleNet]
Bodies = Callable[[str], Body]
"""role -> the body of its networks."""
Kind = Literal["joint", "local", "agp", "agnn"]


class Critic(NamedTuple):
    """Pure functions of a critic's networks, {role: RoleNet}. `alive` is {role: [*n A]}, or None if all live: a dead agent is
    no vertex of a graph; the other critics read its observation, which their losses leave out."""

    init: Callable[[Callable[[int], Array]], Nets]
    """(number of a role -> key) -> networks."""
    q: Callable[[Nets, Values, Values, Values | None], Values]
    """nets, obs {role: [*n A O]}, action {role: [*n A U]}, alive -> {role: [A *n]}: Q_i of the joint action."""
    q_own: Callable[[Nets, Values, Values, Values, Values | None], tuple[Values, Values]]
    """nets, obs, action, fresh, alive -> Q_i(action), and Q_i(action with agent i's own part taken from `fresh`).

    The gradient of the second reaches `fresh` alone: it is an actor's objective and does not train the critic.
    """
    v: Callable[[Nets, PyTree, Values, Values | None], tuple[PyTree, Values]]
    """nets, carry, obs, alive -> carry, {role: [*n A]}: values without actions; the carry is () if the networks are
    feed-forward."""
    attention: Attention | None = None
    """Whom a graph attends to: the weights of its pooling, averaged over heads; None for the other critics."""

    def attends(self) -> Attention | None:
        """The same for a `Learner`, whose parameters hold these networks as `critic`."""
        if self.attention is None:
            return None
        weights = self.attention.weights
        return self.attention._replace(weights=lambda params, *given: weights(params["critic"], *given))


def critic(kind: Kind, spec: TeamSpec, bodies: Bodies, graphs: Graphs, shared: bool, acts: bool) -> Critic:
    """A critic of a team, made by `bodies` (joint, local) or by `graphs`. With `acts`, its networks read actions too (Q); else
    observations alone (V). Raises HeadstartError if the graph's settings do not fit the team."""
    if kind == "agp" or kind == "agnn":
        return _graph(kind, spec, graphs, shared, acts)
    return {"local": _local, "joint": _joint}[kind](spec, bodies, shared, acts)


def _local(spec: TeamSpec, bodies: Bodies, shared: bool, acts: bool) -> Critic:
    def init(key_of):
        nets = {}
        for i, (name, role) in enumerate(spec.roles.items()):
            fields = (*role.obs, *([Field("action", 1, role.actions.size)] if acts else []))
            make = lambda k, name=name, fields=fields: bodies(name)(k, fields, 1)
            nets[name] = role_net(make, key_of(i), role.agents, shared)
        return nets

    def q(nets, obs, action, alive=None):
        beside = lambda name: jnp.moveaxis(jnp.concatenate([obs[name], action[name]], -1), -2, 0)
        return {name: net.agent_first(beside(name))[..., 0] for name, net in nets.items()}

    def v(nets, carry, obs, alive=None):
        outs = {name: nets[name](carry[name] if carry else (), x) for name, x in obs.items()}
        return {name: out[0] for name, out in outs.items()} if carry else (), {n: out[1][..., 0] for n, out in outs.items()}

    def q_own(nets, obs, action, fresh, alive=None):
        return q(nets, obs, action), q(jax.lax.stop_gradient(nets), obs, fresh)

    return Critic(init, q, q_own, v)


def _joint(spec: TeamSpec, bodies: Bodies, shared: bool, acts: bool) -> Critic:
    """Without actions, a shared network has one output for each agent of its role, since their rewards may differ."""
    fields = joint_fields(spec, acts)

    def init(key_of):
        nets = {}
        for i, (name, role) in enumerate(spec.roles.items()):
            make = lambda k, name=name, role=role: bodies(name)(k, fields, role.agents if shared and not acts else 1)
            nets[name] = role_net(make, key_of(i), role.agents, shared)
        return nets

    def q(nets, obs, action, alive=None):
        joint = side_by_side(obs, action)
        return {name: net.for_each(joint)[..., 0] for name, net in nets.items()}

    def q_own(nets, obs, action, fresh, alive=None):
        joint, taken, own = side_by_side(obs, action), {}, {}
        at = sum(role.agents * role.obs_size for role in spec.roles.values())
        for name, net in sorted(nets.items()):
            # The first layer multiplies the joint input once: a change of one agent's action is a change of low rank.
            product = net.mapped(lambda net: net.input(joint))
            taken[name] = net.mapped(lambda net, h: net.rest(h), product)[..., 0]
            agents, size = action[name].shape[-2:]
            change = jnp.moveaxis(fresh[name] - action[name], -2, 0)
            change = jnp.einsum("a...u,auh->a...h", change, jax.lax.stop_gradient(_own_rows(net, at, agents, size)))
            frozen = jax.lax.stop_gradient(net)
            own[name] = frozen.mapped(lambda net, h: net.rest(h), jax.lax.stop_gradient(product) + change)[..., 0]
            at += agents * size
        return taken, own

    def v(nets, carry, obs, alive=None):
        joint, after, values = side_by_side(obs), {}, {}
        for name, net in nets.items():
            after[name], out = net.together(carry[name] if carry else (), joint)
            values[name] = out[..., 0, :] if shared else out[..., 0]
        return after if carry else (), values

    return Critic(init, q, q_own, v)


def _graph(kind: Literal["agp", "agnn"], spec: TeamSpec, graphs: Graphs, shared: bool, acts: bool) -> Critic:
    """Vertices are the agents, roles by name, then the judged agent's own entities of `graphs.settings.nodes`."""
    roles, nodes = dict(sorted(spec.roles.items())), graphs.settings.nodes
    inputs = lambda role: (*role.obs, *([Field("action", 1, role.actions.size, own=True)] if acts else []))
    alike = list(dict.fromkeys(map(inputs, roles.values())))
    seen = {name: [group for lead, group in groups(role.obs).items() if lead in nodes] for name, role in roles.items()}
    for node in nodes:
        check_known("field of entities", node, {lead for role in roles.values() for lead in groups(role.obs)})

    def init(key_of):
        make = lambda k, name: graphs.critic(kind, k, alike, seen[name])
        made = lambda i, name, role: role_net(lambda k: make(k, name), key_of(i), role.agents, shared)
        return {name: made(i, name, role) for i, (name, role) in enumerate(spec.roles.items())}

    def embedded(net, obs, action):
        """[*n N E]: the agents' vertices."""
        beside = lambda name: jnp.concatenate([obs[name], action[name]], -1) if acts else obs[name]
        return jnp.concatenate([net.agents[alike.index(inputs(r))](beside(name)) for name, r in roles.items()], -2)

    valued = lambda net, *vertices: net.rest(*vertices)[..., 0]

    def judged(name: str, net: RoleNet, agents, obs, alive, change=None, of=valued):
        """[A *n ..]: `of` each agent of a role, by default its value, from the vertices [A *n N E] of its network, or
        [1 *n N E] if shared. `change` [A *n E] moves the judged agent's own vertex."""
        about = roles[name]
        there = jnp.ones(agents.shape[1:-1], bool)
        if alive is not None:
            there = jnp.concatenate([alive[role] for role in roles], -1)
        marks = _marks(roles, name, agents.dtype)
        entities = [jnp.moveaxis(numbers(obs[name], about.obs, group), -3, 0) for group in seen[name]]  # [A *n V I]

        def value(net, agents, mark, change, *entities):
            if change is not None:
                agents = agents + jnp.einsum("v,...e->...ve", mark, change)
            vertices = [agents, *(net.entities[g[0].name](x) for g, x in zip(seen[name], entities, strict=True))]
            present = [there, *((x != 0).any(-1) for x in entities)]
            mark = jnp.concatenate([mark, jnp.zeros(sum(x.shape[-2] for x in entities))])
            return of(net, jnp.concatenate(vertices, -2), mark, jnp.concatenate(present, -1))

        both = None if net.shared else 0
        axes = (both, both, 0, None if change is None else 0, *(0 for _ in entities))
        agents = agents[0] if net.shared else agents
        return jax.vmap(value, in_axes=axes)(net.net, agents, marks, change, *entities)

    def q(nets, obs, action, alive=None):
        obs, action = shown(obs, alive), shown(action, alive)
        first = lambda net: net.mapped(lambda net: embedded(net, obs, action))
        return {name: judged(name, net, first(net), obs, alive) for name, net in nets.items()}

    def q_own(nets, obs, action, fresh, alive=None):
        obs, action, fresh = shown(obs, alive), shown(action, alive), shown(fresh, alive)
        taken, own = {}, {}
        for name, net in nets.items():
            agents = net.mapped(lambda net: embedded(net, obs, action))
            taken[name] = judged(name, net, agents, obs, alive)
            frozen, at, size = jax.lax.stop_gradient(net), alike.index(inputs(roles[name])), action[name].shape[-1]
            rows = frozen.net.agents[at].weight[..., -size:, :]
            change = jnp.moveaxis(fresh[name] - action[name], -2, 0)
            change = jnp.einsum("a...u,uh->a...h" if net.shared else "a...u,auh->a...h", change, rows)
            own[name] = judged(name, frozen, jax.lax.stop_gradient(agents), obs, alive, change)
        return taken, own

    def v(nets, carry, obs, alive=None):
        obs = shown(obs, alive)
        agents = lambda net: net.mapped(lambda net: embedded(net, obs, {}))
        values = {name: judged(name, net, agents(net), obs, alive) for name, net in nets.items()}
        return (), {name: jnp.moveaxis(x, 0, -1) for name, x in values.items()}

    def weights(nets, obs, action, alive=None):
        obs, action = shown(obs, alive), shown(action, alive) if acts else {}
        of = lambda net, *vertices: net.attend(*vertices)[1][-1].mean(-3)[..., 0, :]  # [*n H 1 V], the pooling's
        agents = lambda net: net.mapped(lambda net: embedded(net, obs, action))
        found = {name: judged(name, net, agents(net), obs, alive, of=of) for name, net in nets.items()}
        return {name: jnp.moveaxis(x, 0, -2) for name, x in found.items()}

    names = tuple(name for role in roles for name in spec.names[role])
    vertices = {name: (*names, *(entity for group in seen[name] for entity in _entities(group[0]))) for name in roles}
    return Critic(init, q, q_own, v, Attention(vertices, weights))


def _entities(field: Field) -> list[str]:
    """Names for the entities of a field."""
    return [field.name] if field.count == 1 else [f"{field.name} {i}" for i in range(field.count)]


def _marks(roles: dict[str, RoleSpec], name: str, dtype) -> Array:
    """[A N]: for each agent of a role, a one at its own vertex."""
    before = sum(role.agents for other, role in roles.items() if other < name)
    return jnp.eye(sum(role.agents for role in roles.values()), dtype=dtype)[before : before + roles[name].agents]


def shown(values: Values, alive: Values | None) -> Values:
    """The values of living agents, and zeros for the others, so that nothing of theirs reaches a network."""
    if alive is None:
        return values
    return {name: jnp.where(alive[name][..., None], x, 0) for name, x in values.items()}


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
    weight = net.net.input.weight
    if net.shared:
        return weight[at : at + agents * size].reshape(agents, size, -1)
    return jnp.stack([weight[i, at + i * size : at + (i + 1) * size] for i in range(agents)])
