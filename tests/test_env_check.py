"""An environment that does not give what its spec says is refused in one line, before anything is compiled."""

import dataclasses
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import headstart as hs
from examples.plates import Plates
from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.env_check import check_ends, check_env
from headstart.core.part import part
from headstart.envs.inputs import Inputs

CHANGES = {
    "obs": (
        lambda ts: {"obs": {"agent": ts.obs["agent"][:, :-1]}},
        r"Odd\.reset must return obs\['agent'\] of shape \(2, 8\), not \(2, 7\): "
        r"2 agents, and position 2 \+ plates 4 \+ mates 2 numbers",
    ),
    "reward of one": (
        lambda ts: {"reward": {"agent": ts.reward["agent"][:1]}},
        r"reward\['agent'\] of shape \(2,\), not \(1,\)",
    ),
    "reward of all": (lambda ts: {"reward": {"agent": ts.reward["agent"].sum()}}, r"shape \(2,\), not \(\): one for each of 2"),
    "role": (lambda ts: {"reward": {}}, r"reward of a time step must be a dict with the spec's roles, 'agent', not roles \[\]"),
    "no dict": (
        lambda ts: {"alive": jnp.ones(2, bool)},
        r"alive of a time step must be a dict with the spec's roles, 'agent', not an array of shape \(2,\)",
    ),
    "state": (lambda ts: {"state": ts.state[1:]}, r"state of shape \(8,\), not \(7,\): the spec's state_size"),
    "kind": (lambda ts: {"terminated": ts.terminated.astype(float)}, "terminated as truth values, not float32"),
    "truths": (lambda ts: {"final_obs": {"agent": ts.obs["agent"] > 0}}, r"final_obs\['agent'\] as numbers, not bool"),
    "no array": (lambda ts: {"truncated": None}, "an array as truncated, not NoneType"),
    "each agent": (lambda ts: {"truncated": jnp.zeros(2, bool)}, r"truncated of shape \(\), not \(2,\): one for the team"),
    "mask": (lambda ts: {"available": {"agent": jnp.ones((2, 4), bool)}}, r"\(2, 5\), not \(2, 4\): 2 agents, and the options"),
}


@part("env")
class Odd(Plates):
    """Plates with something else in its time steps, from the first one on or from the second."""

    change: str = ""
    late: bool = False

    def reset(self, key):
        state, ts = super().reset(key)
        return state, ts if self.late else self.changed(ts)

    def step(self, state, action, key):
        state, ts = super().step(state, action, key)
        if self.change == "name":
            return stat, ts  # noqa: F821 # pyright: ignore[reportUndefinedVariable]
        if self.change == "branch" and ts.reward["agent"][0] > 0:
            return state, ts
        if self.change == "clock":
            state = state._replace(time=state.time.astype(jnp.float32))
        return state, self.changed(ts)

    def changed(self, ts):
        if self.change == "endless":
            return dataclasses.replace(ts, terminated=jnp.zeros((), bool), truncated=jnp.zeros((), bool))
        if self.change == "event":
            return dataclasses.replace(ts, events={})
        return dataclasses.replace(ts, **CHANGES[self.change][0](ts)) if self.change in CHANGES else ts


@part("env")
class Unhashable(Odd):
    more: Any = None


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_spec_says_otherwise_is_named(as_users, change):
    with pytest.raises(HeadstartError, match=CHANGES[change][1]) as caught:
        check_env(Odd(change=change))
    assert "\n" not in str(caught.value)
    with pytest.raises(HeadstartError, match=CHANGES[change][1].replace("reset", "step")):
        check_env(Odd(change=change, late=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("name", r"Odd\.step failed: NameError: name 'stat' is not defined \(.*test_env_check\.py, line \d+\)$"),
        ("branch", r"Odd\.step failed: TracerBoolConversionError: .* \(.*test_env_check\.py, line \d+\); .* write jnp\.where"),
    ],
)
def test_an_error_of_the_environments_own_is_told_in_one_line_with_its_place(change, says):
    with pytest.raises(HeadstartError, match=says) as told:
        check_env(Odd(change=change))
    assert "\n" not in str(told.value)


def test_an_episode_that_is_never_cut_off_is_refused_once_it_must_have_been(as_users, tmp_path):
    with pytest.raises(HeadstartError, match=r"ended in 32 env-steps, .* lasts 20 at most \(horizon\).*; delete .*run before"):
        hs.train(Odd(change="endless"), hs.PPO(num_envs=2, rollout=16), tmp_path / "run", steps=128, evaluations=2, episodes=2)


def test_settings_that_cannot_be_compared_are_no_way_around(as_users):
    with pytest.raises(HeadstartError, match=r"Unhashable\.reset must return state of shape"):
        check_env(Unhashable(change="state", more={"a": 1}))


@pytest.mark.parametrize("ended, steps, refused", [(0, 20, True), (0, 19, False), (1, 20, False)])
def test_an_episode_must_have_ended_by_its_horizon(ended, steps, refused):
    with pytest.raises(HeadstartError, match=r"^no episode of Odd has ended in 20") if refused else nullcontext():
        check_ends(Odd(), ended, steps)


def test_a_step_returns_what_a_reset_does(as_users):
    says = (
        r"Odd\.step must return a state like that of Odd\.reset: \.time is float32 of shape \(\), and was int32 of shape \(\)"
    )
    with pytest.raises(HeadstartError, match=says):
        check_env(Odd(change="clock"))
    with pytest.raises(HeadstartError, match=r"a time step like that of Odd\.reset: only one of them has \.events\['opened'\]"):
        check_env(Odd(change="event", late=True))


@part("env")
class Whole(Plates):
    """Plates that are told in whole numbers, which trains as well."""

    def step(self, state, action, key):
        state, ts = super().step(state, action, key)
        return state, self.whole(ts)

    def reset(self, key):
        state, ts = super().reset(key)
        return state, self.whole(ts)

    def whole(self, ts):
        cells = {"agent": (ts.obs["agent"] * self.size).astype(int)}
        return dataclasses.replace(ts, obs=cells, final_obs=cells, events={"opened": ts.terminated})


def test_whole_numbers_are_numbers(as_users):
    check_env(Whole())


def test_a_training_and_a_wrapper_ask(as_users, tmp_path):
    odd = Odd(change="reward of one")
    for env in (odd, Inputs(odd)):
        with pytest.raises(HeadstartError, match=r"reward\['agent'\] of shape"):
            hs.train(env, hs.PPO(), tmp_path / "run", steps=4096, progress=False)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", ["spread", "speaker-listener", "treasure", "smax:3m", "architecture-reduced", "communication-3"]
)
def test_own_environments_are_what_they_say(name):
    check_env(registry.preset("env", name))


def test_plates_open_with_an_agent_on_each():
    """From one step away; the share of free plates is the price of a step, and the clock ends what nobody does."""
    env = Plates()
    state, _ = env.reset(jax.random.key(0))
    state = state._replace(agents=jnp.array([[0, 0], [4, 3]]), plates=jnp.array([[4, 4], [0, 0]]))
    moves = lambda *chosen: {"agent": jax.nn.one_hot(jnp.array(chosen), 5)}
    after, ts = env.step(state, moves(0, 4), jax.random.key(1))
    assert ts.terminated and not ts.truncated and ts.reward["agent"].tolist() == [0, 0] and ts.events["opened"] == 1
    assert after.agents.tolist() == [[0, 0], [4, 4]]
    _, ts = env.step(state._replace(time=jnp.int32(19)), moves(1, 0), jax.random.key(1))
    assert ts.truncated and not ts.terminated and ts.reward["agent"].tolist() == [-0.5, -0.5]
    assert ts.obs["agent"][0].tolist() == pytest.approx([0, 0, 0.8, 0.8, 0, 0, 0.8, 0.6])
