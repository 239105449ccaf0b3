"""Predator and prey, physical deception: their original semantics and all that mpe2 does not have, by plain loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_particle import loop_of_pairs

from headstart.core.checks import HeadstartError
from headstart.envs.particle.adversary import Adversary, AdversaryState
from headstart.envs.particle.tag import Tag, TagState

KEY = jax.random.key(0)
# Thrust of the original's integer moves as vectors: 1 is +x, 2 is −x, 3 is +y, 4 is −y. mpe2's have the other sign.
PUSH = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]


def one_hot(moves):
    return jnp.asarray(np.eye(5, dtype=np.float32)[np.asarray(moves)])


def single(*values):
    """Constants as single precision has them, or a radius of 0.15 differs by its rounding times 100/1e-3."""
    return np.asarray(values, np.float32).astype(float)


def close(actual, wanted):
    np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------ predator and prey


def tag_state(position, velocity=None, obstacles=()) -> TagState:
    position = jnp.asarray(position, jnp.float32)
    velocity = jnp.zeros_like(position) if velocity is None else jnp.asarray(velocity, jnp.float32)
    return TagState(position, velocity, jnp.asarray(obstacles, jnp.float32).reshape(-1, 2), jnp.zeros((), jnp.int32))


def rewards_of_tag(position, adversaries: int):
    """Written out agent by agent: what each adversary and each prey is paid."""

    def fine(x):
        if x < 0.9:
            return 0.0
        return 10 * (x - 0.9) if x < 1.0 else min(math.exp(2 * x - 2), 10.0)

    hunters, prey = position[:adversaries], position[adversaries:]
    touch = lambda a, b: math.dist(a, b) < 0.075 + 0.05
    hunted = [sum(10.0 for b in prey for a in hunters if touch(a, b)) for _ in hunters]
    return hunted, [-sum(10.0 for a in hunters if touch(a, b)) - fine(abs(b[0])) - fine(abs(b[1])) for b in prey]


def observations_of_tag(position, velocity, obstacles, adversaries: int):
    out = []
    for i in range(len(position)):
        row = [*velocity[i], *position[i]]
        for x in obstacles:
            row += [x[0] - position[i][0], x[1] - position[i][1]]
        for j in range(len(position)):
            if j != i:
                row += [position[j][0] - position[i][0], position[j][1] - position[i][1]]
        for j in range(adversaries, len(position)):
            if j != i:
                row += [*velocity[j]]
        out.append(row)
    return np.array(out[:adversaries]), np.array(out[adversaries:])


@pytest.mark.parametrize("adversaries,prey,obstacles", [(3, 1, 2), (1, 1, 2), (3, 3, 2), (4, 2, 3)])
@pytest.mark.parametrize("speed", [1.3, 1.8])
def test_the_original_tag_against_loops(adversaries, prey, obstacles, speed):
    """200 states, half of them crowded: one step of everything, force by force and agent by agent."""
    env = Tag(adversaries, prey, obstacles, semantics="openai", prey_speed=speed, scale_acceleration=True)
    rng, agents, count = np.random.default_rng(adversaries + prey), adversaries + prey, 200
    reach = np.where(np.arange(count) % 2, 1.2, 0.25)[:, None, None]
    position = (rng.uniform(-1, 1, (count, agents, 2)) * reach).astype(np.float32)
    velocity = rng.normal(size=(count, agents, 2)).astype(np.float32)
    stones = rng.uniform(-0.9, 0.9, (count, obstacles, 2)).astype(np.float32)
    moves = rng.integers(0, 5, (count, agents))
    action = {"adversary": one_hot(moves[:, :adversaries]), "agent": one_hot(moves[:, adversaries:])}
    states = TagState(*map(jnp.asarray, (position, velocity, stones)), jnp.zeros(count, jnp.int32))
    new, step = jax.jit(jax.vmap(env.step))(states, action, jax.random.split(KEY, count))

    # The prey's thrust of 4 belongs to its speed of 1.3.
    strength = single(*[3.0] * adversaries, *[4 * speed / 1.3] * prey)[:, None]
    radius = single(*[0.075] * adversaries, *[0.05] * prey, *[0.2] * obstacles)
    top = single(*[1.0] * adversaries, *[speed] * prey)
    caught = 0
    for i in range(count):
        push = strength * np.array(PUSH, float)[moves[i]]
        solid = np.concatenate([position[i], stones[i]]).astype(float)
        body = (radius, np.ones(len(solid)), top, np.ones(len(solid), bool))
        where, fast = loop_of_pairs(solid, velocity[i].astype(float), push, *body, "openai")
        close(new.position[i], where)
        close(new.velocity[i], fast)
        hunted, escaped = rewards_of_tag(where, adversaries)
        close(step.reward["adversary"][i], hunted)
        close(step.reward["agent"][i], escaped)
        seen = observations_of_tag(where, fast, stones[i], adversaries)
        close(step.obs["adversary"][i], seen[0])
        close(step.obs["agent"][i], seen[1])
        caught += hunted[0] > 0
    assert caught >= 5


@pytest.mark.parametrize(
    "prey,adversaries,obstacles,sizes", [(1, 1, 2, (12, 10)), (1, 3, 2, (16, 14)), (3, 3, 2, (24, 22)), (1, 3, 3, (18, 16))]
)
def test_sizes_of_tag(prey, adversaries, obstacles, sizes):
    env = Tag(adversaries, prey, obstacles)
    _, step = jax.eval_shape(env.reset, KEY)
    for (role, size), agents in zip({"adversary": sizes[0], "agent": sizes[1]}.items(), (adversaries, prey), strict=True):
        assert env.spec.roles[role].obs_size == size
        assert step.obs[role].shape == (agents, size)


@pytest.mark.parametrize("semantics", ["openai", "mpe2"])
@pytest.mark.parametrize(
    "prey,hunted,escaped",
    [
        ([[0.5, 0.5]], 0, [0]),
        ([[0.1, 0.0]], 20, [-20]),  # between two of the three adversaries
        ([[0.0, 0.1], [0.0, -0.1], [0.5, 0.5]], 20, [-10, -10, 0]),  # two pairs, paid to all three adversaries
        ([[0.95, 0.0], [1.5, -0.95], [3.0, -3.0]], 0, [-0.5, -math.e - 0.5, -20]),
    ],
)
def test_rewards_of_known_states_of_tag(semantics, prey, hunted, escaped):
    env = Tag(3, len(prey), semantics=semantics)
    got = jax.jit(env._reward)(tag_state([[0, 0], [0.2, 0], [-0.5, -0.5], *prey]))
    np.testing.assert_allclose(got[0], [hunted] * 3, atol=1e-5)
    np.testing.assert_allclose(got[1], escaped, rtol=1e-5, atol=1e-5)


def test_where_everybody_begins_in_tag():
    env = Tag(3, 2, 4)
    state, step = jax.jit(jax.vmap(env.reset))(jax.random.split(KEY, 2000))
    for x, reach in ((state.position, 1.0), (state.obstacles, 0.9)):
        x = np.asarray(x)
        assert 0.99 * reach < np.abs(x).max() <= reach
        np.testing.assert_allclose(x.mean((0, 1)), 0, atol=0.05)
        np.testing.assert_allclose((x**2).mean((0, 1)), reach**2 / 3, atol=0.02)
    assert not np.asarray(state.velocity).any() and not any(np.asarray(x).any() for x in step.reward.values())


# ------------------------------------------------------------------ prey that the environment moves


def after_one_step(env, position, count=1):
    """Velocities of the prey [n P 2] after a step from rest, under n keys."""
    stay = {"adversary": one_hot([0] * env.adversaries)}
    step = jax.jit(jax.vmap(lambda key: env.step(tag_state(position), stay, key)))
    state, _ = step(jax.random.split(KEY, count))
    return np.asarray(state.velocity)[:, env.adversaries :]


@pytest.mark.parametrize("speed,scaled,thrust", [(1.3, False, 4), (1.8, False, 4), (1.8, True, 4 * 1.8 / 1.3)])
@pytest.mark.parametrize("semantics", ["openai", "mpe2"])
def test_a_random_prey_thrusts_uniformly_on_both_axes(speed, scaled, thrust, semantics):
    env = Tag(1, 2, 0, policy="random", prey_speed=speed, scale_acceleration=scaled, semantics=semantics)
    got = after_one_step(env, [[0, 0], [0.5, 0.5], [-0.5, -0.5]], 4000).reshape(4000, 4) / (0.1 * thrust)
    assert 0.99 < np.abs(got).max() <= 1 + 1e-6
    np.testing.assert_allclose(got.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(got.T @ got / 4000, np.eye(4) / 3, atol=0.03)  # independent of each other
    np.testing.assert_allclose((got**4).mean(0), 1 / 5, atol=0.03)


def test_a_random_prey_moves_anew_each_step():
    env = Tag(1, 1, 0, policy="random", semantics="openai")
    (state, _), step, pushes = jax.jit(env.reset)(KEY), jax.jit(env.step), []
    for key in jax.random.split(jax.random.key(1), 4):
        new, _ = step(state, {"adversary": one_hot([0])}, key)
        pushes.append(np.asarray(new.velocity - 0.75 * state.velocity)[1])
        state = new
    assert len({tuple(x) for x in np.round(pushes, 4).tolist()}) == 4


@pytest.mark.parametrize("policy", ["random", "evasive"])
def test_a_prey_of_the_environment_is_not_in_the_team(policy):
    """Its predators see and earn what they would of a prey that learns."""
    env, learned = Tag(3, 2, policy=policy), Tag(3, 2)
    assert list(env.spec.roles) == ["adversary"] and list(learned.spec.roles) == ["adversary", "agent"]
    assert env.spec.roles["adversary"] == learned.spec.roles["adversary"]
    state, step = jax.jit(env.reset)(KEY)
    assert list(step.obs) == list(step.reward) == list(step.alive) == ["adversary"]
    np.testing.assert_array_equal(step.obs["adversary"], jax.jit(learned.reset)(KEY)[1].obs["adversary"])
    crowded = state._replace(position=state.position * 0.1)
    state, step = jax.jit(env.step)(crowded, {"adversary": one_hot([0, 1, 2])}, KEY)
    close(step.reward["adversary"], rewards_of_tag(np.asarray(state.position, float), 3)[0])
    seen, _ = observations_of_tag(*(np.asarray(x, float) for x in state[:3]), 3)
    close(step.obs["adversary"], seen)


@pytest.mark.parametrize("semantics", ["openai", "mpe2"])
def test_an_evasive_prey_against_the_rule(semantics):
    rng, adversaries, prey = np.random.default_rng(0), 3, 2
    env = Tag(adversaries, prey, 0, policy="evasive", semantics=semantics)
    step = jax.jit(env.step)
    beyond = 0
    for _ in range(100):
        # On a grid of 0.3, a quarter of it off: nobody touches, some are beyond 0.9.
        cells = rng.choice(64, adversaries + prey, replace=False)
        position = np.stack([cells // 8, cells % 8], -1) * 0.3 - 1.05 + rng.uniform(-0.05, 0.05, (adversaries + prey, 2))
        state, _ = step(tag_state(position), {"adversary": one_hot([0] * adversaries)}, KEY)
        for b in range(adversaries, adversaries + prey):
            flee = [0.0, 0.0]
            for a in range(adversaries):
                away = [position[b][k] - position[a][k] for k in (0, 1)]
                for k in (0, 1):
                    flee[k] += away[k] / (away[0] ** 2 + away[1] ** 2)
            wanted = [x / math.hypot(*flee) for x in flee]
            for k in (0, 1):
                if abs(position[b][k]) > 0.9:
                    wanted[k], beyond = -math.copysign(1, position[b][k]), beyond + 1
            close(state.velocity[b] / (0.1 * 4), wanted)
    assert beyond > 20


def test_an_evasive_prey_runs_from_a_predator_and_from_the_edge():
    env = Tag(1, 1, 0, policy="evasive")
    close(after_one_step(env, [[0, 0], [0.3, 0]])[0, 0], [0.4, 0])
    close(after_one_step(env, [[0, 0.5], [0, 0.2]])[0, 0], [0, -0.4])
    close(after_one_step(env, [[0.5, 0], [0.95, 0]])[0, 0], [-0.4, 0])
    assert np.isfinite(after_one_step(env, [[0.1, 0.1], [0.1, 0.1]])).all()


def chased(env, count=64) -> float:
    """Mean return of an adversary over an episode in which all of them thrust towards the nearest prey."""

    def body(carry, key):
        state, total = carry
        gap = state.position[None, env.adversaries :] - state.position[: env.adversaries, None]
        gap = jnp.take_along_axis(gap, jnp.sum(gap**2, -1).argmin(1)[:, None, None], 1)[:, 0]
        along_x = jnp.abs(gap[:, 0]) > jnp.abs(gap[:, 1])
        move = jnp.where(along_x, 1 + (gap[:, 0] > 0), 3 + (gap[:, 1] > 0))
        state, step = env.step(state, {"adversary": jax.nn.one_hot(move, 5)}, key)
        return (state, total + step.reward["adversary"][0]), None

    def episode(key):
        state, _ = env.reset(key)
        return jax.lax.scan(body, (state, jnp.zeros(())), jax.random.split(key, env.horizon))[0][1]

    return float(jax.jit(jax.vmap(episode))(jax.random.split(KEY, count)).mean())


def test_an_evasive_prey_is_harder_to_catch():
    caught = {policy: chased(Tag(3, policy=policy, horizon=50)) for policy in ("random", "evasive")}
    assert 0 < caught["evasive"] < 0.5 * caught["random"]


# ------------------------------------------------------------------ physical deception


@pytest.mark.parametrize("agents,adversaries,landmarks,sizes", [(2, 1, 2, (8, 10)), (3, 2, 3, (14, 16)), (4, 3, 4, (20, 22))])
def test_sizes_of_adversary(agents, adversaries, landmarks, sizes):
    env = Adversary(adversaries, agents)
    state, step = jax.eval_shape(env.reset, KEY)
    assert state.landmarks.shape == (landmarks, 2)
    for (role, size), count in zip({"adversary": sizes[0], "agent": sizes[1]}.items(), (adversaries, agents), strict=True):
        assert env.spec.roles[role].obs_size == size
        assert step.obs[role].shape == (count, size)


@pytest.mark.parametrize("semantics", ["openai", "mpe2"])
@pytest.mark.parametrize("adversaries,agents,landmarks", [(1, 2, 2), (2, 3, 3), (3, 1, 5), (1, 1, 1)])
def test_deception_against_loops(semantics, adversaries, agents, landmarks):
    """200 states: one step, the rewards it pays and what is seen after it."""
    env = Adversary(adversaries, agents, landmarks, semantics=semantics)
    rng, everybody, count = np.random.default_rng(agents), adversaries + agents, 200
    position, velocity = rng.uniform(-1, 1, (2, count, everybody, 2)).astype(np.float32)
    marks = rng.uniform(-1, 1, (count, landmarks, 2)).astype(np.float32)
    goals, moves = rng.integers(0, landmarks, count), rng.integers(0, 5, (count, everybody))
    states = AdversaryState(
        *map(jnp.asarray, (position, velocity, marks, np.eye(landmarks, dtype=np.float32)[goals])), jnp.zeros(count, jnp.int32)
    )
    action = {"adversary": one_hot(moves[:, :adversaries]), "agent": one_hot(moves[:, adversaries:])}
    new, step = jax.jit(jax.vmap(env.step))(states, action, jax.random.split(KEY, count))
    sign = 1 if semantics == "openai" else -1
    for i in range(count):
        fast = 0.75 * velocity[i].astype(float) + 0.1 * 5 * sign * np.array(PUSH, float)[moves[i]]
        where = position[i] + 0.1 * (fast if semantics == "openai" else velocity[i].astype(float))
        close(new.position[i], where)
        close(new.velocity[i], fast)
        goal = marks[i][goals[i]]
        far = [math.dist(x, goal) for x in where]
        close(step.reward["adversary"][i], [-(d**2) if semantics == "openai" else -d for d in far[:adversaries]])
        close(step.reward["agent"][i], [sum(far[:adversaries]) - min(far[adversaries:])] * agents)
        for a in range(everybody):
            seen = [] if a < adversaries else [*(goal - where[a])]
            for x in [*marks[i], *(where[b] for b in range(everybody) if b != a)]:
                seen += [x[0] - where[a][0], x[1] - where[a][1]]
            close(step.obs["adversary"][i, a] if a < adversaries else step.obs["agent"][i, a - adversaries], seen)


def deception_state(position, landmarks, goal: int) -> AdversaryState:
    position, landmarks = jnp.asarray(position, jnp.float32), jnp.asarray(landmarks, jnp.float32)
    return AdversaryState(
        position, jnp.zeros_like(position), landmarks, jnp.eye(len(landmarks))[goal], jnp.zeros((), jnp.int32)
    )


@pytest.mark.parametrize("goal,far,agents", [(0, 3, 3 - 1), (1, 5, 5 - 2)])
@pytest.mark.parametrize("semantics", ["openai", "mpe2"])
def test_rewards_of_known_states_of_deception(goal, far, agents, semantics):
    """An adversary at (3, 0), agents at (0, 1) and (0, 2); landmarks at (0, 0) and (0, 4)."""
    env = Adversary(semantics=semantics)
    got = jax.jit(env._reward)(deception_state([[3, 0], [0, 1], [0, 2]], [[0, 0], [0, 4]], goal))
    np.testing.assert_allclose(got[0], [-(far**2) if semantics == "openai" else -far], rtol=1e-6)
    np.testing.assert_allclose(got[1], [agents] * 2, rtol=1e-6)


def test_an_adversary_cannot_see_the_goal():
    env = Adversary(2, 3)
    position, marks = np.random.default_rng(0).uniform(-1, 1, (2, 5, 2))
    one, other = (
        env.step(deception_state(position, marks[:3], g), {"adversary": one_hot([0] * 2), "agent": one_hot([0] * 3)}, KEY)[1]
        for g in (0, 2)
    )
    np.testing.assert_array_equal(one.obs["adversary"], other.obs["adversary"])
    assert (np.asarray(one.obs["agent"]) != np.asarray(other.obs["agent"]))[:, :2].all()


def test_any_landmark_may_be_the_goal_and_is_drawn_in_another_colour():
    env = Adversary(2, 3, 4)
    state, _ = jax.jit(jax.vmap(env.reset))(jax.random.split(KEY, 4000))
    goal = np.asarray(state.goal)
    assert ((goal == 1).sum(1) == 1).all() and ((goal == 0).sum(1) == 3).all()
    np.testing.assert_allclose(goal.mean(0), 1 / 4, atol=0.03)
    places = np.concatenate([state.position, state.landmarks], 1)
    np.testing.assert_allclose((places**2).mean((0, 1)), 1 / 3, atol=0.02)
    assert np.abs(places).max() <= 1
    # Which one counts says nothing of where it is.
    np.testing.assert_allclose((goal[..., None] * np.asarray(state.landmarks)).sum(1).mean(0), 0, atol=0.04)
    first = jax.tree.map(lambda x: x[0], state)
    scene = env.scene(first)
    assert scene.shade.tolist() == [0] * 5 + first.goal.astype(int).tolist()
    assert [len(x["colors"]) for x in env.entities] == [1] * 5 + [2] * 4


@pytest.mark.parametrize("env", [Tag(2, 3, 4), Tag(2, 3, 4, policy="random"), Adversary(2, 3, 4)])
def test_every_entity_has_its_place_in_the_picture(env):
    state, _ = jax.jit(env.reset)(KEY)
    scene = jax.jit(env.scene)(state)
    assert len(env.entities) == len(scene.place) == 9
    np.testing.assert_array_equal(scene.place, np.concatenate([state[0], state[2]]))
    radii = [0.075] * 2 + [0.05] * 3 + [0.2] * 4 if isinstance(env, Tag) else [0.15] * 5 + [0.08] * 4
    assert [x["radius"] for x in env.entities] == radii


@pytest.mark.parametrize("bad", [{"adversaries": 0}, {"prey": 0}, {"obstacles": -1}, {"horizon": 0}, {"prey_speed": 0.0}])
def test_bad_settings_of_tag_are_refused_in_one_line(bad):
    with pytest.raises(HeadstartError) as caught:
        Tag(**bad)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"env.{next(iter(bad))} must be")


@pytest.mark.parametrize("bad", [{"adversaries": 0}, {"agents": 0}, {"landmarks": -1}, {"horizon": 0}])
def test_bad_settings_of_deception_are_refused_in_one_line(bad):
    with pytest.raises(HeadstartError) as caught:
        Adversary(**bad)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"env.{next(iter(bad))} must be")
