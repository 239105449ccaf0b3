"""Further inputs: who an agent is, and what it did last."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart.core.checks import HeadstartError
from headstart.core.env import vectorise
from headstart.core.episodes import Actor, episodes
from headstart.envs.inputs import inputs
from headstart.envs.particle.spread import Spread
from headstart.envs.particle.tag import Tag


def test_it_is_the_same_game_with_more_to_see():
    plain, env = Tag(2, horizon=3), inputs(Tag(2, horizon=3), last_action=True)
    spec, size = env.spec, plain.spec.roles["adversary"].obs_size
    assert [f.name for f in spec.roles["adversary"].obs][-2:] == ["agent_id", "last_action"]
    assert spec.roles["agent"].obs[-2].size == 1 and spec.roles["adversary"].obs[-2].size == 2
    inside, outside = vectorise(plain, 4), vectorise(env, 4)
    states, shown = inside.reset(jr.key(0))
    others, seen = outside.reset(jr.key(0))
    last = jnp.zeros((4, 2, 5))
    for k in jr.split(jr.key(1), 7):  # over the ends of two episodes
        np.testing.assert_array_equal(seen.obs["adversary"][..., :size], shown.obs["adversary"])
        np.testing.assert_array_equal(seen.obs["adversary"][..., size : size + 2], np.tile(np.eye(2), (4, 1, 1)))
        np.testing.assert_array_equal(seen.obs["adversary"][..., size + 2 :], last)
        assert seen.obs["adversary"].shape[-1] == spec.roles["adversary"].obs_size
        action = {r: jax.nn.softmax(jr.normal(k, (4, s.agents, 5))) for r, s in plain.spec.roles.items()}
        states, shown = inside.step(states, action, k)
        others, seen = outside.step(others, action, k)
        np.testing.assert_array_equal(seen.final_obs["adversary"][..., size + 2 :], action["adversary"])
        np.testing.assert_array_equal(seen.reward["agent"], shown.reward["agent"])
        last = jnp.where(seen.truncated[:, None, None], 0.0, action["adversary"])
    assert last.shape == (4, 2, 5)


def test_evaluation_sees_the_same():
    env = inputs(Spread(2, horizon=2), agent_id=False, last_action=True)
    left = jnp.zeros((3, 2, 5)).at[..., 1].set(1.0)
    actor = Actor(lambda count: (), lambda carry, step, key: (carry, {"agent": left}))
    _, kept = episodes(env, actor, lambda now: (now.step.obs["agent"][..., -5:], now.new.obs["agent"][..., -5:]))(
        jr.split(jr.key(0), 3), jr.key(1)
    )
    np.testing.assert_array_equal(kept[0][0], jnp.zeros((3, 2, 5)))
    np.testing.assert_array_equal(kept[0][1], left)
    np.testing.assert_array_equal(kept[1][0], left)


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(HeadstartError, match="observe a field 'agent_id' already"):
        inputs(inputs(Spread(2)))
