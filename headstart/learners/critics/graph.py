"""Critics that see the team as a graph, whose networks take any number of agents."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from headstart.core.checks import check_known
from headstart.core.learner import Attention
from headstart.core.networks import RoleNet, role_net
from headstart.core.ops import feed_forward, shown
from headstart.core.types import Field, RoleSpec, TeamSpec
from headstart.learners.critics.base import Critic, Values
from headstart.learners.graphs import Graphs, groups, numbers


def graph(kind: Literal["agp", "agnn"], spec: TeamSpec, graphs: Graphs, shared: bool, acts: bool) -> Critic:
    """Vertices are the agents, roles by name, then the judged agent's own entities of `graphs.settings.nodes`.

    Raises HeadstartError if no role observes such entities.
    """
    roles, nodes = dict(sorted(spec.roles.items())), graphs.settings.nodes
    for node in nodes:
        check_known("field of entities", node, {lead for role in roles.values() for lead in groups(role.obs)})
    seen = {name: [group for lead, group in groups(role.obs).items() if lead in nodes] for name, role in roles.items()}
    team = _Team(roles, seen, acts)
    alike = team.alike()

    def init(key_of):
        make = lambda k, name: graphs.critic(kind, k, alike, seen[name])
        made = lambda i, name, role: role_net(lambda k: make(k, name), key_of(i), role.agents, shared)
        return {"critic": {name: made(i, name, role) for i, (name, role) in enumerate(spec.roles.items())}}

    def q(params, obs, action, alive=None):
        obs, action = shown(obs, alive), shown(action, alive)
        first = lambda net: team.vertices(net, obs, action)
        return {name: team.judged(name, net, first(net), obs, alive) for name, net in params["critic"].items()}

    def q_own(params, obs, action, fresh, alive=None):
        obs, action, fresh = shown(obs, alive), shown(action, alive), shown(fresh, alive)
        taken, own = {}, {}
        for name, net in params["critic"].items():
            agents = team.vertices(net, obs, action)
            taken[name] = team.judged(name, net, agents, obs, alive)
            frozen, at, size = jax.lax.stop_gradient(net), alike.index(team.inputs(roles[name])), action[name].shape[-1]
            rows = frozen.net.agents[at].weight[..., -size:, :]
            change = jnp.moveaxis(fresh[name] - action[name], -2, 0)
            change = jnp.einsum("a...u,uh->a...h" if net.shared else "a...u,auh->a...h", change, rows)
            own[name] = team.judged(name, frozen, jax.lax.stop_gradient(agents), obs, alive, change)
        return taken, own

    def v(params):
        return feed_forward(lambda now: values(params, *now))

    def values(params, obs, alive):
        obs = shown(obs, alive)
        judged = lambda name, net: team.judged(name, net, team.vertices(net, obs, {}), obs, alive)
        return {name: jnp.moveaxis(judged(name, net), 0, -1) for name, net in params["critic"].items()}

    def weights(params, obs, action, alive=None):
        obs, action = shown(obs, alive), shown(action, alive) if acts else {}
        of = lambda net, *vertices: net.attend(*vertices)[1][-1].mean(-3)[..., 0, :]  # [*n H 1 V], the pooling's
        judged = lambda name, net: team.judged(name, net, team.vertices(net, obs, action), obs, alive, of=of)
        return {name: jnp.moveaxis(judged(name, net), 0, -2) for name, net in params["critic"].items()}

    names = tuple(name for role in roles for name in spec.names[role])
    vertices = {name: (*names, *(entity for group in seen[name] for entity in _entities(group[0]))) for name in roles}
    return Critic(init, q, q_own, v, Attention(vertices, weights))


@dataclasses.dataclass(frozen=True)
class _Team:
    """The agents as vertices."""

    roles: dict[str, RoleSpec]
    """By name."""
    seen: dict[str, list[tuple[Field, ...]]]
    """{role: the groups of fields whose entities are vertices too}."""
    acts: bool
    """Vertices of agents hold their actions too."""

    def inputs(self, role: RoleSpec) -> tuple[Field, ...]:
        """The fields of a vertex."""
        return (*role.obs, *([Field("action", 1, role.actions.size, own=True)] if self.acts else []))

    def alike(self) -> list[tuple[Field, ...]]:
        """The different ones among the roles' inputs; a layer each embeds them."""
        return list(dict.fromkeys(map(self.inputs, self.roles.values())))

    def vertices(self, net: RoleNet, obs: Values, action: Values) -> Array:
        """[A *n N E]: the embedded agents, by each agent's network; [1 *n N E] if it is shared."""
        beside = lambda name: jnp.concatenate([obs[name], action[name]], -1) if self.acts else obs[name]
        layer = lambda net, role: net.agents[self.alike().index(self.inputs(role))]
        embedded = lambda net: jnp.concatenate([layer(net, role)(beside(name)) for name, role in self.roles.items()], -2)
        return net.mapped(embedded)

    def judged(
        self,
        name: str,
        net: RoleNet,
        agents: Array,
        obs: Values,
        alive: Values | None,
        change: Array | None = None,
        of=lambda net, *vertices: net.rest(*vertices)[..., 0],
    ) -> Array:
        """[A *n ..]: `of` each agent of a role, by default its value, from `vertices`. `change` [A *n E] moves the judged
        agent's own vertex."""
        there = jnp.ones(agents.shape[1:-1], bool)
        if alive is not None:
            there = jnp.concatenate([alive[role] for role in self.roles], -1)
        marks, seen = self._marks(name, agents.dtype), self.seen[name]
        entities = [jnp.moveaxis(numbers(obs[name], self.roles[name].obs, group), -3, 0) for group in seen]  # [A *n V I]

        def value(net, agents, mark, change, *entities):
            if change is not None:
                agents = agents + jnp.einsum("v,...e->...ve", mark, change)
            vertices = [agents, *(net.entities[g[0].name](x) for g, x in zip(seen, entities, strict=True))]
            present = [there, *((x != 0).any(-1) for x in entities)]
            mark = jnp.concatenate([mark, jnp.zeros(sum(x.shape[-2] for x in entities))])
            return of(net, jnp.concatenate(vertices, -2), mark, jnp.concatenate(present, -1))

        both = None if net.shared else 0
        axes = (both, both, 0, None if change is None else 0, *(0 for _ in entities))
        agents = agents[0] if net.shared else agents
        return jax.vmap(value, in_axes=axes)(net.net, agents, marks, change, *entities)

    def _marks(self, name: str, dtype) -> Array:
        """[A N]: for each agent of a role, a one at its own vertex."""
        before = sum(role.agents for other, role in self.roles.items() if other < name)
        total = sum(role.agents for role in self.roles.values())
        return jnp.eye(total, dtype=dtype)[before : before + self.roles[name].agents]


def _entities(field: Field) -> list[str]:
    """Names for the entities of a field."""
    return [field.name] if field.count == 1 else [f"{field.name} {i}" for i in range(field.count)]
