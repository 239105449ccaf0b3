"""An environment of ours against its twin in the package mpe2, state for state.

mpe2's world is put into a state of ours and both take one step: observations, rewards, the states they lead to and ends
must agree. mpe2 computes in double precision, we in single; both start every step from the same single-precision numbers.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.random as jr
import numpy as np

from headstart.core.types import Discrete

TOLERANCE = 1e-5


class Seen(NamedTuple):
    """What mpe2 showed in n single steps, for tests to ask whether anything happened at all."""

    obs: dict[str, np.ndarray]
    """{role: [n A O]}"""
    reward: dict[str, np.ndarray]
    """{role: [n A]}"""
    contact: np.ndarray
    """[n] some body was in contact before the step"""


@dataclass(frozen=True)
class Twins:
    """Our environment and mpe2's. States of ours are NamedTuples with fields `position`, `velocity` (in the order of
    mpe2's world) and `time`; agents are matched by name."""

    make: Callable[[], Any]
    """mpe2's parallel environment, with discrete actions and our horizon."""
    ours: Any
    place: Callable[[Any, Any], None]
    """`place(world, state)` puts mpe2's world into a state of ours."""
    read: Callable[[Any], Any]
    """`read(world)` is that world as a state of ours, in single precision; its `time` is ignored."""
    vary: Callable[[np.random.Generator, Any], Any] = lambda rng, states: states
    """`vary(rng, states)` draws the other parts of the n random states [n ..], e.g. messages."""

    @functools.cached_property
    def theirs(self) -> Any:
        """mpe2's environment, with the spaces of our spec."""
        env = self.make()
        env.reset(seed=0)
        spec = self.ours.spec
        assert sorted(env.possible_agents) == sorted(name for names in spec.names.values() for name in names)
        for role, about in spec.roles.items():
            assert isinstance(about.actions, Discrete)
            for name in spec.names[role]:
                assert env.observation_space(name).shape == (about.obs_size,), name
                assert env.action_space(name).n == math.prod(about.actions.heads), name
        return env

    @functools.cached_property
    def step(self) -> Any:
        """Our step, of n environments."""
        return jax.jit(jax.vmap(self.ours.step))

    def single_steps(self, seed: int, count: int = 1000) -> Seen:
        """Random states, every other one crowded so that most of those have contacts; one random step from each."""
        rng = np.random.default_rng(seed)
        states = jax.tree.map(np.asarray, jax.jit(jax.vmap(self.ours.reset))(jr.split(jr.key(seed), count))[0])
        # A little beyond the arena, or crowded: agents have radii of 0.05 to 0.15.
        reach = np.where(np.arange(count) % 2, 1.2, 0.25).reshape(-1, 1, 1)
        position = (rng.uniform(-1, 1, states.position.shape) * reach).astype(np.float32)
        velocity = rng.normal(size=states.velocity.shape).astype(np.float32)
        states = self.vary(rng, states._replace(position=position, velocity=velocity))
        choices, taken = self.choices(rng, count), []
        self.theirs.reset(seed=0)  # an episode that is over has no agents left to step
        for i in range(count):
            self.place(self.theirs.unwrapped.world, _row(states, i))
            self.theirs.unwrapped.steps = 0
            taken.append(self._their_step({role: x[i] for role, x in choices.items()}, 1))
        return self._compare(states, choices, taken)

    def rollouts(self, seed: int, episodes: int = 40) -> Seen:
        """Whole episodes from mpe2's own resets, every other one crowded from its start.

        Contact dynamics are chaotic, so each step starts from mpe2's last state, rounded to single precision.
        """
        rng, horizon, world = np.random.default_rng(seed), self.ours.spec.horizon, self.theirs.unwrapped.world
        choices, states, taken = self.choices(rng, episodes * horizon), [], []
        for i in range(episodes * horizon):
            episode, time = divmod(i, horizon)
            if time == 0:
                self.theirs.reset(seed=1000 * seed + episode)
                for agent in world.agents if episode % 2 else ():
                    agent.state.p_pos = agent.state.p_pos * 0.3
            states.append(self._read(time))
            self.place(world, states[-1])
            taken.append(self._their_step({role: x[i] for role, x in choices.items()}, time + 1))
        return self._compare(jax.tree.map(lambda *x: np.stack(x), *states), choices, taken)

    def follow(self, state: Any, choices: dict[str, np.ndarray]) -> None:
        """From `state` on for T steps, each by itself with no correction; `choices` is {role: [T A H]}.

        Only where nothing touches: contacts are stiff enough to magnify a rounding to any size within an episode.
        """
        self.theirs.reset(seed=0)
        self.place(self.theirs.unwrapped.world, state)
        state = jax.tree.map(lambda x: np.asarray(x)[None], state)
        for time in range(len(next(iter(choices.values())))):
            now = {role: x[time : time + 1] for role, x in choices.items()}
            taken = [self._their_step({role: x[0] for role, x in now.items()}, time + 1)]
            self._compare(state, now, taken)
            state = self.step(state, self._vectors(now), jr.split(jr.key(0), 1))[0]

    def choices(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        """{role: [n A H]} random choices."""
        roles = self.ours.spec.roles.items()
        return {
            role: rng.integers(0, about.actions.heads, (count, about.agents, len(about.actions.heads))) for role, about in roles
        }

    def _vectors(self, choices):
        """{role: [n A U]}: the heads' one-hot vectors side by side."""
        hot = lambda heads, x: np.concatenate([np.eye(k, dtype=np.float32)[x[..., h]] for h, k in enumerate(heads)], -1)
        return {role: hot(self.ours.spec.roles[role].actions.heads, x) for role, x in choices.items()}

    def _their_step(self, choices, time: int):
        env, spec, actions = self.theirs, self.ours.spec, {}
        touching = _any_contact(env.unwrapped.world)
        for role, names in spec.names.items():
            heads = spec.roles[role].actions.heads
            # One integer for all heads, the first head (the move) its lowest digit.
            digits = np.cumprod((1, *heads[:-1]))
            actions.update({name: int(digits @ own) for name, own in zip(names, choices[role], strict=True)})
        env.agents = list(env.possible_agents)
        obs, reward, terminated, truncated, _ = env.step(actions)
        assert not any(terminated.values()) and len(set(truncated.values())) == 1
        by_role = lambda x: {role: np.stack([x[name] for name in names]) for role, names in spec.names.items()}
        return by_role(obs), by_role(reward), all(truncated.values()), self._read(time), touching

    def _read(self, time: int):
        return jax.tree.map(np.asarray, self.read(self.theirs.unwrapped.world)._replace(time=np.int32(time)))

    def _compare(self, states, choices, taken) -> Seen:
        obs, reward, truncated, after, touching = zip(*taken, strict=True)
        stacked = lambda x: jax.tree.map(lambda *rows: np.stack(rows), *x)
        obs, reward, after, count = stacked(obs), stacked(reward), stacked(after), len(taken)
        new, step = self.step(states, self._vectors(choices), jr.split(jr.key(0), count))
        for role in self.ours.spec.roles:
            close(step.obs[role], obs[role], f"observations of {role} (axes: state, agent, number)")
            close(step.final_obs[role], obs[role], f"last observations of {role} (axes: state, agent, number)")
            close(step.reward[role], reward[role], f"rewards of {role} (axes: state, agent)")
        for name, mine, wanted in zip(after._fields, new, after, strict=True):
            close(mine, wanted, f"{name} in the state that follows (first axis: state)")
        np.testing.assert_array_equal(step.truncated, truncated, "truncation")
        assert not np.asarray(step.terminated).any()
        return Seen(obs, reward, np.array(touching))


def close(actual, wanted, what: str) -> None:
    """Equal to 1e-5, absolute plus relative."""
    np.testing.assert_allclose(actual, wanted, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


def put(world, position, velocity, landmarks=()) -> None:
    """Entities of an mpe2 world to their places, keeping in double precision the same single-precision numbers; silence."""
    for agent, x, v in zip(world.agents, position, velocity, strict=True):
        agent.state.p_pos, agent.state.p_vel = np.array(x, np.float64), np.array(v, np.float64)
        agent.state.c = np.zeros(world.dim_c)
    for landmark, x in zip(world.landmarks, landmarks, strict=True):
        landmark.state.p_pos, landmark.state.p_vel = np.array(x, np.float64), np.zeros(2)


def places(world) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions and velocities of an mpe2 world's agents, positions of its landmarks, in single precision."""
    position = np.array([agent.state.p_pos for agent in world.agents], np.float32)
    velocity = np.array([agent.state.p_vel for agent in world.agents], np.float32)
    return position, velocity, np.array([x.state.p_pos for x in world.landmarks], np.float32).reshape(-1, 2)


def _row(states, i: int):
    return jax.tree.map(lambda x: x[i], states)


def _any_contact(world) -> bool:
    bodies = [x for x in world.entities if x.collide]
    pairs = [(a, b) for i, a in enumerate(bodies) for b in bodies[i + 1 :] if a.movable or b.movable]
    return any(math.dist(a.state.p_pos, b.state.p_pos) < a.size + b.size for a, b in pairs)
