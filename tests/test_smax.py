"""Battles: step for step those of the package jaxmarl, from its own states and with its own draws; and what ours adds."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.env import vectorise
from headstart.core.types import TimeStep
from headstart.envs.battle.combat import MARCH, SIZE, TICK, TICKS, Army
from headstart.envs.battle.enemy import Plan
from headstart.envs.battle.smax import SMAX, BattleState
from headstart.envs.battle.units import KINDS, MAPS, units_of
from headstart.replay import draw, write

# ------------------------------------------------------------------ beside jaxmarl

BATTLES, STEPS = 48, 60
MIXED = "1m1M1s_vs_1z1zg1h"


def may(now: TimeStep) -> Any:
    """Which orders are legal [.. a U]."""
    assert now.available is not None
    return now.available["ally"]


@functools.cache
def theirs(name: str) -> Any:
    """JaxMARL's battle of the same units against its scripted enemy."""
    import jaxmarl
    from jaxmarl.environments.smax import Scenario

    units = units_of(name)
    kinds = jnp.asarray(units.kind[:, 0], jnp.uint8)
    return jaxmarl.make("HeuristicEnemySMAX", scenario=Scenario(kinds, units.allies, units.enemies, False, False))


def test_maps_shipped_by_jaxmarl_have_the_same_units():
    from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO

    for name, scenario in MAP_NAME_TO_SCENARIO.items():
        if scenario.smacv2_unit_type_generation:
            with pytest.raises(HeadstartError, match="jaxmarl:HeuristicEnemySMAX"):
                SMAX(name)
            continue
        assert name in MAPS
        np.testing.assert_array_equal(units_of(name).kind[:, 0], scenario.unit_types)
        assert (units_of(name).allies, units_of(name).enemies) == (scenario.num_allies, scenario.num_enemies)
    assert units_of("3s_vs_4z").kind[:, 0].tolist() == [2, 2, 2, 3, 3, 3, 3]
    table, env = list(KINDS.values()), theirs("3m")
    for ours, name in (
        ("health", "health"), ("attack", "attacks"), ("reach", "attack_ranges"), ("sight", "sight_ranges"),
        ("speed", "velocities"), ("radius", "radiuses"), ("cooldown", "weapon_cooldowns"),
    ):  # fmt: skip
        np.testing.assert_array_equal(
            np.array([getattr(kind, ours) for kind in table], np.float32), getattr(env, f"unit_type_{name}")
        )


def as_ours(state, allies: int) -> BattleState:
    """One battle's state of theirs as one of ours."""
    plan, now = state.enemy_policy_state, state.state
    x, y = now.unit_positions.T
    right, up = now.prev_movement_actions.T
    move = jnp.select([up > 0.5, right > 0.5, up < -0.5, right < -0.5], [0, 1, 2, 3], 4)
    order = jnp.where(now.prev_attack_actions > 0, now.prev_attack_actions, move)
    last = plan.last_attacked_enemy
    new = (plan.default_target == 0).all(-1)
    goal_x, goal_y = (jnp.where(new, SIZE - v[allies:], g) for v, g in zip((x, y), plan.default_target.T, strict=True))
    plan = Plan(jnp.where(last < 0, -1, allies - 1 - last), goal_x, goal_y)
    army = Army(x, y, now.unit_health, now.unit_weapon_cooldowns)
    return BattleState(army, plan, order.astype(jnp.int32), jnp.zeros(x.shape, bool), now.step)


def draws(key, allies: int, enemies: int):
    """The numbers that they draw from a step's key: of every tick for each unit [TICKS n], and whom an enemy follows [e]."""
    key, action_key = jr.split(key)
    follow = jax.vmap(lambda k: jr.uniform(jr.split(k)[0]))(jr.split(action_key, enemies))

    def tick(key, _):
        key, now = jr.split(key)
        each = jax.vmap(lambda k: jr.uniform(k, minval=-TICK, maxval=2 * TICK))
        return key, each(jr.split(now, allies + enemies))

    return jax.lax.scan(tick, key, None, TICKS)[1], follow


def in_our_order(obs, allies: int, enemies: int):
    """Their observation [a O] with its numbers in our order: own ones first, and gaps before health."""
    seen, own = obs[:, :-10].reshape(allies, allies - 1 + enemies, 13), obs[:, -10:]
    seen = jnp.concatenate([seen[..., 1:3], seen[..., :1], seen[..., 3:]], -1)
    own = jnp.concatenate([own[:, 1:3], own[:, :1], own[:, 3:]], -1)
    return jnp.concatenate([own, seen.reshape(allies, -1)], -1)


def differences(name: str, seed: int = 0):
    """{what: largest difference [STEPS BATTLES] of a single step from their states}, and how often things happened."""
    env, raw, units = SMAX(name), theirs(name), units_of(name)
    a, e = units.allies, units.enemies
    stacked = lambda given: jnp.stack([given[agent] for agent in raw.agents])
    worst = lambda x, y: jnp.abs(x.astype(jnp.float32) - y.astype(jnp.float32)).max()

    def step(state, key):
        act_key, step_key, reset_key = jr.split(key, 3)
        legal = stacked(raw.get_avail_actions(state)) > 0
        # Half of the time an ally that can attack does, so that both sides die.
        score = jr.uniform(act_key, legal.shape) + 0.5 * (jnp.arange(legal.shape[1]) >= MARCH)
        choice = jnp.where(legal, score, -1.0).argmax(-1)
        obs, after, reward, done, _ = raw.step_env(step_key, state, dict(zip(raw.agents, choice, strict=True)))
        ours, now = env.advance(as_ours(state, a), {"ally": jax.nn.one_hot(choice, 5 + e)}, *draws(step_key, a, e))
        expected, alive = as_ours(after, a), after.state.unit_alive
        living = lambda x, y: worst(jnp.where(alive, x, 0), jnp.where(alive, y, 0))
        found = {
            "x": worst(ours.army.x, expected.army.x),
            "y": worst(ours.army.y, expected.army.y),
            "health": worst(ours.army.health, expected.army.health),
            "cooldown": worst(ours.army.cooldown, expected.army.cooldown),
            "order": living(ours.order, expected.order),
            "target": worst(ours.plan.target, expected.plan.target),
            "goal": jnp.where(alive[a:], jnp.abs(ours.plan.goal_x - expected.plan.goal_x), 0).max(),
            "obs": worst(now.obs["ally"], in_our_order(stacked(obs), a, e)),
            "available": worst(may(now), stacked(raw.get_avail_actions(after))),
            "alive": worst(now.alive["ally"], alive[:a]),
            "reward": worst(now.reward["ally"], stacked(reward)),
            "over": worst(now.terminated | now.truncated, done["__all__"]),
        }
        happened = {"falls": (~now.alive["ally"]).sum(), "hits": (after.state.unit_health < state.state.unit_health).sum()}
        happened |= {"wins": now.events["win"], "seen": (jnp.abs(now.obs["ally"]) > 0).mean()}
        fresh = raw.reset(reset_key)[1]
        return jax.tree.map(lambda n, o: jnp.where(done["__all__"], n, o), fresh, after), (found, happened)

    @jax.jit
    def run(keys):
        play = lambda key: jax.lax.scan(step, raw.reset(jr.fold_in(key, 0))[1], jr.split(key, STEPS))[1]
        return jax.vmap(play)(keys)

    with jax.numpy_rank_promotion("allow"):
        return jax.tree.map(np.asarray, run(jr.split(jr.key(seed), BATTLES)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["3m", "5m_vs_6m", "3s5z", "3s_vs_4z", MIXED])
def test_a_step_equals_jaxmarls(name):
    found, happened = differences(name)
    assert happened["hits"].sum() > 200 and happened["falls"].sum() > 50, "nothing was compared"
    wrong = np.zeros((BATTLES, STEPS), bool)
    for what, far in found.items():
        wrong |= far > {"health": 1e-3, "x": 1e-4, "y": 1e-4}.get(what, 2e-5)
    # Distances are rounded in another order, so that one may lie on the other side of a range.
    assert wrong.mean() <= 1e-3, {what: float(far.max()) for what, far in found.items()}
    assert name != MIXED or happened["wins"].sum() > 5, "the reward of a win was not compared"


def scores(reset, step, reward_of, over_of, battles: int, steps: int):
    """[battles] return and length of a first battle in which allies act at random, but attack if they can; NumPy arrays."""

    @jax.jit
    def run(keys):
        def play(key):
            def body(loop, key):
                state, legal, running, paid, length = loop
                act_key, step_key = jr.split(key)
                score = jr.uniform(act_key, legal.shape) + (jnp.arange(legal.shape[1]) >= MARCH)
                state, legal, now = step(state, jnp.where(legal, score, -1.0).argmax(-1), step_key)
                loop = state, legal, running & ~over_of(now), paid + running * reward_of(now), length + running
                return loop, None

            begin, key = jr.split(key)
            first = (*reset(begin), True, jnp.zeros(()), jnp.zeros((), jnp.int32))
            first = jax.tree.map(jnp.asarray, first)
            return jax.lax.scan(body, first, jr.split(key, steps))[0][3:]

        return jax.vmap(play)(keys)

    with jax.numpy_rank_promotion("allow"):
        return tuple(map(np.asarray, run(jr.split(jr.key(7), battles))))


@pytest.mark.slow
def test_whole_battles_with_our_own_draws_end_as_often_and_as_late_as_jaxmarls():
    """Over 1000 battles of each: means and spreads of returns and lengths, within four standard errors."""
    env, raw, count = SMAX("3m"), theirs("3m"), 1000

    def our_step(state, choice, key):
        state, now = env.step(state, {"ally": jax.nn.one_hot(choice, 8)}, key)
        return state, may(now), now

    def our_reset(key):
        state, now = env.reset(key)
        return state, may(now)

    stacked = lambda state: jnp.stack([raw.get_avail_actions(state)[agent] for agent in raw.agents]) > 0

    def their_step(state, choice, key):
        _, state, reward, done, _ = raw.step_env(key, state, dict(zip(raw.agents, choice, strict=True)))
        return state, stacked(state), (reward, done)

    def their_reset(key):
        state = raw.reset(key)[1]
        return state, stacked(state)

    over = lambda now: now.terminated | now.truncated
    ours = scores(our_reset, our_step, lambda now: now.reward["ally"][0], over, count, 60)
    others = scores(their_reset, their_step, lambda now: now[0]["ally_0"], lambda now: now[1]["__all__"], count, 60)
    for mine, other in zip(ours, others, strict=True):
        assert other.std() > 0.05 * other.mean()
        squares = [np.square(x - other.mean()) for x in (mine, other)]
        for a, b in ((mine, other), squares):
            assert abs(a.mean() - b.mean()) < 4 * np.sqrt((a.var() + b.var()) / count)


# ------------------------------------------------------------------ what a team is told


def battle(env: SMAX, **changes):
    """A state of a battle whose units stand in one row across the middle, a cell apart, and are ready."""
    units = units_of(env.id)
    count = len(units.kind)
    state, _ = env.reset(jr.key(0))
    army = Army(12.0 + jnp.arange(count), jnp.full(count, 16.0), jnp.asarray(units.health[:, 0]), jnp.zeros(count))
    state = state._replace(army=army._replace(**changes.pop("army", {})))
    return state._replace(**changes)


def after(env: SMAX, state: BattleState, *choices: int):
    units = units_of(env.id)
    action = {"ally": jax.nn.one_hot(jnp.asarray(choices), 5 + units.enemies)}
    return env.advance(state, action, jnp.zeros((1, len(units.kind))), jnp.zeros(units.enemies))


def test_a_battle_that_is_decided_in_its_last_step_terminates():
    env = SMAX("2m", horizon=10)
    last = battle(env, time=jnp.asarray(9))
    _, now = after(env, last, 5, 6)
    assert now.truncated and not now.terminated and now.events["win"] == 0
    weak = battle(env, time=jnp.asarray(9), army={"health": jnp.array([45.0, 45, 9, 3])})
    _, now = after(env, weak, 5, 6)
    assert now.terminated and not now.truncated
    assert now.events["win"] == 1 and now.events["draw"] == 0 and now.events["kill"] == 2
    np.testing.assert_allclose(now.reward["ally"], (9 / 45 + 3 / 45) / 2 + 1, rtol=1e-6)


def test_both_armies_may_die_at_once_which_nobody_wins():
    env = SMAX("1m")
    _, now = after(env, battle(env, army={"health": jnp.array([9.0, 9.0])}), 5)
    assert now.terminated and now.events["draw"] == 1 and now.events["win"] == 0
    np.testing.assert_allclose(now.reward["ally"], 9 / 45, rtol=1e-6)


def test_rewards_of_smac_count_points_kills_and_wins_and_add_up_to_20():
    env = SMAX("2m", reward_scale="smac")
    most = 2 * 45 + 10 * 2 + 200
    _, now = after(env, battle(env, army={"health": jnp.array([45.0, 45, 9, 45])}), 5, 6)
    np.testing.assert_allclose(now.reward["ally"], 20 / most * (9 + 9 + 10), rtol=1e-6)
    _, now = after(env, battle(env, army={"health": jnp.array([45.0, 45, 0, 9])}), 4, 6)
    np.testing.assert_allclose(now.reward["ally"], 20 / most * (9 + 10 + 200), rtol=1e-6)


def test_a_dead_agent_sees_nothing_may_only_stop_and_is_paid_like_its_team():
    env = SMAX("2m")
    _, now = after(env, battle(env, army={"health": jnp.array([0.0, 45, 45, 45])}), 5, 5)
    assert not now.obs["ally"][0].any() and now.obs["ally"][1].any()
    assert may(now)[0].tolist() == [False] * 4 + [True] + [False] * 2
    assert may(now)[1].all()
    assert now.alive["ally"].tolist() == [False, True]
    assert now.agent_terminated is not None and now.agent_terminated["ally"].tolist() == [True, False]
    np.testing.assert_allclose(now.reward["ally"], [9 / 90] * 2, rtol=1e-6)  # one hit: the dead do not fire
    assert not now.state.reshape(4, -1)[0].any() and now.state.reshape(4, -1)[1].any()


def test_a_wall_kills():
    env = SMAX("2m")
    _, now = after(env, battle(env, army={"x": jnp.array([0.5, 13, 14, 15])}), 3, 4)
    assert now.alive["ally"].tolist() == [False, True]


def test_the_state_is_normalised_in_every_battle():
    env = SMAX("1m1z_vs_2zg")
    envs = vectorise(env, 8)

    @jax.jit
    def run(key):
        states, first = envs.reset(key)

        def body(loop, key):
            states, now = loop
            score = jnp.where(may(now), jr.uniform(key, may(now).shape), -1.0)
            choice = jax.nn.one_hot(score.argmax(-1), score.shape[-1])
            states, now = envs.step(states, {"ally": choice}, jr.fold_in(key, 1))
            return (states, now), (now.final_state, now.final_obs["ally"], now.terminated, states.fired)

        return jax.lax.scan(body, (states, first), jr.split(key, 60))[1]

    state, obs, ended, fired = map(np.asarray, run(jr.key(0)))
    assert ended.sum() > 4 and fired.any() and not fired.all()
    assert np.abs(state).max() <= 1 and np.abs(obs).max() <= 1
    assert state.std(0).max() > 0.2


def test_many_battles_at_once_are_those_of_each_alone():
    env = SMAX("1m1s_vs_3zg")
    step = jax.jit(env.step)
    states, first = jax.jit(jax.vmap(env.reset))(jr.split(jr.key(3), 4))
    choice = {"ally": jax.nn.one_hot(jnp.array([[1, 2], [3, 4], [5, 6], [7, 0]]), 8)}
    each, now = jax.jit(jax.vmap(env.step))(states, choice, jr.split(jr.key(4), 4))
    assert first.obs["ally"].shape == (4, 2, env.spec.roles["ally"].obs_size)
    for i in (0, 2):
        state, action = jax.tree.map(lambda x, i=i: x[i], (states, choice))
        alone = step(state, action, jr.split(jr.key(4), 4)[i])
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves((each, now)), strict=True):
            np.testing.assert_allclose(a, b[i], rtol=1e-5, atol=1e-5)


def test_a_picture_shows_health_and_who_has_just_hit_whom(tmp_path):
    env = SMAX("2m")
    state, _ = after(env, battle(env, army={"health": jnp.array([45.0, 45, 9, 45])}), 5, 4)
    scene = env.scene(state)
    assert scene.health is not None and scene.hit is not None
    assert np.isnan(scene.place[2]).all() and not np.isnan(scene.place[:2]).any(), "the dead are hidden"
    np.testing.assert_allclose(scene.health, [45 / 45, 27 / 45, 0, 1], rtol=1e-6)
    assert scene.hit.tolist() == [2, -1, 1, 1], "the first ally hit the first enemy, and both enemies the ally beside them"
    frames = [[[-0.2, 0.0], [0.0, 0.0], [0.2, 0.0], [0.4, 0.0]], [[-0.2, 0.0], [0.0, 0.0], None, [0.4, 0.0]]]
    health, hits = [[1.0] * 4, [1.0, 0.5, 0.0, 1.0]], [[-1] * 4, [2, -1, 1, 1]]
    replay = {"extent": 1.0, "entities": env.entities, "frames": frames, "health": health, "hits": hits}
    colors = [entity["colors"][0] for entity in env.entities]
    bars = draw._bars(replay, 1, colors)
    lengths = [right[0] - left[0] for (left, right), _ in bars]
    assert len(bars) == 6 and lengths[3] == pytest.approx(lengths[2] / 2), "grey and colour for each that lives"
    ends = [(a, b) for (a, b), _ in draw._shots(replay, 1, colors)]
    assert ends[0] == ((-0.2, 0.0), (0.2, 0.0)), "to where it was before it died"
    assert len(ends) == 3
    film = replay | {"title": "2m", "score": [0.0, 1.0]}
    write.animate(film, tmp_path / "battle.gif")
    write.animate({**film, "hits": [[-1] * 4] * 2}, tmp_path / "calm.gif")
    assert (tmp_path / "battle.gif").read_bytes() != (tmp_path / "calm.gif").read_bytes()


# ------------------------------------------------------------------ maps


@pytest.mark.parametrize(
    "name,says",
    [
        ("3x", "smax has no map '3x': write numbers and kinds of units, e.g. 3s5z or 3s_vs_4z (m marine, M marauder"),
        ("3m_vs_", "smax has no map"),
        ("", "smax has no map"),
        ("0m", "an army must have 1 to 100 units, not 0 against 0"),
        ("3m_vs_101z", "an army must have 1 to 100 units, not 3 against 101"),
        ("9" * 30 + "m", "an army must have 1 to 100 units"),
        ("smacv2_5_units", 'jaxmarl:HeuristicEnemySMAX --env.options \'{"scenario": "smacv2_5_units"}\''),
    ],
)
def test_a_name_that_is_no_map_is_refused_in_one_line(name, says):
    with pytest.raises(HeadstartError) as caught:
        registry.preset("env", f"smax:{name}") if name else SMAX("")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_maps_are_read_by_their_letters():
    assert units_of("2zg1M_vs_1h").kind[:, 0].tolist() == [4, 4, 1, 5]
    env = dataclasses.replace(registry.preset("env", "smax:3s_vs_4z"), horizon=200)
    assert env.spec.horizon == 200 and env.spec.roles["ally"].agents == 3
    assert env.spec.roles["ally"].obs_size == 88 and env.spec.state_size == 70
    assert env.spec.roles["ally"].actions.options[0][4:6] == ("stop", "attack 0")
