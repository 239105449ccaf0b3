"""Cooperative navigation as in CESMA: agents of several sizes and strengths, fewer observed numbers, other rewards."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import Twins, places, put

from headstart.core.checks import HeadstartError
from headstart.core.types import Continuous
from headstart.envs.particle.spread import Spread, SpreadState

RADII, ACCELERATIONS = (0.1, 0.15, 0.2), (7.0, 5.0, 3.5)
NAVIGATION = {"semantics": "openai", "observe": "cesma"}


def crowded(rng, agents, reach=0.3):
    position = rng.uniform(-reach, reach, (agents, 2)).astype(np.float32)
    velocity = rng.normal(size=(agents, 2)).astype(np.float32)
    landmarks = rng.uniform(-1, 1, (agents, 2)).astype(np.float32)
    return SpreadState(*map(jnp.asarray, (position, velocity, landmarks)), jnp.asarray(3, jnp.int32))


def test_sizes_and_strengths_against_mpe2():
    """mpe2's own agents, made large and strong one by one."""
    from mpe2 import simple_spread_v3

    def make():
        env = simple_spread_v3.parallel_env(N=3, max_cycles=25)
        for agent, radius, acceleration in zip(env.unwrapped.world.agents, RADII, ACCELERATIONS, strict=True):
            agent.size, agent.accel = radius, acceleration
        return env

    twins = Twins(
        make,
        Spread(3, semantics="mpe2", radii=RADII, accelerations=ACCELERATIONS),
        place=lambda world, state: put(world, state.position, state.velocity, state.landmarks),
        read=lambda world: SpreadState(*places(world), np.int32(0)),
    )
    assert twins.single_steps(5, 400).contact.mean() > 1 / 3


@pytest.mark.parametrize("reward", ["sum", "split", "pairs", "any"])
@pytest.mark.parametrize(("agents", "radii"), [(3, RADII), (6, (0.1, 0.1, 0.15, 0.15, 0.2, 0.2))])
def test_rewards_are_those_of_plain_loops(reward, agents, radii):
    env, rng = Spread(agents, reward=reward, radii=radii, **NAVIGATION), np.random.default_rng(agents)
    step, bumped = jax.jit(env.step), 0
    for _ in range(150):
        action = {"agent": jnp.asarray(np.eye(5, dtype=np.float32)[rng.integers(5, size=agents)])}
        state, now = step(crowded(rng, agents), action, jax.random.key(0))
        x, marks = np.asarray(state.position, float), np.asarray(state.landmarks, float)
        cover = sum(min(np.linalg.norm(a - mark) for a in x) for mark in marks)
        touching = [
            (i, j) for i, j in itertools.combinations(range(agents), 2) if np.linalg.norm(x[i] - x[j]) < radii[i] + radii[j]
        ]
        bumps = np.array([sum(i in pair for pair in touching) for i in range(agents)])
        want = {
            "sum": np.full(agents, -agents * cover - agents - 2 * len(touching)),
            "split": -0.5 * cover - 0.5 * bumps,
            "pairs": np.full(agents, -cover - len(touching)),
            "any": np.full(agents, -cover - (len(touching) > 0)),
        }[reward]
        np.testing.assert_allclose(now.reward["agent"], want, rtol=1e-5, atol=1e-5)
        bumped += len(touching) > 1
    assert bumped > 5  # "pairs" and "any" would not differ otherwise


@pytest.mark.parametrize("agents", [3, 6])
def test_an_agent_sees_its_velocity_the_landmarks_and_the_others(agents):
    env = Spread(agents, **NAVIGATION)
    assert env.spec.roles["agent"].obs_size == 4 * agents
    state = crowded(np.random.default_rng(0), agents)
    after, now = jax.jit(env.step)(state, {"agent": jnp.zeros((agents, 5))}, jax.random.key(0))
    x, v, marks = (np.asarray(part) for part in after[:3])
    for i in range(agents):
        others = [x[j] - x[i] for j in range(agents) if j != i]
        want = np.concatenate([v[i], *(mark - x[i] for mark in marks), *others])
        np.testing.assert_allclose(now.obs["agent"][i], want, rtol=1e-5, atol=1e-6)


def test_a_force_pushes_as_the_moves_do():
    """Along an axis a full force is a move; in between it is that share of it; beyond ±1 it is no more."""
    moves, force = (
        Spread(3, accelerations=ACCELERATIONS, **NAVIGATION),
        Spread(3, accelerations=ACCELERATIONS, control="force", **NAVIGATION),
    )
    assert force.spec.roles["agent"].actions == Continuous(2, names=("right", "up"))
    state = SpreadState(
        jnp.asarray([[-1.0, 0], [0, 0], [1, 0]]), jnp.zeros((3, 2)), jnp.zeros((3, 2)), jnp.asarray(0, jnp.int32)
    )
    one_way = jnp.asarray(np.eye(5, dtype=np.float32)[[1, 4, 0]])
    a, _ = moves.step(state, {"agent": one_way}, jax.random.key(0))
    b, _ = force.step(state, {"agent": jnp.asarray([[3.0, 0], [0, -1], [0, 0]])}, jax.random.key(0))
    np.testing.assert_allclose(a.velocity, b.velocity, atol=1e-6)
    half, _ = force.step(state, {"agent": jnp.asarray([[0.5, 0], [0, -0.5], [0, 0]])}, jax.random.key(0))
    np.testing.assert_allclose(half.velocity, b.velocity / 2, atol=1e-6)
    assert np.abs(b.velocity).max() == pytest.approx(0.7)


@pytest.mark.parametrize("given", [{"radii": (0.1, 0.2)}, {"accelerations": (1.0, 0.0, 1.0)}, {"radii": (-1.0, 1, 1)}])
def test_one_positive_number_an_agent(given):
    with pytest.raises(HeadstartError, match=r"must be (3 numbers|a tuple with every entry) above 0"):
        Spread(3, **given)
