"""Trackers: what TensorBoard's own reader finds in the files, and what Weights & Biases writes without an account."""

import os

import numpy as np
import pytest
from test_runs import PLAIN, eager, rows, stop_at

from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.training import api, run, session
from headstart.training.trackers import choice
from headstart.training.trackers.choice import trackers
from headstart.training.trackers.names import tag
from headstart.training.trackers.tensorboard import TensorBoard
from headstart.training.trackers.wandb import WandB
from headstart.training.watch import Watcher

assert eager  # a fixture
pytestmark = pytest.mark.usefixtures("sessions_once")
MANIFEST = {"config": {"env": {"name": "spread"}}, "seeds": [3, 7]}
ROW = {"eval_return": np.array([-1.5, 2.0], np.float32), "actor_loss": np.array([np.nan, 0.25], np.float32)}


def scalars(place) -> dict[str, list[tuple[int, float]]]:
    """{name: [(env-steps, value)]} as TensorBoard shows them."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(place)).Reload()
    return {name: [(each.step, each.value) for each in found.Scalars(name)] for name in found.Tags()["scalars"]}


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("eval_return", "eval/return"),
        ("eval_return/agent", "eval/return/agent"),
        ("eval_length", "eval/length"),
        ("eval_event/win", "eval/win"),
        ("train_return", "train/return"),
        ("train_event/win", "train/win"),
        ("critic_loss", "losses/critic_loss"),
        ("entropy", "train/entropy"),
    ],
)
def test_columns_have_the_names_that_users_expect(column, name):
    assert tag(column) == name


def test_tensorboard_reads_each_seed_and_leaves_out_what_is_missing(tmp_path):
    pytest.importorskip("tensorboardX")
    watcher = TensorBoard(tmp_path)
    watcher.begin(MANIFEST)
    for step in (0, 100):
        watcher.row(step, ROW)
    watcher.end(None)
    assert scalars(tmp_path / "tensorboard/seed_3") == {"eval/return": [(0, -1.5), (100, -1.5)]}
    assert scalars(tmp_path / "tensorboard/seed_7")["losses/actor_loss"] == [(0, 0.25), (100, 0.25)]


def test_a_row_that_comes_a_second_time_is_there_once(tmp_path):
    """After a kill that lost the rows since the last checkpoint."""
    pytest.importorskip("tensorboardX")
    killed, again = TensorBoard(tmp_path), TensorBoard(tmp_path)
    killed.begin(MANIFEST)
    for step in (0, 100, 200):
        killed.row(step, ROW)
    again.begin(MANIFEST)
    for step in (100, 200, 300):
        again.row(step, ROW)
    again.end(None)
    assert [step for step, _ in scalars(tmp_path / "tensorboard/seed_7")["eval/return"]] == [0, 100, 200, 300]


@pytest.mark.slow
def test_a_tracked_run_goes_on_in_the_same_files(tmp_path, eager):
    """Its numbers are those of metrics.csv, and resuming needs no flag."""
    pytest.importorskip("tensorboardX")
    out = tmp_path / "cut"
    with pytest.raises(session.Interrupted):
        run.train(PLAIN, out, (*trackers("tensorboard", out), *stop_at(240)))
    api.resume(out, progress=False)
    for seed in (0, 1):
        found = scalars(out / f"tensorboard/seed_{seed}")
        steps, values = zip(*found["eval/return"], strict=True)
        assert steps == (0, 100, 200, 300, 400)
        np.testing.assert_array_equal(
            np.float32(values), [np.float32(x["eval_return"]) for x in rows(out) if x["seed"] == str(seed)]
        )
        assert {"train/return", "time/steps_per_second"} <= set(found)


def logged(place) -> bytes:
    """The one file of a run of Weights & Biases."""
    (file,) = place.glob("*.wandb")
    return file.read_bytes()


def test_wandb_needs_no_account(tmp_path, monkeypatch, capsys):
    """An offline run for each seed, with the configuration and the values under their names. What follows has other ids: two
    directories of one id would overwrite each other when they are uploaded."""
    pytest.importorskip("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # where an account would be kept
    for _ in range(2):
        watcher = WandB(tmp_path / "run")
        watcher.begin(MANIFEST)
        watcher.row(0, ROW)
        watcher.row(100, ROW)
        watcher.end(None)
    assert "wandb sync" in capsys.readouterr().err
    for seed, there in ((3, False), (7, True)):
        places = sorted((tmp_path / "run/wandb").glob(f"offline-run-*-{seed}"))
        assert len({place.name.split("-")[-2] for place in places}) == len(places) == 2
        content = logged(places[0])
        for word in (b"eval/return", b"run-seed-", b"spread"):
            assert word in content, word
        assert (b"losses/actor_loss" in content) == there
    numbers = [WandB(tmp_path / name)._number() for name in ("run", "run", "other")]
    assert numbers[0] == numbers[1] != numbers[2]


def test_a_tracker_without_its_package_is_refused_before_anything_is_written(as_users, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(choice, "_can", lambda name: name != "wandb")
    monkeypatch.chdir(tmp_path)
    for words, says in (
        (["--track", "wandb"], "the tracker wandb needs the package wandb: pip install 'headstart[wandb]'"),
        (["--track", "tensorbord"], "unknown tracker 'tensorbord': did you mean tensorboard?"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["train", "spread", "--out", "runs/a", *words])
        assert end.value.code == 2 and says in capsys.readouterr().err
        with pytest.raises(SystemExit):
            cli.main(["sweep", "spread", "--over", "learner.gamma=0.9,0.8", "--out", "runs/b", *words])
    with pytest.raises(HeadstartError, match="unknown tracker '5'"):
        api.train(PLAIN.env, PLAIN.learner, "runs/c", track=5)
    assert not (tmp_path / "runs").exists()


def test_a_run_whose_tracker_has_lost_its_package_says_so(tmp_path, monkeypatch, capsys):
    (tmp_path / "tensorboard").mkdir()
    monkeypatch.setattr(choice, "_can", lambda name: False)
    assert trackers((), tmp_path) == ()
    assert "has the tracker tensorboard, which does not go on without its package" in capsys.readouterr().err


def test_what_may_upload_is_asked_for_each_time(tmp_path, monkeypatch, capsys):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(choice, "_can", lambda name: True)
    assert trackers((), tmp_path) == ()
    assert "goes on only if it is asked for: --track wandb" in capsys.readouterr().err
    assert len(trackers("wandb", tmp_path)) == 1


def test_trackers_are_watchers():
    assert issubclass(TensorBoard, Watcher) and issubclass(WandB, Watcher)
