"""Observations normalised by running statistics: those of stable-baselines3's VecNormalize, in PPO and in its teams."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import Choice, fresh, loop, played, same, small

from headstart.core import actions
from headstart.core.checks import HeadstartError
from headstart.core.types import Continuous, Field, RoleSpec, TeamSpec, Transition
from headstart.guidance.warm_start import WarmStart
from headstart.learners.normaliser import read
from headstart.learners.ppo import PPO
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load

T, E, A, SEEN, U = 5, 4, 2, 3, 2
FIELDS = (Field("position", 1, 1, own=True), Field("speed", 1, 2, own=True))
TINY = PPO(hidden=(4,), num_envs=E, rollout=T, minibatches=1, epochs=1, obs_norm=True, obs_clip=2.0)


def spec(fields=FIELDS) -> TeamSpec:
    return TeamSpec({"agent": RoleSpec(A, fields, Continuous(U))}, 10, A * sum(field.width for field in fields))


def a_rollout(seed: int) -> Transition:
    """Random numbers; the second agent is dead half of the time."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    obs, no = {"agent": 5 + 3 * draw(T, E, A, SEEN)}, jnp.zeros((T, E), bool)
    alive = jnp.ones((T, E, A), bool).at[..., 1].set(draw(T, E) > 0)
    state, reward = draw(T, E, A * SEEN), {"agent": draw(T, E, A)}
    done, after = {"agent": draw(T, E, A, U)}, {"agent": 5 + 3 * draw(T, E, A, SEEN)}
    return Transition(obs, done, reward, no, no, after, state, state, {"agent": alive}, None, None, no, {})


class VecNormalize:
    """The running mean and variance of stable-baselines3's VecNormalize, transcribed."""

    def __init__(self, size: int):
        self.mean, self.var, self.count = np.zeros(size), np.ones(size), 1e-4

    def update(self, x: np.ndarray) -> None:
        mean, var, count = x.mean(0), x.var(0), len(x)
        delta, total = mean - self.mean, self.count + count
        m2 = self.var * self.count + var * count + np.square(delta) * self.count * count / total
        self.mean, self.var, self.count = self.mean + delta * count / total, m2 / total, total

    def normalize_obs(self, x: np.ndarray, clip: float) -> np.ndarray:
        return np.clip((x - self.mean) / np.sqrt(self.var + 1e-8), -clip, clip)


@functools.cache
def prepared():
    """Parameters before and after two rollouts, the rollouts, and the second one's items."""
    learner = TINY.make(spec())
    first = jax.tree.map(lambda x: x[0], fresh(TINY, spec(), 1))
    rollouts = a_rollout(0), a_rollout(1)
    prepare = jax.jit(learner.prepare)
    second, _ = prepare(first, (), rollouts[0])
    third, items = prepare(second, (), rollouts[1])
    return learner, (first, second, third), rollouts, items


def test_statistics_and_what_networks_read_are_those_of_vecnormalize():
    _, params, rollouts, _ = prepared()
    oracle = VecNormalize(SEEN)
    for rollout, after in zip(rollouts, params[1:], strict=True):
        oracle.update(np.asarray(rollout.obs["agent"])[np.asarray(rollout.alive["agent"])])
        moments = after["inputs"]["agent"].net
        np.testing.assert_allclose(moments.mean, oracle.mean, rtol=1e-4)
        np.testing.assert_allclose(moments.variance, oracle.var, rtol=1e-4)
        x = rollout.obs["agent"] * 2
        seen = read(TINY, after, {"agent": x})["agent"]
        np.testing.assert_allclose(seen, oracle.normalize_obs(np.asarray(x), 2.0), rtol=1e-3, atol=1e-3)
        assert float(jnp.abs(seen).max()) == 2.0


def test_an_update_learns_from_what_was_read_as_the_team_acted():
    """So that the first ratio is 1, and no gradient reaches the statistics."""
    learner, (_, acted, moved), (_, rollout), items = prepared()
    mean = learner.policy(acted, (), rollout.obs)[1]["agent"]
    log_std = acted["actor"]["agent"].net.log_std
    before = actions.normal_log_prob(mean, log_std, rollout.action["agent"])
    np.testing.assert_allclose(items.extras["log_prob"]["agent"], before.reshape(-1, A), rtol=1e-5)
    np.testing.assert_allclose(learner.unroll(acted, items)[1]["agent"], mean.reshape(-1, A, U), rtol=1e-5)
    assert not np.allclose(learner.policy(moved, (), rollout.obs)[1]["agent"], mean, rtol=1e-3)

    value = lambda obs: learner.value(acted, obs, {})["agent"][-1]
    last = rollout.reward["agent"][-1] + TINY.gamma * value(rollout.next_obs) - value(rollout.obs)
    there = np.asarray(rollout.alive["agent"][-1])  # value functions read zeros of the dead
    assert there.any() and not there.all()
    np.testing.assert_allclose(items.extras["advantage"]["agent"][-E:][there], last[there], rtol=1e-4, atol=1e-5)

    def surrogate(params):
        # Advantages have mean 0, so with all ratios 1 the loss is the entropy bonus alone.
        everyone = dataclasses.replace(items, alive={"agent": jnp.ones_like(items.alive["agent"])})
        terms, metrics = learner.objective(params, params, everyone, jr.key(0))
        return terms["actor"]["agent"].sum() + terms["critic"]["agent"].sum(), (terms["actor"]["agent"], metrics["entropy"])

    grads, (loss, entropy) = jax.grad(surrogate, has_aux=True)(moved)
    np.testing.assert_allclose(loss.sum(), -TINY.entropy * entropy, atol=1e-5)
    assert not any(np.any(x) for x in jax.tree.leaves(grads["inputs"]))
    assert same([moved[name] for name in ("actor", "critic")], [acted[name] for name in ("actor", "critic")])


def test_without_it_nothing_is_read_otherwise():
    plain = dataclasses.replace(TINY, obs_norm=False)
    params = jax.tree.map(lambda x: x[0], fresh(plain, spec(), 1))
    obs = a_rollout(0).obs
    assert set(params) == {"actor", "critic"} and read(plain, params, obs) is obs
    assert plain.make(spec()).policy_networks == ("actor",) and prepared()[0].policy_networks == ("actor", "inputs")
    normalised = prepared()[1][0]
    assert same({name: normalised[name] for name in params}, params)  # the same draws


def test_a_saved_team_reads_by_its_own_statistics(tmp_path):
    _, (_, _, params), (rollout, _), _ = prepared()
    team = TeamPolicy(spec(), TINY, jax.tree.map(lambda x: x[None], params), (0,), None)
    team.save(tmp_path / "team")
    again = load(tmp_path / "team")
    act = lambda team: team.learner.policy(team.seed(0), (), rollout.obs)[1]["agent"]
    np.testing.assert_array_equal(act(again), act(team))


WIDER = (Field("speed", 1, 2, own=True), Field("height", 1, 2, own=True), Field("position", 1, 1, own=True))


def test_a_warm_start_takes_statistics_over_by_field():
    _, (_, _, params), _, _ = prepared()
    teacher = TeamPolicy(spec(), TINY, jax.tree.map(lambda x: x[None], params), (0,), None)
    student = TINY.make(spec(WIDER))
    new = jax.tree.map(lambda x: x[0], fresh(TINY, spec(WIDER), 1, 8))
    started, rows = WarmStart(teacher).make(spec(WIDER), student).start(teacher.seed(0), new)
    theirs, ours = params["inputs"]["agent"].net, started["inputs"]["agent"].net
    for name, new_value in (("mean", 0), ("variance", 1), ("count", 0)):
        have = getattr(theirs, name)
        np.testing.assert_array_equal(getattr(ours, name), [have[1], have[2], new_value, new_value, have[0]])
    assert {row[1] for row in rows if row[0].startswith("inputs")} == {"adapted"}
    obs = a_rollout(0).obs["agent"]
    wide = jnp.concatenate([obs[..., 1:], jnp.full((*obs.shape[:-1], 2), 7.0), obs[..., :1]], -1)
    act = lambda learner, params, obs: learner.policy(params, (), {"agent": obs})[1]["agent"]
    # Rows of new fields begin at zero, so the student acts as its teacher.
    np.testing.assert_allclose(act(student, started, wide), act(TINY.make(spec()), params, obs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("normalised,networks,says", [
    (True, (), "only the teacher's networks read normalised"),
    (False, (), "only the student's networks read normalised"),
    (None, ("actor",), "add inputs to guidance.networks"),
])  # fmt: skip
def test_an_actor_without_its_statistics_is_refused(normalised, networks, says):
    theirs = dataclasses.replace(TINY, obs_norm=normalised is not False)
    ours = dataclasses.replace(TINY, obs_norm=normalised is not True)
    teacher = TeamPolicy(spec(), theirs, fresh(theirs, spec(), 1), (0,), None)
    with pytest.raises(HeadstartError, match=says) as caught:
        WarmStart(teacher, networks=networks).make(spec(), ours.make(spec()))
    assert "\n" not in str(caught.value)


@dataclasses.dataclass(frozen=True)
class Far(Choice):
    """`Choice`, whose sign is a thousandth of a number that does not change."""

    def _seen(self, state, step):
        return dataclasses.replace(step, obs={"agent": 300 + 0.3 * state[None, None]}, final_obs={"agent": step.obs["agent"]})

    def reset(self, key):
        state, step = super().reset(key)
        return state, self._seen(state, step)

    def step(self, state, action, key):
        state, step = super().step(state, action, key)
        return state, self._seen(state, step)


@pytest.mark.slow
@pytest.mark.parametrize("obs_norm", [False, True])
def test_what_is_far_from_zero_is_learned_with_it_only(obs_norm):
    config = small(PPO(), obs_norm=obs_norm)
    made = loop(Far(), config, 40)
    params = made.train((0, 1))["state"].params
    returns = played(Far(), config.make(Far().spec), params)["agent"]
    assert (returns > 0.9).all() if obs_norm else (returns < 0.5).all()
