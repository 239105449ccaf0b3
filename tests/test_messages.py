"""Agents that talk: the scenarios against mpe2 and against plain loops, and who hears what when, in every environment."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from parity import Twins, close, places, put

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.env import vectorise
from headstart.core.types import Discrete
from headstart.envs.particle import world
from headstart.envs.particle.reference import Reference, ReferenceState
from headstart.envs.particle.speaker_listener import SpeakerListener, SpeakerListenerState
from headstart.views.adapt import adapt

ENVS = registry.presets("env")
# Adapters of other packages, which have an `id`, know of no routes, and to make their spec takes the package.
TALKING = [name for name, env in ENVS.items() if not hasattr(env, "id") and env.spec.messages]
KEY = jr.key(0)

BRIGHT_COLORS = [(0.75, 0.25, 0.25), (0.25, 0.75, 0.25), (0.25, 0.25, 0.75), (0.75, 0.75, 0.25), (0.75, 0.25, 0.75)]
DARK_COLORS = [(0.65, 0.15, 0.15), (0.15, 0.65, 0.15), (0.15, 0.15, 0.65)]


def hot(options: int, chosen) -> np.ndarray:
    return np.eye(options, dtype=np.float32)[np.asarray(chosen)]


def single(*values):
    return [np.asarray(x, np.float32) for x in values]


# ------------------------------------------------------------------ mpe2, state for state


@functools.cache
def speaker_listener_twins() -> Twins:
    from mpe2 import simple_speaker_listener_v4

    def place(world, state):
        still = np.zeros((1, 2))
        put(world, [*state.speaker, *state.position], [*still, *state.velocity], state.landmarks)
        speaker, listener = world.agents
        speaker.goal_a, speaker.goal_b = listener, world.landmarks[int(state.goal[0].argmax())]
        speaker.state.c = np.array(state.message[0], np.float64)

    def read(world):
        position, velocity, landmarks = places(world)
        goal = hot(3, [world.landmarks.index(world.agents[0].goal_b)])
        message = np.array([world.agents[0].state.c], np.float32)
        return SpeakerListenerState(position[:1], position[1:], velocity[1:], landmarks, goal, message, np.int32(0))

    make = lambda: simple_speaker_listener_v4.parallel_env(max_cycles=25, continuous_actions=False)
    vary = lambda rng, s: s._replace(message=rng.normal(size=s.message.shape).astype(np.float32))
    return Twins(make, SpeakerListener(semantics="mpe2"), place, read, vary)


@functools.cache
def reference_twins() -> Twins:
    from mpe2 import simple_reference_v3

    def place(world, state):
        put(world, state.position, state.velocity, state.landmarks)
        for guide, guided, goal, message in zip(world.agents, world.agents[::-1], state.goal[::-1], state.message, strict=True):
            guide.goal_a, guide.goal_b = guided, world.landmarks[int(goal.argmax())]
            guide.state.c = np.array(message, np.float64)

    def read(world):
        goal = hot(3, [world.landmarks.index(guide.goal_b) for guide in world.agents[::-1]])
        message = np.array([agent.state.c for agent in world.agents], np.float32)
        return ReferenceState(*places(world), goal, message, np.int32(0))

    make = lambda: simple_reference_v3.parallel_env(max_cycles=25, continuous_actions=False)
    vary = lambda rng, s: s._replace(message=rng.normal(size=s.message.shape).astype(np.float32))
    return Twins(make, Reference(semantics="mpe2"), place, read, vary)


each_twins = pytest.mark.parametrize("twins", [speaker_listener_twins, reference_twins])


@each_twins
def test_mpe2_single_steps(twins):
    """What was said before the step (here noise) leaves no trace after it."""
    pytest.importorskip("mpe2")
    seen = twins().single_steps(1)
    assert not seen.contact.any()
    assert all(len(np.unique(x)) > 900 for x in seen.reward.values())


@each_twins
def test_mpe2_rollouts(twins):
    pytest.importorskip("mpe2")
    twins().rollouts(2)


@each_twins
def test_mpe2_whole_episodes_uncorrected(twins):
    """Nothing collides, so nothing magnifies a rounding."""
    pytest.importorskip("mpe2")
    both, rng = twins(), np.random.default_rng(4)
    for i in range(3):
        state, _ = both.ours.reset(jr.key(i))
        both.follow(jax.tree.map(np.asarray, state), both.choices(rng, 25))


@each_twins
def test_mpe2_first_observations(twins):
    """Of mpe2's own resets; and the constants of its world, which no observation shows, are the ones we draw with."""
    pytest.importorskip("mpe2")
    both = twins()
    env, ours = both.theirs, both.ours
    drawn = ours.entities
    for seed in range(20):
        obs, _ = env.reset(seed=seed)
        state = jax.tree.map(jnp.asarray, both.read(env.unwrapped.world))
        agents = sum(about.agents for about in ours.spec.roles.values())
        shown = ours._show(state, jnp.zeros(agents // len(ours.spec.roles))).obs
        for role, names in ours.spec.names.items():
            close(shown[role], np.stack([obs[name] for name in names]), role)
    assert [x["radius"] for x in drawn] == [x.size for x in env.unwrapped.world.entities]


# ------------------------------------------------------------------ the original, written out in loops


def pushed(position, velocity, move, semantics):
    """A body that touches nothing, after 0.1 s; `move` is an index into the action vector."""
    sign = {"openai": 1.0, "mpe2": -1.0}[semantics]
    force = [0.0, 0.0]
    if move:
        force[(move - 1) // 2] = 5.0 * sign * (1 if move % 2 else -1)
    faster = [0.75 * v + 0.1 * f for v, f in zip(velocity, force, strict=True)]
    flight = faster if semantics == "openai" else velocity
    return [x + 0.1 * v for x, v in zip(position, flight, strict=True)], faster


def reference_by_loops(position, velocity, landmarks, goal, moves, words, vocabulary, semantics, reward):
    """Observations [A O] and rewards [A] after a step of `Reference`, in double precision."""
    agents = range(len(position))
    after = [pushed(position[i], velocity[i], moves[i], semantics) for i in agents]
    obs = []
    for i in agents:
        row = list(after[i][1])
        for mark in landmarks:
            row += [mark[0] - after[i][0][0], mark[1] - after[i][0][1]]
        for j in agents:
            row += BRIGHT_COLORS[goal[j]] if j != i else ()
        for j in agents:
            row += [float(word == words[j]) for word in range(vocabulary)] if j != i else ()
        obs.append(row)
    far = [math.dist(after[i][0], landmarks[goal[i]]) for i in agents]
    guided = [[far[j] for j in agents if j != i] for i in agents]
    if reward == "squared":  # each contributes the mean over those it guides, and all are paid the sum
        pay = [-sum(np.mean(np.square(guided[i])) for i in agents)] * len(position)
    elif reward == "distance":
        pay = [-sum(far)] * len(position)
    else:
        own = [-np.mean(guided[i]) for i in agents]
        pay = [0.5 * own[i] + 0.5 * np.mean(own) for i in agents]
    return np.array(obs), np.array(pay)


@pytest.mark.parametrize("agents,landmarks,words", [(2, 3, 10), (3, 5, 10), (4, 2, 3)])
@pytest.mark.parametrize("semantics,reward", [("openai", ""), ("openai", "distance"), ("mpe2", ""), ("mpe2", "squared")])
def test_reference_by_loops(agents, landmarks, words, semantics, reward):
    env, rng, count = Reference(agents, landmarks, words, semantics, reward), np.random.default_rng(agents), 50
    means = reward or {"openai": "squared", "mpe2": "split"}[semantics]
    position, velocity = rng.uniform(-1, 1, (2, count, agents, 2)).astype(np.float32)
    marks = rng.uniform(-1, 1, (count, landmarks, 2)).astype(np.float32)
    goal, moves = rng.integers(0, landmarks, (count, agents)), rng.integers(0, 5, (count, agents))
    said = rng.integers(0, words, (count, agents))
    noise = rng.normal(size=(count, agents, words)).astype(np.float32)
    state = ReferenceState(position, velocity, marks, hot(landmarks, goal), noise, np.zeros(count, np.int32))
    action = {"agent": np.concatenate([hot(5, moves), hot(words, said)], -1)}
    _, step = jax.jit(jax.vmap(env.step))(state, action, jr.split(KEY, count))
    for i in range(count):
        obs, pay = reference_by_loops(position[i], velocity[i], marks[i], goal[i], moves[i], said[i], words, semantics, means)
        close(step.obs["agent"][i], obs, f"observations of state {i}")
        close(step.reward["agent"][i], pay, f"rewards of state {i}")


@pytest.mark.parametrize("semantics", ["openai", "mpe2"])
def test_speaker_listener_by_loops(semantics):
    env, rng = SpeakerListener(semantics=semantics), np.random.default_rng(5)
    step = jax.jit(env.step)
    for _ in range(50):
        speaker, position, velocity = rng.uniform(-1, 1, (3, 1, 2)).astype(np.float32)
        marks, goal = rng.uniform(-1, 1, (3, 2)).astype(np.float32), int(rng.integers(3))
        move, word = int(rng.integers(5)), int(rng.integers(3))
        state = SpeakerListenerState(speaker, position, velocity, marks, hot(3, [goal]), hot(3, [0]), np.int32(0))
        after, now = step(state, {"speaker": hot(3, [word]), "listener": hot(5, [move])}, KEY)
        (x, y), v = pushed(position[0], velocity[0], move, semantics)
        away = [c for mark in marks for c in (mark[0] - x, mark[1] - y)]
        close(now.obs["speaker"], [DARK_COLORS[goal]], "the speaker sees the goal's colour")
        close(now.obs["listener"], [[*v, *away, *(float(word == w) for w in range(3))]], "the listener sees and hears")
        reward = -(math.dist((x, y), marks[goal]) ** 2) * {"openai": 2, "mpe2": 1}[semantics]
        close(now.reward["speaker"], [reward], "the speaker's reward")
        close(now.reward["listener"], [reward], "the listener's reward")
        np.testing.assert_array_equal(after.speaker, speaker)


def test_golden_rewards():
    """The first agent 3-4-5 away from its goal, the others at distances 1 and 0."""
    marks = np.array([[0.3, 0.4], [1, 0], [0, 1], [5, 5], [-5, -5]])
    state = ReferenceState(*single([[0, 0], [1, 1], [0, 1]], np.zeros((3, 2)), marks, hot(5, [0, 1, 2]), np.zeros((3, 10))), 0)
    state = jax.tree.map(jnp.asarray, state)
    for semantics, reward, wanted in (
        ("openai", "", [-1.25] * 3),
        ("openai", "distance", [-1.5] * 3),
        ("mpe2", "", [-0.25 * 1 - 0.25, -0.25 * 0.5 - 0.25, -0.25 * 1.5 - 0.25]),
    ):
        got = Reference(3, 5, semantics=semantics, reward=reward)._reward(state)
        np.testing.assert_allclose(got, wanted, rtol=1e-6, err_msg=f"{semantics} {reward}")
    listener = [np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)), marks[:3], hot(3, [0]), np.zeros((1, 3))]
    state = jax.tree.map(jnp.asarray, SpeakerListenerState(*single(*listener), 0))
    np.testing.assert_allclose(SpeakerListener(semantics="openai")._reward(state), [-0.5], rtol=1e-6)
    np.testing.assert_allclose(SpeakerListener(semantics="mpe2")._reward(state), [-0.25], rtol=1e-6)


# ------------------------------------------------------------------ sizes, starts, settings, pictures


@pytest.mark.parametrize("name,sizes", [
    ("speaker-listener", {"speaker": 3, "listener": 11}),
    ("reference", {"agent": 21}),
    ("communication-2", {"agent": 21}),
    ("communication-3", {"agent": 38}),
])  # fmt: skip
def test_sizes_of_observations(name, sizes):
    assert {role: about.obs_size for role, about in ENVS[name].spec.roles.items()} == sizes


def test_the_presets_of_cesma():
    """The original's physics, and all are paid the negative sum of distances; sizes 2/3 and 3/5."""
    for name, agents, landmarks in (("communication-2", 2, 3), ("communication-3", 3, 5)):
        assert ENVS[name] == Reference(agents, landmarks, 10, "openai", "distance", 25)


@pytest.mark.parametrize("env", [SpeakerListener(), Reference(), Reference(3, 5)])
def test_starts(env):
    """Everything uniform in the arena, goals uniform, and all of it independent."""
    count = 20_000
    state, step = jax.jit(jax.vmap(env.reset))(jr.split(KEY, count))
    placed = [np.asarray(x) for name, x in state._asdict().items() if name in ("speaker", "position", "landmarks")]
    x, goal = np.concatenate(placed, 1), np.asarray(state.goal)
    assert np.abs(x).max() <= 1
    np.testing.assert_allclose(x.mean(0), 0, atol=0.03)
    np.testing.assert_allclose((x**2).mean(0), 1 / 3, atol=0.02)
    drawn = np.concatenate([x.reshape(count, -1), goal[..., 0]], -1)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.eye(drawn.shape[1]), atol=0.04)
    assert ((goal == 0) | (goal == 1)).all() and (goal.sum(-1) == 1).all()
    np.testing.assert_allclose(goal.mean(0), 1 / env.landmarks, atol=0.02)
    for i, j in itertools.combinations(range(goal.shape[1]), 2):
        together = np.einsum("nk,nl->kl", goal[:, i], goal[:, j]) / count
        np.testing.assert_allclose(together, 1 / env.landmarks**2, atol=0.02)
    assert not np.asarray(state.velocity).any() and not np.asarray(state.message).any()
    assert not any(np.asarray(x).any() for x in step.reward.values())


@pytest.mark.parametrize("landmarks", [1, 2, 3, 5, 8, 20])
@pytest.mark.parametrize("make", [lambda n: SpeakerListener(n), lambda n: Reference(2, n)])
def test_colours_tell_landmarks_apart(make, landmarks):
    """The colours as agents see them, one world with each goal."""
    env = make(landmarks)
    state, _ = env.reset(KEY)
    seen = set()
    for goal in range(landmarks):
        chosen = jnp.asarray(hot(landmarks, [goal] * len(state.goal)))
        now = env._show(state._replace(goal=chosen), jnp.zeros(len(state.goal)))
        role, about = next(iter(env.spec.roles.items()))
        cuts = np.cumsum([field.width for field in about.obs])[:-1]
        blocks = np.split(np.asarray(now.obs[role][0]), cuts)
        seen.add(next(tuple(b) for f, b in zip(about.obs, blocks, strict=True) if f.name.startswith("goal_color")))
    assert len(seen) == landmarks and all(0 < x < 1 for color in seen for x in color)


@pytest.mark.parametrize("make,bad", [
    (SpeakerListener, {"landmarks": 0}), (SpeakerListener, {"horizon": 0}), (Reference, {"agents": 1}),
    (Reference, {"landmarks": 0}), (Reference, {"words": 0}), (Reference, {"horizon": 0}),
])  # fmt: skip
def test_bad_settings_are_refused_in_one_line(make, bad):
    with pytest.raises(HeadstartError) as caught:
        make(**bad)
    name, value = next(iter(bad.items()))
    assert "\n" not in str(caught.value) and f"env.{name}" in str(caught.value) and str(value) in str(caught.value)


def test_a_picture_shows_goals_and_words():
    env = Reference(3, 5)
    state, _ = env.reset(KEY)
    state = state._replace(goal=jnp.asarray(hot(5, [4, 0, 4])))
    assert env.scene(state).word.tolist() == [-1] * 8
    words = jnp.asarray(np.concatenate([hot(5, [0, 0, 0]), hot(10, [7, 0, 9])], -1))
    state, _ = env.step(state, {"agent": words}, KEY)
    picture, entities = env.scene(state), env.entities
    np.testing.assert_array_equal(picture.place, [*state.position, *state.landmarks])
    assert picture.word.tolist() == [7, 0, 9, -1, -1, -1, -1, -1]
    shown = [about["colors"][shade] for about, shade in zip(entities, picture.shade.tolist(), strict=True)]
    assert shown[3:] == list(world.PALETTE[:5])
    assert shown[:3] == [shown[3 + goal] for goal in (4, 0, 4)]


def test_a_picture_of_speaker_and_listener():
    env = SpeakerListener()
    state, _ = env.reset(KEY)
    state = state._replace(goal=jnp.asarray(hot(3, [2])))
    state, _ = env.step(state, {"speaker": jnp.asarray(hot(3, [1])), "listener": jnp.asarray(hot(5, [0]))}, KEY)
    picture, entities = env.scene(state), env.entities
    np.testing.assert_array_equal(picture.place, [*state.speaker, *state.position, *state.landmarks])
    assert [x["name"] for x in entities] == ["speaker", "listener", "landmark 0", "landmark 1", "landmark 2"]
    assert picture.word.tolist() == [1, -1, -1, -1, -1]
    shown = [about["colors"][shade] for about, shade in zip(entities, picture.shade.tolist(), strict=True)]
    assert shown == [world.PALETTE[2], world.PALETTE[2], *world.PALETTE[:3]]


# ------------------------------------------------------------------ who hears what, when


def span(about, name: str) -> slice:
    """Where a field lies in the observation."""
    start = 0
    for field in about.obs:
        if field.name == name:
            return slice(start, start + field.width)
        start += field.width
    raise KeyError(name)


def heard_by(route, speaker: int, listener: int, about) -> slice | None:
    """Where listener number `listener` hears speaker number `speaker`; None for oneself."""
    field = next(field for field in about.obs if field.name == route.field)
    entity = speaker
    if route.speaker == route.listener:
        if speaker == listener:
            return None
        entity -= speaker > listener
    start = span(about, route.field).start + entity * field.size
    return slice(start, start + field.size)


def random_choices(rng, spec):
    return {
        role: np.stack([rng.integers(0, options, about.agents) for options in about.actions.heads], -1)
        for role, about in spec.roles.items()
    }


def vectors(spec, choices):
    out = {}
    for role, about in spec.roles.items():
        blocks = [hot(options, choices[role][:, h]) for h, options in enumerate(about.actions.heads)]
        out[role] = jnp.asarray(np.concatenate(blocks, -1))
    return out


def test_the_scenarios_here_declare_their_routes():
    assert {"speaker-listener", "reference", "communication-2", "communication-3"} <= set(TALKING)


@pytest.mark.parametrize("name", TALKING)
def test_routes_fit_the_spaces(name):
    """An entity of the field has a number for each word, and there is one for each speaker but oneself."""
    spec = ENVS[name].spec
    assert len(set(spec.messages)) == len(spec.messages)
    for route in spec.messages:
        speaker, listener = spec.roles[route.speaker], spec.roles[route.listener]
        assert isinstance(speaker.actions, Discrete)
        (field,) = [field for field in listener.obs if field.name == route.field]
        assert field.size == speaker.actions.heads[route.head]
        assert field.count == speaker.agents - (route.speaker == route.listener)


@pytest.mark.parametrize("name", TALKING)
def test_another_word_changes_what_its_listeners_hear_next_and_nothing_else(name):
    """Each speaker's every other word, from a state in the middle of an episode: all observations are those without the
    change, but for the one-hot word at the places its routes lead to; and before the first step nothing is heard."""
    env, rng = ENVS[name], np.random.default_rng(6)
    spec, step = env.spec, jax.jit(env.step)
    state, first = jax.jit(env.reset)(jr.key(6))
    for route in spec.messages:
        assert not np.asarray(first.obs[route.listener][:, span(spec.roles[route.listener], route.field)]).any()
    for _ in range(3):
        state, _ = step(state, vectors(spec, random_choices(rng, spec)), KEY)
    choices = random_choices(rng, spec)
    plain = {role: np.asarray(x) for role, x in step(state, vectors(spec, choices), KEY)[1].obs.items()}
    for role, head in sorted({(route.speaker, route.head) for route in spec.messages}):
        options, routes = spec.roles[role].actions.heads[head], [r for r in spec.messages if r[:2] == (role, head)]
        for speaker, word in itertools.product(range(spec.roles[role].agents), range(options)):
            said = int(choices[role][speaker, head])
            other = {r: x.copy() for r, x in choices.items()}
            other[role][speaker, head] = word
            changed = {r: np.asarray(x) for r, x in step(state, vectors(spec, other), KEY)[1].obs.items()}
            wanted, heard = {r: x.copy() for r, x in plain.items()}, 0
            for route in routes:
                about = spec.roles[route.listener]
                for listener in range(about.agents):
                    where = heard_by(route, speaker, listener, about)
                    if where is not None:
                        np.testing.assert_array_equal(plain[route.listener][listener, where], hot(options, said))
                        wanted[route.listener][listener, where] = hot(options, word)
                        heard += 1
            assert heard
            for r in spec.roles:
                np.testing.assert_array_equal(changed[r], wanted[r], f"{role} {speaker} says {word}: {r}")


@pytest.mark.parametrize("name", ["speaker-listener", "reference", "communication-3"])
def test_a_word_is_heard_for_one_step_and_is_not_paid_for(name):
    env, rng = ENVS[name], np.random.default_rng(7)
    spec, step = env.spec, jax.jit(env.step)
    role, head = spec.messages[0][:2]
    state, _ = env.reset(KEY)
    one, then = random_choices(rng, spec), random_choices(rng, spec)
    two = {r: x.copy() for r, x in one.items()}
    two[role][:, head] = (two[role][:, head] + 1) % spec.roles[role].actions.heads[head]
    (a, first), (b, second) = (step(state, vectors(spec, x), KEY) for x in (one, two))
    assert any((np.asarray(first.obs[r]) != np.asarray(second.obs[r])).any() for r in spec.roles)
    later = [step(x, vectors(spec, then), KEY)[1] for x in (a, b)]
    for r in spec.roles:
        np.testing.assert_array_equal(first.reward[r], second.reward[r])
        np.testing.assert_array_equal(later[0].obs[r], later[1].obs[r])


def test_soft_words_arrive_as_they_are():
    """Gumbel-softmax actors say several words at once, and their critics need them unrounded."""
    env = Reference(3, 5)
    state, _ = env.reset(KEY)
    soft = jax.nn.softmax(jr.normal(KEY, (3, 10)))
    _, step = env.step(state, {"agent": jnp.concatenate([jnp.asarray(hot(5, [0, 0, 0])), soft], -1)}, KEY)
    heard = np.asarray(step.obs["agent"][:, 18:]).reshape(3, 2, 10)
    for i in range(3):
        np.testing.assert_array_equal(heard[i], [soft[j] for j in range(3) if j != i])


def test_a_smaller_teams_observation_keeps_colour_and_word_of_one_agent_together():
    """Three agents' observations as a team of two would see them, e.g. a teacher: the one left over is one agent."""
    three, two = Reference(3, 3).spec.roles["agent"], Reference(2, 3).spec.roles["agent"]
    rng, kept = np.random.default_rng(9), set()
    for _ in range(50):
        goal, said = rng.choice(3, 2, replace=False), rng.choice(10, 2, replace=False)
        seen = np.concatenate([np.zeros(8), *np.array(BRIGHT_COLORS)[goal], *hot(10, said)])
        got = np.asarray(adapt(jnp.asarray(seen, jnp.float32), three.obs, two.obs))
        pairs = [np.concatenate([BRIGHT_COLORS[g], hot(10, w)]) for g, w in zip(goal, said, strict=True)]
        same = [k for k, pair in enumerate(pairs) if np.allclose(got[8:], pair)]
        assert len(same) == 1
        kept.update(same)
    assert kept == {0, 1}  # nothing but the colours decides which


@pytest.mark.parametrize("env", [SpeakerListener(), Reference(3, 5)])
def test_a_new_episode_begins_in_silence_with_new_goals(env):
    """Restarted by `vectorise`: the last word of an episode is in its last observation and not in the next one's first."""
    many, spec, rng = vectorise(env, 64), env.spec, np.random.default_rng(8)
    state, _ = many.reset(KEY)
    before, step = np.asarray(state.goal), jax.jit(many.step)
    said = {r: jnp.tile(x[None], (64, 1, 1)) for r, x in vectors(spec, random_choices(rng, spec)).items()}
    for time in range(25):
        state, now = step(state, said, jr.fold_in(KEY, time))
        assert (np.asarray(state.goal) == before).all() == (time < 24)
    route = spec.messages[0]
    about = spec.roles[route.listener]
    where = span(about, route.field)
    (voices,) = [field.count for field in about.obs if field.name == route.field]
    assert now.truncated.all()
    assert not np.asarray(now.obs[route.listener][..., where]).any()
    assert (np.asarray(now.final_obs[route.listener][..., where]).sum(-1) == voices).all()
