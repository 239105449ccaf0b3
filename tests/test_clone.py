"""Behaviour cloning: the loss against plain NumPy, nothing with weight 0, and recorded teams that students become."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.special
from probes import Choice, Mixed, Recall, drawn, loop, played, same, small, traced, whole
from test_demos import Duel, recorded, team

import headstart as hs
from headstart.core.checks import HeadstartError
from headstart.core.guidance import Clock
from headstart.core.learner import TEMPERATURES
from headstart.envs.particle.spread import Spread
from headstart.guidance.clone import Clone
from headstart.learners.ddpg import DDPG
from headstart.learners.imitator import Imitator
from headstart.learners.ppo import PPO
from headstart.learners.qlearning import QLearning
from headstart.training import run, session

PPO4 = small(PPO(), num_envs=4, rollout=4, hidden=(8,))
STUDENT = small(Imitator(), num_envs=8, gradient_steps=8, hidden=(16,))


def learned(state):
    return state.params, state.target, state.opt, state.env, state.step, state.key


# ------------------------------------------------------------------ the loss


def nll(logits, legal, did, hot=1.0):
    return -hot * (scipy.special.log_softmax(np.where(legal, logits / hot, -1e9), -1) * did).sum(-1)


def asked(guide, learner, params, turns=1):
    """(what the guide has drawn, its terms for each of the first gradient steps, the students' outputs), by one program."""

    @jax.jit
    def ask(params):
        clock = Clock(jnp.asarray(0), jnp.zeros(()))
        g, _, metrics = guide.observe(guide.init(jr.key(0), 0), params, jr.key(1), None, clock, guide.data)
        terms, outs = [], []
        for turn in range(turns):
            terms.append(guide.objective(g, params, None, {})["clone"])
            if not jax.tree.leaves(learner.start(1)):
                outs.append(learner.policy(params, (), jax.tree.map(lambda x, i=turn: x[i], g["drawn"]["obs"]))[1])
            g = guide.grads(g, params, ())[0]
        return g["drawn"], metrics, terms, outs

    return jax.tree.map(np.asarray, ask(params))


@pytest.mark.parametrize("config,outputs", [(PPO4, "logits"), (small(QLearning(), hidden=(8,), gradient_steps=2), "values")])
def test_the_loss_of_choices_is_their_negative_log_likelihood_among_the_legal_ones(config, outputs):
    learner, demos = config.make(Duel().spec), recorded()
    assert learner.outputs == outputs
    guide = Clone(demos, batch=6, weight=0.5).make(Duel().spec, learner)
    params = jax.tree.map(lambda x: x[0], drawn(config, Duel().spec, 1))
    found, metrics, terms, outs = asked(guide, learner, params, 2)
    assert float(metrics["clone_weight"]) == 0.5
    steps = {name: x["agent"] for name, x in found.items()}
    rows = {row.tobytes() for row in demos.obs["agent"][demos.running]}
    for turn in (0, 1):
        each = nll(outs[turn]["agent"], steps["available"][turn], steps["actions"][turn], TEMPERATURES[outputs])
        alive = steps["alive"][turn]
        wanted = (each * alive).sum(0) / np.maximum(alive.sum(0), 1)
        np.testing.assert_allclose(terms[turn]["agent"], 0.5 * learner.share["agent"] * wanted, rtol=1e-5, atol=1e-7)
        assert all(row.tobytes() in rows for row in steps["obs"][turn])
    assert not np.array_equal(steps["obs"][0], steps["obs"][1])


def test_the_loss_of_continuous_actions_is_the_squared_error_of_the_mean():
    spec, config = Mixed().spec, PPO4
    learner = config.make(spec)
    rng = np.random.default_rng(0)
    obs = {"talker": rng.normal(size=(5, 1, 2, 3)), "mover": rng.normal(size=(5, 1, 1, 4))}
    did = {"talker": rng.integers(0, 2, (5, 1, 2, 2)), "mover": rng.uniform(-1, 1, (5, 1, 1, 2))}
    guide = Clone(hs.Demos.from_arrays(spec, obs, actions=did), batch=4).make(spec, learner)
    params = jax.tree.map(lambda x: x[0], drawn(config, spec, 1))
    found, _, terms, outs = asked(guide, learner, params)
    wanted = np.square(outs[0]["mover"] - found["actions"]["mover"][0]).mean((0, 2))
    np.testing.assert_allclose(terms[0]["mover"], wanted, rtol=1e-5)


def test_a_recurrent_student_reads_whole_episodes_from_their_beginning():
    config = small(PPO(core="gru"), num_envs=4, rollout=4, hidden=(8,))
    learner, demos = config.make(Duel().spec), recorded()
    guide = Clone(demos, batch=9).make(Duel().spec, learner)
    params = jax.tree.map(lambda x: x[0], drawn(config, Duel().spec, 1))
    found, _, terms, _ = asked(guide, learner, params)
    now, act = {name: x["agent"][0] for name, x in found.items()}, jax.jit(learner.policy)
    episodes = -(-9 * len(demos) // demos.steps)
    assert now["obs"].shape == (episodes, demos.lengths.max(), 2, 2)
    total, count = np.zeros(2), np.zeros(2)
    for b in range(episodes):
        carry = learner.start(1)
        for t in range(now["obs"].shape[1]):
            carry, out = act(params, carry, {"agent": jnp.asarray(now["obs"][b, t])[None]})
            alive = now["alive"][b, t]
            each = nll(np.asarray(out["agent"][0]), now["available"][b, t], now["actions"][b, t])
            total, count = total + np.where(alive, each, 0), count + alive
    np.testing.assert_allclose(terms[0]["agent"], learner.share["agent"] * total / count, rtol=1e-4)


# ------------------------------------------------------------------ training


DDPG4 = small(DDPG(), num_envs=4, hidden=(8,), warmup=32)


@pytest.mark.parametrize("config", [DDPG4, pytest.param(PPO4, marks=pytest.mark.slow)], ids=["ddpg", "ppo"])
def test_weight_0_is_no_guidance_bitwise_and_1_is_some(config, as_users):
    demos = recorded()

    @jax.jit
    def guided(weight):
        state, metrics, _ = whole(Duel(), config, 6, (traced(Clone(demos, batch=4), weight=weight),))
        return learned(state), metrics["guidance"]["clone_weight"]

    plain = jax.jit(lambda: learned(whole(Duel(), config, 6)[0]))()
    (nothing, zeros), (something, ones) = guided(0.0), guided(1.0)
    assert same(plain, nothing) and not np.asarray(zeros).any()
    assert not same(plain[0], something[0]) and np.asarray(ones).all()


def test_a_warm_start_ends_and_two_pieces_are_one_bitwise():
    made = loop(Duel(), STUDENT, 30, (Clone(recorded(), batch=4, until=0.5),))
    state, metrics = made.run((0, 1))
    weights = np.array([now["guidance"]["clone_weight"][0] for now in metrics])
    begin = made.trainer.warmup_updates
    progress = np.clip((np.arange(30) - begin) / (29 - begin), 0, 1)
    np.testing.assert_array_equal(weights, progress <= 0.5)
    half, _ = made.run((0, 1), last=13)
    assert same(made.run((0, 1), first=13, state=half)[0], state)


def best(obs):
    return {"agent": jnp.concatenate([obs["agent"], -obs["agent"]], -1)}


def test_a_student_of_a_recorded_controller_reaches_its_return():
    env = Choice()
    demos = hs.record(hs.Scripted(best, env.spec), env, episodes=32, actions=True)
    assert demos.means["return"] == 1
    made = loop(env, STUDENT, 40, (Clone(demos, batch=16),))
    begun, state = made.start((0, 1)), made.run((0, 1))[0]
    assert played(env, made.learner, begun.params)["agent"].min() < 1
    np.testing.assert_array_equal(played(env, made.learner, state.params)["agent"], 1)


@pytest.mark.slow
def test_a_recurrent_student_remembers_what_the_recorded_agent_did():
    """The controller's choice at the third step depends on what was seen at the first."""
    env, signs = Recall(), np.where(np.arange(16) % 2, 1.0, -1.0)
    obs = np.zeros((16, 3, 1, 2))
    obs[:, 0, 0, 0], obs[..., 1] = signs, np.arange(3)[None, :, None] / 2
    did = np.repeat((signs < 0).astype(int)[:, None, None], 3, 1)
    demos = hs.Demos.from_arrays(env, obs, actions=did)
    student = small(Imitator(core="gru", train_every=64), num_envs=8, gradient_steps=8)
    made = loop(env, student, 60, (Clone(demos, batch=24),))
    np.testing.assert_array_equal(played(env, made.learner, made.run((0,))[0].params)["agent"], 1)


def test_demonstrations_are_an_argument_of_the_program():
    made = loop(Choice(), STUDENT, 2, (Clone(_choices(1.0)),))
    other = loop(Choice(), STUDENT, 2, (Clone(_choices(-1.0)),))
    advance = functools.partial(made.advance, made.begin(jnp.asarray((0,))), 0, 2)
    mine, theirs = advance(made.trainer.data)["state"], advance(other.trainer.data)["state"]
    assert not same(mine.guidance, theirs.guidance)


def _choices(sign):
    obs = np.full((2, 1, 1, 1), sign)
    return hs.Demos.from_arrays(Choice(), obs, actions=np.zeros((2, 1, 1), int))


# ------------------------------------------------------------------ runs on disk


@pytest.mark.slow
def test_an_interrupted_run_goes_on_bitwise_with_its_own_copy(tmp_path, monkeypatch):
    from test_runs import identical, stopper

    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)
    env = Spread(2, horizon=4)
    demos = hs.record(team(env), episodes=5, actions=True)
    demos.save(tmp_path / "demos")
    config = run.Config(env, PPO4, (Clone(str(tmp_path / "demos"), batch=4),), 96, 2, evaluations=3, episodes=3)
    run.train(config, tmp_path / "whole")
    with pytest.raises(session.Interrupted):
        run.train(config, tmp_path / "cut", stopper(3))
    (tmp_path / "demos").rename(tmp_path / "moved")
    run.resume(tmp_path / "cut")
    identical(tmp_path / "cut", tmp_path / "whole")
    about = json.loads((tmp_path / "cut/run.json").read_text())
    assert about["guides"] == [json.loads((tmp_path / "moved/demos.json").read_text())["digest"]]
    assert about["teachers"][0]["name"] == "demos" and about["teachers"][0]["env_steps"] == demos.steps == 20


def test_what_cannot_be_cloned_is_refused_in_one_line():
    spec, learner = Duel().spec, PPO4.make(Duel().spec)
    for teacher, told in (
        (None, "clone needs a teacher that is demonstrations: headstart record RUN --actions"),
        (team(Duel()), "a TeamPolicy is none"),
        (dataclasses.replace(recorded(), actions=None, available=None), "recorded actions, and these demonstrations have none"),
        (_choices(1.0), "of 1 × agent and the team has 2 × agent"),
    ):
        with pytest.raises(HeadstartError, match=told) as caught:
            Clone(teacher).make(spec, learner)
        assert "\n" not in str(caught.value)
