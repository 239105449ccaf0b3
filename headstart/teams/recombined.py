"""Demonstrations whose agents did not act together: of several episodes, or of several teams, mixed agent by agent.

These are the data of an ablation of Wang et al. 2022, "Decentralized Multi-Agent Reinforcement Learning via Distribution
Matching" (figure 3): demonstrations of a co-trained team that are not concurrent, and those of agents that were trained apart.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError, require
from headstart.core.cost import total
from headstart.core.part import checked
from headstart.core.ranges import Natural
from headstart.teams.demos import STORED, Demos


def non_concurrent(demos: Demos, seed: int = 0) -> Demos:
    """Demonstrations of the same team in which no two agents' data come from one episode.

    The episodes are shuffled by `seed` and dealt out to the agents in equal parts, so that M // agents of M episodes are left.
    Raises HeadstartError if there are fewer episodes than agents.
    """
    seed = checked("seed", seed, Natural)
    agents = sum(role.agents for role in demos.spec.roles.values())
    each = len(demos) // agents
    require(each > 0, "the number of episodes", len(demos), f"at least that of the agents, {agents}")
    order = np.random.default_rng(seed).permutation(len(demos))
    return _mixed([demos.picked(order[i * each : (i + 1) * each]) for i in range(agents)], {"non_concurrent": seed})


def independent(*demos: Demos) -> Demos:
    """Demonstrations in which agent k's data are those of the agent k in the k-th of `demos`, e.g. of teams of other seeds.

    Agents are counted through all roles, in the order of the spec. As many episodes are left as the shortest recording has.
    Raises HeadstartError unless there is a recording for each agent, all of the same team and environment.
    """
    require(len(demos) > 0, "the number of recordings", 0, "that of the agents")
    spec = demos[0].spec
    agents = sum(role.agents for role in spec.roles.values())
    require(len(demos) == agents, "the number of recordings", len(demos), f"that of the agents, {agents}")
    for other in demos:
        other.check_fits(spec)
    if len({(other.actions is None, other.available is None) for other in demos}) > 1:
        raise HeadstartError("some of these demonstrations have actions and some have none: record all with or without")
    if len({other.dead is None for other in demos}) > 1:
        raise HeadstartError("some of these demonstrations say who died and some do not: record all anew")
    return _mixed([other.take(min(map(len, demos))) for other in demos], {"independent": len(demos)})


def _mixed(sources: Sequence[Demos], note: dict[str, Any]) -> Demos:
    """Agent k's data of the k-th source; all have equally many episodes. An event's count is the mean over the sources.

    An episode is as long as the longest of its agents', and an agent is away once its own has ended.
    """
    first = sources[0]
    lengths = np.max([source.lengths for source in sources], 0)
    steps = int(lengths.max())

    def of_agents(name: str) -> Any:
        if any(getattr(source, name) is None for source in sources):
            return None
        axis, found, each = (1 if name == "returns" else 2), {}, iter(sources)
        for role, about in first.spec.roles.items():
            own = [getattr(next(each), name)[role].take(i, axis) for i in range(about.agents)]
            found[role] = np.stack([x if name == "returns" else _long(x, steps) for x in own], axis)
        return found

    parts = {name: of_agents(name) for name in (*STORED, "returns")}
    events = {name: np.mean([source.events[name] for source in sources], 0, np.float32) for name in first.events}
    notes = {**first.notes, **note, "trained": total(source.notes.get("trained", 0) for source in sources)}
    return dataclasses.replace(first, lengths=lengths, events=events, notes=notes, loaded_from="", **parts)


def _long(x: np.ndarray, steps: int) -> np.ndarray:
    """[M T ..] padded with zeros to so many steps."""
    return np.pad(x, [(0, 0), (0, steps - x.shape[1]), *[(0, 0)] * (x.ndim - 2)])
