"""A custom scenario without physics, whose task can be done: agents open a gate by standing on all its plates.

headstart train plates --use examples.plates --learner ippo --learner.rollout 25 --steps 100000 --out runs/plates
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from headstart.core.part import part
from headstart.core.ranges import Count
from headstart.core.types import Discrete, Field, RoleSpec, TeamSpec, TimeStep
from headstart.envs.particle import physics

MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))


class State(NamedTuple):
    """Cells of the agents [A 2] and of the plates [A 2], and the number of steps so far."""

    agents: jax.Array
    plates: jax.Array
    time: jax.Array


@part("env")
class Plates:
    """As many plates as agents on a grid; a step costs the share of plates on which nobody stands, until none is left."""

    agents: Count = 2
    size: Count = 5
    horizon: Count = 20

    @property
    def spec(self) -> TeamSpec:
        """One role. The global state, for central critics, is all cells: 2 numbers for each agent and each plate."""
        obs = (
            Field("position", 1, 2, own=True),  # about the observer itself
            Field("plates", self.agents, 2),  # positions relative to the observer: the nearest ones can be told
            Field("mates", self.agents - 1, 2),
        )
        moves = Discrete((5,), options=(("stay", "left", "right", "down", "up"),))
        return TeamSpec({"agent": RoleSpec(self.agents, obs, moves)}, self.horizon, state_size=4 * self.agents)

    def reset(self, key):
        """Agents and plates on cells of their own."""
        cells = jax.random.choice(key, self.size**2, (2, self.agents), replace=False)
        agents, plates = jnp.stack(jnp.divmod(cells, self.size), -1)
        state = State(agents, plates, jnp.zeros((), jnp.int32))
        return state, self.show(state, jnp.zeros(self.agents), jnp.zeros((), bool))

    def step(self, state, action, key):
        """`action["agent"]` [A 5] has a one for the chosen move of each agent."""
        move = jnp.asarray(MOVES)[action["agent"].argmax(-1)]
        state = State(jnp.clip(state.agents + move, 0, self.size - 1), state.plates, state.time + 1)
        pressed = (state.plates[:, None] == state.agents[None]).all(-1).any(1)
        return state, self.show(state, jnp.full(self.agents, pressed.mean() - 1), pressed.all())

    def show(self, state, reward, opened):
        """The time step; `final_obs` and `final_state` are those before a restart, which headstart sees to."""
        agents, plates = state.agents / self.size, state.plates / self.size
        near = plates[None] - agents[:, None]
        mates = physics.others(agents) - agents[:, None]
        obs = {"agent": jnp.concatenate([agents, near.reshape(self.agents, -1), mates.reshape(self.agents, -1)], -1)}
        cells = jnp.concatenate([agents, plates]).ravel()
        return TimeStep(
            obs=obs,
            final_obs=obs,
            state=cells,
            final_state=cells,
            reward={"agent": reward},
            terminated=opened,  # the task is done: nothing more can be earned
            truncated=(state.time >= self.horizon) & ~opened,  # time is up: more could have been earned
            alive={"agent": jnp.ones(self.agents, bool)},
            events={"opened": opened.astype(jnp.float32)},  # `evaluate` counts them in each episode
        )


PRESETS = {"plates": Plates()}
