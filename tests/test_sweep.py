"""Sweeps: points that train in one program are the runs they would be alone, on disk too, and go on after a kill."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import shown, small
from test_cli import refused
from test_runs import DDPG4, ENV, identical, one_line, stopper

from headstart import registry
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.part import part
from headstart.core.types import Discrete, Field, RoleSpec, TeamSpec
from headstart.experiments import run as experiments
from headstart.experiments.base import Arm, Experiment, Stage
from headstart.experiments.report import report_sweep
from headstart.guidance.distill import Distill
from headstart.learners.ppo import PPO
from headstart.learners.qlearning import QLearning
from headstart.report.sweep import sweep_figure, sweep_summary
from headstart.report.transfer import Curve
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.training import lanes, made, run, session, settings, sweep
from headstart.training.config import Config
from headstart.training.ends import Diverged, Interrupted
from headstart.training.watch import Watcher

SPEC = ENV.spec
TEACHER = TeamPolicy(SPEC, DDPG4, jax.jit(jax.vmap(DDPG4.make(SPEC).init))(jax.random.split(jax.random.key(7), 1)), (0,), ENV)
TAUGHT = Config(ENV, DDPG4, (Distill(TEACHER, schedule="constant"),), steps=200, seeds=1, evaluations=2, episodes=5)
OVER = {"guidance.alpha": [0.0, 0.5], "learner.actor_lr": [1e-2, 1e-3]}
FIRST, LAST = "alpha=0,actor_lr=0.01", "alpha=0.5,actor_lr=0.001"


@pytest.fixture
def eager(monkeypatch):
    """Short pieces, and a checkpoint at every one."""
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(a sweep of four points, the number of programs that it compiled)."""
    compiled, real = [], lanes.compile_program
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "compile_program", lambda *args, **named: compiled.append(1) or real(*args, **named))
        return sweep.sweep(TAUGHT, OVER, tmp_path_factory.mktemp("sweeps") / "grid"), len(compiled)


def apart(a: TeamPolicy, b: TeamPolicy) -> float:
    """The largest difference of any two parameters."""
    pairs = zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)


# ------------------------------------------------------------------ what a point is


def test_all_points_train_in_one_program(finished):
    found, compiled = finished
    assert list(found.points) == [FIRST, "alpha=0,actor_lr=0.001", "alpha=0.5,actor_lr=0.01", LAST]
    assert compiled == 4, "to draw the first networks, to begin, to advance and to evaluate, as for one run"


def test_a_sweep_is_no_team_and_says_where_its_teams_are(finished):
    found, _ = finished
    with pytest.raises(HeadstartError, match=r"is a sweep: its teams are in .*points, one directory each"):
        load(found.path)


@pytest.mark.slow
def test_a_point_is_the_run_that_it_would_be_alone(finished, tmp_path):
    """Its settings are constants there, which XLA folds into others: the last bits may differ."""
    found, _ = finished
    config = settings.changed(settings.changed(TAUGHT, "guidance.alpha", 0.5), "learner.actor_lr", 1e-3)
    alone = run.train(config, tmp_path / "alone")
    difference = apart(alone, found.points[LAST].team)
    print(f"largest difference of a parameter: {difference:.1e}")
    assert difference < 1e-5 < apart(alone, found.points[FIRST].team)
    one, many = (json.loads((path / "run.json").read_text()) for path in (tmp_path / "alone", found.points[LAST].path))
    for name in ("config", "seeds", "spec", "env_steps", "id", "guides", "start"):
        assert one[name] == many[name], name
    assert {path.name for path in found.points[LAST].path.iterdir()} == {path.name for path in (tmp_path / "alone").iterdir()}


def test_a_point_with_coefficient_0_is_a_run_without_guidance_bitwise(finished, tmp_path):
    plain = run.train(dataclasses.replace(TAUGHT, guidance=()), tmp_path / "plain")
    assert apart(plain, finished[0].points[FIRST].team) == 0


def test_the_best_point_has_the_highest_return(finished):
    found, _ = finished
    assert found.best.returns.mean() == max(point.returns.mean() for point in found.points.values())
    assert found.best.team.seeds == (0,)


# ------------------------------------------------------------------ killed, and points that diverge


def ends_alike(one: sweep.Swept, other: sweep.Swept) -> None:
    for name, point in one.points.items():
        identical(point.path, other.points[name].path)


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_bitwise(finished, tmp_path, eager):
    home = tmp_path / "cut"
    with pytest.raises(Interrupted, match=rf"go on with: headstart resume {home}$") as caught:
        sweep.sweep(TAUGHT, OVER, home, watch=lambda name: stopper(20) if name == LAST else ())
    one_line(caught)
    first, last = (sorted((home / "points" / name / "checkpoints").iterdir()) for name in (FIRST, LAST))
    assert [path.name for path in first] == [path.name for path in last] and len(first) == 2
    last[-1].unlink()  # as a kill between two points' checkpoints leaves it
    with pytest.raises(HeadstartError, match=rf"is a point of a sweep: go on with headstart resume {home}"):
        run.resume(home / "points" / FIRST)
    assert sweep.resume(home).best.values == finished[0].best.values
    ends_alike(finished[0], sweep.swept(home))
    assert not list(home.glob("points/*/checkpoints"))


@pytest.mark.slow
def test_a_sweep_killed_between_its_points_ends_goes_on_bitwise(finished, tmp_path, monkeypatch):
    home, real, ends = tmp_path / "cut", session.Point.finish, []

    def finish(self, *args):
        if ends:
            raise KeyboardInterrupt
        ends.append(self)
        return real(self, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(session.Point, "finish", finish)
        sweep.sweep(TAUGHT, OVER, home)
    done = [json.loads((path / "run.json").read_text())["finished"] for path in sorted((home / "points").iterdir())]
    assert sum(done) == 1
    ends_alike(finished[0], sweep.resume(home))


@pytest.mark.slow
def test_a_point_that_diverges_is_left_and_the_others_go_on(finished, tmp_path, capsys):
    home, lost = tmp_path / "wild", "alpha=0.5,actor_lr=1e+38"
    found = sweep.sweep(TAUGHT, {**OVER, "learner.actor_lr": [1e38, 1e-3]}, home)
    assert "became NaN or infinite" in capsys.readouterr().err
    assert found.points[lost].returns is None
    assert sweep.resume(home).points[lost].returns is None, "it stays as it is"
    identical(found.points[LAST].path, finished[0].points[LAST].path)
    report = report_sweep(home)
    assert {point["name"]: bool(point["diverged"]) for point in report["sweep"]["points"]}[lost]
    assert lost not in report["arms"] and "2 diverged" in (home / "report.html").read_text()
    with pytest.raises(Diverged, match="every point"):
        sweep.sweep(TAUGHT, {**OVER, "learner.actor_lr": [1e38, 1e37]}, tmp_path / "lost")


# ------------------------------------------------------------------ values of an environment, and lanes in one call


@part("env")
class Paid:
    """One step; the first action pays `wage`, and `fine` is for nothing. An episode shows what it would pay."""

    wage: float = 1.0
    fine: float = 0.0

    @property
    def spec(self):
        return TeamSpec({"agent": RoleSpec(1, (Field("numbers", 1, 1),), Discrete((2,)))}, 1, 1)

    def reset(self, key):
        return jnp.zeros(()), shown({"agent": jnp.reshape(self.wage + jax.random.uniform(key), (1, 1))})

    def step(self, state, action, key):
        over = jnp.asarray(True)
        return state, shown({"agent": jnp.reshape(self.wage, (1, 1))}, {"agent": jnp.reshape(self.wage, (1,))}, terminated=over)


COPY = Config(Paid(), small(QLearning(), num_envs=2, train_every=2, batch=2, warmup=2, capacity=8, hidden=(4,)), steps=8)
"""It copies its network to the target by parts if `tau` is above 0, and else all of it now and then."""
WORK = Config(Paid(), small(PPO(), num_envs=2, rollout=2, hidden=(4,)), steps=8, evaluations=1, episodes=2)


@pytest.mark.parametrize("one_call", [False, True], ids=["a lane a call", "all lanes in one call"])
def test_settings_of_an_environment_are_swept(one_call, tmp_path, monkeypatch):
    real = lanes.compile_program
    monkeypatch.setattr(lanes, "compile_program", lambda *args, **named: real(*args, **named, one_call=one_call))
    found = sweep.sweep(WORK, {"env.wage": [1.0, 3.0]}, tmp_path / "paid")
    assert {point.values["env.wage"]: point.returns.tolist() for point in found.points.values()} == {1.0: [1.0], 3.0: [3.0]}


BRANCHES = {"learner.tau", "learner.weight_decay", "learner.value_clip"}
"""Settings by which Python decides what the program does."""
IDLE = {"learner.noise", "learner.huber_delta", "learner.value_beta", "learner.obs_clip"}
"""Without continuous actions, Huber losses, and normalised values and observations."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddpg", "dqn", "ippo", "imitator"])
def test_every_other_real_setting_of_a_learner_can_be_swept(name):
    learner = small(
        registry.preset("learner", name), num_envs=2, rollout=2, train_every=2, batch=2, warmup=2, hidden=(4,), epochs=1
    )
    config = Config(Paid(), learner, steps=8)
    real = {name for name, (_, hint) in settings.settings(config).items() if settings.is_real(hint)} - BRANCHES - IDLE
    swept = {name: [0.5] for name in real if name.startswith("learner")}
    assert len(swept) and "state" in made.begun(made.in_lane(config, made.make(config)), swept)


@pytest.mark.slow
def test_separate_programs_take_settings_of_any_kind(tmp_path):
    found = sweep.sweep(WORK, {"learner.epochs": [1, 2]}, tmp_path / "apart", separate=True)
    assert list(found.points) == ["epochs=1", "epochs=2"]
    alone = run.train(settings.changed(WORK, "learner.epochs", 2), tmp_path / "alone")
    assert apart(alone, found.points["epochs=2"].team) == 0


# ------------------------------------------------------------------ reports


def test_a_report_shows_the_grid_the_best_point_and_the_metric_over_each_setting(finished, tmp_path, capsys):
    home = Path(shutil.copytree(finished[0].path, tmp_path / "grid"))
    cli.main(["report", str(home)])
    report, told = json.loads((home / "report.json").read_text()), capsys.readouterr().out
    grid = report["sweep"]
    assert report["kind"] == "sweep" and grid["settings"] == list(OVER) and set(report["arms"]) == set(finished[0].points)
    assert report["arms"][grid["best"]]["final"]["iqm"] == max(arm["final"]["iqm"] for arm in report["arms"].values())
    for point in grid["points"]:
        np.testing.assert_allclose(point["final"]["iqm"], finished[0].points[point["name"]].returns.mean(), rtol=1e-6)
    page = (home / "report.html").read_text()
    assert (
        "The best of 4 points is" in page and 'id="sweep"' in page and all(name in told for name in ("guidance.alpha", "best"))
    )
    drawn = sweep_figure(report)
    assert [axis.title.text for axis in (drawn.layout.xaxis, drawn.layout.xaxis2)] == list(OVER)
    assert drawn.layout.xaxis.type == "linear" and drawn.layout.xaxis2.type == "log" and len(drawn.data) == 4
    cli.main(["resume", str(home)])  # it has finished
    assert "The best of 4 points" in capsys.readouterr().out


def test_level_is_what_the_interval_cannot_tell_from_the_best():
    curve = lambda *ends: Curve(np.array([0, 1]), np.array([[0.0, end] for end in ends]))
    points = [{"name": name, "values": {"learner.lr": i}, "diverged": None} for i, name in enumerate("abc")]
    found = sweep_summary(points, {"a": curve(5, 6, 7), "b": curve(5, 6, 8), "c": curve(1, 2, 3)})
    assert found["best"] == "b" and [point["level"] for point in found["points"]] == [True, True, False]
    assert found["points"][2]["behind"]["iqm"] > 3


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("config", "over", "says"),
    [
        (COPY, {"learner.gamma": [0.5, 1], "learner.tau": [0.0, 0.1]}, "learner.tau decides what the program does: run"),
        (WORK, {"env.wage": [1, 2], "env.fine": [0, 1]}, "nothing in this run's program depends on env.fine: leave it out"),
        (WORK, {"learner.epochs": [1, 2]}, "learner.epochs is no real number, so it decides what the program does"),
        (WORK, {"learner.lr": [0.1]}, "a sweep needs at least two points"),
        (WORK, {}, "a sweep needs at least two points"),
        (WORK, {"learner.lr": 0.1}, "over must list values for learner.lr, e.g. [0.1, 0.2], not 0.1"),
        (WORK, {"learner.lr": np.linspace(0.1, 1, 257)}, "the sweep would have 257 points, and 256 are the most"),
        (WORK, {"learner.lr": [0.1, 0.1 + 1e-12]}, "learner.lr is given the value 0.1"),
        (WORK, {"learner.lr": [0.1, -1]}, "learner.lr must be above 0, not -1"),
        (dataclasses.replace(WORK, until=1.0), {"learner.lr": [0.1, 0.2]}, "the points of a sweep are equally long"),
        (TAUGHT, {"guidance.beta": [0.1, 0.2]}, "nothing in this run's program depends on guidance.beta"),
    ],
)  # fmt: skip
def test_sweeps_are_refused_before_anything_is_written(config, over, says, tmp_path, as_users):
    with pytest.raises(HeadstartError) as caught:
        sweep.sweep(config, over, tmp_path / "new" / "out")
    assert says in one_line(caught) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "a sweep needs at least two points"),
        (["--over", "learner.actr_lr=1,2"], "unknown setting 'learner.actr_lr': did you mean learner.actor_lr"),
        (["--over", "learner.gamma"], "--over must be NAME=VALUE,VALUE.. such as learner.gamma=0.9,0.99, not 'learner.gamma'"),
        (["--over", "learner.gamma=0.9,x"], "--over learner.gamma must list numbers, not 'x'"),
        (["--over", "learner.gamma=0.9,"], "--over learner.gamma must list numbers, not ''"),
        (["--over", "learner.gamma=0.9,nan"], "learner.gamma must be a finite number, not nan"),
        (["--over", "learner.gamma=0.9,0.8", "--over", "learner.gamma=1,0.5"], "--over names learner.gamma twice"),
        (["--over", "learner.gamma=0.9,0.8", "--learner.gamma", "0.9"], "--over and --learner.gamma both set learner.gamma"),
        (["--over", "learner.hidden=8,16"], "--over takes numbers and words, and learner.hidden is neither"),
        (["--over", "learner.hard=true,false"], "learner.hard is no real number"),
        (["--over", "guidance.alpha=0,1"], "there is no guidance that could have the setting guidance.alpha"),
    ],
)
def test_the_command_line_refuses_in_one_line(args, says, tmp_path, capsys):
    assert says in refused(capsys, "sweep", "spread", *args, "--out", str(tmp_path / "new"))
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ in experiments


def own(scale):
    """Two arms that differ in one number, and one without a teacher."""
    stage = lambda name, *guides, **more: Stage(name, ENV, DDPG4, 200, guides, 2, **more)
    teacher = stage("teacher")
    taught = {f"alpha={a:g}": stage(f"alpha={a:g}", Distill("teacher", alpha=a), sweep="alphas") for a in (0.1, 1.0)}
    arms = {"alone": Arm((stage("alone"),))} | {name: Arm((teacher, last), "alone") for name, last in taught.items()}
    return Experiment("Two weights", "ours", 1, arms, (), "alpha=1")


@pytest.mark.slow
def test_stages_that_differ_in_one_number_are_a_sweep_and_go_on_with_their_experiment(tmp_path, eager):
    out, points = tmp_path / "own", tmp_path / "own/stages/alphas/points"
    told = []

    def watch(name):
        told.append(name)
        return stopper(3)[0] if name == "alpha=1" and told.count(name) == 1 else Watcher()

    with pytest.raises(Interrupted, match=r"stopped in stage 'alphas'; go on with: headstart resume .*own$"):
        experiments.reproduce("own/own", own, "smoke", out, watch=watch)
    assert (out / "stages/teacher/policy.json").exists() and not (points / "alpha=1/policy.json").exists()
    report = experiments.continue_experiment("own/own", own("smoke"), "smoke", out, 1)
    assert set(report["arms"]) == {"alone", "alpha=0.1", "alpha=1"} and (points / "alpha=1/policy.json").exists()
    assert report["arms"]["alpha=1"]["stages"][0]["name"] == "teacher"
    with pytest.raises(HeadstartError, match="must differ in one setting"):
        settings.differing([TAUGHT, TAUGHT])


def test_the_stages_of_a_sweep_have_the_names_of_its_points():
    for scale in ("smoke", "laptop", "paper"):
        swept = [stage for stage in registry.experiments()["knowru/alpha-sweep"](scale).stages if stage.sweep]
        configs = [Config(stage.env, stage.learner, stage.guidance, stage.steps) for stage in swept]
        assert [stage.name for stage in swept] == list(settings.grid(configs[0], settings.differing(configs)))
