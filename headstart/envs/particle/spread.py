"""Cooperative navigation (simple_spread): N agents cover L landmarks without bumping into each other.

Lowe et al. 2017; with agents of different sizes and strengths, Lin et al. 2019 (CESMA), App. D.2.
"""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from headstart.core.checks import require
from headstart.core.env import Scene
from headstart.core.part import part
from headstart.core.ranges import Agents, Count, Entities, Natural, Positive
from headstart.core.types import Continuous, Field, RoleSpec, TeamSpec, TimeStep
from headstart.envs.particle import physics, world

AGENT_RADIUS = 0.15
LANDMARK_RADIUS = 0.05


class SpreadState(NamedTuple):
    """Positions and velocities of the agents, positions of the landmarks, env-steps of this episode so far."""

    position: Array
    velocity: Array
    landmarks: Array
    time: Array


@part("env")
class Spread:
    """Cooperative navigation: agents cover all landmarks and do not bump into each other.

    Rewards, with the distance D = Σ_l min_a d(a, l) and the number P of colliding pairs:

        sum     −N·D − N − 2·P, shared by all: the original's, which sums over agents and lets each collide with itself
        split   −½·D − ½·(agents it collides with), different for each agent: today's mpe2
        pairs   −D − P, shared by all (CESMA)
        any     −D − 1 if P > 0, shared by all

    Event: `covered`, a step after which the centre of every landmark lies within an agent.
    """

    agents: Agents = 3
    """N, the number of agents."""
    landmarks: Entities = 0
    """0 for as many as there are agents."""
    semantics: physics.Semantics = "mpe2"
    """Order of integration, signs of actions and rewards: of the original package, or of today's mpe2."""
    observe: Literal["all", "cesma"] = "all"
    """Own velocity and position, landmarks, other agents and their (silent) messages: 6N numbers; or without the own
    position and the messages: 4N."""
    nearest: Natural = 0
    """Observe only this many nearest landmarks and one fewer nearest agents, sorted by distance; 0 observes all."""
    reward: Literal["", "sum", "split", "pairs", "any"] = ""
    """The reward; empty for that of the semantics (sum or split)."""
    radii: tuple[Positive, ...] = ()
    """Radii of the agents; 0.15 each when empty."""
    accelerations: tuple[Positive, ...] = ()
    """Thrusts of the agents per unit of action; 5 each when empty."""
    control: Literal["moves", "force"] = "moves"
    """Five moves, or continuous: a force of two numbers in [-1, 1]."""
    horizon: Count = 25
    """Env-steps of an episode."""

    def __post_init__(self):
        most = min(self.agents, self.landmarks or self.agents)
        require(self.nearest <= most, "env.nearest", self.nearest, f"between 0 and {most}, the number of entities")
        for name in ("radii", "accelerations"):
            given = getattr(self, name)
            require(len(given) in (0, self.agents), f"env.{name}", given, f"{self.agents} numbers above 0, one an agent")

    @property
    def spec(self) -> TeamSpec:
        """One role, `agent`, with five moves or a force."""
        landmarks, others = self._seen
        obs = (
            Field("velocity", 1, 2, own=True),
            Field("position", 1, 2, own=True),
            Field("landmarks", landmarks, 2),
            Field("agents", others, 2),
            Field("messages", others, 2, follows="agents"),
        )
        if self.observe == "cesma":
            obs = (obs[0], *obs[2:4])
        count = self.landmarks or self.agents
        acts = physics.moves(self.semantics) if self.control == "moves" else Continuous(2, names=("right", "up"))
        return TeamSpec({"agent": RoleSpec(self.agents, obs, acts)}, self.horizon, 4 * self.agents + 2 * count)

    @property
    def _seen(self) -> tuple[int, int]:
        if self.nearest:
            return self.nearest, self.nearest - 1
        return self.landmarks or self.agents, self.agents - 1

    @property
    def _radii(self) -> np.ndarray:
        return np.asarray(self.radii or [AGENT_RADIUS] * self.agents, np.float32)

    def reset(self, key: Array) -> tuple[SpreadState, TimeStep]:
        """A fresh episode: agents at rest, all positions uniform in [-1, 1]²."""
        count = self.landmarks or self.agents
        places = jr.uniform(key, (self.agents + count, 2), minval=-1.0, maxval=1.0)
        state = SpreadState(places[: self.agents], jnp.zeros((self.agents, 2)), places[self.agents :], jnp.zeros((), jnp.int32))
        return state, self._show(state, jnp.zeros(self.agents), jnp.zeros(()))

    def step(self, state: SpreadState, action: dict[str, Array], key: Array) -> tuple[SpreadState, TimeStep]:
        """One step of 0.1 s; nothing in it is random."""
        strength = self.accelerations or (physics.SENSITIVITY,) * self.agents
        if self.control == "moves":
            push = physics.thrust(action["agent"], strength, self.semantics)
        else:
            push = jnp.clip(action["agent"], -1.0, 1.0) * np.asarray(strength, np.float32)[:, None]
        body = physics.bodies(self._radii)
        position, velocity = physics.move(state.position, state.velocity, push, body, self.semantics)
        state = SpreadState(position, velocity, state.landmarks, state.time + 1)
        return state, self._show(state, self._reward(state), self._covered(state))

    def _reward(self, state: SpreadState) -> Float[Array, " A"]:
        to_landmark = physics.squared(world.gaps(state.position, state.landmarks))
        cover = -physics.total(jnp.sqrt(physics.least(to_landmark)))
        touching = world.touching(state.position, self._radii, state.position, self._radii)
        bumps = physics.total((touching & ~np.eye(self.agents, dtype=bool)).astype(jnp.float32))
        twice_pairs = physics.total(bumps)
        return {
            "sum": jnp.full(self.agents, self.agents * cover - self.agents - twice_pairs),
            "split": 0.5 * cover - 0.5 * bumps,
            "pairs": jnp.full(self.agents, cover - 0.5 * twice_pairs),
            "any": jnp.full(self.agents, cover - (twice_pairs > 0)),
        }[self.reward or {"openai": "sum", "mpe2": "split"}[self.semantics]]

    def _covered(self, state: SpreadState) -> Float[Array, ""]:
        """1 if the centre of every landmark lies within an agent, else 0."""
        within = world.touching(state.position, self._radii, state.landmarks, 0.0)
        return within.any(0).all().astype(jnp.float32)

    def _show(self, state: SpreadState, reward: Float[Array, " A"], covered: Float[Array, ""]) -> TimeStep:
        to_landmarks = world.gaps(state.position, state.landmarks)
        to_others = physics.others(state.position) - state.position[:, None]
        if self.nearest:
            shortest = lambda gaps, count: world.nearest(physics.squared(gaps), gaps, None, count)
            to_landmarks, to_others = shortest(to_landmarks, self._seen[0]), shortest(to_others, self._seen[1])
        seen = (state.velocity, state.position, to_landmarks, to_others, jnp.zeros_like(to_others))
        if self.observe == "cesma":
            seen = (seen[0], *seen[2:4])
        over = state.time >= self.horizon
        obs, paid = {"agent": world.side_by_side(*seen)}, {"agent": reward}
        return world.time_step(obs, paid, state[:3], over, {"covered": covered})

    @property
    def entities(self) -> list[dict[str, Any]]:
        """Agents, then landmarks."""
        landmarks = [LANDMARK_RADIUS] * (self.landmarks or self.agents)
        agents = world.entities("agent", "agent", self._radii, world.BLUE)
        return agents + world.entities("landmark", "landmark", landmarks, world.YELLOW)

    def scene(self, state: SpreadState) -> Scene:
        """Positions of all entities."""
        return world.scene(state.position, state.landmarks)


PRESETS = {
    "spread": Spread(),
    "navigation": Spread(semantics="openai", observe="cesma", reward="pairs"),
    "navigation-6": Spread(6, semantics="openai", observe="cesma", reward="pairs"),
    "navigation-nonhomogeneous": Spread(
        semantics="openai", observe="cesma", reward="pairs", radii=(0.1, 0.15, 0.2), accelerations=(7.0, 5.0, 3.5)
    ),
}
"""Names on the command line, and the settings each starts from."""
