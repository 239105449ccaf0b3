"""Cooperative navigation against the package mpe2, state for state: its world is set to ours and both take one step.

mpe2 computes in double precision, we in single; both start every step from the same single-precision numbers.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from headstart.envs.particle.spread import Spread, SpreadState

pytest.importorskip("mpe2")

TOLERANCE = 1e-5


@functools.cache
def theirs(agents: int):
    from mpe2 import simple_spread_v3

    env = simple_spread_v3.parallel_env(N=agents, max_cycles=25, continuous_actions=False)
    env.reset(seed=0)
    return env


@functools.cache
def ours(agents: int):
    env = Spread(agents, semantics="mpe2")
    return env, jax.jit(env.step), jax.jit(jax.vmap(env.step))


def place(env, position, velocity, landmarks) -> None:
    """Put mpe2's world into the given state, keeping double precision of the same single-precision numbers."""
    world = env.unwrapped.world
    for agent, x, v in zip(world.agents, position, velocity, strict=True):
        agent.state.p_pos, agent.state.p_vel = np.array(x, np.float64), np.array(v, np.float64)
        agent.state.c = np.zeros(world.dim_c)
    for landmark, x in zip(world.landmarks, landmarks, strict=True):
        landmark.state.p_pos, landmark.state.p_vel = np.array(x, np.float64), np.zeros(2)


def their_step(env, moves):
    env.unwrapped.steps = 0
    env.agents = list(env.possible_agents)
    obs, reward, *_ = env.step({name: int(move) for name, move in zip(env.agents, moves, strict=True)})
    names = env.possible_agents
    return np.stack([obs[n] for n in names]), np.array([reward[n] for n in names])


def close(actual, wanted, what: str) -> None:
    np.testing.assert_allclose(actual, wanted, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


@pytest.mark.parametrize("agents", [3, 5])
def test_single_steps_from_random_states(agents):
    """1000 states, half of them crowded, so that most of those have contacts."""
    rng, env = np.random.default_rng(agents), theirs(agents)
    count = 1000
    # From sparse to crowded: agents have radius 0.15.
    reach = np.where(np.arange(count) % 2, 1.0, 0.25)[:, None, None]
    position = (rng.uniform(-1, 1, (count, agents, 2)) * reach).astype(np.float32)
    velocity = rng.normal(size=(count, agents, 2)).astype(np.float32)
    landmarks = rng.uniform(-1, 1, (count, agents, 2)).astype(np.float32)
    moves = rng.integers(0, 5, (count, agents))
    state = SpreadState(*map(jnp.asarray, (position, velocity, landmarks)), jnp.zeros(count, jnp.int32))
    action = {"agent": jnp.asarray(np.eye(5, dtype=np.float32)[moves])}
    _, step = ours(agents)[2](state, action, jax.random.split(jax.random.key(0), count))
    bumps = 0
    for i in range(count):
        place(env, position[i], velocity[i], landmarks[i])
        obs, reward = their_step(env, moves[i])
        close(step.obs["agent"][i], obs, f"observations of state {i}")
        close(step.reward["agent"][i], reward, f"rewards of state {i}")
        gap = np.linalg.norm(position[i][:, None] - position[i][None], axis=-1) + np.eye(agents)
        bumps += (gap < 0.3).any()
    assert bumps > count / 3


@pytest.mark.parametrize("agents", [3, 5])
def test_rollouts(agents):
    """40 episodes of 25 steps from mpe2's own resets; agents are steered into each other in every other one.

    Contact dynamics are chaotic, so each step starts from mpe2's last state, rounded to single precision.
    """
    rng, env = np.random.default_rng(10 + agents), theirs(agents)
    _, step, _ = ours(agents)
    for episode in range(40):
        env.reset(seed=episode)
        world = env.unwrapped.world
        if episode % 2:
            for agent in world.agents:
                agent.state.p_pos = agent.state.p_pos * 0.3
        landmarks = np.array([x.state.p_pos for x in world.landmarks], np.float32)
        for time in range(25):
            position = np.array([a.state.p_pos for a in world.agents], np.float32)
            velocity = np.array([a.state.p_vel for a in world.agents], np.float32)
            place(env, position, velocity, landmarks)
            moves = rng.integers(0, 5, agents)
            obs, reward = their_step(env, moves)
            state = SpreadState(*map(jnp.asarray, (position, velocity, landmarks)), jnp.asarray(time, jnp.int32))
            state, now = step(state, {"agent": jnp.asarray(np.eye(5, dtype=np.float32)[moves])}, jax.random.key(0))
            close(now.obs["agent"], obs, f"episode {episode}, step {time}: observations")
            close(now.reward["agent"], reward, f"episode {episode}, step {time}: rewards")
            assert bool(now.truncated) == (time == 24)
            assert not now.terminated


def test_a_free_rollout_needs_no_help():
    """Without contacts nothing is stiff: 25 steps in a row stay equal with no correction in between."""
    rng, env = np.random.default_rng(3), theirs(3)
    _, step, _ = ours(3)
    position = np.array([[-0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]], np.float32)
    landmarks = rng.uniform(-1, 1, (3, 2)).astype(np.float32)
    place(env, position, np.zeros((3, 2)), landmarks)
    state = SpreadState(jnp.asarray(position), jnp.zeros((3, 2)), jnp.asarray(landmarks), jnp.zeros((), jnp.int32))
    for time in range(25):
        moves = rng.integers(0, 5, 3) if time % 5 == 0 else np.zeros(3, int)
        obs, reward = their_step(env, moves)
        state, now = step(state, {"agent": jnp.asarray(np.eye(5, dtype=np.float32)[moves])}, jax.random.key(0))
        close(now.obs["agent"], obs, f"step {time}: observations")
        close(now.reward["agent"], reward, f"step {time}: rewards")


@pytest.mark.parametrize("agents", [3, 5])
def test_blocks_of_the_observation_are_in_their_order(agents):
    env = theirs(agents)
    assert env.observation_space("agent_0").shape == (Spread(agents).spec.roles["agent"].obs_size,)
    position = np.arange(2 * agents, dtype=np.float32).reshape(agents, 2)
    velocity, landmarks = 100 + position, 1000 + position
    place(env, position, velocity, landmarks)
    world = env.unwrapped.world
    obs = np.stack([env.unwrapped.scenario.observation(agent, world) for agent in world.agents])
    state = SpreadState(*map(jnp.asarray, (position, velocity, landmarks)), jnp.zeros((), jnp.int32))
    shown = Spread(agents)._show(state, jnp.zeros(agents)).obs["agent"]
    np.testing.assert_array_equal(np.asarray(shown), obs.astype(np.float32))
