"""Particle physics and cooperative navigation: golden numbers, and loops over pairs written without any array tricks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from headstart.core.checks import HeadstartError
from headstart.envs.particle import physics
from headstart.envs.particle.spread import Spread, SpreadState

KEY = jax.random.key(0)


def one_hot(*moves):
    return {"agent": jnp.asarray(np.eye(5, dtype=np.float32)[list(moves)])}


def placed(position, velocity=None, landmarks=None) -> SpreadState:
    position = np.asarray(position, np.float32)
    velocity = np.zeros_like(position) if velocity is None else np.asarray(velocity, np.float32)
    landmarks = np.zeros_like(position) if landmarks is None else np.asarray(landmarks, np.float32)
    return SpreadState(jnp.asarray(position), jnp.asarray(velocity), jnp.asarray(landmarks), jnp.zeros((), jnp.int32))


# ------------------------------------------------------------------ golden numbers


@pytest.mark.parametrize("semantics,moved", [("openai", 0.05), ("mpe2", 0.0)])
def test_first_step_from_rest(semantics, moved):
    """A control force of 5: v = 0.5 in both; x moves 0.05 where velocity is integrated first, not at all otherwise."""
    body = physics.bodies(np.array([0.15]))
    push = jnp.array([[5.0, 0.0]])
    position, velocity = physics.move(jnp.zeros((1, 2)), jnp.zeros((1, 2)), push, body, semantics)
    np.testing.assert_allclose(velocity, [[0.5, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(position, [[moved, 0.0]], atol=1e-8)


def test_signs_of_integer_actions():
    """mpe2: 1 = −x, 2 = +x, 3 = −y, 4 = +y; the original's action vectors have every sign the other way."""
    wanted = {0: (0, 0), 1: (-5, 0), 2: (5, 0), 3: (0, -5), 4: (0, 5)}
    for move, force in wanted.items():
        vector = jnp.asarray(np.eye(5, dtype=np.float32)[[move]])
        np.testing.assert_array_equal(physics.thrust(vector, 5.0, "mpe2")[0], force)
        np.testing.assert_array_equal(-physics.thrust(vector, 5.0, "openai")[0], force)


def test_thrust_of_soft_actions_and_of_each_agents_own_strength():
    soft = np.array([[0.1, 0.4, 0.2, 0.1, 0.2], [0.0, 0.5, 0.0, 0.0, 0.5]], np.float32)
    got = physics.thrust(jnp.asarray(soft), np.array([3.0, 4.0]), "openai")
    np.testing.assert_allclose(got, [[0.6, -0.3], [2.0, -2.0]], rtol=1e-6)


def test_the_env_moves_by_them():
    for semantics, sign in (("mpe2", -1), ("openai", 1)):
        env = Spread(1, semantics=semantics)
        state, _ = env.step(placed([[0, 0]]), one_hot(1), KEY)
        np.testing.assert_allclose(state.velocity, [[sign * 0.5, 0]], rtol=1e-6)


@pytest.mark.parametrize("agents,size", [(3, 18), (4, 24), (6, 36), (8, 48)])
def test_sizes_of_observations(agents, size):
    env = Spread(agents)
    assert env.spec.roles["agent"].obs_size == size
    assert env.reset(KEY)[1].obs["agent"].shape == (agents, size)


def test_the_first_positions_are_uniform_in_the_arena():
    state, step = jax.vmap(Spread(3).reset)(jax.random.split(KEY, 2000))
    for x in (np.asarray(state.position), np.asarray(state.landmarks)):
        assert np.abs(x).max() <= 1
        np.testing.assert_allclose(x.mean((0, 1)), 0, atol=0.05)
        np.testing.assert_allclose((x**2).mean((0, 1)), 1 / 3, atol=0.02)
    assert not np.asarray(state.velocity).any() and not np.asarray(step.reward["agent"]).any()


# ------------------------------------------------------------------ rewards


def shared_reward(position, landmarks) -> float:
    """The original's reward written out: everyone is paid the sum over agents, and each bumps into itself."""
    agents, total = len(position), 0.0
    for a in range(agents):
        for mark in landmarks:
            total -= min(math.dist(mark, x) for x in position)
        for b in range(agents):
            if math.dist(position[a], position[b]) < 0.3:
                total -= 1
    return total


HANDS = [
    ([[0, 0], [0.5, 0], [0, 0.5]], [[0.9, 0.9], [-0.9, 0], [0, 0]]),
    ([[0, 0], [0.2, 0], [0, 0.2]], [[1, 0], [0, 1], [0, 0]]),
    ([[0, 0], [0.29, 0], [0.58, 0]], [[0, 0], [0.29, 0], [0.58, 0]]),
]


@pytest.mark.parametrize("position,landmarks", HANDS)
def test_openai_reward_of_hand_placed_states(position, landmarks):
    env = Spread(3, semantics="openai")
    _, step = env.step(placed(position, landmarks=landmarks), one_hot(0, 0, 0), KEY)
    after = env.step(placed(position, landmarks=landmarks), one_hot(0, 0, 0), KEY)[0].position
    np.testing.assert_allclose(step.reward["agent"], [shared_reward(np.asarray(after), landmarks)] * 3, rtol=1e-5)


def test_openai_reward_of_known_states():
    """One agent on each landmark: nothing but the −1 each pays for itself; all three in a heap: two for each pair."""
    env = Spread(3, semantics="openai")
    far = [[0, 0], [1, 0], [0, 1]]
    reward = env._reward(placed(far, landmarks=far))
    np.testing.assert_allclose(reward, [-3, -3, -3], atol=1e-6)
    heap = [[0, 0], [0.1, 0], [0, 0.1]]
    reward = env._reward(placed(heap, landmarks=heap))
    np.testing.assert_allclose(reward, [-3 - 2 * 3] * 3, atol=1e-6)


def test_openai_reward_of_random_states():
    rng, env = np.random.default_rng(0), Spread(4, landmarks=3, semantics="openai")
    for _ in range(100):
        position, landmarks = rng.uniform(-0.6, 0.6, (4, 2)), rng.uniform(-1, 1, (3, 2))
        got = env._reward(placed(position, landmarks=landmarks))
        np.testing.assert_allclose(got, [shared_reward(position, landmarks)] * 4, rtol=1e-5)


# ------------------------------------------------------------------ physics


def loop_of_pairs(position, velocity, thrust, radius, mass, top, collides, order):
    """One step of the particle world, force by force, in double precision."""
    movable = len(velocity)
    force = [list(map(float, f)) for f in thrust]
    for i in range(len(position)):
        for j in range(i + 1, len(position)):
            if not (collides[i] and collides[j]):
                continue
            dx, dy = position[i][0] - position[j][0], position[i][1] - position[j][1]
            distance = math.hypot(dx, dy)
            depth = (radius[i] + radius[j] - distance) / 1e-3
            soft = 1e-3 * (depth if depth > 500 else math.log1p(math.exp(depth)))
            push = 100 * soft / distance
            for who, sign in ((i, 1), (j, -1)):
                if who < movable:
                    force[who][0] += sign * push * dx
                    force[who][1] += sign * push * dy
    places, speeds = [], []
    for i in range(movable):
        v = [0.75 * velocity[i][k] + 0.1 * force[i][k] / mass[i] for k in (0, 1)]
        speed = math.hypot(*v)
        if speed > top[i]:
            v = [x / speed * top[i] for x in v]
        flight = v if order == "openai" else velocity[i]
        places.append([position[i][k] + 0.1 * flight[k] for k in (0, 1)])
        speeds.append(v)
    return np.array(places), np.array(speeds)


@pytest.mark.parametrize("semantics", ["openai", "mpe2"])
@pytest.mark.parametrize("capped", [False, True])
def test_move_against_a_loop_over_pairs(semantics, capped):
    """200 crowded worlds of six movable bodies and two obstacles, of different radii and masses; one body is a ghost."""
    rng = np.random.default_rng(7)
    radius = np.array([0.05, 0.075, 0.1, 0.15, 0.15, 0.2, 0.2, 0.3])
    mass = np.array([1.0, 0.5, 2.0, 1.0, 3.0, 1.0, 1.0, 1.0])
    top = np.array([1.0, 1.3, np.inf, 0.2, np.inf, 0.5, 1, 1]) if capped else np.full(8, np.inf)
    collides = np.array([1, 1, 1, 0, 1, 1, 1, 1], bool)
    body = physics.bodies(radius, mass, top, collides)
    step = jax.jit(lambda x, v, f: physics.move(x, v, f, body, semantics))
    for _ in range(200):
        position = rng.uniform(-0.5, 0.5, (8, 2)).astype(np.float32)
        velocity = rng.normal(size=(6, 2)).astype(np.float32)
        thrust = (5 * rng.normal(size=(6, 2))).astype(np.float32)
        got = step(position, velocity, thrust)
        # The constants in single precision as well, or a radius of 0.15 differs by its rounding times 100/1e-3.
        single = [np.asarray(x, np.float32).astype(float) for x in (radius, mass, top)]
        wanted = loop_of_pairs(position.astype(float), velocity.astype(float), thrust, *single, collides, semantics)
        for x, y in zip(got, wanted, strict=True):
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5)


def test_speed_is_capped():
    body = physics.bodies(np.full(2, 0.05), max_speed=np.array([0.3, np.inf]), collides=False)
    position, velocity = jnp.zeros((2, 2)), jnp.zeros((2, 2))
    for _ in range(50):
        position, velocity = physics.move(position, velocity, jnp.full((2, 2), 3.0), body, "openai")
    speed = np.linalg.norm(velocity, axis=-1)
    # Without a cap, v = 0.75·v + 0.3 an axis settles at 0.4 times the force.
    np.testing.assert_allclose(speed, [0.3, 1.2 * 2**0.5], rtol=1e-5)


def test_heavier_bodies_move_less():
    body = physics.bodies(np.full(2, 0.05), mass=np.array([1.0, 4.0]), collides=False)
    _, velocity = physics.move(jnp.zeros((2, 2)), jnp.zeros((2, 2)), jnp.ones((2, 2)), body, "openai")
    np.testing.assert_allclose(velocity, [[0.1, 0.1], [0.025, 0.025]], rtol=1e-6)


def test_obstacles_push_and_are_not_pushed():
    """A movable body beside an obstacle flies off along the line between them with 100 times the overlap."""
    body = physics.bodies(np.array([0.1, 0.2]))
    position = jnp.array([[0.25, 0.0], [0.0, 0.0]])
    moved, velocity = physics.move(position, jnp.zeros((1, 2)), jnp.zeros((1, 2)), body, "openai")
    assert moved.shape == velocity.shape == (1, 2)
    np.testing.assert_allclose(velocity, [[0.1 * 100 * 0.05, 0.0]], rtol=1e-4)


def test_ghosts_feel_nothing():
    body = physics.bodies(np.full(3, 0.3), collides=np.array([True, False, False]))
    assert not np.asarray(physics.contact(jnp.array([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0]]), body, 3)).any()


def test_others_skips_oneself():
    got = np.asarray(physics.others(jnp.arange(8.0).reshape(4, 2)))
    for a in range(4):
        np.testing.assert_array_equal(got[a], [[2 * b, 2 * b + 1] for b in range(4) if b != a])


# ------------------------------------------------------------------ seeing only the nearest


def test_nearest_observations_against_a_sort():
    rng, agents, near = np.random.default_rng(1), 5, 3
    env = Spread(agents, landmarks=4, nearest=near)
    assert env.spec.roles["agent"].obs_size == 4 + 2 * near + 4 * (near - 1)
    for _ in range(20):
        position, velocity = rng.uniform(-1, 1, (2, agents, 2)).astype(np.float32)
        landmarks = rng.uniform(-1, 1, (4, 2)).astype(np.float32)
        got = np.asarray(env._show(placed(position, velocity, landmarks), jnp.zeros(agents), jnp.zeros(())).obs["agent"])
        for a in range(agents):
            marks = sorted((landmarks - position[a]).tolist(), key=lambda v: math.hypot(*v))[:near]
            mates = [position[b] - position[a] for b in range(agents) if b != a]
            mates = sorted(np.array(mates).tolist(), key=lambda v: math.hypot(*v))[: near - 1]
            wanted = [*velocity[a], *position[a], *np.ravel(marks), *np.ravel(mates), *[0] * 2 * (near - 1)]
            np.testing.assert_allclose(got[a], wanted, rtol=1e-6)


@pytest.mark.parametrize("bad", [{"agents": 0}, {"landmarks": -1}, {"horizon": 0}, {"nearest": 4}, {"nearest": -1}])
def test_bad_settings_are_refused_in_one_line(bad):
    with pytest.raises(HeadstartError) as caught:
        Spread(**{"agents": 3, **bad})
    assert "\n" not in str(caught.value) and str(next(iter(bad.values()))) in str(caught.value)
