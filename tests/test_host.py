"""Environments that run on the host: against the same environments stepped by hand, in training, and when they misbehave."""

import contextlib
import csv
import dataclasses
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import toy_envs
from gymnasium import spaces as gym_spaces
from mpe2 import simple_tag_v3
from probes import small
from test_runs import stop_at

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.env import vectorise
from headstart.core.errors import host_errors
from headstart.core.trainer import transition
from headstart.core.types import Continuous
from headstart.envs.gymnasium import Gymnasium
from headstart.envs.host import pool, reading, spaces
from headstart.envs.pettingzoo import PettingZoo
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.training import run, session

S, E, T = 2, 3, 24
MATCH = PettingZoo("toy_envs:Match")


# ------------------------------------------------------------------ stepped by hand


class Raw(NamedTuple):
    """An environment in its own terms: how to make it, how its observations read as numbers, how vectors become actions."""

    make: Callable[[], Any]
    read: dict[str, Callable]
    act: dict[str, Callable]
    masks: Callable[[str, Any, Any], Any] = lambda agent, obs, info: None
    """(agent, observation, info) -> which choices are legal, or None."""


def hot(size, chosen):
    return np.eye(size)[chosen]


def choice(vector):
    return int(np.argmax(vector))


MENAGERIE = Raw(
    toy_envs.Menagerie,
    {
        "scout_0": np.ravel,
        "scout_1": np.ravel,
        "tank_0": lambda o: o["observation"],
        "talker": lambda o: [*hot(3, o[0]), *o[1]],
        "odd_0": lambda o: hot(3, o - 5),
        "odd_1": lambda o: o,
        "guide_0": lambda o: [*o["a"], *hot(2, o["b"][0] - 4), *hot(3, o["b"][1])],
    },
    {
        "scout_0": lambda u: np.float32([2, 2]) + np.float32(1.5) * (np.clip(u, -1, 1) + 1),
        "scout_1": lambda u: np.float32([2, 2]) + np.float32(1.5) * (np.clip(u, -1, 1) + 1),
        "tank_0": choice,
        "talker": lambda u: np.array([choice(u[:2]), 5 + choice(u[2:])]),
        "odd_0": lambda u: np.int64(10 + choice(u)),
        "odd_1": lambda u: np.array([choice(u[:2]), choice(u[2:])], np.int8),
        "guide_0": lambda u: np.clip(u, -1, 1),
    },
    lambda agent, obs, info: obs["action_mask"] if agent == "tank_0" else info.get("action_mask"),
)


class One:
    """A Gymnasium environment, its results by its one agent's name."""

    possible_agents = ["agent_0"]

    def __init__(self, *args, **options):
        self.env = gymnasium.make(*args, **options)

    def reset(self, seed):
        self.agents = ["agent_0"]
        return tuple({"agent_0": x} for x in self.env.reset(seed=seed))

    def step(self, actions):
        obs, reward, terminated, truncated, info = self.env.step(actions["agent_0"])
        self.agents = [] if terminated or truncated else self.agents
        return tuple({"agent_0": x} for x in (obs, reward, terminated, truncated, info))


TAG = ["adversary_0", "adversary_1", "adversary_2", "agent_0"]
THREE = ["agent_0", "agent_1", "agent_2"]
ENVS = {
    "menagerie": (PettingZoo("toy_envs:Menagerie"), MENAGERIE),
    "ghosts": (
        PettingZoo("toy_envs:Ghosts"),
        Raw(toy_envs.Ghosts, dict.fromkeys(THREE, np.ravel), dict.fromkeys(THREE, choice)),
    ),
    "mpe2": (
        PettingZoo("mpe2.simple_tag_v3", {"max_cycles": 9}),
        Raw(lambda: simple_tag_v3.parallel_env(max_cycles=9), dict.fromkeys(TAG, np.ravel), dict.fromkeys(TAG, choice)),
    ),
    "cartpole": (Gymnasium("CartPole-v1"), Raw(lambda: One("CartPole-v1"), {"agent_0": np.ravel}, {"agent_0": choice})),
    "pendulum": (
        Gymnasium("Pendulum-v1", {"max_episode_steps": 7}),
        Raw(
            lambda: One("Pendulum-v1", max_episode_steps=7),
            {"agent_0": np.ravel},
            {"agent_0": lambda u: np.float32(2) * np.clip(u, -1, 1)},
        ),
    ),
}


class Told(NamedTuple):
    """What is known by hand of one step of one lane; values by agent."""

    final_obs: dict
    obs: dict
    reward: dict
    alive: dict
    final_available: dict
    available: dict
    agent_terminated: dict
    ends: tuple[bool, bool]


class ByHand:
    """One lane: the raw environment stepped with the lane's seeds and action vectors."""

    def __init__(self, raw: Raw):
        self.raw, self.env, self.over = raw, raw.make(), False

    def _look(self, obs, infos):
        obs, infos = {a: obs[a] for a in self.playing}, {a: infos[a] for a in self.playing}
        read = {a: np.asarray(self.raw.read[a](x), np.float64) for a, x in obs.items()}
        return read, {a: self.raw.masks(a, obs[a], infos[a]) for a in obs}

    def reset(self, seed):
        obs, infos = self.env.reset(seed=int(seed))
        self.playing, self.gone, self.over = list(self.env.agents), set(), False
        return self._look(obs, infos)

    def step(self, vectors, seed, restart) -> Told:
        actions = {agent: self.raw.act[agent](vectors[agent]) for agent in self.playing}
        obs, reward, terminated, truncated, infos = self.env.step(actions)
        read, masks = self._look(obs, infos)
        before, paid = self.playing, {a for a in self.gone if a in reward}
        self.gone |= {a for a in before if terminated[a]}
        self.playing = list(self.env.agents)
        self.over = not self.playing
        ends = (self.over and not any(truncated[a] for a in before), self.over and any(truncated[a] for a in before))
        gone = {a: a in self.gone for a in self.env.possible_agents}
        seen = (read, masks)
        if self.over and restart:
            seen = self.reset(seed)
        alive = {a: a in self.playing for a in self.env.possible_agents}
        return Told(read, seen[0], {a: reward[a] for a in {*before, *paid}}, alive, masks, seen[1], gone, ends)


@contextlib.contextmanager
def spied():
    """[(asked for, seeds)] of every exchange with the workers: one is one call of the host."""
    seen, ask = [], pool.Pool._ask

    def spy(self, kind, seeds, actions):
        seen.append((pool.RESET if kind == pool.RESET else pool.STEP, np.array(seeds)))
        return ask(self, kind, seeds, actions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool.Pool, "_ask", spy)
        yield seen


def random_actions(spec, key, axes):
    """Action vectors that overshoot, so that clipping is seen, and choices that are no one-hot vectors."""
    roles = enumerate(spec.roles.items())
    return {name: 0.8 * jr.normal(jr.fold_in(key, i), (*axes, x.agents, x.actions.size)) for i, (name, x) in roles}


def played(env):
    """E environments that do not restart, by their own `reset` and `step`."""
    reset, step = jax.vmap(env.reset), jax.vmap(env.step)
    return lambda key: reset(jr.split(key, E)), lambda state, action, key: step(state, action, jr.split(key, E))


@functools.cache
def rolled(name: str, restart: bool):
    """T random steps of E environments for each of S seeds: ([(asked for, seeds [S E])], first, steps [T S E ..], actions)."""
    env = ENVS[name][0]
    reset, step = vectorise(env, E)[2:] if restart else played(env)

    def one(key):
        begin, key = jr.split(key)
        state, first = reset(begin)

        def body(state, key):
            action = random_actions(env.spec, key, (E,))
            state, now = step(state, action, key)
            return state, (now, action)

        return first, jax.lax.scan(body, state, jr.split(key, T))[1]

    with spied() as seen:
        first, (steps, actions) = jax.block_until_ready(jax.jit(jax.vmap(one))(jr.split(jr.key(5), S)))
    steps, actions = jax.tree.map(lambda x: np.moveaxis(np.asarray(x), 1, 0), (steps, actions))
    return [(op, seeds.reshape(S, E)) for op, seeds in seen], jax.tree.map(np.asarray, first), steps, actions


def agrees(spec, shown: Callable[[Any, str, int], np.ndarray], told: dict, what: dict, default) -> None:
    """The values of an array {role: [.. A ..]} for each agent: those told, or the default where an agent is not there."""
    for role, names in spec.names.items():
        for i, name in enumerate(names):
            value = shown(what, role, i)
            expected = told.get(name)
            expected = np.full(value.shape, default) if expected is None else expected
            np.testing.assert_allclose(value, np.asarray(expected, np.float32), rtol=1e-6, atol=1e-6, err_msg=name)


RESTARTS, PLAYS = ("menagerie", "ghosts", "mpe2", "cartpole"), ("ghosts", "pendulum")
CASES = [*((name, True) for name in RESTARTS), *((name, False) for name in PLAYS)]


@pytest.mark.parametrize("name,restart", CASES, ids=[f"{n}-{'restarting' if r else 'played'}" for n, r in CASES])
def test_seeds_and_environments_fold_into_one_call_a_step_that_equals_stepping_by_hand(name, restart):
    env, raw = ENVS[name]
    frames, first, steps, actions = rolled(name, restart)
    assert [op for op, _ in frames] == [pool.RESET] + [pool.STEP] * T
    seeds = np.stack([seeds for _, seeds in frames])
    assert len(np.unique(seeds)) == seeds.size and seeds.min() >= 0
    ends = {"terminated": 0, "truncated": 0}
    for s in range(S):
        for e in range(E):
            lane = ByHand(raw)
            obs, masks = lane.reset(seeds[0, s, e])
            at = lambda x, role, i, s=s, e=e: x[role][s, e, i]
            agrees(env.spec, at, obs, first.obs, 0)
            agrees(env.spec, at, masks, first.available, 1)
            agrees(env.spec, at, {}, first.reward, 0)
            agrees(env.spec, at, {}, first.alive, 1)
            for t in range(T):
                at = lambda x, role, i, t=t, s=s, e=e: x[role][t, s, e, i]
                vectors = {n: at(actions, r, i) for r, names in env.spec.names.items() for i, n in enumerate(names)}
                told = lane.step(vectors, seeds[1 + t, s, e], restart)
                for field, default in (("final_obs", 0), ("obs", 0), ("reward", 0), ("final_available", 1), ("available", 1)):
                    agrees(env.spec, at, getattr(told, field), getattr(steps, field), default)
                agrees(env.spec, at, told.alive, steps.alive, None)
                agrees(env.spec, at, told.agent_terminated, steps.agent_terminated, None)
                assert (bool(steps.terminated[t, s, e]), bool(steps.truncated[t, s, e])) == told.ends
                together = lambda obs, t=t, s=s, e=e: np.concatenate([obs[role][t, s, e].ravel() for role in env.spec.roles])
                np.testing.assert_array_equal(steps.state[t, s, e], together(steps.obs))
                np.testing.assert_array_equal(steps.final_state[t, s, e], together(steps.final_obs))
                ends["terminated"] += told.ends[0]
                ends["truncated"] += told.ends[1]
                if lane.over and not restart:
                    assert steps.terminated[t + 1 :, s, e].all()
                    assert not any(x[t + 1 :, s, e].any() for x in steps.reward.values())
                    break
    expected = {"mpe2": {"truncated"}, "pendulum": {"truncated"}, "cartpole": {"terminated"}}
    assert {end for end, count in ends.items() if count} == expected.get(name, {"terminated", "truncated"})


# ------------------------------------------------------------------ the dead


@functools.cache
def advantages():
    """[(agent, ended how, PPO's advantage and goal, a loop's)] of every step of a living agent, seed 0 of "ghosts"."""
    env, raw = ENVS["ghosts"]
    config = dataclasses.replace(small(PPO()), gamma=0.9, lam=0.8)
    learner = config.make(env.spec)
    params = learner.init(jr.key(1))
    frames, *rest = rolled("ghosts", True)
    seed_0 = lambda tree, axis: jax.tree.map(lambda x: np.take(x, 0, axis), tree)
    first, steps, actions = (seed_0(tree, axis) for tree, axis in zip(rest, (0, 1, 1), strict=True))
    now = jax.tree.map(lambda a, b: np.concatenate([a[None], b[:-1]]), first, steps)
    begins = np.concatenate([np.ones((1, E), bool), (steps.terminated | steps.truncated)[:-1]])
    rollout = transition(*jax.tree.map(jnp.asarray, (now, actions, steps, begins)))
    items = jax.jit(learner.prepare)(params, (), rollout)[1].extras
    worth = lambda obs: np.asarray(params["critic"]["agent"]((), obs["agent"])[1][..., 0], np.float64)
    value, following = worth(rollout.obs), worth(rollout.next_obs)
    found = []
    for e in range(E):
        lane = ByHand(raw)
        lane.reset(frames[0][1][0, e])
        lived, counts, told = [], [], []
        for t in range(T):
            lived.append(set(lane.playing))
            counts.append(lived[t] | lane.gone)
            vectors = {name: actions["agent"][t, e, i] for i, name in enumerate(THREE)}
            told.append(lane.step(vectors, frames[1 + t][1][0, e], True))
        counts.append(set(lane.playing) | lane.gone)
        for i, name in enumerate(THREE):
            after = 0.0
            for t in reversed(range(T)):
                if name not in counts[t]:
                    continue
                over, dead = any(told[t].ends), told[t].agent_terminated[name]
                goes_on = not over and name in counts[t + 1]
                # The critic reads zeros of the dead, which are worth 0.
                later = 0.0 if told[t].ends[0] or dead else following[t, e, i]
                delta = told[t].reward[name] + 0.9 * later - (value[t, e, i] if name in lived[t] else 0.0)
                after = delta + (0.9 * 0.8 * after if goes_on else 0.0)
                if name not in lived[t]:
                    continue
                how = "all" if over else "dead" if dead else "goes on" if goes_on else "left"
                mine = tuple(float(items[x]["agent"][t * E + e, i]) for x in ("advantage", "value_target"))
                found.append((name, how, mine, (after, after + value[t, e, i])))
    return found


def test_what_the_dead_are_paid_counts_to_the_end_of_the_episode():
    """PPO's advantages against a loop over the raw environment's own flags."""
    checked = set()
    for name, how, mine, loops in advantages():
        if name != "agent_2":
            assert mine == pytest.approx(loops, rel=1e-4, abs=1e-5), (name, how)
            checked.add((name, how))
    assert checked >= {("agent_0", "all"), ("agent_1", "dead"), ("agent_1", "goes on")}


def test_an_agent_cut_off_alone_is_bootstrapped_but_not_summed_over():
    checked = set()
    for name, how, mine, loops in advantages():
        if name == "agent_2":
            assert mine == pytest.approx(loops, rel=1e-4, abs=1e-5), how
            checked.add(how)
    assert "left" in checked


# ------------------------------------------------------------------ which states can be gone on from


def both_programs(env):
    """E environments of one seed that restart, compiled: (reset, step by action 0)."""
    envs = vectorise(env, E)
    nothing = {role: jnp.zeros((E, x.agents, x.actions.size)) for role, x in env.spec.roles.items()}
    return jax.jit(envs.reset), jax.jit(lambda state, key: envs.step(state, nothing, key))


def test_one_seed_alone_meets_the_same_episodes_as_beside_another():
    env = ENVS["ghosts"][0]
    reset, step = vectorise(env, E)[2:]

    def one(key):
        action = random_actions(env.spec, key, (E,))
        return step(reset(key)[0], action, key)[1]

    keys = jr.split(jr.key(7), 2)
    together, alone = jax.jit(jax.vmap(one))(keys), jax.jit(one)(keys[1])
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(a[1], b)


def test_in_another_process_running_episodes_are_cut_off_and_new_ones_begin():
    """Another `vectorise` knows as little of the first one's episodes as another process would."""
    reset, step = both_programs(MATCH)
    state, _ = reset(jr.key(0))
    state, before = step(state, jr.key(1))
    state, before = jax.tree.map(jnp.asarray, jax.tree.map(np.asarray, (state, before)))
    with spied() as frames:
        _, step = both_programs(MATCH)
        state, now = step(state, jr.key(2))
        assert now.truncated.all() and not now.terminated.any() and not now.agent_terminated["agent"].any()
        np.testing.assert_array_equal(now.final_obs["agent"], before.obs["agent"])
        np.testing.assert_array_equal(now.final_state, before.state)
        assert not now.reward["agent"].any() and now.alive["agent"].all()
        _, then = step(state, jr.key(3))
    assert [op for op, _ in frames] == [pool.RESET, pool.STEP]
    for e, seed in enumerate(frames[0][1]):
        raw = toy_envs.Match()
        fresh, _ = raw.reset(seed=int(seed))
        after, reward, *_ = raw.step({"agent_0": 0, "agent_1": 0})
        for i, name in enumerate(raw.possible_agents):
            np.testing.assert_array_equal(now.obs["agent"][e, i], fresh[name])
            np.testing.assert_array_equal(then.obs["agent"][e, i], after[name])
            assert float(then.reward["agent"][e, i]) == reward[name]
    assert not then.truncated.any()


def test_an_old_state_is_refused_and_the_last_one_still_goes_on():
    reset, step = both_programs(MATCH)
    old, _ = reset(jr.key(0))
    state, _ = step(old, jr.key(1))
    with pytest.raises(jax.errors.JaxRuntimeError, match="can only go on from its last state: reset it first"):
        jax.block_until_ready(step(old, jr.key(2)))
    state, now = step(state, jr.key(2))
    assert not now.truncated.any()
    again, _ = reset(jr.key(3))
    with pytest.raises(jax.errors.JaxRuntimeError, match="last state"):
        jax.block_until_ready(step(state, jr.key(4)))
    step(again, jr.key(4))


def test_a_state_from_elsewhere_is_refused_where_nothing_restarts():
    """There a step that begins a new episode would be counted as one of the old."""
    lone = jax.eval_shape(MATCH.reset, jr.key(0))[0]
    action = {"agent": jnp.zeros((2, 3))}
    with pytest.raises(jax.errors.JaxRuntimeError, match="reset it first"):
        jax.block_until_ready(jax.jit(MATCH.step)(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), lone), action, jr.key(0)))


# ------------------------------------------------------------------ training

IPPO = small(PPO(), num_envs=8, rollout=10, hidden=(16,))
PLAIN = run.Config(MATCH, IPPO, steps=3200, seeds=2, evaluations=4, episodes=20)
"""40 updates; an episode takes 5 env-steps, and knowing nothing earns 5/3."""


def rows(out):
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def evaluated(out, env_steps: int):
    """Every seed's evaluation return at a moment of the run."""
    return [float(row["eval_return"]) for row in rows(out) if int(row["env_steps"]) == env_steps]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "match"
    with spied() as frames:
        team = run.train(PLAIN, out)
    return team, out, frames


@pytest.mark.slow
def test_ippo_finds_the_best_policy_and_each_step_of_all_seeds_is_one_call(trained):
    team, out, frames = trained
    assert max(evaluated(out, 0)) < 3.5 and min(evaluated(out, 3200)) > 4.8
    assert [op for op, _ in frames].count(pool.STEP) == 400 + 5 * 5
    assert [op for op, _ in frames].count(pool.RESET) == 1 + 5
    assert {seeds.size for _, seeds in frames} == {2 * 8, 2 * 20}
    # Before training no episode has ended yet; a number that is not finite would be written as an empty cell.
    assert all((row["train_return"] == "") == (row["updates"] == "0") for row in rows(out))
    a, b = (jax.tree.leaves(team.place(i)) for i in range(2))
    assert not all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.slow
def test_the_same_run_again_is_the_same_bitwise_however_often_it_is_evaluated(trained, tmp_path):
    run.train(dataclasses.replace(PLAIN, evaluations=1), tmp_path / "again")
    assert (tmp_path / "again/policy.safetensors").read_bytes() == (trained[1] / "policy.safetensors").read_bytes()
    scores = lambda row: {name: row[name] for name in ("seed", "env_steps", "updates", "eval_return", "eval_length")}
    ends = [scores(row) for row in rows(trained[1]) if row["env_steps"] in ("0", "3200")]
    assert [scores(row) for row in rows(tmp_path / "again")] == ends and len(ends) == 4


@pytest.mark.slow
def test_a_run_goes_on_after_sigterm(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)
    monkeypatch.setattr(registry, "used", {"toy_envs"})

    with pytest.raises(session.Interrupted, match="headstart resume"):
        run.train(PLAIN, tmp_path / "cut", stop_at(1000))
    with spied() as frames:
        team = run.resume(tmp_path / "cut")
    assert frames[0][0] == pool.RESET and frames[0][1].size == 2 * 8
    table = rows(tmp_path / "cut")
    assert [int(row["env_steps"]) for row in table] == [n for n in range(0, 3201, 800) for _ in range(2)]
    assert all(row["eval_return"] and np.isfinite(float(row["eval_return"])) for row in table)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(team.params))
    assert min(evaluated(tmp_path / "cut", 3200)) > 4.8


@pytest.mark.slow
def test_ddpg_learns_a_continuous_action(tmp_path):
    """The best return is 0; always saying the middle earns 5 · (-0.75)."""
    learner = small(DDPG(), num_envs=4, train_every=4, batch=32, warmup=100, gamma=0.0, noise=0.3)
    config = run.Config(PettingZoo("toy_envs:Steer"), learner, steps=2400, seeds=2, evaluations=1, episodes=20)
    run.train(config, tmp_path / "out")
    assert max(evaluated(tmp_path / "out", 0)) < -3.75 and min(evaluated(tmp_path / "out", 2400)) > -2.5
    assert all(np.isfinite(float(x)) for row in rows(tmp_path / "out") for x in row.values() if x)


# ------------------------------------------------------------------ misbehaviour


def pool_of(name: str, lanes: int = 3, workers: int = 2) -> pool.Pool:
    env = PettingZoo(f"toy_envs:{name}")
    return pool.Pool(env.opener, env.settings, env.spec, lanes, workers)


def steps(made: pool.Pool, count: int, lanes: int = 3) -> np.ndarray:
    """A reset and `count` steps; the last rows."""
    seeds = np.arange(lanes)
    shown = made.reset(seeds)
    for _ in range(count):
        shown = made.step(np.zeros((lanes, 6), np.float32), seeds, False)
    return shown


def test_what_an_environment_prints_stays_out_of_the_rows(capfd):
    np.testing.assert_array_equal(steps(pool_of("Loud"), 4), steps(pool_of("Match"), 4))
    told = capfd.readouterr()
    assert told.out == "" and "straight to where standard output is" in told.err


def test_an_environment_that_reads_standard_input_finds_nothing_there():
    assert steps(pool_of("Asks"), 4).shape == (3, 2 * (3 + 3 + 3) + 2)


BROKEN = r"the environment toy_envs:Breaks failed in step 3 \(seed \d+\): RuntimeError: the rope broke in two"
BROKEN += r" \(.*toy_envs.py, line \d+\)$"


@pytest.mark.parametrize(
    "name,words",
    [("Breaks", BROKEN), ("Exits", "of the environment toy_envs:Exits ended with exit code 7 in a step$")],
    ids=["raises", "exits"],
)
def test_a_failure_in_a_worker_is_told_in_one_line_and_a_reset_begins_anew(name, words, capfd):
    made = pool_of(name)
    for _ in range(2):
        with pytest.raises(HeadstartError, match=words) as caught:
            steps(made, 3)
        assert "\n" not in str(caught.value) and made.crew is None
    assert steps(made, 2).shape[0] == 3
    assert capfd.readouterr().err == ""


def test_a_worker_that_was_killed_is_told_and_replaced():
    made = pool_of("Match")
    before = steps(made, 1)
    assert made.crew is not None
    made.crew.processes[1].popen.kill()
    made.crew.processes[1].popen.wait()
    with pytest.raises(HeadstartError, match="was ended by SIGKILL"):
        made.step(np.zeros((3, 6), np.float32), np.arange(3), False)
    np.testing.assert_array_equal(steps(made, 1), before)


def test_workers_find_modules_in_the_order_that_this_process_does(tmp_path, monkeypatch):
    """Not first in the directory that they happen to be started in."""
    (tmp_path / "struct.py").write_text("raise RuntimeError('not the one')")
    monkeypatch.chdir(tmp_path)
    assert steps(pool_of("Match"), 1).shape[0] == 3


def test_after_a_failure_only_a_reset_goes_on(capfd, caplog):
    env = PettingZoo("toy_envs:Breaks")
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    action = {"agent": jnp.zeros((2, 3))}
    state, _ = reset(jr.key(0))
    for _ in range(2):
        state, _ = step(state, action, jr.key(1))
    with pytest.raises(HeadstartError, match=BROKEN), host_errors():
        jax.block_until_ready(step(state, action, jr.key(1)))
    with pytest.raises(HeadstartError, match=r"reset it first$") as caught, host_errors():
        jax.block_until_ready(step(state, action, jr.key(1)))
    assert "\n" not in str(caught.value) and capfd.readouterr().err == "" and not caplog.records
    state, _ = reset(jr.key(0))
    _, now = step(state, action, jr.key(1))
    assert now.alive["agent"].all()


def command(args: list[str], pids: Path) -> subprocess.CompletedProcess:
    """The command line in a process of its own, started beside the tests' environments."""
    pids.mkdir()
    env = {**os.environ, "TOY_PIDS": str(pids)}
    words = [sys.executable, "-m", "headstart.cli", *args]
    return subprocess.run(words, cwd=Path(__file__).parent, env=env, capture_output=True, text=True, timeout=300)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def all_gone(pids: list[int], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while any(map(running, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(running, pids))


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
FLAGS = ["--learner", "ippo", "--learner.num-envs", "2", "--learner.rollout", "4", "--learner.minibatches", "1"]
FLAGS += ["--learner.hidden", "4", "--steps", "80", "--evaluations", "1", "--episodes", "2", "--env.workers", "2"]


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("name,code", [("Loud", 0), ("Breaks", 2)])
def test_the_command_line_ends_and_leaves_no_worker_behind(name, code, tmp_path):
    words = ["train", f"pettingzoo:toy_envs:{name}", "--use", "toy_envs", *FLAGS, "--out", str(tmp_path / "out")]
    done = command(words, tmp_path / "pids")
    assert done.returncode == code, done.stderr
    if code:
        lines = [line for line in done.stderr.splitlines() if line.strip() and "compiling" not in line]
        assert len(lines) == 1 and lines[0].startswith("headstart: the environment toy_envs:Breaks failed in step 3")
    else:
        assert "straight to where" not in done.stdout and "report:" in done.stdout
    pids = [int(path.name) for path in (tmp_path / "pids").iterdir()]
    assert len(pids) >= 3 and all_gone(pids)


ORPHANS = """
import sys, time, jax
from headstart.core.env import vectorise
from headstart.envs.pettingzoo import PettingZoo
envs = vectorise(PettingZoo("toy_envs:Match", workers=2), 4)
envs.reset(jax.random.key(0))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
@needs_proc
def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    env = {**os.environ, "TOY_PIDS": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent)}
    child = subprocess.Popen([sys.executable, "-c", ORPHANS], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        workers = [int(path.name) for path in tmp_path.iterdir() if running(int(path.name))]  # one has looked, and ended
        assert len(workers) == 2
    finally:
        child.kill()
        child.wait()
    assert all_gone(workers)


# ------------------------------------------------------------------ spaces


def test_the_ends_of_a_box_are_reached_and_never_passed():
    """In single precision low + (high - low) may lie above high, where an environment refuses it."""
    low, high = np.float32([2, 3.0139892, -0.02247964, -7]), np.float32([5, 7.1572566, 0.015685834, -7])
    assert (low + (high - low) > high).any()
    box = gym_spaces.Box(low, high)
    ours = spaces.acted(box, "it")
    assert isinstance(ours, Continuous) and ours.low == tuple(low.tolist())
    for unit, end in ((-1, low), (1, high), (-9, low), (9, high), (0, (low + high) / 2)):
        sent = spaces.as_sent(box, spaces.native(ours, np.full(4, unit, np.float32)))
        assert box.contains(sent)
        np.testing.assert_allclose(sent, end, rtol=1e-6)


def test_every_choice_of_a_discrete_space_can_be_made():
    tables = gym_spaces.MultiDiscrete([[2, 3], [1, 2]], start=[[0, 5], [7, -1]])
    for space in (gym_spaces.Discrete(4, start=-2), tables, gym_spaces.MultiBinary([2, 2]), gym_spaces.MultiBinary(1)):
        ours, made = spaces.acted(space, "it"), set()
        for choices in np.ndindex(*ours.heads):
            vector = np.concatenate([np.eye(n)[c] for n, c in zip(ours.heads, choices, strict=True)])
            sent = spaces.as_sent(space, spaces.native(ours, vector))
            assert space.contains(sent)
            made.add(tuple(np.ravel(sent).tolist()))
            if not isinstance(space, gym_spaces.MultiBinary):  # seen, choices are one-hot vectors; bits are numbers
                np.testing.assert_array_equal(reading.flat(space, sent), vector)
        assert len(made) == np.prod(ours.heads)
