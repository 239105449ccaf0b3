"""Environments that restart themselves, against a replay of their episodes in numpy."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import Lengths, loop, small

from headstart.core.env import vectorise
from headstart.core.guidance import Guidance
from headstart.learners.ppo import PPO

E, T = 6, 40
ACTION = {"agent": jnp.zeros((E, 2, 2))}


def rolled(key):
    envs = vectorise(Lengths(), E)
    a, b = jr.split(key)
    state, first = envs.reset(a)

    def body(state, k):
        state, step = envs.step(state, ACTION, k)
        return state, step

    return first, jax.lax.scan(body, state, jr.split(b, T))[1]


def test_final_obs_is_the_true_last_one_and_obs_the_new_episodes():
    """An observation is (tag of the episode, time in it); both kinds of end are among 6 × 40 steps."""
    first, steps = jax.jit(rolled)(jr.key(0))
    shown, last = np.asarray(steps.obs["agent"])[:, :, 0], np.asarray(steps.final_obs["agent"])[:, :, 0]
    before = np.asarray(first.obs["agent"])[:, 0]
    gone, cut = np.asarray(steps.terminated), np.asarray(steps.truncated)
    tags = set(before[:, 0].tolist())
    for t in range(T):
        for e in range(E):
            tag, time = before[e]
            assert last[t, e].tolist() == [tag, time + 1]
            ended = gone[t, e] or cut[t, e]
            if ended:
                length = int(time) + 1
                assert bool(gone[t, e]) == (length % 2 == 1) and shown[t, e, 1] == 0
                assert shown[t, e, 0] not in tags, "an episode was repeated"
                tags.add(shown[t, e, 0])
            else:
                assert shown[t, e].tolist() == last[t, e].tolist()
            np.testing.assert_allclose(steps.reward["agent"][t, e], [time + 1, 10 * (time + 1)])
        before = shown[t]
    assert gone.any() and cut.any() and len(tags) > 40
    # The global states go the same way as the observations.
    np.testing.assert_array_equal(np.asarray(steps.state)[..., :2], shown)
    np.testing.assert_array_equal(np.asarray(steps.final_state)[..., :2], last)


def test_environments_differ():
    first, _ = rolled(jr.key(1))
    assert len(np.unique(np.asarray(first.obs["agent"])[:, 0, 0])) == E


def test_seeds_side_by_side_equal_one_alone_bitwise():
    """Though a reset is drawn for all seeds whenever any of them needs it."""
    keys = jr.split(jr.key(2), 3)
    together = jax.jit(jax.vmap(rolled))(keys)
    alone = jax.jit(rolled)
    for s in range(3):
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone(keys[s])), strict=True):
            np.testing.assert_array_equal(a[s], b)


@dataclass(frozen=True)
class Spy:
    """Guidance that changes nothing and tells what it sees."""

    def make(self, spec, learner):
        see = lambda r: {
            "reward": r.reward["agent"],
            "over": r.terminated | r.truncated,
            "first": r.first,
            "obs": r.obs["agent"],
        }
        return Guidance(observe=lambda g, params, key, rollout, clock, data: (g, rollout, see(rollout)))


@pytest.mark.slow
def test_returns_are_counted_as_a_replay_counts_them():
    """Sums over the episodes that ended in an update, undivided; episodes run on from one update into the next."""
    config = small(PPO(), num_envs=4, rollout=3, hidden=(8,), minibatches=1, epochs=1)
    _, metrics = loop(Lengths(), config, 8, (Spy(),)).run((0, 1))
    total, fresh = np.zeros((2, 4, 2)), np.ones((2, 4), bool)
    seen = 0
    for now in metrics:
        spied = {name: np.asarray(x) for name, x in now["guidance"].items()}
        sums, count = np.zeros((2, 2)), np.zeros(2, int)
        for s in range(2):
            for t in range(3):
                for e in range(4):
                    assert spied["first"][s, t, e] == fresh[s, e] == (spied["obs"][s, t, e, 0, 1] == 0)
                    total[s, e] += spied["reward"][s, t, e]
                    fresh[s, e] = spied["over"][s, t, e]
                    if fresh[s, e]:
                        sums[s] += total[s, e]
                        total[s, e] = 0
                        count[s] += 1
        np.testing.assert_allclose(now["episodes"]["returns"]["agent"], sums, rtol=1e-6)
        np.testing.assert_array_equal(now["episodes"]["count"], count)
        seen += count.sum()
    assert seen > 20


def test_evaluation_counts_the_first_episode_only():
    from headstart.core.episodes import evaluate

    config = small(PPO(), hidden=(8,))
    learner = config.make(Lengths().spec)
    out = jax.jit(evaluate(Lengths(), learner, 50))(learner.init(jr.key(0)), jr.key(1))
    length = np.asarray(out["length"])
    assert set(length.tolist()) == {1, 2, 3, 4, 5}
    sums = length * (length + 1) / 2
    np.testing.assert_allclose(out["return"]["agent"], np.stack([sums, 10 * sums], -1), rtol=1e-6)
