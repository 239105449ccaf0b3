"""Cooperative navigation (simple_spread): N agents cover L landmarks without bumping into each other.

Lowe et al. 2017. Observation of an agent: own velocity and position, landmarks and the other agents relative to it, and
the others' messages (all zeros here): 4 + 2L + 4(N − 1) numbers, 6N when L = N.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from headstart.checks import require
from headstart.envs.particle import physics
from headstart.types import Discrete, Field, RoleSpec, TeamSpec, TimeStep

AGENT_RADIUS = 0.15
LANDMARK_RADIUS = 0.05


class SpreadState(NamedTuple):
    """Positions and velocities of the agents, positions of the landmarks, env-steps of this episode so far."""

    position: Array
    velocity: Array
    landmarks: Array
    time: Array


@dataclass(frozen=True)
class Spread:
    """Cooperative navigation: agents cover all landmarks and do not bump into each other.

    Reward of `openai`, shared by all: −N·Σ_l min_a d(a, l) − N − 2·(colliding pairs). Reward of `mpe2`, each agent's own:
    −½·Σ_l min_a d(a, l) − ½·(agents it collides with).
    """

    agents: int = 3
    landmarks: int = 0
    """0 for as many as there are agents."""
    semantics: physics.Semantics = "mpe2"
    """Order of integration, signs of actions and rewards: of the original package, or of today's mpe2."""
    nearest: int = 0
    """Observe only this many nearest landmarks and one fewer nearest agents, sorted by distance; 0 observes all."""
    horizon: int = 25
    """Env-steps of an episode."""

    def __post_init__(self):
        require(self.agents >= 1, "env.agents", self.agents, "at least 1")
        require(self.landmarks >= 0, "env.landmarks", self.landmarks, "at least 0")
        require(self.horizon >= 1, "env.horizon", self.horizon, "at least 1")
        most = min(self.agents, self.landmarks or self.agents)
        require(0 <= self.nearest <= most, "env.nearest", self.nearest, f"between 0 and {most}, the number of entities")

    @property
    def spec(self) -> TeamSpec:
        """One role, `agent`, with five moves."""
        landmarks, mates = self._seen
        obs = (
            Field("velocity", 1, 2),
            Field("position", 1, 2),
            Field("landmarks", landmarks, 2),
            Field("agents", mates, 2),
            Field("messages", mates, 2, follows="agents"),
        )
        count = self.landmarks or self.agents
        return TeamSpec({"agent": RoleSpec(self.agents, obs, Discrete((5,)))}, self.horizon, 4 * self.agents + 2 * count)

    @property
    def _seen(self) -> tuple[int, int]:
        if self.nearest:
            return self.nearest, self.nearest - 1
        return self.landmarks or self.agents, self.agents - 1

    def reset(self, key: Array) -> tuple[SpreadState, TimeStep]:
        """Everybody at rest, everything uniform in [-1, 1]²."""
        count = self.landmarks or self.agents
        places = jr.uniform(key, (self.agents + count, 2), minval=-1.0, maxval=1.0)
        state = SpreadState(places[: self.agents], jnp.zeros((self.agents, 2)), places[self.agents :], jnp.zeros((), jnp.int32))
        return state, self._show(state, jnp.zeros(self.agents))

    def step(self, state: SpreadState, action: dict[str, Array], key: Array) -> tuple[SpreadState, TimeStep]:
        """One step of 0.1 s; nothing in it is random."""
        push = physics.thrust(action["agent"], physics.SENSITIVITY, self.semantics)
        body = physics.bodies(np.full(self.agents, AGENT_RADIUS))
        position, velocity = physics.move(state.position, state.velocity, push, body, self.semantics)
        state = SpreadState(position, velocity, state.landmarks, state.time + 1)
        return state, self._show(state, self._reward(state))

    def _reward(self, state: SpreadState) -> Float[Array, " A"]:
        to_landmark = physics.squared(state.position[:, None] - state.landmarks[None])
        cover = -physics.total(jnp.sqrt(physics.least(to_landmark)))
        apart = physics.squared(state.position[:, None] - state.position[None])
        touching = (apart < (2 * AGENT_RADIUS) ** 2) & ~np.eye(self.agents, dtype=bool)
        bumps = physics.total(touching.astype(jnp.float32))
        if self.semantics == "mpe2":
            return 0.5 * cover - 0.5 * bumps
        # The original counts an agent as colliding with itself and pays everyone the sum over agents.
        return jnp.full(self.agents, self.agents * cover - self.agents - physics.total(bumps))

    def _show(self, state: SpreadState, reward: Float[Array, " A"]) -> TimeStep:
        to_landmarks = state.landmarks[None] - state.position[:, None]
        to_others = physics.others(state.position) - state.position[:, None]
        if self.nearest:
            to_landmarks, to_others = _nearest(to_landmarks, self._seen[0]), _nearest(to_others, self._seen[1])
        flat = lambda x: x.reshape(self.agents, -1)
        silence = jnp.zeros((self.agents, 2 * self._seen[1]))
        obs = [state.velocity, state.position, flat(to_landmarks), flat(to_others), silence]
        obs = {"agent": jnp.concatenate(obs, -1)}
        everything = jnp.concatenate([x.reshape(-1) for x in state[:3]])
        return TimeStep(
            obs=obs,
            final_obs=obs,
            state=everything,
            final_state=everything,
            reward={"agent": reward},
            terminated=jnp.zeros((), bool),
            truncated=state.time >= self.horizon,
            alive={"agent": jnp.ones(self.agents, bool)},
        )

    @property
    def entities(self) -> list[dict[str, Any]]:
        """What `scene` places: agents first."""
        count = self.landmarks or self.agents
        agent = lambda i: {"name": f"agent {i}", "kind": "agent", "radius": AGENT_RADIUS, "color": "#4477aa"}
        landmark = lambda i: {
            "name": f"landmark {i}",
            "kind": "landmark",
            "radius": LANDMARK_RADIUS,
            "color": "#ccbb44",
        }
        return [agent(i) for i in range(self.agents)] + [landmark(i) for i in range(count)]

    def scene(self, state: SpreadState) -> Float[Array, "M 2"]:
        """Where everything is."""
        return jnp.concatenate([state.position, state.landmarks])


def _nearest(gaps: Float[Array, "A X 2"], count: int) -> Float[Array, "A k 2"]:
    """The `count` shortest of each agent's X vectors, shortest first."""
    order = jnp.argsort(physics.squared(gaps), -1)[:, :count]
    return jnp.take_along_axis(gaps, order[..., None], 1)


PRESETS = {"spread": Spread()}
