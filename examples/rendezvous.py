"""A custom scenario: agents meet at a place of their choice.

headstart train rendezvous --use examples.rendezvous --learner ippo --steps 200000 --out runs/rendezvous
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from headstart.core.part import part
from headstart.core.ranges import Count, Positive
from headstart.core.types import Field, RoleSpec, TeamSpec
from headstart.envs.particle import physics, world


class State(NamedTuple):
    """Positions and velocities of the agents, and the number of steps so far."""

    position: jax.Array
    velocity: jax.Array
    time: jax.Array


@part("env")
class Rendezvous:
    """Agents meet at a place of their choice: the shared reward is minus their mean distance to their centre."""

    agents: Count = 3
    radius: Positive = 0.05
    horizon: Count = 25

    @property
    def spec(self) -> TeamSpec:
        """One role of agents with five moves, which observe their own velocity and the others' positions."""
        obs = (Field("velocity", 1, 2), Field("agents", self.agents - 1, 2))
        return TeamSpec({"agent": RoleSpec(self.agents, obs, physics.moves("mpe2"))}, self.horizon, 4 * self.agents)

    def reset(self, key):
        """All agents at rest, uniformly in [-1, 1]²."""
        position = jax.random.uniform(key, (self.agents, 2), minval=-1, maxval=1)
        state = State(position, jnp.zeros((self.agents, 2)), jnp.zeros((), jnp.int32))
        return state, self.show(state, jnp.zeros(self.agents))

    def step(self, state, action, key):
        """One step of 0.1 s."""
        thrust = physics.thrust(action["agent"], physics.SENSITIVITY, "mpe2")
        body = physics.bodies(np.full(self.agents, self.radius))
        position, velocity = physics.move(state.position, state.velocity, thrust, body, "mpe2")
        state = State(position, velocity, state.time + 1)
        centre = position.mean(0, keepdims=True)
        distance = jnp.sqrt(physics.squared(position - centre)).mean()
        return state, self.show(state, jnp.full(self.agents, -distance))

    def show(self, state, reward):
        """The time step: observations and rewards of all agents."""
        others = physics.others(state.position) - state.position[:, None]
        obs = {"agent": world.side_by_side(state.velocity, others)}
        return world.time_step(obs, {"agent": reward}, state[:2], over=state.time >= self.horizon)

    # The rest of the class is for pictures only.
    @property
    def entities(self) -> list[dict[str, Any]]:
        """Circles to draw."""
        return world.entities("agent", "agent", [self.radius] * self.agents, world.BLUE)

    def scene(self, state):
        """The circles' positions."""
        return world.scene(state.position)


PRESETS = {"rendezvous": Rendezvous()}
