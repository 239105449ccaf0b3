"""Predator and prey (simple_tag): slow adversaries hunt faster prey among obstacles.

Lowe et al. 2017. If the environment moves the prey at random, it is the task of the Leader paper (pre-training one
adversary against one prey, then a team of three).
"""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from headstart.core.env import Scene
from headstart.core.part import part
from headstart.core.ranges import Agents, Count, Entities, Positive
from headstart.core.types import Field, RoleSpec, TeamSpec, TimeStep
from headstart.envs.particle import physics, world

ADVERSARY_RADIUS, PREY_RADIUS, OBSTACLE_RADIUS = 0.075, 0.05, 0.2
ADVERSARY_ACCELERATION, PREY_ACCELERATION = 3.0, 4.0
ADVERSARY_SPEED, PREY_SPEED = 1.0, 1.3
CATCH = 10.0
"""Reward of a touch for the adversaries, and its cost for the prey."""
FENCE = 0.9
"""Prey are fined, and evasive prey turn back, if a coordinate is further than this from 0."""


class TagState(NamedTuple):
    """Positions and velocities (adversaries, then prey), positions of the obstacles, env-steps of this episode so far."""

    position: Array
    velocity: Array
    obstacles: Array
    time: Array


@part("env")
class Tag:
    """Predator and prey: slow adversaries catch faster prey among obstacles.

    Every touching pair of an adversary and a prey gives every adversary +10 and costs the prey 10. Prey also pay
    Σ_axis b(|x|) for leaving the arena, with b(x) = 0 below 0.9, 10(x − 0.9) below 1, min(e^(2x−2), 10) beyond.

    Event: `tag`, once for each touching pair.
    """

    adversaries: Agents = 3
    """Predators: the role `adversary`."""
    prey: Agents = 1
    """Number of prey."""
    obstacles: Entities = 2
    """Immovable circles in the way of adversaries and prey."""
    policy: Literal["learned", "random", "evasive"] = "learned"
    """The mover of the prey: the role `agent` of the team (learned), or the environment. A random prey thrusts uniformly in
    [-1, 1] on each axis, anew each step. An evasive prey (of no paper) thrusts along Σ_a (x − x_a)/|x − x_a|², scaled to
    length 1, and turns back at full thrust on an axis with |x| > 0.9."""
    prey_speed: Positive = 1.3
    """Largest speed of the prey (of adversaries: 1). A random prey hardly ever gets that fast: another speed makes its task
    another one only with `scale_acceleration`."""
    scale_acceleration: bool = False
    """The prey's thrust grows with its largest speed, 4·prey_speed/1.3 instead of 4."""
    semantics: physics.Semantics = "mpe2"
    """Order of integration and signs of actions: of the original package, or of today's mpe2."""
    horizon: Count = 25
    """Env-steps of an episode."""

    @property
    def spec(self) -> TeamSpec:
        """Roles `adversary` and, if the prey learn, `agent`: five moves each."""
        count = {"adversary": self.adversaries, "agent": self.prey}

        def role(name: str) -> RoleSpec:
            other_prey = self.prey - (name == "agent")
            obs = (
                Field("velocity", 1, 2, own=True),
                Field("position", 1, 2, own=True),
                Field("obstacles", self.obstacles, 2),
                Field("adversaries", self.adversaries - (name == "adversary"), 2),
                Field("prey", other_prey, 2),
                Field("prey_velocities", other_prey, 2, follows="prey"),
            )
            return RoleSpec(count[name], obs, physics.moves(self.semantics))

        names = ("adversary", "agent") if self.policy == "learned" else ("adversary",)
        state_size = 4 * (self.adversaries + self.prey) + 2 * self.obstacles
        return TeamSpec({name: role(name) for name in names}, self.horizon, state_size)

    @property
    def _bodies(self) -> physics.Bodies:
        each = lambda *values: np.repeat(np.array(values, np.float32), (self.adversaries, self.prey, self.obstacles))
        radius, max_speed = each(ADVERSARY_RADIUS, PREY_RADIUS, OBSTACLE_RADIUS), each(ADVERSARY_SPEED, self.prey_speed, np.inf)
        return physics.bodies(radius)._replace(max_speed=max_speed)

    def reset(self, key: Array) -> tuple[TagState, TimeStep]:
        """A fresh episode: agents at rest and uniform in [-1, 1]², obstacles uniform in [-0.9, 0.9]²."""
        agents = self.adversaries + self.prey
        places = jr.uniform(key, (agents + self.obstacles, 2), minval=-1.0, maxval=1.0)
        state = TagState(places[:agents], jnp.zeros((agents, 2)), 0.9 * places[agents:], jnp.zeros((), jnp.int32))
        return state, self._show(state, jnp.zeros(self.adversaries), jnp.zeros(self.prey), jnp.zeros(()))

    def step(self, state: TagState, action: dict[str, Array], key: Array) -> tuple[TagState, TimeStep]:
        """One step of 0.1 s; only a random prey uses the key."""
        hunt = physics.thrust(action["adversary"], ADVERSARY_ACCELERATION, self.semantics)
        acceleration = PREY_ACCELERATION * (self.prey_speed / PREY_SPEED if self.scale_acceleration else 1.0)
        if self.policy == "learned":
            flee = physics.thrust(action["agent"], acceleration, self.semantics)
        else:
            moved = jr.uniform(key, (self.prey, 2), minval=-1.0, maxval=1.0) if self.policy == "random" else self._evade(state)
            flee = acceleration * moved
        solid = jnp.concatenate([state.position, state.obstacles])
        thrust = jnp.concatenate([hunt, flee])
        position, velocity = physics.move(solid, state.velocity, thrust, self._bodies, self.semantics)
        state = TagState(position, velocity, state.obstacles, state.time + 1)
        return state, self._show(state, *self._reward(state))

    def _evade(self, state: TagState) -> Float[Array, "P 2"]:
        hunters, prey = state.position[: self.adversaries], state.position[self.adversaries :]
        away = world.gaps(hunters, prey)
        escape = physics.total(away / (physics.squared(away)[..., None] + 1e-12))
        length = jnp.sqrt(physics.squared(escape) + 1e-12)
        return jnp.where(jnp.abs(prey) > FENCE, -jnp.sign(prey), escape / length[:, None])

    def _reward(self, state: TagState) -> tuple[Float[Array, " A"], Float[Array, " P"], Float[Array, ""]]:
        """The rewards of the adversaries and of the prey, and the number of touching pairs."""
        hunters, prey = state.position[: self.adversaries], state.position[self.adversaries :]
        touches = world.touching(hunters, ADVERSARY_RADIUS, prey, PREY_RADIUS).astype(jnp.float32)
        tags = physics.total(touches)
        caught = CATCH * tags
        far = jnp.abs(prey)
        fine = jnp.where(far < 1.0, 10.0 * jnp.maximum(far - FENCE, 0.0), jnp.minimum(jnp.exp(2.0 * far - 2.0), 10.0))
        escaped = -caught - fine[:, 0] - fine[:, 1]
        return jnp.full(self.adversaries, physics.total(caught)), escaped, physics.total(tags)

    def _show(
        self, state: TagState, hunted: Float[Array, " A"], escaped: Float[Array, " P"], tags: Float[Array, ""]
    ) -> TimeStep:
        first = self.adversaries  # index of the first prey
        to_others = physics.others(state.position) - state.position[:, None]
        to_obstacles = world.gaps(state.position, state.obstacles)
        own = jnp.concatenate([state.velocity, state.position], -1)
        prey_velocity = state.velocity[first:]
        seen_by_hunters = jnp.broadcast_to(prey_velocity[None], (first, self.prey, 2))
        obs = {
            "adversary": world.side_by_side(own[:first], to_obstacles[:first], to_others[:first], seen_by_hunters),
            "agent": world.side_by_side(own[first:], to_obstacles[first:], to_others[first:], physics.others(prey_velocity)),
        }
        reward, roles = {"adversary": hunted, "agent": escaped}, self.spec.roles
        over = state.time >= self.horizon
        paid = {r: reward[r] for r in roles}
        return world.time_step({r: obs[r] for r in roles}, paid, state[:3], over, {"tag": tags})

    @property
    def entities(self) -> list[dict[str, Any]]:
        """Adversaries, prey, obstacles."""
        adversaries = world.entities("adversary", "agent", [ADVERSARY_RADIUS] * self.adversaries, world.RED)
        prey = world.entities("prey", "agent", [PREY_RADIUS] * self.prey, world.GREEN)
        return adversaries + prey + world.entities("obstacle", "obstacle", [OBSTACLE_RADIUS] * self.obstacles, world.GREY)

    def scene(self, state: TagState) -> Scene:
        """Positions of all entities."""
        return world.scene(state.position, state.obstacles)


PRESETS = {
    "tag": Tag(),
    "tag-random": Tag(policy="random"),
    "tag-fast": Tag(policy="random", prey_speed=1.8, scale_acceleration=True),
}
"""Names on the command line, and the settings each starts from."""
