"""Treasure collection against a re-implementation in loops over entities, against mpe2 where it has the same rules, and its
golden rules one by one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.treasure_python import TreasurePython
from headstart.core.checks import HeadstartError
from headstart.envs.particle import physics
from headstart.envs.particle.treasure import Treasure, TreasureState
from headstart.envs.particle.world import nearest, ranks

KEY = jax.random.key(0)
TOLERANCE = 1e-5


def close(actual, wanted, what: str = "") -> None:
    np.testing.assert_allclose(actual, wanted, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


def one_hot(index, size) -> np.ndarray:
    """Zeros where the index is -1."""
    index = np.asarray(index)
    return (index[..., None] == np.arange(size)).astype(np.float32)


def acted(env: Treasure, moves) -> dict:
    """Integer moves [.. n] as our actions; i is the one-hot vector e_i."""
    action = jnp.asarray(one_hot(moves, 5))
    return {"collector": action[..., : env.collectors, :], "bank": action[..., env.collectors :, :]}


def team(step) -> tuple[list[np.ndarray], np.ndarray]:
    """Observations of all agents, collectors first, and their rewards."""
    obs = [*np.asarray(step.obs["collector"]), *np.asarray(step.obs["bank"])]
    return obs, np.concatenate([step.reward["collector"], step.reward["bank"]])


def of_agents(array, index):
    return jax.tree.map(lambda x: x[index], array)


# ------------------------------------------------------------------ against loops over entities

TEAMS = {
    "6+2": {},
    "4+1": {"collectors": 4, "banks": 1},
    "9+3, short-sighted": {"collectors": 9, "banks": 3, "treasures": 8, "seen_agents": 3, "seen_treasures": 4},
    "3+2, one treasure": {"collectors": 3, "treasures": 1, "collide": False},
    "6+2, zeros": {"treasures": 2, "gone": "zeros"},
}


@functools.cache
def ours(name: str):
    env = Treasure(**TEAMS[name])
    return env, jax.jit(env.step), jax.jit(jax.vmap(env.step)), jax.jit(jax.vmap(env._spawn))


def crowded(env: Treasure, count: int, seed: int) -> TreasureState:
    """`count` states: agents from sparse to heaped up, treasures mostly beside a collector, a third of the hands full."""
    rng = np.random.default_rng(seed)
    agents, treasures, kinds = env.collectors + env.banks, env._treasures, env.banks
    reach = rng.choice([0.15, 0.3, 1.0], (count, 1, 1))
    position = rng.uniform(-1, 1, (count, agents, 2)) * reach
    beside = rng.integers(env.collectors, size=(count, treasures))
    near = np.take_along_axis(position, beside[..., None], 1) + rng.uniform(-0.12, 0.12, (count, treasures, 2))
    far = rng.uniform(-0.95, 0.95, (count, treasures, 2))
    place = np.where(rng.random((count, treasures, 1)) < 0.7, near, far)
    held = np.where(rng.random((count, env.collectors)) < 0.35, rng.integers(kinds, size=(count, env.collectors)), -1)
    single = lambda x: jnp.asarray(x, jnp.float32)
    return TreasureState(
        single(position),
        single(0.5 * rng.normal(size=(count, agents, 2))),
        single(one_hot(held, kinds)),
        single(place),
        single(one_hot(rng.integers(kinds, size=(count, treasures)), kinds)),
        jnp.asarray(rng.random((count, treasures)) < 0.8),
        jnp.zeros(count, jnp.int32),
    )


def put(plain: TreasurePython, state: TreasureState) -> None:
    """The same single-precision numbers, from here on in double precision."""
    position, velocity, holding, places, kind, there, _ = (np.asarray(x) for x in state)
    for agent, x, v in zip(plain.agents, position, velocity, strict=True):
        agent.position, agent.velocity = x.astype(float), v.astype(float)
    for collector, held in zip(plain.collectors, holding, strict=True):
        collector.holding = int(held.argmax()) if held.any() else None
    for treasure, x, k, on in zip(plain.treasures, places, kind, there, strict=True):
        treasure.position, treasure.kind, treasure.there = x.astype(float), int(k.argmax()), bool(on)


def draws(spawned) -> list[tuple[np.ndarray, int]]:
    place, kind = (np.asarray(x) for x in spawned)
    return [(x.astype(float), int(k.argmax())) for x, k in zip(place, kind, strict=True)]


def same_state(state: TreasureState, plain: TreasurePython, what: str) -> None:
    close(state.position, [a.position for a in plain.agents], f"{what}: positions")
    close(state.velocity, [a.velocity for a in plain.agents], f"{what}: velocities")
    held = [-1 if c.holding is None else c.holding for c in plain.collectors]
    np.testing.assert_array_equal(state.holding, one_hot(held, len(plain.banks)), f"{what}: holding")
    np.testing.assert_array_equal(state.there, [t.there for t in plain.treasures], f"{what}: there")
    close(state.treasures, [t.position for t in plain.treasures], f"{what}: treasures")
    np.testing.assert_array_equal(state.kind, one_hot([t.kind for t in plain.treasures], len(plain.banks)), f"{what}: kinds")


def same_step(step, obs, reward, what: str) -> None:
    got, paid = team(step)
    for a, (x, wanted) in enumerate(zip(got, obs, strict=True)):
        close(x, wanted, f"{what}: observation of agent {a}")
    close(paid, reward, f"{what}: rewards")


@pytest.mark.parametrize("name,count", [("6+2", 1000), ("4+1", 1000), *((name, 300) for name in list(TEAMS)[2:])])
def test_single_steps_from_random_states(name, count):
    """Everything a step does, state for state, given the same places and types of treasures that come back."""
    env, _, step, spawn = ours(name)
    plain = TreasurePython(**TEAMS[name])
    state = crowded(env, count, seed=len(name))
    moves = np.random.default_rng(1).integers(0, 5, (count, env.collectors + env.banks))
    keys = jax.random.split(KEY, count)
    after, now = jax.device_get(step(state, acted(env, moves), keys))
    new, state = jax.device_get((spawn(keys), state))
    seen = {"pickups": 0, "contested": 0, "two in reach": 0, "deposits": 0, "deposits at once": 0, "back": 0, "none there": 0}
    for i in range(count):
        before, what = of_agents(state, i), f"state {i}"
        put(plain, before)
        obs, reward = plain.step(moves[i].tolist(), draws(of_agents(new, i)))
        same_step(of_agents(now, i), obs, reward, what)
        same_state(of_agents(after, i), plain, what)
        # What was tested at all, from the Python world's own state.
        taken = before.there & ~np.array([t.there for t in plain.treasures])
        gap = np.array([[np.hypot(*(a.position - t)) for t in before.treasures] for a in plain.collectors])
        touched = (gap < 0.075) & before.there & ~before.holding.any(-1)[:, None]
        held_before = before.holding.any(-1)
        held_after = np.array([c.holding is not None for c in plain.collectors])
        seen["pickups"] += taken.sum()
        seen["contested"] += (touched.sum(0) > 1).any()
        seen["two in reach"] += (touched.sum(1) > 1).any()
        seen["deposits"] += (held_before & ~held_after).sum()
        seen["deposits at once"] += taken.sum() > (~held_before & held_after).sum()
        seen["back"] += (~before.there).sum()
        seen["none there"] += not before.there.any()
    impossible = {1: {"two in reach"}, 2: set()}.get(env._treasures, {"none there"})
    assert all(times >= 3 for event, times in seen.items() if event not in impossible), seen


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["far", "zeros"])
def test_a_whole_episode_without_contacts_needs_no_help(gone):
    """Agents that move through each other are not stiff: 100 steps in a row stay equal, every pickup and deposit included."""
    env, plain = Treasure(collide=False, gone=gone), TreasurePython(collide=False, gone=gone)
    step, spawn = jax.jit(env.step), jax.jit(env._spawn)
    rng = np.random.default_rng(0)
    state, first = env.reset(jax.random.key(3))
    put(plain, state)
    close(np.concatenate(team(first)[0]), np.concatenate([plain.observation(a) for a in plain.agents]))
    pickups = deposits = 0
    for time, key in enumerate(jax.random.split(KEY, 100)):
        # Everybody heads for the first treasure, or holding something for its bank; some steps at random.
        moves = rng.integers(0, 5, 8)
        for i, collector in enumerate(plain.collectors):
            goal = plain.treasures[i] if collector.holding is None else plain.banks[collector.holding]
            if rng.random() < 0.8:
                x, y = goal.position - collector.position
                moves[i] = (1 if x > 0 else 2) if abs(x) > abs(y) else (3 if y > 0 else 4)
        held = [c.holding for c in plain.collectors]
        obs, reward = plain.step(moves.tolist(), draws(spawn(key)))
        state, now = step(state, acted(env, moves), key)
        same_step(now, obs, reward, f"step {time}")
        same_state(state, plain, f"step {time}")
        pickups += sum(not t.there for t in plain.treasures)
        deposits += sum(a is not None and c.holding is None for a, c in zip(held, plain.collectors, strict=True))
        assert bool(now.truncated) == (time == 99) and not now.terminated
    assert pickups >= 10 and deposits >= 5


# ------------------------------------------------------------------ golden rules


def arranged(env: Treasure, collectors, banks, treasures, kinds, holding=None, there=None) -> TreasureState:
    """Everybody at rest at the given places; `holding` and `kinds` are numbers of types, -1 for nothing."""
    places = np.asarray([*collectors, *banks], np.float32)
    held = [-1] * env.collectors if holding is None else holding
    on = np.ones(len(treasures), bool) if there is None else np.asarray(there, bool)
    return TreasureState(
        jnp.asarray(places),
        jnp.zeros_like(jnp.asarray(places)),
        jnp.asarray(one_hot(held, env.banks)),
        jnp.asarray(np.asarray(treasures, np.float32)),
        jnp.asarray(one_hot(kinds, env.banks)),
        jnp.asarray(on),
        jnp.zeros((), jnp.int32),
    )


def stay(env: Treasure, state: TreasureState, key=KEY):
    after, now = jax.jit(env.step)(state, acted(env, [0] * (env.collectors + env.banks)), key)
    return after, np.asarray(now.reward["collector"]), np.asarray(now.reward["bank"])


PAIR = Treasure(collectors=2, banks=2, treasures=2)
BANKS = [(0.0, 0.8), (0.0, -0.8)]


def test_a_reward_is_computed_before_its_pickups_and_deposits_happen():
    """The step in which a free collector stands on a treasure pays 5, as does the one in which it stands at the bank; the
    steps after them pay distances only, though the touching goes on."""
    env = Treasure(collectors=1, banks=1, treasures=2)
    treasures = [(0.5, 0.05), (0.9, 0.0)]
    state = arranged(env, [(0.5, 0.0)], [(-0.5, 0.0)], treasures, [0, 0])
    state, collector, bank = stay(env, state)
    np.testing.assert_allclose(collector, [5 - 0.1 * 0.05], rtol=1e-5)
    np.testing.assert_allclose(bank, [5 - 0.1 * 1.0], rtol=1e-5)  # nobody holds anything yet: to the middle of the crowd
    assert state.holding.tolist() == [[1.0]] and state.there.tolist() == [False, True]
    state, collector, bank = stay(env, state)
    np.testing.assert_allclose(np.concatenate([collector, bank]), [-0.1 * 1.0, -0.1 * 1.0], rtol=1e-5)
    state = state._replace(position=jnp.array([[-0.5, 0.12], [-0.5, 0.0]]))
    state, collector, bank = stay(Treasure(1, 1, 2, collide=False), state)
    np.testing.assert_allclose(np.concatenate([collector, bank]), [5 - 0.1 * 0.12] * 2, rtol=1e-5)
    assert not state.holding.any()
    _, collector, bank = stay(Treasure(1, 1, 2, collide=False), state)
    assert (collector < 0).all() and (bank < 0).all()


def test_a_collector_that_holds_something_does_not_pick_up():
    state = arranged(PAIR, [(0.5, 0.0), (-0.5, 0.0)], BANKS, [(0.5, 0.0), (0.9, 0.9)], [1, 1], holding=[0, -1])
    after, collector, _ = stay(PAIR, state)
    np.testing.assert_array_equal(after.holding, state.holding)
    assert after.there.all() and (collector < 0).all()


@pytest.mark.parametrize("held,bank,delivered", [(0, 0, True), (1, 1, True), (0, 1, False), (1, 0, False), (-1, 0, False)])
def test_a_deposit_is_made_at_the_matching_bank_only(held, bank, delivered):
    x, y = BANKS[bank]
    state = arranged(PAIR, [(x + 0.12, y), (-0.9, 0.0)], BANKS, [(0.9, 0.9), (0.9, -0.9)], [0, 1], holding=[held, -1])
    after, collector, others = stay(dataclasses.replace(PAIR, collide=False), state)
    assert bool(after.holding[0].any()) == (held >= 0 and not delivered)
    assert ((collector > 4).all() and (others > 4).all()) == delivered
    assert (collector < 0).all() != delivered


def test_a_treasure_picked_up_at_its_bank_is_deposited_in_the_same_step_and_pays_once():
    env = Treasure(collectors=1, banks=1, treasures=1, collide=False)
    state = arranged(env, [(0.1, 0.0)], [(0.0, 0.0)], [(0.1, 0.0)], [0])
    after, collector, _ = stay(env, state)
    np.testing.assert_allclose(collector, [5.0], atol=1e-6)
    assert not after.holding.any() and not after.there.any()


def test_nothing_happens_to_treasures_that_nobody_touches():
    env, step = Treasure(), jax.jit(Treasure().step)
    rng = np.random.default_rng(0)
    corner = rng.uniform(-0.2, 0.2, (8, 2)) + 5  # everybody is far off, and stays there
    state = arranged(env, corner[:6], corner[6:], rng.uniform(-0.95, 0.95, (6, 2)), rng.integers(2, size=6))
    start = state
    for key in jax.random.split(KEY, 50):
        state, _ = step(state, acted(env, rng.integers(0, 5, 8)), key)
    assert not np.array_equal(state.position, start.position)
    for field in ("treasures", "kind", "there", "holding"):
        np.testing.assert_array_equal(getattr(state, field), getattr(start, field))


def test_of_two_collectors_at_one_treasure_the_first_free_one_takes_it_and_both_count_for_the_reward():
    env = dataclasses.replace(PAIR, collectors=3, collide=False)
    places = [(0.0, 0.0), (0.06, 0.0), (-0.06, 0.0)]
    apart = arranged(env, places, BANKS, [(0.0, 0.0), (0.9, 0.9)], [1, 0])
    after, collector, bank = stay(env, apart)
    np.testing.assert_array_equal(after.holding, one_hot([1, -1, -1], 2))
    np.testing.assert_allclose(bank, 15 - 0.1 * 0.8, rtol=1e-5)
    np.testing.assert_allclose(collector, [15 - 10, 15 - 5 - 0.006, 15 - 5 - 0.006], rtol=1e-5)  # the outer two do not overlap
    after, *_ = stay(env, apart._replace(holding=jnp.asarray(one_hot([0, -1, -1], 2))))
    np.testing.assert_array_equal(after.holding, one_hot([0, 1, -1], 2))


def test_a_collector_at_two_treasures_takes_the_first_and_leaves_the_other_to_the_next():
    env = dataclasses.replace(PAIR, collide=False)
    near = [(0.0, 0.02), (0.0, -0.02)]
    one = arranged(env, [(0.0, 0.0), (0.9, 0.0)], BANKS, near, [1, 0])
    after, collector, _ = stay(env, one)
    np.testing.assert_array_equal(after.holding, one_hot([1, -1], 2))
    assert after.there.tolist() == [False, True] and collector[0] > 9  # paid for both
    two = one._replace(position=one.position.at[1].set(jnp.array([0.03, 0.0])))
    after, *_ = stay(env, two)
    np.testing.assert_array_equal(after.holding, one_hot([1, 0], 2))
    assert not after.there.any()


def test_a_treasure_is_away_for_one_step():
    """Picked up in one step, not there in the observation of the next, and back in the one after."""
    env = Treasure(collectors=1, banks=1, treasures=2)
    state = arranged(env, [(0.5, 0.0)], [(-0.5, 0.0)], [(0.5, 0.0), (0.9, 0.0)], [0, 0])
    step = jax.jit(env.step)
    still = acted(env, [0, 0])
    state, first = step(state, still, KEY)
    state, second = step(state, still, KEY)
    # position, velocity, held, the bank (6 numbers), two treasures (3 each)
    np.testing.assert_allclose(first.obs["collector"][0, 11:], [0, 0, 1, 0.4, 0, 1], atol=1e-6)
    np.testing.assert_allclose(second.obs["collector"][0, 11:], [0.4, 0, 1, -999.5, -999, 1], rtol=1e-6)
    assert state.there.all()
    _, third = step(state, still, KEY)
    assert np.abs(third.obs["collector"][0, 11:]).max() < 2
    _, zeros = jax.jit(dataclasses.replace(env, gone="zeros").step)(state._replace(there=jnp.array([False, True])), still, KEY)
    np.testing.assert_allclose(zeros.obs["collector"][0, 11:], [0.4, 0, 1, 0, 0, 0], atol=1e-6)


def test_a_bank_without_a_carrier_is_drawn_to_the_middle_of_the_seven_nearest():
    env = Treasure(collectors=9, banks=1, treasures=1)
    crew = [(0.1 * k + 0.05 * k * k, 0.2) for k in range(9)]
    state = arranged(env, crew, [(0.0, -0.4)], [(-5.0, 0.0)], [0])
    _, _, bank = stay(env, state)
    middle = np.mean(crew[:7], 0) - [0.0, -0.4]
    np.testing.assert_allclose(bank, [-0.1 * np.hypot(*middle)], rtol=1e-5)
    carried = state._replace(holding=jnp.asarray(one_hot([-1] * 8 + [0], 1)))
    _, _, bank = stay(env, carried)
    np.testing.assert_allclose(bank, [-0.1 * np.hypot(crew[8][0], 0.6)], rtol=1e-5)


# ------------------------------------------------------------------ physics


def test_every_agent_starts_with_the_same_acceleration_and_the_signs_of_the_original():
    """A push of 1.5·1.5 for a tenth of a second at every mass; 1 = +x, 2 = −x, 3 = +y, 4 = −y."""
    env = Treasure(collectors=2, banks=2)
    state = arranged(env, [(-0.5, 0.0), (0.5, 0.0)], BANKS, [(3.0, 3.0)] * 2, [0, 0])
    after, _ = jax.jit(env.step)(state, acted(env, [1, 2, 3, 4]), KEY)
    np.testing.assert_allclose(after.velocity, 0.225 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(after.position, state.position + 0.1 * after.velocity, rtol=1e-6)


def test_speed_is_capped_at_one():
    """A diagonal push would settle at 0.4·2.25·√2 = 1.27, that of one axis at 0.9."""
    env, step = Treasure(1, 1, 1), jax.jit(Treasure(1, 1, 1).step)
    state = arranged(env, [(0.0, 0.0)], [(0.0, -3.0)], [(9.0, -9.0)], [0])
    diagonal = {"collector": jnp.array([[0.0, 1, 0, 1, 0]]), "bank": jnp.array([[0.0, 0, 1, 0, 0]])}
    for _ in range(40):
        state, _ = step(state, diagonal, KEY)
    np.testing.assert_allclose(state.velocity, [[0.5**0.5, 0.5**0.5], [-0.9, 0]], rtol=1e-4, atol=1e-6)


def test_the_heavier_of_two_is_pushed_less():
    """A collector in a bank by 0.02: forces 2·2.25 and 2/2.25, so accelerations differ by 2.25³."""
    body = physics.bodies(np.array([0.05, 0.075]))._replace(mass=np.array([1.0, 2.25], np.float32))
    place, rest = jnp.array([[0.105, 0.0], [0.0, 0.0]]), jnp.zeros((2, 2))
    _, velocity = physics.move(place, rest, rest, body, "openai", by_mass=True)
    np.testing.assert_allclose(velocity[:, 0], [0.1 * 2 * 2.25, -0.1 * 2 / 2.25**2], rtol=1e-4)


def test_bodies_of_equal_mass_push_as_everywhere_else():
    """Six movable bodies, one of them a ghost, and two obstacles, one of them a ghost, in 100 heaps."""
    collides = np.array([True, True, False, True, True, True, True, False])
    body = physics.bodies(np.array([0.05, 0.1, 0.1, 0.15, 0.1, 0.1, 0.2, 0.3]), 2.25)._replace(collides=collides)
    heaps = jax.random.uniform(KEY, (100, 8, 2), minval=-0.3, maxval=0.3)
    got, wanted = (jax.vmap(lambda x, f=f: f(x, body, 6))(heaps) for f in (physics.contact_by_mass, physics.contact))
    assert np.abs(wanted).max() > 5 and not np.asarray(wanted)[:, 2].any()
    close(got, wanted)


def test_obstacles_have_no_mass():
    body = physics.bodies(np.array([0.1, 0.2]))._replace(mass=np.array([1.0, 9.0], np.float32))
    place, rest = jnp.array([[0.25, 0.0], [0.0, 0.0]]), jnp.zeros((1, 2))
    _, velocity = physics.move(place, rest, rest, body, "openai", by_mass=True)
    np.testing.assert_allclose(velocity, [[0.1 * 100 * 0.05, 0.0]], rtol=1e-4)


# ------------------------------------------------------------------ starts, observations, pictures


@pytest.mark.parametrize("setting,collector,bank", [((4, 1, 4), 41, 40), ((6, 2, 6), 86, 84), ((6, 2, 0), 86, 84)])
def test_sizes_of_observations(setting, collector, bank):
    """Those of the paper's two tasks."""
    roles, step = Treasure(*setting).spec.roles, Treasure(*setting).reset(KEY)[1]
    assert (roles["collector"].obs_size, roles["bank"].obs_size) == (collector, bank)
    assert step.obs["collector"].shape == (setting[0], collector) and step.obs["bank"].shape == (setting[1], bank)


def test_starts_and_comebacks_are_uniform():
    env = Treasure(6, 3, 4)
    state, step = jax.jit(jax.vmap(env.reset))(jax.random.split(KEY, 4000))
    place, kind = jax.jit(jax.vmap(env._spawn))(jax.random.split(jax.random.key(1), 4000))
    for x, most in ((state.position, 1.0), (state.treasures, 0.95), (place, 0.95)):
        x = np.asarray(x)
        assert 0.99 * most < np.abs(x).max() <= most
        np.testing.assert_allclose(x.mean(0), 0, atol=0.04)
        np.testing.assert_allclose((x**2).mean(0), most**2 / 3, atol=0.02)
    for kinds in (state.kind, kind):
        np.testing.assert_array_equal(np.asarray(kinds).sum(-1), 1)
        np.testing.assert_allclose(np.asarray(kinds).mean(0), 1 / 3, atol=0.03)
    # A treasure's type has nothing to do with its place.
    np.testing.assert_allclose(np.einsum("eld,elk->dk", kind, place) / kind.sum((0, 1))[:, None], 0, atol=0.03)
    assert state.there.all() and not state.holding.any() and not state.velocity.any()
    assert not any(np.asarray(x).any() for x in step.reward.values())


def test_only_what_comes_back_depends_on_the_key():
    env, _, step, _ = ours("6+2")
    state = crowded(env, 200, seed=5)
    moves = np.random.default_rng(2).integers(0, 5, (200, 8))
    a, b = (step(state, acted(env, moves), jax.random.split(jax.random.key(k), 200)) for k in (1, 2))
    assert all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a[1]), jax.tree.leaves(b[1]), strict=True))
    moved = ~np.asarray(a[0].treasures == b[0].treasures).all(-1)
    np.testing.assert_array_equal(moved, ~np.asarray(state.there))


def test_ranks_and_nearest_against_a_stable_sort():
    rng = np.random.default_rng(0)
    away = rng.integers(0, 4, (50, 9)).astype(np.float32)  # many are equal
    order = np.argsort(away, -1, kind="stable")
    np.testing.assert_array_equal(np.argsort(ranks(jnp.asarray(away)), -1), order)
    gaps, about = rng.normal(size=(50, 9, 2)).astype(np.float32), rng.normal(size=(9, 3)).astype(np.float32)
    got = nearest(jnp.asarray(away), jnp.asarray(gaps), jnp.asarray(about), 5)
    for a in range(50):
        wanted = [[*gaps[a, x], *about[x]] for x in order[a, :5]]
        np.testing.assert_array_equal(got[a], np.array(wanted, np.float32))


def test_a_picture_hides_what_was_picked_up_and_shows_what_is_held():
    env = Treasure(collectors=2, banks=2, treasures=3)
    treasures = [(0.1, 0.1), (0.2, 0.2), (0.3, 0.3)]
    state = arranged(env, [(0, 0), (0, 0.5)], BANKS, treasures, [1, 0, 1], holding=[1, -1], there=[True, False, True])
    entities, scene = env.entities, env.scene(state)
    look = [about["colors"][shade] for about, shade in zip(entities, scene.shade.tolist(), strict=True)]
    collector, free, *rest = look
    assert rest == [rest[0], rest[1], rest[1], rest[0], rest[1]] and rest[0] != rest[1]  # two banks, three treasures
    assert collector == rest[1] and free not in rest
    hidden = np.isnan(np.asarray(scene.place)).any(-1)
    assert hidden.tolist() == [False] * 5 + [True, False] and (np.asarray(scene.word) == -1).all()
    np.testing.assert_array_equal(scene.place[~hidden], np.concatenate([state.position, state.treasures])[~hidden])


@pytest.mark.parametrize(
    "bad", [{"collectors": 0}, {"banks": 0}, {"treasures": -1}, {"seen_agents": -1}, {"seen_treasures": -2}, {"horizon": 0}]
)
def test_bad_settings_are_refused_in_one_line(bad):
    with pytest.raises(HeadstartError) as caught:
        Treasure(**bad)
    name, value = next(iter(bad.items()))
    assert "\n" not in str(caught.value) and f"env.{name}" in str(caught.value) and str(value) in str(caught.value)


# ------------------------------------------------------------------ against mpe2


class Tape:
    """Stands in for mpe2's generator of random numbers: plays back the places and types that we drew."""

    def __init__(self, new):
        self.new = iter(new)
        self.kind = 0

    def uniform(self, low=None, high=None, size=None):
        if size is None:
            return 0.0
        place, self.kind = next(self.new)
        return place

    def integers(self, low, high):
        return self.kind


@functools.cache
def mpe2_world():
    treasure = pytest.importorskip("mpe2.collect_treasure.collect_treasure")
    env = treasure.parallel_env(num_collectors=6, num_deposits=2, num_treasures=6)
    env.reset(seed=0)
    return env.unwrapped.scenario, env.unwrapped.world


def put_in_mpe2(world, state: TreasureState) -> None:
    position, velocity, holding, places, kind, there, _ = (np.asarray(x) for x in state)
    for agent, x, v in zip(world.agents, position, velocity, strict=True):
        agent.state.p_pos, agent.state.p_vel = x.astype(float), v.astype(float)
    for agent, held in zip(world.agents, holding, strict=False):
        agent.holding = int(held.argmax()) if held.any() else None
    for landmark, x, k, on in zip(world.landmarks, places, kind, there, strict=True):
        landmark.state.p_pos, landmark.type, landmark.alive = x.astype(float), int(k.argmax()), bool(on)


def test_mpe2_sees_pays_and_exchanges_alike_once_agents_have_moved():
    """500 crowded states, moved by us without pushes; from there on mpe2's own functions must agree with our step.

    The same: what is observed (all 7 others and 6 treasures, nearest first, zeros for a treasure that is away), all terms
    of the reward as of a state, pickups, comebacks and deposits in their order. Not the same, by design:

    - mpe2 exchanges treasures before it rewards and shows, and pays one 5 for each event where the original pays 5 for
      each touching collector; its reward function counts touching collectors when asked about a state as it is;
    - its agents have an acceleration of 1.5 / mass where the original's have 1.5², pass through each other where the
      original's push, and move before they accelerate; its integer moves have the other sign;
    - it sees all entities where the original sees 7 of each; it shows treasures that are away as zeros and leaves them
      out of distances, where the original has them at (-999, -999): our `gone`;
    - its episodes have 25 steps.
    """
    scenario, world = mpe2_world()
    env, count = Treasure(collide=False, gone="zeros"), 500
    state = crowded(env, count, seed=11)
    moves = np.random.default_rng(3).integers(0, 5, (count, 8))
    keys = jax.random.split(KEY, count)
    after, now = jax.device_get(jax.jit(jax.vmap(env.step))(state, acted(env, moves), keys))
    new, state = jax.device_get((jax.jit(jax.vmap(env._spawn))(keys), state))
    events = 0
    for i in range(count):
        before, wanted, what = of_agents(state, i), of_agents(after, i), f"state {i}"
        put_in_mpe2(world, before._replace(position=wanted.position, velocity=wanted.velocity))
        scenario._reset_cached_rewards()
        obs = [scenario.observation(agent, world) for agent in world.agents]
        same_step(of_agents(now, i), obs, [scenario.reward(agent, world) for agent in world.agents], what)
        spawned = [x for x, on in zip(draws(of_agents(new, i)), before.there, strict=True) if not on]
        world.np_random = Tape(spawned)
        scenario.post_step(world)
        held = [-1 if a.holding is None else a.holding for a in world.agents[:6]]
        np.testing.assert_array_equal(wanted.holding, one_hot(held, 2), what)
        np.testing.assert_array_equal(wanted.there, [t.alive for t in world.landmarks], what)
        np.testing.assert_array_equal(wanted.kind, one_hot([t.type for t in world.landmarks], 2), what)
        there = wanted.there
        close(wanted.treasures[there], np.array([t.state.p_pos for t in world.landmarks])[there], what)
        events += (before.holding != wanted.holding).any()
    assert events > count / 2


def test_mpe2_coasts_alike():
    """With nobody pushing, velocities fade and are capped alike; mpe2's places lag one step behind ours."""
    _, world = mpe2_world()
    env = Treasure(collide=False)
    state = of_agents(crowded(env, 1, seed=2), 0)
    state = state._replace(velocity=3 * state.velocity, treasures=state.treasures + 50)
    step, still = jax.jit(env.step), acted(env, [0] * 8)
    first, _ = step(state, still, KEY)
    put_in_mpe2(world, first)
    for agent, x in zip(world.agents, np.asarray(state.position), strict=True):
        agent.state.p_pos, agent.action.u = x.astype(float), np.zeros(2)
    assert (np.linalg.norm(state.velocity, axis=-1) > 4 / 3).any()
    now = first
    for time in range(20):
        world.step()
        close(now.position, [a.state.p_pos for a in world.agents], f"places, step {time}")
        now, _ = step(now, still, KEY)
        close(now.velocity, [a.state.p_vel for a in world.agents], f"velocities, step {time}")


def test_mpe2_starts_alike():
    """Ranges, variances and types of 400 starts each."""
    scenario, world = mpe2_world()
    rng = np.random.default_rng(0)
    places, treasures, kinds = [], [], []
    for _ in range(400):
        scenario.reset_world(world, rng)
        places.append([a.state.p_pos for a in world.agents])
        treasures.append([t.state.p_pos for t in world.landmarks])
        kinds.append([t.type for t in world.landmarks])
        assert all(t.alive for t in world.landmarks) and all(a.holding is None for a in world.agents)
    state, _ = jax.jit(jax.vmap(Treasure().reset))(jax.random.split(KEY, 400))
    for got, wanted in ((state.position, np.array(places)), (state.treasures, np.array(treasures))):
        levels = np.linspace(0, 1, 21)
        np.testing.assert_allclose(np.quantile(got, levels), np.quantile(wanted, levels), atol=0.05)
        np.testing.assert_allclose(np.abs(got).max(), np.abs(wanted).max(), atol=1e-3)
    np.testing.assert_allclose(np.asarray(state.kind)[..., 1].mean(), np.mean(kinds), atol=0.04)
