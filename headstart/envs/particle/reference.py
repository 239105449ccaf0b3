"""Navigation with communication (simple_reference): each agent must reach a landmark that only the others know.

Lowe et al. 2017; for three agents and with the reward of the presets `communication-*`, Lin et al. 2019 (CESMA), App. D.4.
"""

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from annotated_types import Interval
from jaxtyping import Array, Float

from headstart.core.env import Scene
from headstart.core.part import part
from headstart.core.ranges import Agents, Count
from headstart.core.types import Discrete, Field, RoleSpec, Route, TeamSpec, TimeStep
from headstart.envs.particle import physics, world

MOVES = 5
RADIUS = 0.05
"""Radius of agents and landmarks; none of them collide."""
DIM, BRIGHT = 0.25, 0.75


class ReferenceState(NamedTuple):
    """Positions and velocities of the agents, positions of the landmarks, the landmark each agent should reach (one-hot
    [A L]), the last words [A C] (zeros before the first), env-steps of this episode so far."""

    position: Array
    velocity: Array
    landmarks: Array
    goal: Array
    message: Array
    time: Array


@part("env")
class Reference:
    """Navigation with communication: agents tell each other the colours of the landmarks that they must reach.

    Every agent chooses a move and a word in each step; the others hear the word with their next observation, in order of the
    speakers. With d_i the distance of agent i to its goal, the reward of agent i is

        squared   −Σ_j d_j², shared by all: the original's; each agent contributes the reward of the agent that it guides
        split     −½·mean_{j≠i} d_j − ½·mean_j d_j: today's mpe2; half for the agents it guides, half for the team
        distance  −Σ_j d_j, shared by all (CESMA)
    """

    agents: Annotated[int, Interval(ge=2, le=1000)] = 2
    """At least two: no agent knows its own goal."""
    landmarks: Agents = 3
    """Number of landmarks, each of its own colour; several agents may share a goal."""
    words: Agents = 10
    """Size of the vocabulary; the agents learn the meanings of the words."""
    semantics: physics.Semantics = "mpe2"
    """Order of integration, signs of actions and rewards: of the original package, or of today's mpe2."""
    reward: Literal["", "squared", "split", "distance"] = ""
    """The reward; empty for that of the semantics (squared or split)."""
    horizon: Count = 25
    """Env-steps of an episode."""

    @property
    def spec(self) -> TeamSpec:
        """One role, `agent`, with a move and a word; everyone hears everyone else."""
        others = self.agents - 1
        obs = (
            Field("velocity", 1, 2, own=True),
            Field("landmarks", self.landmarks, 2),
            Field("goal_colors", others, 3),
            # Other agents have no positions, so nothing ranks them by nearness. Following the colours keeps the colour
            # and the word of one agent together if only some of the others are kept.
            Field("messages", others, self.words, follows="goal_colors"),
        )
        moves = physics.moves(self.semantics)
        acts = Discrete((MOVES, self.words), options=(*moves.options, ()))  # the agents learn the meanings of the words
        role = RoleSpec(self.agents, obs, acts)
        size = self.agents * (4 + self.landmarks + self.words) + 2 * self.landmarks
        return TeamSpec({"agent": role}, self.horizon, size, (Route("agent", 1, "agent", "messages"),))

    def reset(self, key: Array) -> tuple[ReferenceState, TimeStep]:
        """A fresh episode: agents at rest and silent, all positions uniform in [-1, 1]², goals uniform and independent."""
        place_key, goal_key = jr.split(key)
        places = jr.uniform(place_key, (self.agents + self.landmarks, 2), minval=-1.0, maxval=1.0)
        goal = jax.nn.one_hot(jr.randint(goal_key, (self.agents,), 0, self.landmarks), self.landmarks)
        silence = jnp.zeros((self.agents, self.words))
        still = jnp.zeros((self.agents, 2))
        state = ReferenceState(places[: self.agents], still, places[self.agents :], goal, silence, jnp.zeros((), jnp.int32))
        return state, self._show(state, jnp.zeros(self.agents))

    def step(self, state: ReferenceState, action: dict[str, Array], key: Array) -> tuple[ReferenceState, TimeStep]:
        """One step of 0.1 s; nothing in it is random."""
        moves, words = action["agent"][:, :MOVES], action["agent"][:, MOVES:]
        push = physics.thrust(moves, physics.SENSITIVITY, self.semantics)
        body = physics.bodies([RADIUS] * self.agents, collides=False)
        position, velocity = physics.move(state.position, state.velocity, push, body, self.semantics)
        state = ReferenceState(
            position, velocity, state.landmarks, state.goal, words.astype(state.message.dtype), state.time + 1
        )
        return state, self._show(state, self._reward(state))

    def _reward(self, state: ReferenceState) -> Float[Array, " A"]:
        squared = physics.squared(state.position - world.picked(state.goal, state.landmarks))
        kind = self.reward or {"openai": "squared", "mpe2": "split"}[self.semantics]
        if kind == "squared":
            return jnp.full(self.agents, -physics.total(squared))
        distance = jnp.sqrt(squared)
        all_of_it = physics.total(distance)
        if kind == "distance":
            return jnp.full(self.agents, -all_of_it)
        return -0.5 * (all_of_it - distance) / (self.agents - 1) - 0.5 * all_of_it / self.agents

    def _show(self, state: ReferenceState, reward: Float[Array, " A"]) -> TimeStep:
        color = world.picked(state.goal, world.colours(self.landmarks, DIM, BRIGHT))
        seen = world.side_by_side(
            state.velocity,
            world.gaps(state.position, state.landmarks),
            physics.others(color),
            physics.others(state.message),
        )
        return world.time_step({"agent": seen}, {"agent": reward}, state[:5], state.time >= self.horizon)

    @property
    def entities(self) -> list[dict[str, Any]]:
        """Agents, each in the colour of its goal, then landmarks."""
        palette = [world.PALETTE[i % len(world.PALETTE)] for i in range(self.landmarks)]
        agents = world.entities("agent", "agent", [RADIUS] * self.agents, *palette)
        return agents + [world.entity(f"landmark {i}", "landmark", RADIUS, color) for i, color in enumerate(palette)]

    def scene(self, state: ReferenceState) -> Scene:
        """Positions of all entities, the agents' words and goals."""
        words, shades = world.spoken(state.message), state.goal.argmax(-1)
        return world.scene(state.position, state.landmarks, words=words, shades=shades)


PRESETS = {
    "reference": Reference(),
    "communication-2": Reference(semantics="openai", reward="distance"),
    "communication-3": Reference(agents=3, landmarks=5, semantics="openai", reward="distance"),
}
"""Names on the command line, and the settings each starts from."""
