"""Recurrent networks that learn from replay: what memory keeps equals what was computed while acting, and what is
remembered ends with an episode."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import Lengths, Recall, loop, played, small

from headstart.core.checks import HeadstartError
from headstart.core.env import vectorise
from headstart.core.ops import chosen_where
from headstart.core.trainer import transition
from headstart.envs.centralized import centralized
from headstart.guidance.dagger import Dagger
from headstart.learners.imitator import Imitator
from headstart.learners.qlearning import QLearning
from headstart.teams.policy import TeamPolicy

SEEDS = (0, 1)
T, E, H = 12, 6, 8
GRU = small(QLearning(core="gru", train_every=16), num_envs=E, rollout=T, hidden=(5, H))
"""Sequences of twelve steps, in which `Lengths` has several episodes."""


@pytest.fixture(scope="module")
def collected():
    """(learner, params, rollout [T E ..], the carry it began with, values of `obs` while acting, values of `next_obs`)."""
    env = Lengths()
    learner, envs = GRU.make(env.spec), vectorise(env, E)

    def run(key):
        keys = jr.split(key, 3)
        params = jax.tree.map(lambda x: x + 0.3 * jr.normal(keys[2], x.shape), learner.init(keys[0]))
        state, step = envs.reset(keys[1])
        begun = (state, step, learner.start(E), jnp.ones(E, bool))

        def body(now, key):
            state, step, carry, first = now
            values = learner.policy(params, carry, step.obs)[1]
            carry, action = learner.act(params, carry, step, key, jnp.asarray(0.0))
            state, new = envs.step(state, action, key)
            ahead = learner.policy(params, carry, new.final_obs)[1]
            ended = new.terminated | new.truncated
            after = (state, new, chosen_where(ended, learner.start(E), carry), ended)
            return after, (transition(step, action, new, first), values, ahead)

        middle, _ = jax.lax.scan(body, begun, jr.split(keys[2], 3))  # so that the first sequence begins within an episode
        _, (rollout, values, ahead) = jax.lax.scan(body, middle, jr.split(keys[1], T))
        return params, rollout, middle[2], values, ahead

    return learner, *jax.jit(run)(jr.key(0))


def test_unrolling_a_kept_sequence_equals_acting(collected):
    """From the carry that it began with, over the ends of episodes, and one step further from every step."""
    learner, params, rollout, carry, values, ahead = collected
    ended = np.asarray(rollout.terminated | rollout.truncated)
    assert np.asarray(carry["q"]["agent"]).any() and ended[:-1].any(0).all() and rollout.truncated.any()
    _, items = learner.prepare(params, carry, rollout)
    assert items.obs["agent"].shape == (E, T, 2, 2) and items.extras["carry"]["q"]["agent"].shape == (E, 2, H)
    carries, q = learner.unroll(params, items)
    np.testing.assert_allclose(jnp.swapaxes(q["agent"], 0, 1), values["agent"], rtol=1e-5, atol=1e-5)
    _, after = learner.policy(params, carries, items.next_obs)
    np.testing.assert_allclose(jnp.swapaxes(after["agent"], 0, 1), ahead["agent"], rtol=1e-5, atol=1e-5)


def test_nothing_is_remembered_from_before_an_episode(collected):
    """Another carry, or other observations, change no value after the next beginning, and some before it."""
    learner, params, rollout, carry, *_ = collected
    items = learner.prepare(params, carry, rollout)[1]
    begins = np.asarray(items.first)
    t = begins[:, 1:].argmax(1) + 1  # the first episode that begins within each sequence
    before = np.arange(T)[None] < t[:, None]
    noise = jnp.where(before[..., None, None], 7.0, items.obs["agent"])
    other = jax.tree.map(lambda x: x + 1.0, carry)
    spoilt = dataclasses.replace(items, obs={"agent": noise}, extras={"carry": other})
    one, two = (np.asarray(learner.unroll(params, x)[1]["agent"]) for x in (items, spoilt))
    np.testing.assert_array_equal(one[~before], two[~before])
    assert (one[before] != two[before]).all()


def test_memory_holds_sequences():
    """As many as the capacity in env-steps has room for; a batch is made of whole ones."""
    made = loop(Lengths(), dataclasses.replace(GRU, capacity=30 * T, batch=7), 9)
    state = made.start((0,))
    assert state.memory.obs["agent"].shape == (1, 30, T, 2, 2)
    assert state.memory.extras["carry"]["q"]["agent"].shape == (1, 30, 2, H)
    assert made.learner.memory.plan(jr.key(0), 30).shape == (GRU.gradient_steps, 7)


def test_values_that_remember_solve_recall():
    made = loop(Recall(), small(QLearning(core="gru", train_every=16), num_envs=16, rollout=6, batch=32, hidden=(16,)), 60)
    state, _ = made.run(SEEDS)
    assert (played(Recall(), made.learner, state.params)["agent"] > 0.9).all()


@pytest.mark.slow
def test_a_recurrent_controller_teaches_recurrent_students():
    """Both cues stand in the controller's observation; its values are sums over agents' heads. Students see their own cue."""
    env = Recall(2)
    whole = centralized(env)
    config = small(QLearning(core="gru", train_every=16), num_envs=16, rollout=6, batch=32, hidden=(16,))
    made = loop(whole, config, 100)
    params = made.run(SEEDS)[0].params
    assert (played(whole, made.learner, params)["team"] > 0.9).all()
    expert = TeamPolicy(whole.spec, config, params, SEEDS, whole)
    student = small(Imitator(core="gru", train_every=64), num_envs=16, rollout=6, batch=32, hidden=(16,), gradient_steps=4)
    taught = loop(env, student, 40, (Dagger(expert),))
    state, _ = taught.run(SEEDS)
    assert (played(env, taught.learner, state.params)["agent"] > 0.9).all()


@pytest.mark.parametrize("part", [QLearning, Imitator])
def test_sequences_of_one_step_are_refused(part):
    with pytest.raises(HeadstartError, match=r"^learner.train_every must be at least 2 · num_envs") as caught:
        part(core="gru", num_envs=8, train_every=8)
    with pytest.raises(HeadstartError, match=r"^learner.hidden must be at least one size"):
        part(core="gru", num_envs=8, train_every=64, hidden=())
    assert "\n" not in str(caught.value)
