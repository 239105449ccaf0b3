"""Physical deception (simple_adversary): agents cover the goal landmark without showing an adversary which one it is.

Lowe et al. 2017.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from headstart.core.env import Scene
from headstart.core.part import part
from headstart.core.ranges import Agents, Count, Entities
from headstart.core.types import Field, RoleSpec, TeamSpec, TimeStep
from headstart.envs.particle import physics, world

AGENT_RADIUS = 0.15
LANDMARK_RADIUS = 0.08


class AdversaryState(NamedTuple):
    """Positions and velocities (adversaries, then agents), positions of the landmarks, the goal (one-hot), env-steps of this
    episode so far."""

    position: Array
    velocity: Array
    landmarks: Array
    goal: Array
    time: Array


@part("env")
class Adversary:
    """Physical deception: agents cover the goal landmark without showing an adversary which one it is.

    Every agent's reward is −min_agents d(goal) + Σ_adversaries d(goal). An adversary at distance d from the goal gets −d² in
    the original and −d in mpe2. Only the agents observe the goal, and none observes its own velocity or position. Nothing
    collides.
    """

    adversaries: Agents = 1
    """Number of adversaries, which do not know the goal; mpe2 has one."""
    agents: Agents = 2
    """Number of agents that know the goal."""
    landmarks: Entities = 0
    """0 for as many as there are agents."""
    semantics: physics.Semantics = "mpe2"
    """Order of integration, signs of actions and the adversaries' reward: of the original package, or of today's mpe2."""
    horizon: Count = 25
    """Env-steps of an episode."""

    @property
    def spec(self) -> TeamSpec:
        """Roles `adversary` and `agent`, five moves each."""
        landmarks, moves = Field("landmarks", self._landmarks, 2), physics.moves(self.semantics)
        spies = (landmarks, Field("adversaries", self.adversaries - 1, 2), Field("agents", self.agents, 2))
        agents = (
            Field("goal", 1, 2, own=True),
            landmarks,
            Field("adversaries", self.adversaries, 2),
            Field("agents", self.agents - 1, 2),
        )
        roles = {"adversary": RoleSpec(self.adversaries, spies, moves), "agent": RoleSpec(self.agents, agents, moves)}
        return TeamSpec(roles, self.horizon, 4 * (self.adversaries + self.agents) + 3 * self._landmarks)

    @property
    def _landmarks(self) -> int:
        return self.landmarks or self.agents

    def reset(self, key: Array) -> tuple[AdversaryState, TimeStep]:
        """A fresh episode: agents at rest, all positions uniform in [-1, 1]², a uniformly random goal."""
        count, place_key, goal_key = self.adversaries + self.agents, *jr.split(key)
        places = jr.uniform(place_key, (count + self._landmarks, 2), minval=-1.0, maxval=1.0)
        goal = (jr.randint(goal_key, (1,), 0, self._landmarks) == jnp.arange(self._landmarks)).astype(jnp.float32)
        state = AdversaryState(places[:count], jnp.zeros((count, 2)), places[count:], goal, jnp.zeros((), jnp.int32))
        return state, self._show(state, jnp.zeros(self.adversaries), jnp.zeros(self.agents))

    def step(self, state: AdversaryState, action: dict[str, Array], key: Array) -> tuple[AdversaryState, TimeStep]:
        """One step of 0.1 s; nothing in it is random."""
        actions = jnp.concatenate([action["adversary"], action["agent"]])
        push = physics.thrust(actions, physics.SENSITIVITY, self.semantics)
        body = physics.bodies([AGENT_RADIUS] * (self.adversaries + self.agents), collides=False)
        position, velocity = physics.move(state.position, state.velocity, push, body, self.semantics)
        state = AdversaryState(position, velocity, state.landmarks, state.goal, state.time + 1)
        return state, self._show(state, *self._reward(state))

    def _to_goal(self, state: AdversaryState) -> Float[Array, "N 2"]:
        goal = physics.total(state.goal[:, None] * state.landmarks)
        return goal[None] - state.position

    def _reward(self, state: AdversaryState) -> tuple[Float[Array, " A"], Float[Array, " B"]]:
        square = physics.squared(self._to_goal(state))
        distance = jnp.sqrt(square)
        spied, covered = distance[: self.adversaries], distance[self.adversaries :]
        shared = physics.total(spied) - physics.least(covered)
        own = square[: self.adversaries] if self.semantics == "openai" else spied
        return -own, jnp.full(self.agents, shared)

    def _show(self, state: AdversaryState, spied: Float[Array, " A"], covered: Float[Array, " B"]) -> TimeStep:
        first = self.adversaries  # index of the first agent
        to_landmarks = world.gaps(state.position, state.landmarks)
        to_others = physics.others(state.position) - state.position[:, None]
        obs = {
            "adversary": world.side_by_side(to_landmarks[:first], to_others[:first]),
            "agent": world.side_by_side(self._to_goal(state)[first:], to_landmarks[first:], to_others[first:]),
        }
        over = state.time >= self.horizon
        return world.time_step(obs, {"adversary": spied, "agent": covered}, state[:4], over)

    @property
    def entities(self) -> list[dict[str, Any]]:
        """Adversaries, agents, landmarks; the goal is the green one."""
        adversaries = world.entities("adversary", "agent", [AGENT_RADIUS] * self.adversaries, world.RED)
        agents = world.entities("agent", "agent", [AGENT_RADIUS] * self.agents, world.BLUE)
        landmarks = world.entities("landmark", "landmark", [LANDMARK_RADIUS] * self._landmarks, world.YELLOW, world.GREEN)
        return adversaries + agents + landmarks

    def scene(self, state: AdversaryState) -> Scene:
        """Positions of all entities, and the goal's colour."""
        shades = jnp.concatenate([jnp.zeros(self.adversaries + self.agents), state.goal])
        return world.scene(state.position, state.landmarks, shades=shades)


PRESETS = {"adversary": Adversary()}
"""Names on the command line, and the settings each starts from."""
