"""Every learner that the registry finds solves problems with known answers; what must not matter does not.

A new learner is covered by being there. Its critic, if it has one, is asked for the value of what it should know.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import (
    Choice,
    Coordination,
    Dead,
    Masked,
    Mixed,
    Recall,
    Values,
    learners,
    loop,
    played,
    same,
    small,
    takes,
    traced,
    whole,
)  # fmt: skip

from headstart import registry

LEARNERS = learners()
every = pytest.mark.parametrize("name", LEARNERS)
SEEDS = (0, 1)


def solved(env, config, updates):
    """(params [S ..], learner, mean greedy returns)."""
    made = loop(env, config, updates)
    params = made.train(SEEDS)["state"].params
    return params, made.learner, played(env, made.learner, params)


def worth(learner, params, obs):
    """[S X]: what the learner expects of each observation of one agent [X O], with the action that its policy would take."""

    def one(params):
        batch = {"agent": obs[:, None]}
        logits = learner.policy(params, learner.start(len(obs)), batch)[1]["agent"]
        likely = jax.nn.softmax(logits, -1) if "actor" in params else jax.nn.one_hot(logits.argmax(-1), logits.shape[-1])
        return learner.value(params, batch, {"agent": likely})["agent"][:, 0]

    return np.asarray(jax.vmap(one)(params))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, c in LEARNERS.items() if c.make(Values().spec).value])
def test_values(name):
    """Constant, observed, and one step away: 1, 1, −1, γ, 1."""
    config = small(LEARNERS[name])
    made = loop(Values(), config, 400)
    got = worth(made.learner, made.train(SEEDS)["state"].params, jnp.eye(5))
    np.testing.assert_allclose(got, [Values.answers(config.gamma)] * len(SEEDS), atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, c in LEARNERS.items() if not takes(c, Mixed().spec)])
def test_choice(name):
    """Two roles with two heads, below, ask the others for the same and more."""
    _, _, returns = solved(Choice(), small(LEARNERS[name]), 200)
    assert (returns["agent"] > 0.95).all()


@pytest.mark.slow
@every
def test_coordination(name):
    _, _, returns = solved(Coordination(), small(LEARNERS[name]), 200)
    assert (returns["agent"] > 0.95).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, c in LEARNERS.items() if takes(c, Mixed().spec)])
def test_two_roles_two_heads_and_continuous_actions(name):
    """Talkers earn 1 by two right heads, the mover loses the square of what it misses."""
    _, _, returns = solved(Mixed(), small(LEARNERS[name], hidden=(32,)), 900)
    assert (returns["talker"] > 0.9).all(), returns
    assert (returns["mover"] > -0.06).all(), returns  # standing still loses 0.33


@pytest.mark.slow
@every
def test_illegal_actions_are_never_taken(name):
    """Neither in training, where an illegal action would spoil a reward and through it the parameters, nor in evaluation."""
    made = loop(Masked(), small(LEARNERS[name], warmup=16), 20)
    state, metrics = made.run(SEEDS)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.params, metrics)))
    assert np.isfinite(np.concatenate([np.asarray(m["episodes"]["returns"]["agent"]) for m in metrics])).all()
    assert np.isfinite(played(Masked(), made.learner, state.params)["agent"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("agents", ["separate", "shared"])
@every
def test_the_dead_teach_nobody(name, agents):
    """A dead agent's observations and rewards change no parameter of the living (with shared ones: no parameter at all)."""
    config = small(LEARNERS[name], shared=agents == "shared", warmup=16)
    living = lambda state: [
        team.net if team.shared else jax.tree.map(lambda x: x[:, 0], team.net)
        for team in (roles["agent"] for roles in state.params.values())
    ]

    @jax.jit
    def trained(garbage):
        state, metrics, start = whole(traced(Dead(), garbage=garbage), config, 6, seeds=(0,))
        return living(start), living(state), metrics

    (start, clean, _), (_, spoilt, metrics) = trained(0.0), trained(1e3)
    assert not same(start, clean)
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(metrics))
    assert same(clean, spoilt)


@pytest.mark.slow
@pytest.mark.parametrize("name,holds", [("ppo-gru", True), ("ippo-gru-full", True), ("ppo", False)])
def test_recurrence_remembers_the_cue(name, holds):
    """The cue of the first step decides the third; without memory nothing better than a guess is possible."""
    config = small((LEARNERS | registry.variants("learner"))[name], num_envs=16, rollout=12, hidden=(16,))
    _, _, returns = solved(Recall(), config, 150)
    assert (returns["agent"] > 0.9).all() if holds else (np.abs(returns["agent"]) < 0.5).all()


def test_the_registry_finds_them():
    assert {type(c).__name__ for c in LEARNERS.values()} >= {"DDPG", "PPO"}
    assert set(LEARNERS) <= set(registry.presets("learner"))
