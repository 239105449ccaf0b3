"""Ctrl-C and SIGTERM at any moment: one sentence that says how to go on, and nothing that was computed is lost."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import pytest

from headstart import registry
from headstart.cli import main as cli
from headstart.cli import stopping
from headstart.core.checks import HeadstartError
from headstart.envs.particle.spread import Spread
from headstart.experiments.base import Arm, Experiment, Stage
from headstart.experiments.run import reproduce
from headstart.learners.ppo import PPO
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.training import programs, run, session
from headstart.training.config import Config
from headstart.training.directory import RunDir

BOTH = [signal.SIGINT, signal.SIGTERM]
PLAIN = Config(
    Spread(1, horizon=2), PPO(num_envs=1, rollout=2, minibatches=1, epochs=1, hidden=(2,)), steps=4, evaluations=1, episodes=1
)


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def stopped(capsys, args: list[str]) -> str:
    """What a command says that ends by a signal."""
    before = [signal.getsignal(number) for number in BOTH]
    with pytest.raises(SystemExit) as end:
        cli.main(args)
    assert end.value.code == 130 and [signal.getsignal(number) for number in BOTH] == before
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1, told
    return told[0].removeprefix("headstart: ")


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("how", ["raised", "swallowed and told as another error"])
def test_a_command_that_has_written_nothing_says_so(number, how, capsys, monkeypatch, tmp_path):
    def busy(args):
        try:
            stopping.works_in(tmp_path)
            ask(number)
        except KeyboardInterrupt:
            if how == "raised":
                raise
            raise ImportError("numpy failed to import") from None

    monkeypatch.setitem(cli.COMMANDS, "list", busy)
    assert stopped(capsys, ["list"]) == "stopped before anything was written"


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("name", ["run.json", "experiment.json"])
def test_where_a_run_has_begun_the_sentence_says_how_to_go_on(number, name, capsys, monkeypatch, tmp_path):
    out = tmp_path / "of mine"
    out.mkdir()

    def busy(args):
        stopping.works_in(out, resumes=bool(args))
        (out / name).touch()
        ask(number)

    monkeypatch.setitem(cli.COMMANDS, "list", busy)
    monkeypatch.setattr(registry, "used", {"mine.parts"})
    assert stopped(capsys, ["list"]) == f"stopped; go on with: headstart resume '{out}' --use mine.parts"
    assert stopped(capsys, ["list"]) == "stopped before anything was written"  # the run there is not this command's
    assert stopped(capsys, ["list", "again"]).startswith("stopped; go on with: headstart resume")


def test_an_error_without_a_signal_stays_an_error(monkeypatch):
    def broken(args):
        raise ZeroDivisionError

    monkeypatch.setitem(cli.COMMANDS, "list", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["list"])


@pytest.mark.slow
@pytest.mark.parametrize("number", BOTH)
def test_a_process_that_is_still_importing(number, tmp_path):
    (tmp_path / "endless.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(300)\n")
    words = [sys.executable, "-m", "headstart.cli", "train", "spread", "--use", "endless", "--out", "r"]
    env = {**os.environ, "PYTHONPATH": str(Path(registry.__file__).parent.parent)}
    child = subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    assert child.stderr.readline() == "ready\n"  # named modules print there
    child.send_signal(number)
    assert child.communicate(timeout=60)[1] == "headstart: stopped before anything was written\n"
    assert child.returncode == 130 and not (tmp_path / "r").exists()


def asking(method, number=signal.SIGTERM, before=True):
    """`method`, and the signal just before it or just after it."""

    def called(*args, **kwargs):
        if before:
            ask(number)
        out = method(*args, **kwargs)
        if not before:
            ask(number)
        return out

    return called


@pytest.mark.parametrize("number", BOTH)
def test_before_the_first_update_a_run_stops_at_once_and_can_go_on(number, tmp_path, monkeypatch):
    """While its directory is made, and while its programs are compiled."""
    out = tmp_path / "a"
    monkeypatch.setattr(session.Session, "_compiled", lambda *args, **kwargs: pytest.fail("a program was compiled"))
    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "create", asking(RunDir.create, number, before=False))
        with pytest.raises(session.Interrupted, match=rf"^stopped before the next update; go on with: headstart resume {out}$"):
            run.train(PLAIN, out)
    assert [path.name for path in out.iterdir()] == ["run.json"]
    compiled = []
    monkeypatch.setattr(session.Session, "_compiled", lambda *args, **kwargs: compiled.append(ask(number)))
    with pytest.raises(session.Interrupted, match="stopped before the next update; go on with"):
        run.resume(out)
    assert len(compiled) == 1


def test_a_signal_that_something_swallowed_before_the_run_stops_it(tmp_path, monkeypatch):
    with stopping.Interrupts() as outer:
        outer.asked = True
        stop = threading.Event()
        with session.Signals(stop):
            assert stop.is_set()
    fresh = threading.Event()
    with session.Signals(fresh):
        assert not fresh.is_set()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["write", "write_manifest"])
def test_a_run_that_has_done_its_last_update_is_written(method, tmp_path, monkeypatch):
    owner = TeamPolicy if method == "write" else RunDir
    out = tmp_path / "a"
    monkeypatch.setattr(owner, method, asking(getattr(owner, method)))
    with pytest.raises(session.Interrupted, match="stopped after the last update; go on with: headstart resume"):
        run.train(PLAIN, out)
    assert json.loads((out / "run.json").read_text())["finished"] and load(out).seeds == (0,)
    assert not (out / "checkpoints").exists()
    run.resume(out)


# ------------------------------------------------------------------ refusals and homes


def refuse(*args, **kwargs):
    raise HeadstartError("this does not fit together")


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_a_run_that_is_refused_leaves_no_directory_behind(there, tmp_path, monkeypatch):
    out = tmp_path / "new" / "a"
    if there:
        out.mkdir(parents=True)
    monkeypatch.setattr(session.Session, "_compiled", refuse)
    stages = (Stage("one", PLAIN.env, PLAIN.learner, 4, evaluations=1),)
    experiment = Experiment("", "", 1, {"one": Arm(stages)}, (), "one")
    for begin in (lambda: run.train(PLAIN, out), lambda: reproduce("toy", lambda scale: experiment, "smoke", out)):
        with pytest.raises(HeadstartError, match="does not fit together"):
            begin()
        assert out.exists() == there and (tmp_path / "new").exists() == there and not list(out.parent.rglob("*.json"))


def test_what_somebody_else_has_put_there_stays(tmp_path, monkeypatch):
    out = tmp_path / "a"
    monkeypatch.setattr(session.Session, "_compiled", lambda *args, **kwargs: (out / "notes").touch() or refuse())
    with pytest.raises(HeadstartError, match="does not fit together"):
        run.train(PLAIN, out)
    assert [path.name for path in out.iterdir()] == ["notes"]
    with pytest.raises(HeadstartError, match="already holds something"):
        run.train(PLAIN, out)
    assert [path.name for path in out.iterdir()] == ["notes"]


@pytest.mark.parametrize("error", [RuntimeError("no home directory"), None], ids=["no home", "read-only home"])
def test_without_a_home_programs_are_not_kept(error, tmp_path, monkeypatch):
    def home():
        if error:
            raise error
        return tmp_path / "file"

    (tmp_path / "file").touch()
    before = jax.config.values["jax_compilation_cache_dir"]
    monkeypatch.setattr(Path, "home", home)
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        programs.use_compilation_cache()
        assert jax.config.values["jax_compilation_cache_dir"] is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
