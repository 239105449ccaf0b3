"""Runs on disk: interrupted equals uninterrupted, killed at any moment as well, and damage is met with one clear line."""

import csv
import dataclasses
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Choice, shown, small

from headstart.core.checks import HeadstartError
from headstart.core.part import part
from headstart.envs.particle.spread import Spread
from headstart.guidance.distill import Distill
from headstart.guidance.warm_start import WarmStart
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.storage import files
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.training import run, session
from headstart.training.watch import Watcher

pytestmark = pytest.mark.usefixtures("sessions_once")
ENV = Spread(2, horizon=5)
SMALL = {"num_envs": 4, "train_every": 4, "batch": 16, "warmup": 40, "capacity": 400, "hidden": (8,)}
DDPG4 = small(DDPG(), **SMALL)
GRU4 = dataclasses.replace(small(PPO(), num_envs=4, rollout=5, hidden=(8,)), core="gru")
PLAIN = run.Config(ENV, DDPG4, steps=400, seeds=2, evaluations=4, episodes=5)


def one_line(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400
    return text


@pytest.fixture(scope="module")
def finished(sessions_once, tmp_path_factory):
    """An uninterrupted run, which other tests compare with, load and copy."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    return run.train(PLAIN, out), out


@pytest.fixture
def eager(monkeypatch):
    """Short pieces, and a checkpoint at every evaluation."""
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)


def stopper(at: int):
    """A watcher that asks the run to stop, as a terminal or a scheduler would, when it has been told `at` things."""

    class Stopper(Watcher):
        calls = 0

        def begin(self, manifest):
            self.calls += 1
            if self.calls == at:
                os.kill(os.getpid(), signal.SIGTERM)

        def progress(self, progress):
            self.begin({})

    return (Stopper(),)


def stop_at(env_steps: int):
    """The same when the run has come as far as `env_steps`."""

    class Stopper(Watcher):
        def progress(self, progress):
            if progress.env_steps >= env_steps:
                os.kill(os.getpid(), signal.SIGTERM)

    return (Stopper(),)


def rows(out):
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def identical(a: Path, b: Path) -> None:
    for name in ("metrics.csv", "policy.safetensors", "policy.json"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


# ------------------------------------------------------------------ what a run leaves behind


def test_a_finished_run(finished):
    team, out = finished
    assert {p.name for p in out.iterdir()} == {"run.json", "metrics.csv", "policy.safetensors", "policy.json"}
    about = json.loads((out / "run.json").read_text())
    assert about["finished"] and about["seeds"] == [0, 1] and about["env_steps"] == 400
    assert about["learning_starts"] == 40 and about["config"]["learner"]["settings"]["hidden"] == [8]
    assert set(about["timing"]) >= {"run_s", "compile_s"}
    table = rows(out)
    assert [(int(r["env_steps"]), int(r["seed"])) for r in table] == [(n, s) for n in range(0, 401, 100) for s in (0, 1)]
    assert all(np.isfinite(float(r["eval_return"])) for r in table)
    assert team.seeds == (0, 1)


def test_a_loaded_team_has_the_same_logits(finished):
    team, out = finished
    again = load(out)
    assert again.spec == team.spec and again.config == team.config and again.env == ENV
    obs = {"agent": jax.random.normal(jax.random.key(0), (3, 2, 12))}
    for seed in (0, 1):
        a, b = (t.learner.policy(t.seed(seed), t.learner.start(3), obs)[1]["agent"] for t in (team, again))
        np.testing.assert_array_equal(a, b)
    one = {f"agent_{i}": np.asarray(row) for i, row in enumerate(obs["agent"][0])}
    assert team.act(one)[0] == again.act(one)[0]


@pytest.mark.slow
def test_a_seed_is_a_number_not_a_place(finished, tmp_path):
    """Seed 1 alone is the seed 1 that was trained beside seed 0, to 1e-5."""
    team, _ = finished
    alone = run.train(dataclasses.replace(PLAIN, seeds=1, first_seed=1), tmp_path / "one")
    assert alone.seeds == (1,)
    for a, b in zip(jax.tree.leaves(alone.params), jax.tree.leaves(team.params), strict=True):
        np.testing.assert_allclose(a[0], b[1], rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------ interrupted


@pytest.mark.slow
def test_interrupted_and_resumed_equals_uninterrupted_bitwise(finished, tmp_path, eager):
    _, whole = finished
    out = tmp_path / "cut"
    with pytest.raises(session.Interrupted, match="headstart resume") as caught:
        run.train(PLAIN, out, stopper(3))
    one_line(caught)
    with pytest.raises(session.Interrupted):
        run.resume(out, stopper(1))
    with pytest.raises(HeadstartError, match="has not finished"):
        load(out)
    resumed = run.resume(out)
    identical(out, whole)
    assert not (out / "checkpoints").exists() and resumed.seeds == (0, 1)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    identical_before = (out / "policy.safetensors").read_bytes()
    run.resume(out)  # a finished run is just loaded
    assert (out / "policy.safetensors").read_bytes() == identical_before


@pytest.mark.slow
@pytest.mark.parametrize("guided", [False, True])
def test_recurrent_and_guided_runs_resume_bitwise(guided, finished, tmp_path, eager):
    """Carries and guidance are part of what is saved, and the teacher is found again without its own directory."""
    guides = (Distill(str(tmp_path / "guru")), WarmStart(str(tmp_path / "guru"))) if guided else ()
    learner = DDPG4 if guided else GRU4
    if guided:
        shutil.copytree(finished[1], tmp_path / "guru")
    config = run.Config(Spread(3, horizon=5), learner, guides, steps=200, seeds=2, evaluations=3, episodes=4)
    told, watcher = [], Watcher()
    watcher.copied = told.extend
    run.train(config, tmp_path / "whole", (watcher,))
    with pytest.raises(session.Interrupted):
        run.train(config, tmp_path / "cut", stopper(3))
    if guided:
        shutil.rmtree(tmp_path / "guru")
    run.resume(tmp_path / "cut", (watcher,))
    identical(tmp_path / "cut", tmp_path / "whole")
    assert [line.split(": ")[0] for line in told] == [f"warm start from {tmp_path / 'guru'}"] * guided  # not after a resume
    if guided:
        table = json.loads((tmp_path / "cut" / "run.json").read_text())["start"]
        assert {row[1] for row in table} == {"adapted", "loaded", "paired by place"}


CHILD = """
import sys
sys.path.insert(0, {tests!r})
import test_runs
from headstart.training import run, session
session.CHECKPOINT_SECONDS, session.PIECE_SECONDS = 0.0, 1e-3
class Slow(test_runs.Watcher):
    def progress(self, progress):
        test_runs.time.sleep(0.02)
slow = (Slow(),)
out = sys.argv[1]
if test_runs.os.path.exists(out + "/run.json"):
    run.resume(out, slow)
else:
    run.train(test_runs.PLAIN, out, slow)
"""


@pytest.mark.slow
def test_killed_at_random_moments_equals_uninterrupted_bitwise(finished, tmp_path):
    """SIGKILL leaves no time to say goodbye. The clock starts when the run's first row is written."""
    _, whole = finished
    out, dice = tmp_path / "killed", random.Random(4)
    script = tmp_path / "child.py"
    # The child runs what its parent runs, from the same place and with its flags, but without its checks of shapes.
    script.write_text(CHILD.format(tests=str(Path(__file__).parent)), encoding="utf-8")
    package = str(Path(run.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
    kills = 0
    for _ in range(12):
        before = (out / "metrics.csv").stat().st_mtime_ns if (out / "metrics.csv").exists() else 0
        child = subprocess.Popen([sys.executable, str(script), str(out)], env=env, stderr=subprocess.PIPE, text=True)
        watch_for(child, out, before)
        if kills < 4:
            time.sleep(dice.uniform(0, 0.8))
            child.kill()
        _, errors = child.communicate(timeout=120)
        if child.returncode == -signal.SIGKILL:
            kills += 1
            continue
        assert child.returncode == 0, errors
        if json.loads((out / "run.json").read_text())["finished"]:
            break
    assert kills >= 2, "the run ended before it could be killed"
    identical(out, whole)


def watch_for(child, out, before: int) -> None:
    """Wait until the child writes to its metrics, or ends."""
    while child.poll() is None:
        if (out / "metrics.csv").exists() and (out / "metrics.csv").stat().st_mtime_ns != before:
            return
        time.sleep(0.01)


# ------------------------------------------------------------------ damage


@pytest.fixture(scope="module")
def cut_short(tmp_path_factory):
    """A run that was stopped with two checkpoints behind it."""
    out = tmp_path_factory.mktemp("runs") / "cut"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(session.Interrupted):
            run.train(PLAIN, out, stop_at(240))
    assert len(list((out / "checkpoints").iterdir())) == 2
    return out


@pytest.fixture
def cut(cut_short, tmp_path):
    """A copy of it to damage."""
    return Path(shutil.copytree(cut_short, tmp_path / "copy"))


@pytest.mark.slow
def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before(cut, finished):
    newest = sorted((cut / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    run.resume(cut)
    identical(cut, finished[1])


def test_all_checkpoints_damaged(cut):
    for path in (cut / "checkpoints").iterdir():
        path.write_bytes(b"\x00" * 10)
    with pytest.raises(HeadstartError, match=r"no checkpoint .* can be read") as caught:
        run.resume(cut)
    one_line(caught)


def test_no_checkpoint_starts_from_the_beginning(cut, finished):
    shutil.rmtree(cut / "checkpoints")
    run.resume(cut)
    identical(cut, finished[1])


@pytest.mark.parametrize("tail", [b"0,300,7", b"1,40", b"\n", b"1,400,100,1.0,2.0"])
def test_a_half_written_last_line_is_dropped(cut, finished, tail):
    with (cut / "metrics.csv").open("ab") as file:
        file.write(tail)
    run.resume(cut)
    identical(cut, finished[1])


@pytest.mark.parametrize("text", ["", "seed,env_st"])
def test_metrics_cut_within_the_header(cut, text):
    """No row is left to keep: the run goes on, and says what it can."""
    (cut / "metrics.csv").write_text(text)
    run.resume(cut)
    assert int(rows(cut)[-1]["env_steps"]) == 400


def about(change):
    def spoil(path: Path) -> None:
        value = json.loads(path.read_text())
        change(value)
        value["digest"] = files.digest_of(value)
        path.write_text(json.dumps(value))

    return spoil


SPOILT = {
    "missing": (lambda p: p.unlink(), "missing"),
    "truncated": (lambda p: p.write_text(p.read_text()[:100]), "damaged"),
    "not text": (lambda p: p.write_bytes(b"\xff\xfe\x00"), "damaged"),
    "not an object": (lambda p: p.write_text("[1]"), "format"),
    "no format": (about(lambda v: v.pop("format")), "format"),
    "newer": (about(lambda v: v.update(format=99)), "format 99"),
    "no config": (about(lambda v: v.pop("config")), "config"),
    "unknown env": (about(lambda v: v["config"]["env"].update(name="sprad")), "did you mean spread"),
    "unknown setting": (about(lambda v: v["config"]["learner"]["settings"].update(colour=1)), "colour"),
    "settings are a list": (about(lambda v: v["config"]["learner"].update(settings=[])), "learner"),
    "bad number": (about(lambda v: v["config"]["env"]["settings"].update(agents=-1)), "agents"),
    "number of another type": (about(lambda v: v["config"].update(steps="many")), "steps"),
    "config is a string": (about(lambda v: v.update(config="?")), "run.json"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_run_json_is_refused_in_one_line(as_users, cut_short, tmp_path, name):
    spoil, words = SPOILT[name]
    shutil.copy(cut_short / "run.json", tmp_path / "run.json")
    spoil(tmp_path / "run.json")
    with pytest.raises(HeadstartError, match=words) as caught:
        run.resume(tmp_path)
    one_line(caught)


POLICIES = {
    "missing": (lambda p: p.unlink(), "missing"),
    "newer": (about(lambda v: v.update(format=99)), "format 99"),
    "no spec": (about(lambda v: v.pop("spec")), "damaged"),
    "no learner": (about(lambda v: v.pop("learner")), "learner"),
    "other size": (about(lambda v: v["learner"]["settings"].update(hidden=[9])), "does not belong"),
    "other layers": (about(lambda v: v["learner"]["settings"].update(hidden=[8, 8])), "does not belong"),
    "negative agents": (about(lambda v: v["spec"]["roles"]["agent"].update(agents=-1)), "policy.json|agents"),
    "no seeds": (about(lambda v: v.update(seeds=[])), "policy.json|seeds"),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_spoilt_policy_json_is_refused_in_one_line(finished, tmp_path, name):
    spoil, words = POLICIES[name]
    for file in ("policy.json", "policy.safetensors"):
        shutil.copy(finished[1] / file, tmp_path / file)
    spoil(tmp_path / "policy.json")
    with pytest.raises(HeadstartError, match=words) as caught:
        load(tmp_path)
    one_line(caught)


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("damage", ["pickle", "truncated", "empty", "text"])
def test_parameters_that_are_no_safetensors_are_refused_and_never_executed(finished, tmp_path, damage):
    shutil.copy(finished[1] / "policy.json", tmp_path / "policy.json")
    whole = (finished[1] / "policy.safetensors").read_bytes()
    sprung = tmp_path / "sprung"
    content = {"pickle": pickle.dumps(Trap(sprung)), "truncated": whole[:-9], "empty": b"", "text": b"hello"}[damage]
    (tmp_path / "policy.safetensors").write_bytes(content)
    with pytest.raises(HeadstartError, match="damaged") as caught:
        load(tmp_path)
    one_line(caught)
    assert not sprung.exists()


def test_a_pickled_checkpoint_is_never_executed(cut, tmp_path):
    for path in (cut / "checkpoints").iterdir():
        path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(HeadstartError):
        run.resume(cut)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("what", ["a file in it", "a file"])
def test_a_directory_that_holds_something_is_refused_and_untouched(tmp_path, what):
    out = tmp_path / "out"
    kept = out / "mine.txt" if what == "a file in it" else out
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(HeadstartError, match="already holds something") as caught:
        run.train(PLAIN, out)
    one_line(caught)
    assert kept.read_text() == "mine" and [p.name for p in tmp_path.rglob("*") if p.is_file()] == [kept.name]


@pytest.mark.parametrize("verb", [load, run.resume])
def test_no_directory(tmp_path, verb):
    with pytest.raises(HeadstartError, match="not a directory"):
        verb(tmp_path / "nowhere")


# ------------------------------------------------------------------ divergence


@part("env")
class Poison:
    """`Choice` that pays NaN where the observation is above a threshold that few draws reach."""

    above: float = 0.9
    spec = Choice().spec

    def reset(self, key):
        x = jax.random.uniform(key)
        return x, shown({"agent": x[None, None]})

    def step(self, state, action, key):
        reward = jnp.where(state > self.above, jnp.nan, 1.0)
        return state, shown({"agent": state[None, None]}, {"agent": reward[None]}, terminated=True)


def test_nan_stops_the_run_and_names_seed_and_update(tmp_path):
    config = run.Config(Poison(0.5), small(PPO(), num_envs=4, rollout=5), steps=400, seeds=2, first_seed=3, evaluations=2)
    with pytest.raises(session.Diverged, match="seed 3 at update 0") as caught:
        run.train(config, tmp_path / "out")
    assert "seed 4 at update 0" in one_line(caught)
    assert not (tmp_path / "out" / "policy.safetensors").exists()


@pytest.mark.slow
def test_a_mad_learning_rate_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, eager):
    """Warm-up is over after 40 env-steps; checkpoints before that are good and stay."""
    config = dataclasses.replace(PLAIN, learner=dataclasses.replace(DDPG4, actor_lr=1e30, critic_lr=1e30), evaluations=20)
    with pytest.raises(session.Diverged, match=r"seed 0 at update 1\d") as caught:
        run.train(config, tmp_path / "out")
    assert "last good checkpoint" in one_line(caught)
    from safetensors.numpy import load_file

    for path in (tmp_path / "out" / "checkpoints").glob("*.safetensors"):
        for x in load_file(path).values():
            assert x.dtype.kind != "f" or np.isfinite(x).all()


# ------------------------------------------------------------------ bad settings

NAN, INF = float("nan"), float("inf")
BAD = [
    *((run.Config, {"env": ENV, "learner": DDPG4, key: 0}) for key in ("steps", "seeds", "evaluations", "episodes")),
    (run.Config, {"env": ENV, "learner": DDPG4, "first_seed": -1}),
    *((DDPG, {key: 0}) for key in ("batch", "capacity", "train_every", "gradient_steps", "num_envs")),
    *((DDPG, {key: 0.0}) for key in ("tau", "temperature", "clip", "actor_lr", "critic_lr")),
    *((DDPG, {key: -1.0}) for key in ("actor_lr", "critic_lr", "gamma", "clip", "noise", "logit_penalty")),
    *((DDPG, {key: NAN}) for key in ("actor_lr", "gamma", "tau", "clip", "temperature")),
    (DDPG, {"gamma": 1.1}), (DDPG, {"warmup": -1}), (DDPG, {"hidden": (0,)}), (DDPG, {"num_envs": 3}),
    *((PPO, {key: 0}) for key in ("num_envs", "rollout", "epochs", "minibatches")),
    *((PPO, {key: 0.0}) for key in ("lr", "clip", "max_grad_norm")),
    *((PPO, {key: 1.5}) for key in ("gamma", "lam")),
    *((PPO, {key: -1.0}) for key in ("entropy", "value")),
    *((PPO, {key: NAN}) for key in ("lr", "gamma", "lam", "clip")),
    (PPO, {"minibatches": 7}), (PPO, {"hidden": (-2,)}), (PPO, {"core": "gru", "hidden": ()}), (PPO, {"lr": INF}),
    *((Spread, {key: -1}) for key in ("agents", "landmarks", "horizon", "nearest")),
]  # fmt: skip


@pytest.mark.parametrize("part,settings", BAD, ids=lambda x: x.__name__ if isinstance(x, type) else str(list(x.items())[-1]))
def test_bad_numbers_are_refused_in_one_line(part, settings):
    with pytest.raises(HeadstartError) as caught:
        part(**settings)
    name, value = list(settings.items())[-1]
    assert name.removeprefix("first_") in one_line(caught) and str(value) in one_line(caught)


@pytest.mark.slow
def test_a_run_in_another_thread_leaves_signals_alone(tmp_path):
    """Only the main thread may set handlers."""
    before, errors = signal.getsignal(signal.SIGTERM), []

    def body():
        try:
            run.train(dataclasses.replace(PLAIN, steps=80, evaluations=1), tmp_path / "out")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert not errors and signal.getsignal(signal.SIGTERM) == before and isinstance(load(tmp_path / "out"), TeamPolicy)
