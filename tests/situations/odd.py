"""Environments that worker processes or programs open."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from toy_envs import Match

from headstart.core.part import part
from headstart.envs.particle.spread import Spread


class CloseFails(Match):
    """Cannot be closed."""

    def close(self):
        raise RuntimeError("nothing to close")


class NoClose:
    """Has all methods of a parallel environment but close."""

    def __init__(self):
        self.inner = Match()
        self.possible_agents, self.max_cycles = self.inner.possible_agents, self.inner.max_cycles
        for name in ("observation_space", "action_space", "reset", "step"):
            setattr(self, name, getattr(self.inner, name))

    agents = property(lambda self: self.inner.agents)


class Differ(Match):
    """Two agents that see the same are paid if they choose differently."""

    def look(self, agent):
        return np.zeros(3, np.float32)

    def step(self, actions):
        obs, reward, *rest = super().step(actions)
        return obs, dict.fromkeys(reward, float(len(set(actions.values())) == 2)), *rest

    def move(self, agent, action):
        return 0.0


@part("env")
class Spoilt:
    """Cooperative navigation whose rewards, or else observations, are NaN from the third step on."""

    rewards: bool = True
    inner: ClassVar = Spread(agents=2, horizon=5)

    @property
    def spec(self):
        """That of the world inside."""
        return self.inner.spec

    def reset(self, key):
        """A fresh episode."""
        state, now = self.inner.reset(key)
        return (state, 0), now

    def step(self, state, action, key):
        """One step."""
        inner, time = state
        inner, now = self.inner.step(inner, action, key)
        spoilt = lambda values: {role: jnp.where(time >= 2, jnp.nan, x) for role, x in values.items()}
        names = ("reward",) if self.rewards else ("obs", "final_obs")
        return (inner, time + 1), dataclasses.replace(now, **{name: spoilt(getattr(now, name)) for name in names})


PRESETS = {"spoilt": Spoilt()}
