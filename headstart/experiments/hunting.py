"""How a team hunts: how many predators are near the prey, and from how many sides they tag it.

near       predators within REACH of a prey, mean over prey and env-steps
surround   1 − |Σ_a u_a|/n over the n predators within REACH of a prey that is tagged, u_a the unit vector from the prey to
           predator a: 0 if they come from one side (or if one is alone), 1 if they surround it; mean over tags
tags       tags per episode
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from headstart.core.checks import HeadstartError
from headstart.core.env import unwrapped
from headstart.core.episodes import Moment, actor_of, episodes
from headstart.envs.particle import physics, world
from headstart.envs.particle.tag import ADVERSARY_RADIUS, PREY_RADIUS, Tag, TagState
from headstart.experiments.base import Measure
from headstart.teams.saved import load

REACH = 0.5
"""Distance at which a predator is near the prey; the arena is 2 wide."""
EPISODES = 64
"""Greedy episodes of each seed."""
QUANTITIES = {
    "near": f"predators within {REACH:g} of a prey, the mean over prey and env-steps",
    "surround": f"0 if the predators within {REACH:g} of a tagged prey are on one side of it, 1 if they surround it evenly; "
    "the mean over tagged prey",
    "tags": "tags in an episode",
}
"""What each measure is, in words."""


def moments(hunters: Array, prey: Array) -> dict[str, Array]:
    """Of predators [A 2] and prey [P 2]: the number near a prey, its spread if it is tagged, and the numbers of tagged prey
    and of tags."""
    away = hunters[:, None] - prey[None]
    distance = jnp.sqrt(physics.squared(away) + 1e-12)
    close = (distance < REACH).astype(jnp.float32)
    near = close.sum(0)
    side = (close[..., None] * away / distance[..., None]).sum(0)
    spread = 1.0 - jnp.sqrt(physics.squared(side) + 1e-12) / jnp.maximum(near, 1.0)
    touches = world.touching(hunters, ADVERSARY_RADIUS, prey, PREY_RADIUS).astype(jnp.float32)
    tagged = (touches.sum(0) > 0).astype(jnp.float32)
    return {"near": near.mean(), "spread": (spread * tagged).sum(), "tagged": tagged.sum(), "tags": touches.sum()}


def measure(quantity: str, run: Path) -> np.ndarray:
    """[S]: a quantity of each seed of a run on tag. Seeds without a tag have no `surround` (nan)."""
    return _hunts(run, (run / "policy.json").stat().st_mtime_ns)[quantity]


@functools.lru_cache(maxsize=32)
def _hunts(run: Path, written: int) -> dict[str, np.ndarray]:
    team = load(run)
    env = team.env
    tag = unwrapped(env)
    if not isinstance(tag, Tag):
        raise HeadstartError(f"{run} did not hunt: its environment is {type(tag).__name__}, not tag")
    learner = team.config.make(env.spec)

    def keep(now: Moment) -> dict[str, Array]:
        state = now.new_state
        assert isinstance(state, TagState)
        found = jax.vmap(lambda position: moments(position[: tag.adversaries], position[tag.adversaries :]))(state.position)
        return {name: jnp.where(now.running, x, 0.0) for name, x in found.items()} | {"steps": now.running}

    def play(params, key):
        _, kept = episodes(env, actor_of(env, learner, params), keep)(jr.split(key, EPISODES), key)
        return jax.tree.map(lambda x: x.sum(), kept)

    sums = jax.jit(jax.vmap(play, (0, None)))(team.params, jr.key(0))
    total = {name: np.asarray(x, float) for name, x in sums.items()}
    with np.errstate(invalid="ignore"):
        return {
            "near": total["near"] / total["steps"],
            "surround": total["spread"] / np.where(total["tagged"] > 0, total["tagged"], np.nan),
            "tags": total["tags"] / EPISODES,
        }


MEASURES = {name: Measure(meaning, functools.partial(measure, name)) for name, meaning in QUANTITIES.items()}
"""For `Arm.measures`."""
