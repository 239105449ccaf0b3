"""Critics estimate the values of an agent's states or actions, from its own view or from the team's.

A critic is local (its own agent's observation and action), joint (those of all agents side by side), a graph of all agents
(agp, agnn), whose networks take any number of agents, or attends to the other agents (attention). Each role has one
`RoleNet`: a network for each agent, or one that all agents of the role share.
"""

from headstart.core.types import TeamSpec
from headstart.learners.critics.attentive import attentive
from headstart.learners.critics.base import Bodies, Critic, Kind
from headstart.learners.critics.graph import graph
from headstart.learners.critics.plain import joint, local
from headstart.learners.graphs import Graphs


def critic(kind: Kind, spec: TeamSpec, bodies: Bodies, graphs: Graphs, shared: bool, acts: bool) -> Critic:
    """A critic of a team, made by `bodies` (joint, local) or by `graphs`. With `acts`, its networks read actions too (Q); else
    observations alone (V). Raises HeadstartError if the settings of `graphs` do not fit the team."""
    if kind == "agp" or kind == "agnn":
        return graph(kind, spec, graphs, shared, acts)
    if kind == "attention":
        return attentive(spec, graphs.settings.embedding, graphs.settings.heads, graphs.activation, shared, acts).critic
    return {"local": local, "joint": joint}[kind](spec, bodies, shared, acts)
