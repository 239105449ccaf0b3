"""Networks for any number of entities or agents: attentive pooling (agp), or message passing before it (agnn).

Chen et al. 2022, "Leader-based pre-training framework for cooperative multi-agent reinforcement learning". The vertices of
an actor are the entities that its agent sees; those of a critic are the agents of the team (see `learners.critics`). What
is not there, an entity of which every number is 0, as `adapt` and environments fill up, has no weight.
"""

import dataclasses
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from headstart.core.attention import Graph, There, graph
from headstart.core.checks import HeadstartError, require
from headstart.core.modules import MLP, Activation, Linear, linear, mlp
from headstart.core.ops import Real
from headstart.core.ranges import Count
from headstart.core.types import Field
from headstart.learners.bodies import Body, width

Kind = Literal["agp", "agnn"]
ActorKind = Literal["mlp", "agp", "agnn"]
Attention = list[Float[Array, "*n M H V"]]
"""Who attends to whom: the weights of each round of message passing, then those of the pooling (M is 1)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphSettings:
    """Settings of graph networks; a learner that offers them inherits these."""

    embedding: Count = 64
    """Numbers of a vertex of a graph network (agp, agnn), or of an encoding of an attention critic."""
    heads: Count = 1
    """Attention heads of a graph network or of an attention critic."""
    blocks: Count = 3
    """Rounds of message passing of an agnn network."""
    nodes: tuple[str, ...] = ()
    """Fields, e.g. prey, whose entities are vertices of a graph critic beside the agents, as the judged agent sees them."""


def check_graph(settings: GraphSettings, critic: str) -> None:
    """Raise HeadstartError if there are vertices for a critic that has none, or heads that do not divide an encoding."""
    fits = not settings.nodes or critic in ("agp", "agnn")
    require(
        fits, "learner.nodes", " ".join(settings.nodes), f"empty with the critic {critic}: take --learner.critic agnn or agp"
    )
    fits = critic != "attention" or settings.embedding % settings.heads == 0
    require(fits, "learner.embedding", settings.embedding, f"a multiple of learner.heads ({settings.heads})")


def groups(fields: tuple[Field, ...]) -> dict[str, tuple[Field, ...]]:
    """{name of a field that leads: it and those that follow it} of all fields about entities: the parts of one vertex each."""
    by_name, found = {field.name: field for field in fields}, {}
    for field in fields:
        leader = field
        for _ in fields:  # a field may follow one that follows another
            ahead = by_name.get(leader.follows)
            leader = leader if ahead is None or ahead.own or ahead.count != field.count else ahead
        if not field.own:
            found.setdefault(leader.name, []).append(field)
    return {name: tuple(group) for name, group in found.items()}


def numbers(x: Float[Array, "*n O"], fields: tuple[Field, ...], wanted: tuple[Field, ...]) -> Float[Array, "*n V I"]:
    """The entities of a group of fields of equal counts, cut out of an observation and put side by side."""
    starts, at = {}, 0
    for field in fields:
        starts[field.name], at = at, at + field.width
    cut = lambda f: x[..., starts[f.name] : starts[f.name] + f.width].reshape(*x.shape[:-1], f.count, f.size)
    return jnp.concatenate([cut(f) for f in wanted], -1)


def single(group: tuple[Field, ...]) -> tuple[Field, ...]:
    """The fields of one entity of a group, which its layer reads: the same for every number of entities."""
    return tuple(field._replace(count=1) for field in group)


class EntityNet(eqx.Module):
    """A network of one agent's observation: a vertex for the agent itself, and one for each entity that it sees."""

    itself: Linear
    """Reads the fields about the agent itself; every vertex has this part."""
    entities: dict[str, Linear]
    graph: Graph
    head: MLP
    fields: tuple[Field, ...] = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*n O"]) -> Float[Array, "*n U"]:
        return self.attend(x)[0]

    def attend(self, x: Float[Array, "*n O"]) -> tuple[Float[Array, "*n U"], Attention]:
        """The outputs, and who attends to whom: the agent first, then entities in the order of the observation."""
        own = self.itself(own_part(x, self.fields))[..., None, :]
        vertices, there = [own], [jnp.ones(own.shape[:-1], bool)]
        for name, group in groups(self.fields).items():
            entity = numbers(x, self.fields, group)
            vertices.append(own + self.entities[name](entity))
            there.append((entity != 0).any(-1))
        pooled, weights = self.graph(jnp.concatenate(vertices, -2), jnp.concatenate(there, -1))
        return self.head(pooled), weights


def own_part(x: Float[Array, "*n O"], fields: tuple[Field, ...]) -> Float[Array, "*n I"]:
    """The numbers of an observation that are about the observer itself."""
    cuts, at = [x[..., :0]], 0
    for field in fields:
        cuts += [x[..., at : at + field.width]] if field.own else []
        at += field.width
    return jnp.concatenate(cuts, -1)


class TeamNet(eqx.Module):
    """A critic of one agent: a vertex for each agent of the team, and one for each entity of some fields that it sees.

    A layer embeds all agents of the same fields and actions. The judged agent's vertex has a learned `mark`, without which
    all agents of a shared network would have one value.
    """

    agents: list[Linear]
    entities: dict[str, Linear]
    mark: Float[Array, "*a E"]
    graph: Graph
    head: MLP

    def rest(self, x: Float[Array, "*n V E"], mark: Float[Array, " V"], mask: There = None) -> Float[Array, "*n 1"]:
        """The value, from the vertices, of the agent that is marked by 1."""
        return self.attend(x, mark, mask)[0]

    def attend(
        self, x: Float[Array, "*n V E"], mark: Float[Array, " V"], mask: There = None
    ) -> tuple[Float[Array, "*n 1"], Attention]:
        """The value, and who attends to whom."""
        own = jnp.broadcast_to(jnp.outer(mark, self.mark), x.shape)
        pooled, weights = self.graph(x + own, mask)
        return self.head(pooled), weights


@dataclasses.dataclass(frozen=True)
class Graphs:
    """Makes the graph networks of a learner: a `Graph`, then an MLP through `hidden`; `gains` as in `mlp`."""

    settings: GraphSettings
    hidden: tuple[int, ...]
    activation: Activation
    gains: tuple[Real, Real] | None = None

    def actor(self, kind: Kind) -> Body:
        """An `EntityNet`. Making one raises HeadstartError if the observation has no entities."""

        def make(key, fields, outputs):
            found = groups(fields)
            alone = not any(field.own for field in fields) and sum(group[0].count for group in found.values()) < 2
            if alone or not found:  # one block of numbers is no entity beside the agent
                raise HeadstartError(
                    f"{kind} attends over entities, and an observation of {', '.join(f.name for f in fields)} has none: name "
                    "its entities, e.g. --env.fields velocity=2 landmarks=3x2, or choose --learner.actor mlp"
                )
            graph_key, head_key, own_key, *keys = jr.split(key, 3 + len(found))
            own = tuple(field for field in fields if field.own)
            entities = {name: self._embed(k, single(group)) for k, (name, group) in zip(keys, found.items(), strict=True)}
            return EntityNet(self._embed(own_key, own), entities, *self._rest(kind, graph_key, head_key, outputs), fields)

        return make

    def critic(self, kind: Kind, key: Array, agents: list[tuple[Field, ...]], entities: list[tuple[Field, ...]]) -> TeamNet:
        """A `TeamNet` of agents whose vertices have these inputs, and of these groups of entities."""
        graph_key, head_key, *keys = jr.split(key, 2 + len(agents) + len(entities))
        embedded = [self._embed(k, fields) for k, fields in zip(keys, agents, strict=False)]
        seen = {group[0].name: self._embed(k, single(group)) for k, group in zip(keys[len(agents) :], entities, strict=True)}
        return TeamNet(embedded, seen, jnp.zeros(self.settings.embedding), *self._rest(kind, graph_key, head_key, 1))

    def _embed(self, key, fields) -> Linear:
        return linear(key, width(fields), self.settings.embedding, None, fields)

    def _rest(self, kind: Kind, graph_key, head_key, outputs: int) -> tuple[Graph, MLP]:
        own = self.settings
        made = graph(graph_key, own.embedding, own.heads, own.blocks if kind == "agnn" else 0)
        return made, mlp(head_key, (own.embedding, *self.hidden, outputs), self.activation, self.gains)
