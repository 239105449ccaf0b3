"""Lanes: a seed's numbers depend neither on the seeds beside it nor on the threads that train them."""

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import small
from test_runs import DDPG4, GRU4, identical, rows, stopper

from headstart.core.guidance import chain
from headstart.core.trainer import make_trainer
from headstart.envs.particle.spread import Spread
from headstart.learners.ppo import PPO
from headstart.storage import files
from headstart.teams.scripted import Scripted
from headstart.training import cores, lanes, programs, run, session
from headstart.training.made import Made, begun

CPU = jax.default_backend() == "cpu"
ENV = Spread(2, horizon=5)
PLAIN = run.Config(ENV, DDPG4, steps=200, seeds=3, evaluations=2, episodes=5)
LEARNERS = {"ddpg": DDPG4, "gru": GRU4, "ppo": small(PPO(), num_envs=4, rollout=5, hidden=(8,))}

pytestmark = [
    pytest.mark.skipif(not CPU, reason="lanes are called one by one on CPUs only"),
    pytest.mark.usefixtures("sessions_once"),
]


@pytest.fixture
def threads(monkeypatch):
    return lambda count: monkeypatch.setattr(cores, "usable", lambda: count)


@pytest.fixture(scope="module")
def finished(sessions_once, tmp_path_factory):
    """Three lanes on two threads."""
    out = tmp_path_factory.mktemp("lanes") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cores, "usable", lambda: 2)
        return run.train(PLAIN, out), out


@pytest.mark.parametrize("name", ["ddpg", "gru"])
def test_networks_drawn_by_a_program_of_their_own_are_those_of_the_run(name):
    """And the quick options of the compiler change no more than the last bits."""
    trainer = make_trainer(ENV, LEARNERS[name].make(ENV.spec), chain(), 200)
    keys, seeds = jr.split(jr.key(3), 2), jnp.arange(2)
    whole = jax.jit(jax.vmap(lambda key, seed: trainer.init(key, seed).params))(keys, seeds)
    for how in ({"runs_once": True}, {}):
        drawn = lanes.compile_program(jax.vmap(trainer.draw), keys, mapped=1, **how)(keys).whole()
        begin = jax.vmap(lambda key, seed, drawn: programs.begin(trainer, key, seed, drawn=drawn)["state"].params)
        begun = lanes.compile_program(begin, keys, seeds, drawn, mapped=3, **how)(keys, seeds, drawn).whole()
        for expected, found in zip(jax.tree.leaves(whole), jax.tree.leaves(begun), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(*(jax.tree.leaves(whole)[0][i] for i in (0, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_the_number_of_threads_changes_nothing(finished, tmp_path, threads, count):
    threads(count)
    run.train(PLAIN, tmp_path / "out")
    identical(tmp_path / "out", finished[1])


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "ddpg" else pytest.mark.slow) for name in LEARNERS])
def test_a_seed_alone_is_the_seed_among_others_bitwise(finished, tmp_path, threads, name):
    threads(2)
    config = dataclasses.replace(PLAIN, learner=LEARNERS[name])
    together, out = finished if name == "ddpg" else (run.train(config, tmp_path / "all"), tmp_path / "all")
    alone = run.train(dataclasses.replace(config, seeds=1, first_seed=1), tmp_path / "one")
    for a, b in zip(jax.tree.leaves(alone.params), jax.tree.leaves(together.params), strict=True):
        np.testing.assert_array_equal(a[0], b[1])
    assert rows(tmp_path / "one") == [row for row in rows(out) if row["seed"] == "1"]


@pytest.mark.slow
def test_resumed_with_another_number_of_threads_bitwise(finished, tmp_path, threads, monkeypatch):
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)
    threads(1)
    with pytest.raises(session.Interrupted):
        run.train(PLAIN, tmp_path / "cut", stopper(3))
    threads(3)
    run.resume(tmp_path / "cut")
    identical(tmp_path / "cut", finished[1])


def test_scores_depend_on_no_other_team(finished, threads):
    team, _ = finished
    threads(2)
    together = run.score(team, ENV, 5)
    alone = dataclasses.replace(team, params=jax.tree.map(lambda x: x[2:], team.params), seeds=team.seeds[2:])
    np.testing.assert_array_equal(run.score(alone, ENV, 5), together[2:])


# ------------------------------------------------------------------ calls


def test_calls_run_beside_each_other(threads):
    """Each of two calls waits for the other: with one thread neither would return."""
    threads(2)
    both = threading.Barrier(2, timeout=20)

    def waiting(x, y):
        both.wait()
        return {"sum": x + y}

    blocks = lanes.Program(waiting, size=1, mapped=1)(jnp.arange(2.0), 10.0)
    assert len(blocks.trees) == 2
    np.testing.assert_array_equal(blocks["sum"].whole(), [10.0, 11.0])


def test_programs_take_whole_trees_blocks_and_blocks_of_another_size(threads):
    threads(2)
    tree = {"key": jr.split(jr.key(0, impl="rbg"), 4), "x": jnp.arange(8).reshape(4, 2)}
    same = lambda tree, index: tree
    singly = lanes.compile_program(jax.vmap(same, (0, None)), tree, 0, mapped=1)
    assert singly.size == 1
    in_pairs = dataclasses.replace(singly, compiled=same, size=2)
    for blocks in (singly(tree, 0), in_pairs(tree, 0), singly(in_pairs(tree, 0), 0), in_pairs(singly(tree, 0), 0)):
        whole = blocks.whole()
        assert jr.key_impl(whole["key"]) == jr.key_impl(tree["key"])
        np.testing.assert_array_equal(jr.key_data(whole["key"]), jr.key_data(tree["key"]))
        np.testing.assert_array_equal(whole["x"], tree["x"])


def test_a_failing_call_is_raised(threads):
    threads(2)
    with pytest.raises(ZeroDivisionError):
        lanes.Program(lambda x: 1 // int(x[0]), size=1, mapped=1)(jnp.arange(3))


def test_programs_that_call_python_keep_one_call_for_all_lanes():
    seen = []

    def controller(obs):
        seen.append(obs["agent"].shape)
        return {"agent": np.zeros((*obs["agent"].shape[:-1], 5), np.float32)}

    teacher = Scripted(controller, ENV.spec, host=True)
    obs = {"agent": jnp.zeros((3, 4, 2, 12))}
    program = lanes.compile_program(jax.vmap(lambda obs: teacher.policy((), (), obs)[1]), obs, mapped=1)
    assert program.size == 3
    assert program(obs)["agent"].whole().shape == (3, 4, 2, 5) and seen == [(3, 4, 2, 12)]


# ------------------------------------------------------------------ the size of XLA's pool

CHILD = """
import os, sys
import jax
from headstart.training import cores
started, wanted = sys.argv[1] == "started", int(sys.argv[2])
if started:
    jax.devices()
cores.use_pool(wanted)
print(cores.pool())
"""


@pytest.mark.parametrize("started", [False, True])
def test_a_run_goes_on_with_its_own_pool_or_says_that_it_cannot(finished, started):
    began = cores.pool()
    assert files.read_json(finished[1] / "run.json")["cores"] == began
    code = [sys.executable, "-c", CHILD, "started" if started else "fresh", str(began + 1)]
    child = subprocess.run(code, capture_output=True, text=True, check=True, cwd=Path(run.__file__).parents[2])
    assert int(child.stdout) == (began if started else began + 1)
    lines = child.stderr.splitlines()
    assert len(lines) == started and all(f"NPROC={began + 1}" in line for line in lines)


@pytest.mark.parametrize("name", LEARNERS)
def test_all_programs_of_a_run_share_one_trace(name):
    """Its shapes, its beginning and its updates: what the learner computes is read as Python once."""
    learner, traced = LEARNERS[name].make(ENV.spec), dict.fromkeys(("act", "prepare", "objective"), 0)

    def counted(part):
        def call(*args):
            traced[part] += 1
            return getattr(learner, part)(*args)

        return call

    trainer = make_trainer(ENV, learner._replace(**{part: counted(part) for part in traced}), chain(), 200)
    shape = begun(lambda values: Made(ENV, learner, (), trainer, 0), {})
    start = jax.vmap(lambda key, seed: programs.begin(trainer, key, seed))
    loop = jax.eval_shape(start, jr.split(jr.key(0), 3), jnp.arange(3))
    assert jax.tree.structure(loop) == jax.tree.structure(shape)
    jax.eval_shape(programs.advance(trainer), loop, 0, 1, trainer.data)
    assert traced == {"act": 1, "prepare": 1, "objective": 1}
