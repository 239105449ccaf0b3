"""Whole episodes: what is kept of them, whose actions they are, and the events counted in them and in training."""

import csv
import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import Choice, loop, one_role, same, shown, small

from headstart.core.actions import greedy
from headstart.core.checks import HeadstartError
from headstart.core.env import vectorise
from headstart.core.episodes import actor_of, episodes, evaluate
from headstart.core.part import part
from headstart.core.types import Discrete
from headstart.envs.centralized import centralized
from headstart.envs.particle.spread import Spread, SpreadState
from headstart.envs.particle.tag import Tag, TagState
from headstart.envs.particle.treasure import Treasure
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.teams.policy import TeamPolicy
from headstart.training import run

SMALL = small(PPO(), num_envs=4, rollout=5, hidden=(8,))


@part("env")
class Count:
    """Each step is worth 1 and counts its own number, for ever: 1, 2, .. The episode ends after the second or third one."""

    spec = one_role(1, 1, Discrete((2,)), 4)

    def reset(self, key):
        return (jnp.zeros(()), 2.0 + jr.bernoulli(key)), self._show(jnp.zeros(()), jnp.zeros(1), False)

    def step(self, state, action, key):
        time, last = state[0] + 1, state[1]
        return (time, last), self._show(time, jnp.ones(1), time >= last)

    def _show(self, time, reward, over):
        step = shown({"agent": time[None, None]}, {"agent": reward}, terminated=over)
        return dataclasses.replace(step, events={"count": time})


# ------------------------------------------------------------------ episodes


def drawn(env, config, seed=0):
    learner = config.make(env.spec)
    return learner, learner.init(jr.key(seed))


def test_kept_moments_are_those_of_a_plain_loop():
    """Observations, actions and scenes of every step, as a loop in Python finds them with the same keys."""
    env = Tag(policy="random", horizon=6)
    learner, params = drawn(env, SMALL)
    keep = lambda now: (now.step.obs, now.action, now.new.reward, jax.vmap(env.scene)(now.new_state), now.running)
    keys, key = jr.split(jr.key(1), 3), jr.key(2)
    play = jax.jit(lambda params: episodes(env, actor_of(env, learner, params), keep)(keys, key))
    (_, first), (obs, action, reward, scene, running) = play(params)
    assert running.shape == (6, 3) and running.all()
    reset, step, policy = jax.jit(env.reset), jax.jit(env.step), jax.jit(learner.policy)
    for e in range(3):
        state, now = reset(keys[e])
        np.testing.assert_allclose(first.obs["adversary"][e], now.obs["adversary"], atol=1e-6)
        for t, step_key in enumerate(jr.split(key, 6)):
            np.testing.assert_allclose(obs["adversary"][t, e], now.obs["adversary"], atol=1e-5)
            logits = policy(params, (), {r: x[None] for r, x in now.obs.items()})[1]["adversary"][0]
            chosen = greedy(env.spec.roles["adversary"].actions, logits)
            np.testing.assert_array_equal(action["adversary"][t, e], chosen)
            state, now = step(state, {"adversary": chosen}, jr.split(step_key, 3)[e])
            np.testing.assert_allclose(reward["adversary"][t, e], now.reward["adversary"], atol=1e-5)
            np.testing.assert_allclose(scene.place[t, e], env.scene(state).place, atol=1e-5)


def test_nothing_counts_after_an_episode_ends():
    learner, params = drawn(Count(), SMALL)
    out = jax.jit(evaluate(Count(), learner, 50))(params, jr.key(1))
    length = np.asarray(out["length"])
    assert set(length) == {2, 3}
    np.testing.assert_array_equal(out["return"]["agent"][:, 0], length)
    np.testing.assert_array_equal(out["events"]["count"], length * (length + 1) / 2)


def test_only_what_is_kept_takes_memory():
    """Of 300 more steps, an evaluation keeps rewards and ends, not observations of 18 numbers an agent."""

    def bytes_of(horizon, keep=None):
        env = Spread(horizon=horizon)
        learner, params = drawn(env, SMALL)
        evaluation = evaluate(env, learner, 64)
        whole = lambda params, key: episodes(env, actor_of(env, learner, params), keep)(jr.split(key, 64), key)
        program = jax.jit(whole if keep else evaluation).lower(params, jr.key(0)).compile()
        return (used := program.memory_analysis()).temp_size_in_bytes + used.output_size_in_bytes

    observations = 300 * 64 * 3 * 18 * 4
    assert bytes_of(310) - bytes_of(10) < observations / 4
    keep = lambda now: now.step.obs
    assert bytes_of(310, keep) - bytes_of(10, keep) > observations / 2


@pytest.mark.parametrize("config", [SMALL, dataclasses.replace(SMALL, core="gru"), small(DDPG(), hidden=(8,))])
def test_sampled_actions_are_the_learners_own(config):
    """One-hot draws that differ from greedy ones, the same for the same key, from the same starts."""
    env = Spread(horizon=5)
    learner, params = drawn(env, config)
    keep = lambda now: (now.step.obs["agent"], now.action["agent"])

    def play(sample):
        return jax.jit(lambda p: episodes(env, actor_of(env, learner, p, sample), keep)(jr.split(jr.key(1), 7), jr.key(2)))

    (_, (obs, action)), again, (_, (start, best)) = play(True)(params), play(True)(params), play(False)(params)
    assert same(again[1], (obs, action)) and not same(action, best)
    np.testing.assert_array_equal(obs[0], start[0])
    assert action.shape == (5, 7, 3, 5)
    np.testing.assert_allclose(action.sum(-1), 1, atol=1e-5)


def test_sampled_frequencies_are_the_policys_probabilities():
    """PPO's draws in 4000 one-step episodes, beside the softmax of its logits."""
    learner, params = drawn(Choice(), SMALL)
    params = jax.tree.map(lambda x: 3 * x, params)
    keep = lambda now: (now.step.obs["agent"], now.action["agent"])
    play = jax.jit(
        lambda p: episodes(Choice(), actor_of(Choice(), learner, p, True), keep)(jr.split(jr.key(1), 4000), jr.key(2))
    )
    _, (obs, action) = play(params)
    p = jax.nn.softmax(learner.policy(params, (), {"agent": obs[0]})[1]["agent"], -1)
    np.testing.assert_allclose(action.mean((0, 1)), p.mean(0), atol=0.03)


def test_the_score_of_a_team_greedy_or_sampled():
    """New teams have made up their minds, if they must choose, and draw nearly at random all the same."""
    learner = SMALL.make(Choice().spec)
    params = jax.vmap(learner.init)(jr.split(jr.key(0), 8))
    team = TeamPolicy(Choice().spec, SMALL, params, tuple(range(8)))
    best, sampled = (run.score(team, Choice(), 400, sample) for sample in (False, True))
    assert (np.abs(best) == 1).any() and (np.abs(sampled) < 0.3).all()
    with pytest.raises(HeadstartError, match="greedy"):
        run.score(dataclasses.replace(team, trained=team.spec), Choice(), 400, sample=True)


# ------------------------------------------------------------------ events


def test_tags_are_the_touching_pairs():
    env = Tag(adversaries=2, prey=2, obstacles=0)
    place = jnp.array([[0, 0], [0.5, 0.5], [0.05, 0.0], [-0.05, 0.0]])  # one adversary on both prey, one on its own
    state = TagState(place, jnp.zeros((4, 2)), jnp.zeros((0, 2)), jnp.zeros((), jnp.int32))
    still = {role: jnp.tile(jax.nn.one_hot(0, 5), (2, 1)) for role in ("adversary", "agent")}
    state, now = env.step(state, still, jr.key(0))
    gaps = np.linalg.norm(np.asarray(state.position[:2])[:, None] - np.asarray(state.position[2:])[None], axis=-1)
    assert now.events["tag"] == (gaps < 0.125).sum() > 0
    assert now.reward["adversary"][0] == 10 * now.events["tag"]
    assert env.reset(jr.key(0))[1].events == {"tag": 0}


def test_treasures_are_counted_as_they_change_hands():
    """Beside the books: what is gone was picked up; what was held or picked up and is not held any more was deposited."""
    env = Treasure(collectors=4, banks=2, treasures=3, collide=False)
    step, rng = jax.jit(env.step), np.random.default_rng(0)
    state, now = env.reset(jr.key(3))
    assert now.events == {"pickup": 0, "deposit": 0}
    seen, still = set(), {"collector": jax.nn.one_hot(jnp.zeros(4, int), 5), "bank": jax.nn.one_hot(jnp.zeros(2, int), 5)}
    for i in range(80):
        places = np.concatenate([state.treasures, state.position[4:]])  # where everybody is put at random
        position = np.concatenate([places[rng.integers(5, size=4)], state.position[4:]])
        before = state._replace(position=jnp.asarray(position), velocity=jnp.zeros((6, 2)))
        state, now = step(before, still, jr.key(i))
        pickups = int((~state.there).sum())
        deposits = int(before.holding.sum()) + pickups - int(state.holding.sum())
        assert (now.events["pickup"], now.events["deposit"]) == (pickups, deposits)
        seen.add((pickups, deposits))
    assert {pickups for pickups, _ in seen} >= {0, 1, 2} and {deposits for _, deposits in seen} >= {0, 1, 2}


@pytest.mark.parametrize(("place", "covered"), [((0.5, 0.55), 1), ((0.5, 0.7), 0), ((-0.5, 0.5), 0)])
def test_landmarks_are_covered_by_agents_that_reach_their_centres(place, covered):
    env = Spread(agents=2, semantics="openai")
    agents, landmarks = jnp.array([[-0.5, -0.5], place]), jnp.array([[-0.5, -0.5], [0.5, 0.5]])
    state = SpreadState(agents, jnp.zeros((2, 2)), landmarks, jnp.zeros((), jnp.int32))
    assert env.step(state, {"agent": jnp.tile(jax.nn.one_hot(0, 5), (2, 1))}, jr.key(0))[1].events == {"covered": covered}


def test_events_of_the_last_step_survive_the_restart():
    envs = vectorise(Count(), 5)
    state, now = envs.reset(jr.key(0))
    action, seen = {"agent": jnp.tile(jax.nn.one_hot(0, 2), (5, 1, 1))}, []
    for i in range(6):
        state, now = envs.step(state, action, jr.key(i))
        seen.append((np.asarray(now.events["count"]), np.asarray(now.terminated)))
    assert all((count[ended] >= 2).all() for count, ended in seen) and any(ended.any() for _, ended in seen)


def test_a_centralized_team_has_the_events_of_its_environment():
    env = centralized(Spread(2))
    state, now = env.reset(jr.key(0))
    assert set(now.events) == set(env.step(state, {"team": jnp.zeros((1, 10))}, jr.key(1))[1].events) == {"covered"}


@pytest.mark.slow
def test_training_counts_the_events_of_whole_episodes():
    """Over updates that cut episodes: sums over those that ended, none lost and none counted twice."""
    made = loop(Count(), SMALL, 7)
    _, metrics = made.run()
    ended = np.sum([m["episodes"]["count"] for m in metrics])
    count = np.sum([m["episodes"]["events"]["count"] for m in metrics])
    lengths = np.sum([m["episodes"]["returns"]["agent"] for m in metrics])
    # a of the episodes have two steps (1 + 2) and b three (1 + 2 + 3): a + b ended, 2a + 3b steps, 3a + 6b counted
    b = lengths - 2 * ended
    assert count == 3 * (ended - b) + 6 * b and 0 < b < ended


def test_events_stand_last_in_metrics_csv(tmp_path):
    run.train(run.Config(Count(), SMALL, steps=200, evaluations=2, episodes=9), tmp_path)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-2:] == ["eval_event/count", "train_event/count"]
    assert all(3 < float(row["eval_event/count"]) < 6 for row in rows)
    assert not rows[0]["train_event/count"] and 3 < float(rows[1]["train_event/count"]) < 6
