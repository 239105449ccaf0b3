"""Trainings on other processes: the same bytes as in one process if something is killed, and the order of tasks."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy_cluster
from test_runs import identical

from headstart.core.checks import HeadstartError
from headstart.core.own import installed
from headstart.experiments import distributed
from headstart.experiments import run as experiments
from headstart.storage import files, schema
from headstart.training.cluster import graph
from headstart.training.cluster.address import engine
from headstart.training.cluster.engine import TRIES, Task
from headstart.training.cluster.local import Local
from headstart.training.cluster.telling import heard
from headstart.training.ends import Diverged, Interrupted

STAGES = ("alone", "teacher", "student")


@pytest.fixture(autouse=True)
def known(monkeypatch):
    toy_cluster.known(monkeypatch)


def begin(out: Path) -> Path:
    """An experiment that has not trained anything yet."""
    (out / "stages").mkdir(parents=True)
    about = {"experiment": "toy/toy", "scale": "smoke", "arms": ["alone", "taught"], "seeds": 2, "headstart": "0"}
    files.write_json(out / "experiment.json", about, schema.Experiment)
    return out


def go_on(out: Path, on: str = "") -> dict:
    return experiments.resume(out, on=engine(on) if on else None)


def untimed(report):
    """A report without seconds."""
    if isinstance(report, dict):
        return {name: untimed(x) for name, x in report.items() if name not in ("run_s", "compile_s")}
    return [untimed(x) for x in report] if isinstance(report, list) else report


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The experiment trained in this process, and its report."""
    out = tmp_path_factory.mktemp("cluster") / "alone"
    with pytest.MonkeyPatch.context() as patch:
        toy_cluster.known(patch)
        return out, experiments.reproduce("toy/toy", toy_cluster.toy, "smoke", out)


def same(out: Path, report: dict, alone) -> None:
    for stage in STAGES:
        identical(out / "stages" / stage, alone[0] / "stages" / stage)
    assert untimed(report) == untimed(alone[1])
    assert {path.name for path in out.iterdir() if not path.name.startswith("obeyed")} == {
        "experiment.json", "report.html", "report.json", "stages",
    }  # fmt: skip


# ------------------------------------------------------------------ processes

ENGINES = [
    "local:2",
    pytest.param("ray", marks=pytest.mark.skipif(not installed("ray"), reason="needs Ray")),
    pytest.param("slurm-here", marks=pytest.mark.skipif(not installed("submitit"), reason="needs submitit")),
]


@pytest.mark.slow
@pytest.mark.parametrize("on", ENGINES)
def test_a_worker_that_is_killed_is_tried_again_and_ends_with_the_same_bytes(on, alone, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(graph, "notice", said.append)
    out = begin(tmp_path / "out")
    toy_cluster.after(out / "stages/teacher", signal.SIGKILL, "itself")
    same(out, go_on(out, on), alone)
    kept = int((out / "obeyed-teacher").read_text())
    assert kept > 0, "it was killed after a checkpoint"
    how = {"local:2": " (by SIGKILL)", "slurm-here": ""}
    again = [f"teacher: its process was ended{how[on]}; it goes on from its last checkpoint"] if on in how else []
    assert said == again, "Ray tries again by itself"


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_what_goes_on(alone, tmp_path):
    out = tmp_path / "out"
    words = [sys.executable, toy_cluster.__file__, str(out), "local:2"]
    paths = os.pathsep.join([str(Path(experiments.__file__).parents[2]), str(Path(__file__).parent)])
    driver = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": paths})
    while not (out / "experiment.json").exists():
        assert driver.poll() is None
    toy_cluster.after(out / "stages/teacher", signal.SIGKILL, driver.pid)
    assert driver.wait() == -signal.SIGKILL
    assert (out / "obeyed-teacher").exists() and not (out / "stages/student").exists()
    same(out, go_on(out, "local:2"), alone)
    same(out, go_on(out, "local:2"), alone)  # nothing is left to do


@pytest.mark.slow
def test_ctrl_c_leaves_what_goes_on_in_one_process(alone, tmp_path):
    out = begin(tmp_path / "out")
    toy_cluster.after(out / "stages/teacher", signal.SIGINT, os.getpid())
    with pytest.raises(Interrupted, match=r"stopped in .*'teacher'.*; go on with: headstart resume .* --on local:2$"):
        go_on(out, "local:2")
    assert not (out / "tasks").exists() and (out / "stages/teacher/checkpoints").exists()
    same(out, go_on(out), alone)


@pytest.mark.slow
def test_a_stage_that_cannot_be_trained_stops_its_students_alone(tmp_path):
    out = begin(tmp_path / "out")
    (out / "stages/teacher").mkdir()
    (out / "stages/teacher/mine.txt").write_text("somebody else's")
    with pytest.raises(HeadstartError, match=r"'teacher' failed: .*already holds something.*a failed task: student; .*resume"):
        go_on(out, "local:2")
    assert (out / "stages/alone/policy.json").exists() and not (out / "stages/student").exists()
    assert not (out / "tasks").exists()


# ------------------------------------------------------------------ the graph


@dataclasses.dataclass
class Fake:
    """An engine whose tasks end at once, as `ends` says: "done", "killed", "interrupted", or an error's class."""

    ends: dict[str, list[str]]
    slots: int = 2
    tries: int = TRIES
    late_seconds: float = 0.0
    gain: int = 0
    begun: list[str] = dataclasses.field(default_factory=list)
    now: list[str] = dataclasses.field(default_factory=list)
    most: int = 0
    stopped: bool = False
    closed: bool = False

    def begin(self, task: Task) -> None:
        self.begun.append(task.name)
        self.now.append(task.name)
        self.most = max(self.most, len(self.now))
        how = self.ends.get(task.name, ["done"])
        end = how.pop(0) if len(how) > 1 else how[0]
        about = {
            "state": "running",
            "env_steps": 5 + self.gain * len(self.begun),
            "total_steps": 10,
            "lines": [["out", f"hello from {task.name}"]],
        }
        if end in ("done", "interrupted"):
            about["state"] = end
        elif end == "SIGINT":
            os.kill(os.getpid(), signal.SIGINT)
        elif end != "killed":
            about |= {"state": "failed", "error": "it broke", "kind": end}
        files.write_json(task.about, about, schema.Task)

    def ended(self):
        stuck = [name for name in self.now if self.ends.get(name) == ["SIGINT"] and not self.stopped]
        found, self.now = [name for name in self.now if name not in stuck], stuck
        return dict.fromkeys(found, "")

    def stop(self):
        self.stopped = True

    def close(self):
        self.closed = True


def run(tmp_path, monkeypatch, tasks, **settings):
    """The engine, after the tasks {name: names that it needs} have run."""
    monkeypatch.setattr(graph, "POLL_SECONDS", 0.0)
    fake = Fake(**settings)
    made = [Task(name, {}, tuple(needs), tmp_path / f"{name}.json") for name, needs in tasks.items()]
    try:
        graph.Graph(made, fake, "headstart resume runs/x").run()
        return fake, ""
    except HeadstartError as error:
        return fake, error
    finally:
        assert fake.closed


CHAIN = {"a": "", "b": "a", "c": "b", "d": "", "e": "ad"}


def test_tasks_begin_once_those_that_they_need_have_ended(tmp_path, monkeypatch, capsys):
    fake, error = run(tmp_path, monkeypatch, CHAIN, ends={})
    assert not error and sorted(fake.begun) == list("abcde") and fake.most == 2
    for name, needs in CHAIN.items():
        assert all(fake.begun.index(need) < fake.begun.index(name) for need in needs)
    assert sorted(capsys.readouterr().out.split("\n"))[1:] == [f"{name}: hello from {name}" for name in "abcde"]


def test_a_failure_stops_what_needs_it_and_nothing_else(tmp_path, monkeypatch):
    fake, error = run(tmp_path, monkeypatch, CHAIN, ends={"a": ["HeadstartError"]})
    assert sorted(fake.begun) == ["a", "d"] and type(error) is HeadstartError
    assert str(error).startswith(
        "'a' failed: it broke; not started, because they depend on a failed task: b, c, e; after fixing this, continue with"
    )
    assert type(run(tmp_path, monkeypatch, CHAIN, ends={"a": ["Diverged"]})[1]) is Diverged


def test_a_task_that_dies_is_tried_again_and_not_for_ever(tmp_path, monkeypatch):
    fake, error = run(tmp_path, monkeypatch, {"a": "", "b": "a"}, ends={"a": ["killed", "interrupted", "done"]})
    assert fake.begun == ["a", "a", "a", "b"] and not error
    fake, error = run(tmp_path, monkeypatch, {"a": "", "b": "a"}, ends={"a": ["killed"]})
    assert fake.begun == ["a"] * TRIES and str(error) == f"'a' failed: its process died {TRIES} times; " + (
        "not started, because they depend on a failed task: b"
    )


def test_after_ctrl_c_nothing_begins(tmp_path, monkeypatch):
    fake, error = run(tmp_path, monkeypatch, CHAIN, ends={"a": ["SIGINT"]})
    assert fake.stopped and "c" not in fake.begun and type(error) is Interrupted
    assert str(error).endswith("go on with: headstart resume runs/x")


def test_recordings_are_tasks_of_their_own():
    """Two students that learn from one recording must not both make it."""
    from headstart.papers.dm2 import EXPERIMENTS

    tasks = {task.name: task for task in distributed.tasks_of(EXPERIMENTS["spread"]("smoke"), Path("out"))}
    made = [name for name in tasks if name.startswith("demos ")]
    users = [name for name, task in tasks.items() if set(task.needs) & set(made)]
    assert made and len(users) > 1 and all(tasks[name].needs[0] in tasks for name in made)


@pytest.mark.parametrize(
    "text, says",
    [
        ("local", "needs the number of worker processes, such as local:2"),
        ("local:0", "such as local:2, not 'local:0'"),
        ("local:2,gpus=1", "takes no settings: leave out gpus=1"),
        ("rays", "must be local:N, ray, ray://HOST:PORT or slurm, not 'rays'"),
        ("ray:", "must be ray, or ray://HOST:PORT"),
        ("ray://", "must be ray, or ray://HOST:PORT"),
        ("ray,cpu=1", "did you mean cpus?"),
        ("ray,cpus=one", "--on cpus needs a number, such as cpus=1, not 'one'"),
        ("ray,cpus=0", "cpus must be a finite number above 0, not 0"),
        ("ray,hours=2", "hours and partition are for slurm"),
        ("slurm", "sbatch"),
    ],
)
def test_engines_are_refused_in_one_line(text, says, monkeypatch):
    from headstart.training.cluster import on_ray, on_slurm

    for module in (on_ray, on_slurm):
        monkeypatch.setattr(module, "installed", lambda name: True)
    with pytest.raises(HeadstartError) as error:
        engine(text)
    assert says in str(error.value)


@pytest.mark.parametrize("text, package", [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_named(text, package, monkeypatch):
    from headstart.training.cluster import on_ray, on_slurm

    for module in (on_ray, on_slurm):
        monkeypatch.setattr(module, "installed", lambda name: False)
    with pytest.raises(HeadstartError, match=rf"needs the package {package}: pip install 'headstart\[cluster\]'"):
        engine(text)


def test_a_local_engine_is_made_without_a_process():
    assert isinstance(engine("local:3")(), Local)


def test_a_task_that_gets_further_each_time_is_no_failure(tmp_path, monkeypatch):
    """As jobs of a queue with a limit of time."""
    often = ["killed"] * (2 * TRIES)
    fake, error = run(tmp_path, monkeypatch, {"a": ""}, ends={"a": [*often, "done"]}, gain=1)
    assert not error and len(fake.begun) == len(often) + 1


def test_a_file_that_cannot_be_read_is_no_news(tmp_path):
    (tmp_path / "a.json").write_text("{")
    assert heard(tmp_path / "a.json") == heard(tmp_path / "missing.json")
