"""Cooperative communication (simple_speaker_listener): one agent knows the other's goal.

Lowe et al. 2017; in CESMA (Lin et al. 2019) App. D.3.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from headstart.core.env import Scene
from headstart.core.part import part
from headstart.core.ranges import Agents, Count
from headstart.core.types import Discrete, Field, RoleSpec, Route, TeamSpec, TimeStep
from headstart.envs.particle import physics, world

AGENT_RADIUS = 0.075
LANDMARK_RADIUS = 0.04
DIM, BRIGHT = 0.15, 0.65


class SpeakerListenerState(NamedTuple):
    """Positions of the speaker and of the listener, the listener's velocity (all [1 2]), positions of the landmarks, the goal
    (one-hot [1 L]), the last word [1 L] (zeros before the first), env-steps of this episode."""

    speaker: Array
    position: Array
    velocity: Array
    landmarks: Array
    goal: Array
    message: Array
    time: Array


@part("env")
class SpeakerListener:
    """Cooperative communication: a speaker sees the goal's colour and speaks; a listener hears it and goes there.

    The speaker stands still and has one word for each landmark; the listener hears a word with its next observation. With
    d the listener's distance to the goal, both get −d² (mpe2) or −2d² (the original, which sums over both agents).
    """

    landmarks: Agents = 3
    """Number of landmarks, each of its own colour; the speaker has as many words."""
    semantics: physics.Semantics = "mpe2"
    """Order of integration, signs of actions and rewards: of the original package, or of today's mpe2."""
    horizon: Count = 25
    """Env-steps of an episode."""

    @property
    def spec(self) -> TeamSpec:
        """Two roles of one agent: `speaker` with a word for each landmark, `listener` with five moves."""
        speaker = RoleSpec(1, (Field("goal_color", 1, 3, own=True),), Discrete((self.landmarks,)))
        heard = (Field("velocity", 1, 2, own=True), Field("landmarks", self.landmarks, 2), Field("messages", 1, self.landmarks))
        roles = {"speaker": speaker, "listener": RoleSpec(1, heard, physics.moves(self.semantics))}
        return TeamSpec(roles, self.horizon, 4 + 4 * self.landmarks, (Route("speaker", 0, "listener", "messages"),))

    def reset(self, key: Array) -> tuple[SpeakerListenerState, TimeStep]:
        """A fresh episode: agents at rest and silent, all positions uniform in [-1, 1]², a uniformly random goal."""
        place_key, goal_key = jr.split(key)
        places = jr.uniform(place_key, (2 + self.landmarks, 2), minval=-1.0, maxval=1.0)
        goal = jax.nn.one_hot(jr.randint(goal_key, (1,), 0, self.landmarks), self.landmarks)
        still, silence = jnp.zeros((1, 2)), jnp.zeros((1, self.landmarks))
        state = SpeakerListenerState(places[:1], places[1:2], still, places[2:], goal, silence, jnp.zeros((), jnp.int32))
        return state, self._show(state, jnp.zeros(1))

    def step(self, state: SpeakerListenerState, action: dict[str, Array], key: Array) -> tuple[SpeakerListenerState, TimeStep]:
        """One step of 0.1 s; nothing in it is random."""
        push = physics.thrust(action["listener"], physics.SENSITIVITY, self.semantics)
        body = physics.bodies([AGENT_RADIUS], collides=False)
        position, velocity = physics.move(state.position, state.velocity, push, body, self.semantics)
        state = state._replace(
            position=position, velocity=velocity, message=action["speaker"].astype(state.message.dtype), time=state.time + 1
        )
        return state, self._show(state, self._reward(state))

    def _reward(self, state: SpeakerListenerState) -> Float[Array, " 1"]:
        times = {"openai": 2.0, "mpe2": 1.0}[self.semantics]
        return -times * physics.squared(state.position - world.picked(state.goal, state.landmarks))

    def _show(self, state: SpeakerListenerState, reward: Float[Array, " 1"]) -> TimeStep:
        color = world.picked(state.goal, world.colours(self.landmarks, DIM, BRIGHT))
        heard = world.side_by_side(state.velocity, world.gaps(state.position, state.landmarks), state.message)
        # The global state leaves out the speaker's position: nothing depends on it.
        everything = state[1:6]
        rewards = {"speaker": reward, "listener": reward}
        return world.time_step({"speaker": color, "listener": heard}, rewards, everything, state.time >= self.horizon)

    @property
    def entities(self) -> list[dict[str, Any]]:
        """The speaker and the listener, both in the colour of the goal, then the landmarks."""
        palette = [world.PALETTE[i % len(world.PALETTE)] for i in range(self.landmarks)]
        agents = [world.entity(name, "agent", AGENT_RADIUS, *palette) for name in ("speaker", "listener")]
        marks = [world.entity(f"landmark {i}", "landmark", LANDMARK_RADIUS, color) for i, color in enumerate(palette)]
        return agents + marks

    def scene(self, state: SpeakerListenerState) -> Scene:
        """Positions of all entities, the speaker's word, and the goal's colour."""
        words, shades = world.spoken(state.message), jnp.tile(state.goal.argmax(-1), 2)
        return world.scene(state.speaker, state.position, state.landmarks, words=words, shades=shades)


PRESETS = {"speaker-listener": SpeakerListener()}
"""Names on the command line, and the settings each starts from."""
