"""Watchers: what they are told and when, and that one that fails does not lose the run."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from test_runs import PLAIN, eager, identical, rows, stop_at

from headstart.core.checks import HeadstartError
from headstart.experiments.base import Arm, Experiment, Stage
from headstart.experiments.run import continue_experiment
from headstart.report.build import read_column
from headstart.teams.saved import load
from headstart.training import api, run, session
from headstart.training.progress import progress
from headstart.training.watch import Progress, Watcher

assert eager  # a fixture


class Recorder(Watcher):
    """Keeps what it is told."""

    def __init__(self):
        self.calls = []

    def begin(self, manifest):
        self.calls.append(("begin", json.loads(json.dumps(manifest, default=str))))

    def progress(self, progress):
        self.calls.append(("progress", progress.env_steps))

    def row(self, env_steps, values):
        self.calls.append(("row", env_steps, values))

    def end(self, team):
        self.calls.append(("end", team))

    def names(self):
        return [call[0] for call in self.calls]

    def table(self):
        """The lines of metrics.csv."""
        text = lambda x: repr(float(x)) if np.isfinite(x) else ""
        return [
            {"seed": str(seed), "env_steps": str(steps), "updates": str(steps // 4)}
            | {k: text(x[seed]) for k, x in values.items()}
            for _, steps, values in (call for call in self.calls if call[0] == "row")
            for seed in (0, 1)
        ]


pytestmark = pytest.mark.usefixtures("sessions_once")


@pytest.fixture(scope="module")
def whole(sessions_once, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "PIECE_SECONDS", 1e-9)
        run.train(PLAIN, out, (recorder,))
    return recorder, out


def test_a_run_is_told_in_order(whole):
    recorder, _ = whole
    names = recorder.names()
    assert (
        names[:2] == ["begin", "row"] and names[-2:] == ["progress", "end"] and names.count("begin") == names.count("end") == 1
    )
    manifest = recorder.calls[0][1]
    assert manifest["seeds"] == [0, 1] and manifest["env_steps"] == 400 and manifest["finished"] is False
    assert [call[1] for call in recorder.calls if call[0] == "row"] == [0, 100, 200, 300, 400]
    assert [call[1] for call in recorder.calls if call[0] == "progress"] == list(range(4, 401, 4))
    assert recorder.calls[-1][1].seeds == (0, 1)


def test_rows_are_those_of_metrics_csv(whole):
    recorder, out = whole
    assert recorder.table() == rows(out)


@pytest.mark.slow
def test_a_resumed_run_begins_again_and_goes_on(whole, tmp_path, eager):
    first, second = Recorder(), Recorder()
    with pytest.raises(session.Interrupted):
        run.train(PLAIN, tmp_path / "cut", (first, *stop_at(240)))
    run.resume(tmp_path / "cut", (second,))
    assert "end" not in first.names() and second.names()[0] == "begin" and second.names()[-1] == "end"
    assert first.calls[0] == second.calls[0]
    assert first.table() + second.table() == rows(tmp_path / "cut") == rows(whole[1])
    third = Recorder()
    run.resume(tmp_path / "cut", (third,))
    assert third.names() == ["begin", "end"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["progress", "row"])
def test_a_watcher_that_fails_stops_the_run_with_a_checkpoint(method, whole, tmp_path):
    """The others are still told, and the run can go on as if nothing had happened."""

    def fail(*args):
        raise ValueError("no\nnetwork")

    broken, other, out = Watcher(), Recorder(), tmp_path / "cut"
    setattr(broken, method, fail)
    with pytest.raises(HeadstartError, match=r"Watcher failed: ValueError\('no\\nnetwork'\); stopped after \d+ of") as caught:
        run.train(PLAIN, out, (broken, other))
    assert "\n" not in str(caught.value) and f"headstart resume {out}" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError) and other.names()[-1] == "progress"
    assert list((out / "checkpoints").iterdir())
    run.resume(out)
    identical(out, whole[1])


def test_a_watcher_that_fails_first_or_last(tmp_path):
    """Before anything was trained it can be tried again; after everything was, the team is there."""
    short = dataclasses.replace(PLAIN, steps=80, evaluations=1)

    def fail(*args):
        raise HeadstartError("not logged in")

    first, last, out = Watcher(), Watcher(), tmp_path / "out"
    first.begin, last.end = fail, fail
    with pytest.raises(HeadstartError, match="not logged in; try again with: headstart resume"):
        run.train(short, out, (first,))
    with pytest.raises(HeadstartError, match="not logged in; the run has finished"):
        run.resume(out, (last,))
    assert load(out).seeds == (0, 1) and not (out / "checkpoints").exists()


@pytest.mark.slow
def test_watchers_from_python_and_of_an_experiment(tmp_path):
    settings = {"steps": 80, "seeds": 2, "evaluations": 1, "episodes": 2, "progress": False}
    recorder = Recorder()
    api.train(PLAIN.env, PLAIN.learner, tmp_path / "a", watchers=[recorder], **settings)
    api.resume(tmp_path / "a", progress=False, watchers=[recorder])
    assert recorder.names()[:2] == ["begin", "row"]
    assert recorder.names()[-3:] == ["end", "begin", "end"]
    stages = [Stage(name, PLAIN.env, PLAIN.learner, 80, evaluations=1) for name in ("one", "two")]
    arms = {stage.name: Arm((stage,)) for stage in stages}
    told = {}
    experiment = Experiment("", "", 1, arms, (), "one", metric="covered")
    report = continue_experiment("toy", experiment, "smoke", tmp_path / "e", 1, lambda name: told.setdefault(name, Recorder()))
    assert list(told) == ["one", "two"] and all(r.names()[0] == "begin" and r.names()[-1] == "end" for r in told.values())
    values = read_column(tmp_path / "e" / "stages" / "two", "eval_event/covered")
    assert report["metric"] == "covered" and report["arms"]["two"]["curve"]["iqm"] == pytest.approx(values[0])


def test_without_a_terminal_a_line_says_once_in_a_while_how_far_a_run_is(monkeypatch, capsys):
    now = iter([0.0, 59.0, 60.0, 61.0, 130.0])
    monkeypatch.setattr("headstart.training.progress.time", SimpleNamespace(monotonic=lambda: next(now)))
    with progress() as bar:
        run = bar("spread")
        run.begin({"env_steps": 5000})
        for steps in range(1000, 6000, 1000):
            run.progress(Progress(steps, 5000, np.array([-2.0, -1.0]), 1234.5))
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 2
    assert err.splitlines()[0].startswith("spread: 3,000 of 5,000 env-steps, return -1.50 [-2.00, -1.00]  1,234 steps/s")
