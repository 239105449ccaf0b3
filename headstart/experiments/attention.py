"""Whom the critics of a trained team attend to, averaged over greedy episodes: numbers for a report."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from headstart.core.episodes import Moment, actor_of, episodes
from headstart.core.scope import scope
from headstart.teams.policy import TeamPolicy

EPISODES = 16


def attention_of(team: TeamPolicy, seed: int) -> dict[str, Any] | None:
    """{"agents": [names], "vertices": [names], "weights": [agents][vertices]}; None if the team's critics do not attend.

    A weight is the mean over the steps in which the judging agent lives, of greedy episodes of the seed at this index; None for
    a vertex that the agent's critic does not have.
    """
    env, asked = team.env, team.learner.attention
    if env is None or asked is None:
        return None

    @jax.jit
    def play(params, keys, key):
        def keep(now: Moment):
            return asked.weights(params, now.step.obs, now.action, now.step.alive), now.step.alive, now.running

        weights, alive, running = episodes(env, actor_of(env, team.learner, params), keep)(keys, key)[1]
        there = {role: running[..., None, None] & x[..., None] for role, x in alive.items()}  # [T E A 1]
        total = lambda role, x: jnp.where(there[role], x, 0).sum((0, 1)) / jnp.maximum(there[role].sum((0, 1)), 1)
        return {role: total(role, x) for role, x in weights.items()}

    reset_key, key = jax.random.split(jax.random.fold_in(jax.random.key(2), 0))
    count = min(EPISODES, getattr(env, "at_once", 0) or EPISODES)
    with scope():
        found = jax.block_until_ready(play(team.place(seed), jax.random.split(reset_key, count), key))
    return _table(team.spec.names, asked.vertices, jax.tree.map(np.asarray, found))


def _table(names: dict[str, tuple[str, ...]], vertices: dict[str, tuple[str, ...]], found: dict[str, np.ndarray]):
    """One row for each agent, one column for each vertex of any role."""
    columns = list(dict.fromkeys(name for role in names for name in vertices[role]))
    rows = []
    for role, weights in found.items():
        for each in weights:
            by_name = dict(zip(vertices[role], each.tolist(), strict=True))
            rows.append([by_name.get(name) for name in columns])
    agents = [name for role in found for name in names[role]]
    return {"agents": agents, "vertices": columns, "weights": rows}
