"""Whole directories: links out of them, damaged files, kills and full disks at every write, and two processes at once."""

import contextlib
import dataclasses
import errno
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import instant
import pytest
from instant import CONFIG
from test_storage import refusal

from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.experiments import run as experiment_run
from headstart.experiments.base import Arm, Experiment, Stage
from headstart.experiments.report import report_runs
from headstart.guidance.distill import Distill
from headstart.report.build import read_column, read_curve, read_stage
from headstart.storage import arrays, files, places
from headstart.teams.saved import load
from headstart.training import directory, run, session

TAUGHT = dataclasses.replace(CONFIG, guidance=(Distill(instant.team(5)),))


@pytest.fixture(autouse=True)
def _without_training(monkeypatch):
    instant.without_training(monkeypatch)


class Killed(BaseException):
    """In place of SIGKILL: nothing handles it."""


def begin(out: Path, config=CONFIG) -> Path:
    """A run that was killed before its policy was written."""
    real = instant.TeamPolicy.write

    def write(team, path):
        if path == out:
            raise Killed
        return real(team, path)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(instant.TeamPolicy, "write", write)
        run.train(config, out)
    return out


def content(path: Path) -> dict[str, bytes]:
    """{name: bytes} of all files, without what differs between two equal runs."""
    about = {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
    if "run.json" in about:
        manifest = json.loads(about["run.json"])
        about["run.json"] = json.dumps({k: v for k, v in manifest.items() if k not in ("timing", "digest")}).encode()
    return about


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that nothing has disturbed: alone, and taught."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        instant.without_training(patch)
        run.train(CONFIG, out / "alone")
        run.train(TAUGHT, out / "taught")
    return out


# ------------------------------------------------------------------ links and the like


def odd(kind: str, path: Path, elsewhere: Path) -> None:
    """Put a link or a pipe in the place of a file or a directory, which moves `elsewhere`."""
    if path.exists():
        path.rename(elsewhere)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "endless" else elsewhere)


@pytest.mark.parametrize("kind", ["link", "endless", "pipe"])
@pytest.mark.parametrize("name", ["run.json", "metrics.csv", "checkpoints", "checkpoints/0000000010.safetensors", "teacher-0",
                                  "teacher-0/policy.json", "teacher-0/policy.safetensors"])  # fmt: skip
def test_resume_never_leaves_the_directory(name, kind, tmp_path):
    out, elsewhere = begin(tmp_path / "run", TAUGHT), tmp_path / "elsewhere"
    odd(kind, out / name, elsewhere)
    before = content(elsewhere) if elsewhere.is_dir() else elsewhere.read_bytes() if elsewhere.exists() else b""
    said = refusal(run.resume, out)
    assert name in said and ("regular files only" in said or "not a directory" in said)
    assert before == (content(elsewhere) if elsewhere.is_dir() else elsewhere.read_bytes() if elsewhere.exists() else b"")
    assert (out / name).is_symlink() or (out / name).is_fifo()


@pytest.mark.parametrize("kind", ["link", "endless", "pipe"])
@pytest.mark.parametrize("name", ["run.json", "metrics.csv", "policy.json", "policy.safetensors"])
def test_reports_and_load_read_regular_files_only(name, kind, whole, tmp_path):
    out = Path(shutil.copytree(whole / "alone", tmp_path / "run"))
    odd(kind, out / name, tmp_path / "elsewhere")
    assert name in refusal(report_runs, [out], out)
    if name != "metrics.csv":
        assert name in refusal(load, out)


def test_the_directory_that_the_user_names_may_be_a_link(whole, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run.train(CONFIG, tmp_path / "link")
    assert content(tmp_path / "real") == content(whole / "alone") and (tmp_path / "link").is_symlink()
    assert load(tmp_path / "link").seeds == run.resume(tmp_path / "link").seeds == (0, 1)


def test_colons_and_home_directories(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run.train(CONFIG, "~/a:b")
    assert content(tmp_path / "a:b") == content(whole / "alone")
    run.train(dataclasses.replace(CONFIG, guidance=(Distill("~/a:b"),)), "c:d")
    assert load("~/c:d").seeds == run.resume("~/c:d").seeds == (0, 1)
    instant.team().save("~/saved")
    assert load(tmp_path / "saved").seeds == (0, 1) and read_curve("~/a:b").returns.shape == (2, 2)
    cli.main(["report", "~/a:b", "c:d", "--out", "~/both:"])
    cli.main(["resume", "c:d"])
    assert (tmp_path / "both:/report.html").exists() and not (tmp_path / "~").exists()


# ------------------------------------------------------------------ damage

HUGE = [10**9, -1, float("nan"), float("inf"), 1e300, "many", None, True, [], 10**200]


@pytest.mark.parametrize("value", HUGE, ids=repr)
def test_a_checkpoints_note_is_not_trusted(value, tmp_path):
    out = begin(tmp_path / "run")
    [saved] = (out / "checkpoints").iterdir()
    state = {"params": instant.team(0).params}
    for name in ("updates", "run_s", "compile_s"):
        note = arrays.read_note(saved) | {name: str(value)}
        arrays.save_tree(saved, state, note)
        if name == "updates" or value not in (10**9, 1e300, 10**200):
            assert "no checkpoint" in refusal(run.resume, out)
        arrays.save_tree(saved, state, note | {name: "10" if name == "updates" else "1.5"})


def test_a_checkpoint_that_says_it_is_later_than_the_run_ends_neither_the_run_nor_good_checkpoints(tmp_path):
    out = begin(tmp_path / "run")
    state = {"params": instant.team(0).params}
    note = arrays.read_note(out / "checkpoints/0000000010.safetensors")
    arrays.save_tree(out / "checkpoints/1000000000.safetensors", state, note | {"updates": str(10**9)})
    kept = directory.RunDir(out)
    updates, _, _ = kept.load_checkpoint(state, 100, note["run"]) or (0, 0, 0)
    assert updates == 10
    kept.save_checkpoint(20, {}, note)
    assert sorted(path.name[:10] for path in kept.checkpoints.iterdir()) == ["0000000010", "0000000020"]


FIELDS = {
    "run.json": "seeds seeds.0 env_steps learning_starts config config.steps config.seeds config.env config.env.name id guides"
    " config.env.settings config.guidance config.evaluations spec.horizon files timing"
    " timing.run_s spec.roles.agent.agents",
    "policy.json": "seeds seeds.0 spec spec.horizon spec.state_size spec.roles spec.roles.agent spec.roles.agent.agents"
    " spec.roles.agent.obs spec.roles.agent.obs.0.1 spec.roles.agent.names spec.roles.agent.actions"
    " spec.roles.agent.actions.discrete learner learner.name learner.settings learner.settings.hidden"
    " learner.settings.activation env env_steps parameters run",
}
STRANGE = [10**9, -1, "?", None, [], {}, [[]], 10**200, {"name": "spread"}, True, 0.5]


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in FIELDS.items() for field in fields.split()])
def test_strange_values_are_refused_in_one_line_or_harmless(as_users, name, field, whole, tmp_path):
    """Even if the digest says that all is well. No value may allocate, wait or end in a traceback."""
    out = Path(shutil.copytree(whole / "alone", tmp_path / "run"))
    path = out / name
    good = json.loads(path.read_text())
    refused = 0
    for value in STRANGE:
        spoilt = json.loads(json.dumps(good))
        inner, *outer = spoilt, *(int(part) if part.isdecimal() else part for part in field.split("."))
        for part in outer[:-1]:
            inner = inner[part]
        inner[outer[-1]] = value
        spoilt["digest"] = files.digest_of(spoilt)
        path.write_text(json.dumps(spoilt))
        readers = [lambda: load(out)]
        if name == "run.json":
            readers += [lambda: run.resume(out), lambda: read_curve(out), lambda: read_stage(out)]
        for read in readers:
            with files.accepting(True):
                try:
                    read()
                except HeadstartError as error:
                    refused += 1
                    assert "\n" not in str(error) and len(str(error)) < 500
    assert refused


def test_metrics_and_run_json_of_a_report_are_checked(whole, tmp_path):
    out = Path(shutil.copytree(whole / "alone", tmp_path / "run"))
    head = "seed,env_steps,eval_return\n"
    for text in ("", "seed,env_steps", "x\n", f"{head}0,0,1\n0,0\n", "\x00" * 50, f"{head}0,\n", f"{head}0,?,1\n"):
        (out / "metrics.csv").write_text(text)
        for read in (read_curve, lambda path: read_column(path, "eval_return")):
            refusal(read, out)
    (out / "run.json").write_text("[" * 10**5)
    for read in (read_curve, read_stage, lambda path: read_column(path, "eval_return")):
        assert "run.json is damaged" in refusal(read, out)


@pytest.mark.parametrize(
    ("name", "value"), [("seeds", 10**9), ("seeds", 0), ("arms", [1]), ("arms", []), ("scale", "?"), ("experiment", 3)]
)
def test_experiment_json_is_checked(name, value, tmp_path):
    good = {"experiment": "knowru/spread-6", "scale": "smoke", "arms": ["maddpg"], "seeds": 1}
    files.write_json(tmp_path / "experiment.json", good | {name: value})
    assert name in refusal(experiment_run.resume, tmp_path) and name in refusal(experiment_run.report_again, tmp_path)


# ------------------------------------------------------------------ kills and full disks


@contextlib.contextmanager
def dies_at(number: int, how: str):
    """The disk is full, or the process dies, before (or after) the `number`-th time that a file gets its place.

    A dead process cleans nothing up.
    """
    count, dead = 0, False

    def moved(real, *args, **named):
        nonlocal count, dead
        count += 1
        if count == number and how == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        dead = dead or (count == number and how == "before")
        if dead:
            raise Killed
        real(*args, **named)
        dead = count == number and how == "after"
        if dead:
            raise Killed

    alive = lambda real: lambda *args, **named: None if dead else real(*args, **named)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", functools.partial(moved, os.replace))
        patch.setattr(os, "rename", functools.partial(moved, os.rename))
        patch.setattr(shutil, "rmtree", alive(shutil.rmtree))
        patch.setattr(Path, "unlink", alive(Path.unlink))
        yield


@pytest.mark.parametrize("how", ["before", "after", "full"])
@pytest.mark.parametrize("there", [False, True], ids=["new", "empty directory"])
def test_a_run_that_ends_at_any_write_goes_on_and_is_the_same(there, how, whole, tmp_path):
    for number in range(1, 100):
        out = tmp_path / str(number) / "run"
        (out if there else out.parent).mkdir(parents=True)
        with dies_at(number, how):
            try:
                run.train(TAUGHT, out)
                break
            except Killed:
                pass
            except HeadstartError as error:
                assert isinstance(error, files.NotWritten) and "free some space" in str(error)
                assert (f"headstart resume {out}" in str(error)) == (out / "run.json").exists()
        if (out / "run.json").exists():
            assert (out / "teacher-0" / "policy.json").exists()
            run.resume(out)
        else:
            assert places.empty(out)
            run.train(TAUGHT, out)
        assert content(out) == content(whole / "taught")
        assert list(out.parent.iterdir()) == [out]
    assert number > 8, "a run writes at least a teacher, run.json, a checkpoint, a policy and run.json again"


STAGES = (Stage("teacher", instant.ENV, instant.LEARNER, 400, evaluations=2),
          Stage("student", instant.ENV, instant.LEARNER, 400, (Distill("teacher"),), evaluations=2))  # fmt: skip


def toy(scale="smoke") -> Experiment:
    """Two stages: the second learns from the first."""
    return Experiment("toy", "", 2, {"taught": Arm(STAGES)}, (), "taught")


@pytest.fixture
def known(monkeypatch):
    """The experiment `toy/toy` is one of the registry."""
    from headstart import registry

    monkeypatch.setattr(registry, "experiments", lambda: {"toy/toy": toy})


@pytest.mark.slow
@pytest.mark.parametrize("how", ["before", "full"])
def test_an_experiment_that_ends_at_any_write_goes_on(how, known, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment_run, "report_experiment", lambda *args: {})
    for number in range(1, 100):
        out = tmp_path / str(number) / "out"
        out.parent.mkdir()
        with dies_at(number, how):
            try:
                experiment_run.reproduce("toy/toy", toy, "smoke", out)
                break
            except Killed:
                pass
            except files.NotWritten as error:
                assert str(error).count("headstart resume") == (1 if out.exists() else 0)
        if out.exists():
            experiment_run.resume(out)
        else:
            experiment_run.reproduce("toy/toy", toy, "smoke", out)
        assert all((out / "stages" / stage.name / "policy.json").exists() for stage in STAGES)
        assert {path.name for path in (out / "stages").iterdir()} == {"teacher", "student"}
        experiment_run.report_again(out)
    assert number > 12


def test_a_report_on_a_full_disk_leaves_the_old_one(whole, tmp_path):
    out = Path(shutil.copytree(whole / "alone", tmp_path / "run"))
    report_runs([out], out)
    before = content(out)
    with dies_at(1, "full"):
        assert "free some space" in refusal(report_runs, [out], out)
    assert content(out) == before


def test_the_command_line_tells_of_a_full_disk_in_one_line(tmp_path, capsys):
    settings = ["--learner.hidden", "4", "--learner.warmup", "40", "--steps", "400", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as end, dies_at(4, "full"):
        cli.main(["train", "spread", "--learner", "maddpg", *settings])
    told = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 2 and f"headstart resume {tmp_path / 'run'}" in told[-1]
    assert sum(line.startswith("headstart: ") for line in told) == 1


# ------------------------------------------------------------------ two processes


def test_one_process_works_in_a_run(tmp_path, known):
    out = begin(tmp_path / "run")
    before = content(out)
    with places.held(out):
        assert "another process works in" in refusal(run.resume, out)
        assert content(out) == before
    run.resume(out)
    about = {"experiment": "toy/toy", "scale": "smoke", "arms": ["taught"], "seeds": 2}
    files.write_json(tmp_path / "e" / "experiment.json", about)
    with places.held(tmp_path / "e"):
        assert "another process works in" in refusal(experiment_run.resume, tmp_path / "e")
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["experiment.json"]


def test_a_run_is_held_while_it_trains(tmp_path, monkeypatch):
    seen = []

    def look(self, stop):
        seen.append(refusal(run.resume, self.points[0].directory.path))
        return instant.trained(self, stop)

    monkeypatch.setattr(session.Session, "_trained", look)
    run.train(CONFIG, tmp_path / "run")
    assert "another process works in" in seen[0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a small disk needs Linux")
def test_a_real_full_disk(tmp_path):
    """In a disk of 64 KiB in memory, if this user may make one."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    try:
        wide = dataclasses.replace(CONFIG, learner=dataclasses.replace(instant.LEARNER, hidden=(64,)))
        assert "free some space" in refusal(run.train, wide, tmp_path / "run")
        subprocess.run(["mount", "-o", "remount,size=16m", str(tmp_path)], check=True)
        assert run.resume(tmp_path / "run").seeds == (0, 1)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
