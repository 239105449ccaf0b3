"""Runs that go on to another length, and the teams that a run keeps: each compared with a run that was that long at once."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from probes import Choice, same, small
from test_damage import Killed, dies_at
from test_runs import eager as eager
from test_runs import one_line, stop_at

import headstart as hs
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.guidance import chain
from headstart.core.learner import make_learner
from headstart.core.trainer import make_trainer
from headstart.envs.particle.spread import Spread
from headstart.experiments.run import resume as resume_experiment
from headstart.guidance.companion import Companion
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.learners.qlearning import QLearning
from headstart.storage import arrays, files
from headstart.teams.saved import load
from headstart.training import extend, keep, programs, run, session
from headstart.training.point import Point

pytestmark = pytest.mark.usefixtures("sessions_once")
ENV = Spread(2, horizon=5)
LEARNER = small(DDPG(), num_envs=4, train_every=4, batch=16, warmup=40, capacity=400, hidden=(8,))
ALL = ("best", "last", "eval_return=-100,-4")
SHORT = run.Config(ENV, LEARNER, steps=200, seeds=2, evaluations=2, episodes=5, keep=ALL)
LONG = dataclasses.replace(SHORT, steps=400, evaluations=4)
"""Its memory of 400 has twice the room of `SHORT`'s."""


@pytest.fixture(scope="module")
def made(sessions_once, tmp_path_factory):
    """{"short", "long"}: finished runs that keep everything."""
    out = tmp_path_factory.mktemp("runs")
    run.train(SHORT, out / "short")
    run.train(LONG, out / "long")
    return out


@pytest.fixture
def short(made, tmp_path):
    return Path(shutil.copytree(made / "short", tmp_path / "run"))


def manifest(out) -> dict:
    return json.loads((out / "run.json").read_text())


def identical(a: Path, b: Path) -> None:
    """The same rows, the same teams, and the same training state at the end."""
    assert (a / "metrics.csv").read_bytes() == (b / "metrics.csv").read_bytes()
    assert teams(a) == teams(b) and len(teams(a)) >= 1
    for one, other in zip(sorted(a.glob("*/kept.json")), sorted(b.glob("*/kept.json")), strict=True):
        assert (one.parent.name, json.loads(one.read_text())) == (other.parent.name, json.loads(other.read_text()))
    states = [sorted((path / "checkpoints").glob("*")) for path in (a, b)]
    assert [path.name for path in states[0]] == [path.name for path in states[1]]
    for one, other in zip(*states, strict=True):
        assert numbers(one) == numbers(other)


def teams(out: Path) -> dict[str, bytes]:
    """{directory: the bytes of its parameters}."""
    return {str(path.parent.relative_to(out)): path.read_bytes() for path in out.rglob("policy.safetensors")}


def numbers(path: Path) -> bytes:
    """A checkpoint's numbers, without its note."""
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


# ------------------------------------------------------------------ longer


def test_extended_is_bitwise_as_long_from_the_start(made, short, capsys):
    team = hs.resume(short, steps=400, progress=False)
    identical(short, made / "long")
    assert same(team.params, load(made / "long").params) and team.env_steps == 400
    assert capsys.readouterr().err == "", "there is nothing to say"
    now, whole = manifest(short), manifest(made / "long")
    assert now["config"] == whole["config"] and now["learning_starts"] == whole["learning_starts"]
    assert [(e["steps"], e["env_steps"], e["finished"], e["fresh"]) for e in now["extended"]] == [(200, 200, True, False)]
    assert hs.load(short / "best").env_steps == json.loads((short / "best" / "kept.json").read_text())["env_steps"]


def test_an_interrupted_extension_goes_on(made, short, eager):
    before = load(short)
    with pytest.raises(session.Interrupted, match="headstart resume"):
        run.resume(short, stop_at(240), steps=400)
    assert not manifest(short)["finished"]
    assert same(load(short).params, before.params), "the team that had finished stays readable"
    with pytest.raises(session.Interrupted):
        run.resume(short, stop_at(320))
    run.resume(short)
    identical(short, made / "long")


def test_an_interrupted_run_may_get_another_length(made, tmp_path, eager):
    out = tmp_path / "run"
    with pytest.raises(session.Interrupted):
        run.train(SHORT, out, stop_at(120))
    with pytest.raises(
        HeadstartError, match=r"has 120 env-steps already: go on to 200 with: .*, or ask for more in all, e\.g\. .* --steps 240"
    ) as caught:
        run.resume(out, steps=120)
    one_line(caught)
    run.resume(out, steps=400)
    identical(out, made / "long")
    assert not manifest(out)["extended"][0]["finished"]


def test_a_run_may_also_be_made_shorter_than_it_was_to_be(made, tmp_path, eager):
    out = tmp_path / "run"
    with pytest.raises(session.Interrupted):
        run.train(LONG, out, stop_at(120))
    run.resume(out, steps=200)
    identical(out, made / "short")


def test_without_the_end_s_checkpoint_it_goes_on_from_the_team_and_says_so(made, tmp_path, capsys, eager):
    out = tmp_path / "run"
    team = run.train(dataclasses.replace(SHORT, keep=()), out)
    assert not (out / "checkpoints").exists()
    with pytest.raises(session.Interrupted):
        run.resume(out, stop_at(204), steps=398)
    rounded, told = capsys.readouterr().err.strip().splitlines()
    assert rounded == "headstart: 398 env-steps become 400: whole updates of 4"
    assert "goes on from 200 to 400 env-steps" in told
    assert "the optimiser and the replay memory start afresh" in told and "train with --keep last" in told
    assert not manifest(out)["finished"] and same(load(out).params, team.params)
    # The warm-up fills the memory again: until it is full, nothing is learned.
    state = sorted((out / "checkpoints").iterdir())[-1]
    stored = arrays.load_tree(state, manifest_shape(out))["state"]
    assert same(stored.params, team.params) and int(np.count_nonzero(np.asarray(stored.memory.first).sum(0))) <= 4
    twin = Path(shutil.copytree(out, tmp_path / "twin"))
    run.resume(out)
    run.resume(twin)
    assert teams(out) == teams(twin) and not same(load(out).params, team.params)
    assert (out / "metrics.csv").read_text().startswith((made / "short" / "metrics.csv").read_text())
    assert [int(line.split(",")[1]) for line in (out / "metrics.csv").read_text().split()[1:]][::2] == [0, 100, 200, 300, 400]


def manifest_shape(out: Path):
    """The shape of the training state of an interrupted run."""
    about = manifest(out)
    config = dataclasses.replace(SHORT, keep=(), steps=about["config"]["steps"])
    made = session.Session([Point(config, run.RunDir(out), bound={"extended": about["extended"]})])
    return made._of_all(made.shape)


HOW = ("before", "after", "full")
"""Ways in which a process ends at a write, in turn from one write to the next."""


@pytest.mark.slow
def test_an_extension_that_ends_at_any_write_loses_nothing(made, tmp_path):
    for number in range(1, 100):
        how = HOW[number % 3]
        out = Path(shutil.copytree(made / "short", tmp_path / str(number)))
        with dies_at(number, how):
            try:
                run.resume(out, steps=400)
                break
            except (Killed, files.NotWritten):
                pass
        seen = run.RunDir(out).newest()
        assert all(json.loads(kept.read_text())["updates"] <= seen for kept in out.glob("*/kept.json")), "no team of lost rows"
        if manifest(out).get("finished") and manifest(out)["env_steps"] == 200:
            assert same(load(out).params, load(made / "short").params)
            assert json.loads((out / "best" / "kept.json").read_text())
        else:
            run.resume(out)
        if manifest(out)["env_steps"] == 200:
            run.resume(out, steps=400)
        identical(out, made / "long")
        shutil.rmtree(out)
    assert number > 8


@pytest.mark.slow
def test_a_fresh_extension_that_ends_at_any_write_loses_nothing(tmp_path):
    begun = tmp_path / "begun"
    run.train(dataclasses.replace(SHORT, keep=("best",)), begun)
    whole = Path(shutil.copytree(begun, tmp_path / "whole"))
    run.resume(whole, steps=400)
    for number in range(1, 100):
        out = Path(shutil.copytree(begun, tmp_path / str(number)))
        with dies_at(number, HOW[number % 2]):
            try:
                run.resume(out, steps=400)
                break
            except Killed:
                pass
        run.resume(out)
        if manifest(out)["env_steps"] == 200:
            run.resume(out, steps=400)
        identical(out, whole)
        shutil.rmtree(out)
    assert number > 5


@pytest.mark.slow
def test_a_run_that_was_killed_at_its_goal_does_not_go_on_past_it(tmp_path):
    config = dataclasses.replace(SHORT, until=-100.0, keep=("best", "last"))
    run.train(config, tmp_path / "whole")
    for number in range(1, 100):
        out = tmp_path / str(number)
        with dies_at(number, "after"):
            try:
                run.train(config, out)
                break
            except Killed:
                pass
        run.resume(out) if (out / "run.json").exists() else run.train(config, out)
        assert manifest(out)["env_steps"] == 100
        identical(out, tmp_path / "whole")
    assert number > 6


@pytest.mark.parametrize("guides", [(), (Companion(ENV, every=2, updates=2),)], ids=["alone", "companion"])
def test_afresh_is_a_new_run_at_a_later_index(guides):
    """Its memory, its warm-up and the number of its gradient steps begin again, as those of a run of what is left; and so do
    the memory and the turns of a companion."""
    learner, env = small(DDPG(shared=True), warmup=24, capacity=48, num_envs=4, train_every=4, hidden=(8, 8)), Choice()
    made, states = make_learner(learner, env.spec), []
    guidance = chain(*(guide.make(env.spec, made) for guide in guides))
    for first in (0, 31):
        trainer = make_trainer(env, made, guidance, 4 * (first + 20), first)
        begun = jax.vmap(lambda seed, trainer=trainer: programs.begin(trainer, jax.random.key(7), seed))(jax.numpy.arange(2))
        states.append(jax.jit(programs.advance(trainer))(begun, first, first + 20, trainer.data))
    assert same(*states)


# ------------------------------------------------------------------ notes and refusals


@pytest.mark.parametrize(("steps", "says"), [(200, "has 200 env-steps already"), (197, "has 200"), (0, "steps must be"),
                                             (True, "steps must be"), ("20k", "steps must be")])  # fmt: skip
def test_a_length_that_is_none_is_refused(as_users, short, steps, says):
    before = {path: path.read_bytes() for path in short.rglob("*") if path.is_file()}
    with pytest.raises(HeadstartError, match=says) as caught:
        hs.resume(short, steps=steps, progress=False)
    one_line(caught)
    assert before == {path: path.read_bytes() for path in short.rglob("*") if path.is_file()}


def test_an_experiment_and_its_stages_have_their_lengths(short, tmp_path, capsys):
    (tmp_path / "paper" / "stages").mkdir(parents=True)
    stage = Path(shutil.copytree(short, tmp_path / "paper" / "stages" / "teacher"))
    about = {"experiment": "knowru/spread-6", "scale": "smoke", "arms": ["maddpg"], "seeds": 1}
    files.write_json(tmp_path / "paper" / "experiment.json", about)
    with pytest.raises(HeadstartError, match="is a stage of an experiment") as caught:
        run.resume(stage, steps=400)
    one_line(caught)
    with pytest.raises(SystemExit) as end:
        cli.main(["resume", str(tmp_path / "paper"), "--steps", "400"])
    told = capsys.readouterr().err
    assert end.value.code == 2 and "is an experiment, which defines the lengths of its runs: leave out --steps" in told
    assert resume_experiment  # the command refuses before it


def test_a_goal_that_was_reached_no_longer_counts(made, tmp_path, capsys):
    out = tmp_path / "run"
    run.train(dataclasses.replace(LONG, until=-100.0), out)
    assert manifest(out)["env_steps"] == 100
    run.resume(out, steps=400)
    identical(out, made / "long")
    assert "the goal of a return of -100 has been reached and no longer counts" in capsys.readouterr().err


@pytest.mark.parametrize(("updates", "evaluations", "extended", "points"), [
    (40, 4, [], [0, 10, 20, 30, 40]),
    (80, 8, [(40, 4, 40)], [0, 10, 20, 30, 40, 50, 60, 70, 80]),
    (45, 5, [(40, 4, 40)], [0, 10, 20, 30, 40, 45]),
    (60, 6, [(40, 4, 40), (45, 5, 45)], [0, 10, 20, 30, 40, 45, 50, 60]),
    (60, 6, [(40, 4, 0)], [0, 10, 20, 30, 40, 50, 60]),
])  # fmt: skip
def test_evaluations_go_on_at_their_spacing(updates, evaluations, extended, points):
    names = ("steps", "evaluations", "env_steps")
    before = [dict(zip(names, each, strict=True)) | {"finished": each[2] > 0} for each in extended]
    assert extend.evaluated_after(updates, evaluations, before, 1).tolist() == points


def depends(learner, guidance=None) -> bool:
    made = learner.make(ENV.spec)
    trainer = make_trainer(ENV, made, chain(*(guide.make(ENV.spec, made) for guide in guidance or ())), 400)
    shape = jax.eval_shape(lambda key: programs.begin(trainer, key, jax.numpy.asarray(0)), jax.random.key(0))
    return extend.follows_progress(trainer, shape["state"])


def test_schedules_are_found_wherever_they_are(made):
    teacher = load(made / "short")
    ppo = small(PPO(), num_envs=4, rollout=5, hidden=(8,))
    assert not depends(LEARNER) and not depends(ppo)
    assert depends(dataclasses.replace(ppo, anneal=True))
    assert depends(small(QLearning(), num_envs=4, train_every=4))
    assert not depends(LEARNER, [Distill(teacher, schedule="constant")])
    assert depends(LEARNER, [Distill(teacher, schedule="linear")])


# ------------------------------------------------------------------ kept teams


def test_kept_teams_are_those_of_their_evaluations(made):
    """Beside a watcher's rows and the teams of runs that end where they were evaluated."""
    out, table = made / "long", np.genfromtxt(made / "long" / "metrics.csv", delimiter=",", names=True)
    means = {int(n): table["eval_return"][table["env_steps"] == n].mean() for n in np.unique(table["env_steps"])}
    best = max(means, key=means.__getitem__)
    reached = next(n for n in means if means[n] >= -4)
    for name, steps in {"best": best, "eval_return=-4": reached, "eval_return=-100": 0}.items():
        about = json.loads((out / name / "kept.json").read_text())
        assert about["env_steps"] == steps == hs.load(out / name).env_steps
        assert about["return"] == pytest.approx(means[steps], rel=1e-6)
    assert manifest(out)["files"]["kept"].keys() == {"best", "eval_return=-4", "eval_return=-100"}
    assert (out / "best").is_dir() and sorted(p.name for p in (out / "checkpoints").iterdir()) == ["0000000100.safetensors"]


def test_a_kept_team_is_the_team_that_was_evaluated(made):
    """Its return in the evaluation's own episodes, whose keys follow from the seed and the number of updates."""
    out = made / "long"
    about, team = json.loads((out / "best" / "kept.json").read_text()), hs.load(out / "best")
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(0), seed))(jax.numpy.arange(2))
    score = jax.jit(programs.score(ENV, team.learner, LONG.episodes))
    found = score(team.params, keys, about["updates"])["eval_return"]
    assert float(found.mean()) == pytest.approx(about["return"], rel=1e-5)


def test_kept_teams_survive_an_interruption(made, tmp_path, eager):
    out = tmp_path / "run"
    with pytest.raises(session.Interrupted):
        run.train(LONG, out, stop_at(120))
    assert hs.load(out / "best").env_steps in (0, 100), "what the checkpoint has seen is there before the end"
    for at in (180, 304):
        with pytest.raises(session.Interrupted):
            run.resume(out, stop_at(at))
    run.resume(out)
    identical(out, made / "long")


def test_a_kept_team_belongs_to_its_run(made, short, tmp_path):
    shutil.rmtree(short / "best")
    shutil.copytree(made / "long" / "best", short / "best")
    with pytest.raises(HeadstartError, match=r"is not the one that .* knows") as caught:
        hs.load(short / "best")
    one_line(caught)
    assert hs.load(short / "best", accept_changed=True)
    alone = Path(shutil.copytree(short / "best", tmp_path / "alone"))
    assert hs.load(alone).env_steps, "away from its run it is a team like others"


@pytest.mark.parametrize(("wish", "says"), [
    ("worst", "keep must be best, last or METRIC=LEVEL"), ("eval_return=", "is no level"), ("eval_return=a,1", "'a' in"),
    ("eval_return=nan", "is no level"), ("=3", "keep must be"), ("eval_return=1,1.0", "names eval_return=1 twice"),
    ("eval_retrun=3", "did you mean eval_return"), ("best,last", "--keep best last, not 'best,last'"),
    ("last, eval_return=3", "--keep last eval_return=3, not"), ("eval_return=3,last", "--keep eval_return=3 last, not"),
])  # fmt: skip
def test_what_cannot_be_kept_is_refused_before_anything_is_written(wish, says, tmp_path):
    with pytest.raises(HeadstartError, match=says) as caught:
        hs.train(ENV, LEARNER, tmp_path / "run", steps=200, keep=wish, progress=False)
    one_line(caught)
    assert not list(tmp_path.iterdir())


def test_levels_may_be_of_any_column_and_of_an_experiment_s_metric():
    columns = ("eval_return", "eval_event/win", "train_return")
    asked = keep.rules(("return=3", "win=0.5", "train_return=1e3", "eval_event/win=0.25"))
    found = keep.in_columns(asked, columns)
    assert [rule.column for rule in found] == ["eval_return", "eval_event/win", "train_return", "eval_event/win"]
    assert [rule.name for rule in found] == ["return=3", "win=0.5", "train_return=1000", "eval_event-win=0.25"]
    assert keep.rules(("../../x=1",))[0].name == "..-..-x=1"


def test_a_level_that_no_evaluation_reached_is_said(tmp_path):
    wanted = keep.rules(("eval_return=-30,-25", "best", "eval_event/win=0.5"))
    keeper = keep.Keeper(wanted, tmp_path, lambda params, updates: None, 1)
    for updates, value in enumerate((-40.0, -25.25, -28.0)):
        keeper.see(updates, {"eval_return": np.array([value - 1, value + 1])}, dict)
    assert keeper.missed() == ["eval_return=-25 was not reached (best -25.25)", "eval_event-win=0.5 was not reached (no value)"]


def test_a_run_ends_with_a_line_about_its_level_and_names_its_teams_if_another_is_asked_for(tmp_path, capsys):
    out = tmp_path / "run"
    run.train(dataclasses.replace(SHORT, keep=("best", "eval_return=-100,5")), out)
    best = json.loads((out / "best" / "kept.json").read_text())["value"]
    assert f"headstart: run: eval_return=5 was not reached (best {best:.6g})\n" in capsys.readouterr().err
    with pytest.raises(
        HeadstartError, match=r"eval_return=5 is not a directory: .* has kept best, eval_return=-100$"
    ) as caught:
        load(out / "eval_return=5")
    one_line(caught)
