"""Files know each other by their digests: what was exchanged or edited is refused, unless a person accepts it."""

import dataclasses
import json
import shutil
from pathlib import Path

import instant
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from instant import CONFIG, ENV, LEARNER
from test_damage import TAUGHT, begin, known, toy
from test_storage import refusal

import headstart as hs
from headstart import registry
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.envs.centralized import Centralized
from headstart.envs.particle.spread import Spread
from headstart.envs.particle.tag import Tag
from headstart.envs.regrouped import Regrouped
from headstart.experiments import run as experiment_run
from headstart.experiments.base import Stage
from headstart.experiments.comparable import incomparable
from headstart.experiments.report import report_runs
from headstart.report.build import read_curve
from headstart.report.summary import caution
from headstart.storage import files
from headstart.teams.saved import load
from headstart.training import run

assert known  # a fixture
STAGED = dataclasses.replace(CONFIG, episodes=100)
"""The configuration of a stage of the same environment and learner."""


@pytest.fixture(autouse=True)
def _without_training(monkeypatch):
    instant.without_training(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Finished runs with equal shapes, a taught one, and an experiment."""
    out = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        instant.without_training(patch)
        patch.setattr(experiment_run, "report_experiment", lambda *args: {})
        run.train(CONFIG, out / "one")
        run.train(dataclasses.replace(CONFIG, first_seed=5), out / "other")
        run.train(TAUGHT, out / "taught")
        experiment_run.reproduce("toy/toy", toy, "smoke", out / "toy")
    return out


@pytest.fixture
def own(made, tmp_path):
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "own"))


def edit(path: Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_files_name_each_other(made):
    about, policy = (json.loads((made / "taught" / name).read_text()) for name in ("run.json", "policy.json"))
    assert about["format"] == policy["format"] == 2 and about["id"] == policy["run"]
    assert about["files"] == {"policy": policy["digest"], "metrics": files.sha256(made / "taught/metrics.csv")}
    assert about["guides"] == [json.loads((made / "taught/teacher-0/policy.json").read_text())["digest"]]
    assert json.loads((made / "one/run.json").read_text())["id"] != json.loads((made / "other/run.json").read_text())["id"]
    assert load(made / "one").run == json.loads((made / "one/run.json").read_text())["id"]


def test_a_comparison_across_environments_is_warned_of(own, capsys):
    """On stderr, in the table and on the page; not for the same game with other roles, in which returns mean the same."""
    run.train(dataclasses.replace(CONFIG, env=dataclasses.replace(CONFIG.env, horizon=7)), own / "longer")
    report_runs([own / "one", own / "other"], own / "alike")
    assert capsys.readouterr().err == ""
    made = report_runs([own / "one", own / "longer"], own / "report")
    each = "one is of spread with horizon 5; longer is of spread with horizon 7"
    told = f"eturns of different environments are not comparable: {each}"
    assert capsys.readouterr().err == f"headstart: warning: r{told}\n"
    assert f"R{told}." in caution(made) and f"R{told}." in (own / "report" / "report.html").read_text()


def test_environments_are_compared_without_their_wrappers():
    saved = lambda env: {"config": {"env": registry.encode("env", env)}}
    alone = {"a": saved(Tag()), "b": saved(Regrouped(Tag())), "c": saved(Centralized(Regrouped(Tag())))}
    assert incomparable(alone) == ""
    told = incomparable(alone | {"d": saved(Spread(2)), "e": saved(Regrouped(Tag(prey=2)))})
    tags = "; ".join(f"{name} is of tag with prey 1" for name in "abc")
    assert told.endswith(f"{tags}; d is of spread; e is of tag with prey 2")


EXCHANGED = {
    "parameters": ["policy.safetensors"],
    "policy.json": ["policy.json"],
    "the whole team": ["policy.json", "policy.safetensors"],
    "run.json": ["run.json"],
}


@pytest.mark.parametrize("what", EXCHANGED)
def test_another_runs_files_are_refused_unless_accepted(what, own):
    for name in EXCHANGED[what]:
        shutil.copy(own / "other" / name, own / "one" / name)
    assert "--accept-changed" in refusal(load, own / "one")
    assert "--accept-changed" in refusal(report_runs, [own / "one"], own / "report")
    assert load(own / "one", accept_changed=True).seeds in ((0, 1), (5, 6))
    assert not files.accepts()


def test_parameters_of_a_saved_team(tmp_path):
    for seed in (1, 2):
        instant.team(seed).save(tmp_path / str(seed))
    shutil.copy(tmp_path / "2/policy.safetensors", tmp_path / "1/policy.safetensors")
    assert "digest does not match" in refusal(load, tmp_path / "1")
    accepted = load(tmp_path / "1", accept_changed=True)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), accepted.params, instant.team(2).params)
    assert all(jax.tree.leaves(same))


def test_an_edited_setting_is_refused_unless_accepted(own):
    change = lambda value: value["learner"]["settings"].update(activation="tanh")
    edit(own / "one/policy.json", change)
    assert "policy.json was changed" in refusal(load, own / "one")
    assert load(own / "one", accept_changed=True).config == dataclasses.replace(LEARNER, activation="tanh")


@pytest.mark.parametrize("bad", ["nan", "infinity", "integers", "halves"])
def test_malformed_parameters_are_never_accepted(bad, tmp_path):
    team = instant.team()
    change = {
        "nan": lambda x: x.at[0].set(jnp.nan), "infinity": lambda x: x.at[0].set(jnp.inf),
        "integers": lambda x: x.astype(jnp.int32), "halves": lambda x: x.astype(jnp.bfloat16),
    }[bad]  # fmt: skip
    dataclasses.replace(team, params=jax.tree.map(change, team.params)).save(tmp_path)
    says = "NaN or infinity" if bad in ("nan", "infinity") else "there, F32 here"
    for accept in (False, True):
        with pytest.raises(HeadstartError, match=says):
            load(tmp_path, accept_changed=accept)


def test_changed_metrics_are_not_reported(own):
    path = own / "one/metrics.csv"
    path.write_text(path.read_text().replace("0.0", "9.0"))
    assert "metrics.csv is not the one" in refusal(read_curve, own / "one")
    with files.accepting(True):
        assert read_curve(own / "one").returns[0, 0] == 9


def test_another_teacher_is_refused_when_a_run_goes_on(tmp_path):
    out = begin(tmp_path / "run", TAUGHT)
    shutil.rmtree(out / "teacher-0")
    instant.team(9).save(out / "teacher-0")
    assert "teacher-0" in refusal(hs.resume, out, progress=False)
    assert hs.resume(out, progress=False, accept_changed=True).seeds == (0, 1)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    one, other = begin(tmp_path / "one"), begin(tmp_path / "other", dataclasses.replace(CONFIG, first_seed=5))
    name = "checkpoints/0000000010.safetensors"
    shutil.copy(other / name, one / name)
    assert "is a checkpoint of another run" in refusal(run.resume, one)
    assert run.resume(one, accept_changed=True).seeds == (0, 1)


# ------------------------------------------------------------------ experiments


def exchange(a: Path, b: Path) -> None:
    a.rename(a.with_name("kept"))
    b.rename(a)
    a.with_name("kept").rename(b)


def test_exchanged_stages_are_refused(own, known, monkeypatch):
    monkeypatch.setattr(experiment_run, "report_experiment", lambda *args: {"made": True})
    experiment_run.report_again(own / "toy")
    exchange(own / "toy/stages/teacher", own / "toy/stages/student")
    for again in (experiment_run.report_again, experiment_run.resume):
        assert "that the experiment defines: it differs in guidance" in refusal(again, own / "toy")
    with files.accepting(True):
        assert experiment_run.report_again(own / "toy") == {"made": True}


def test_a_stage_whose_teacher_is_not_the_stage_before_is_refused(own, known):
    path = own / "toy/stages/teacher"
    shutil.rmtree(path)
    run.train(STAGED, path)
    experiment_run._check_stage(toy().stages[1], own / "toy", 2)  # the same again is the same
    shutil.rmtree(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instant, "team", lambda *args, team=instant.team: team(77))
        run.train(STAGED, path)
    says = refusal(experiment_run._check_stage, toy().stages[1], own / "toy", 2)
    assert "the teacher of" in says and "student" in says


def test_an_experiment_may_have_stages_of_earlier_versions(own):
    """The student was taught by this version, and its teacher trained by one that wrote no digests."""
    as_format_1(own / "toy/stages/teacher")
    experiment_run._check_stage(toy().stages[1], own / "toy", 2)
    experiment_run._check_stage(toy().stages[0], own / "toy", 2)


def test_an_exchanged_copy_of_the_teacher_is_refused(own):
    kept = own / "toy/stages/student/teacher-0"
    edit(kept / "policy.json", lambda value: value.update(env_steps=401))
    edit(kept / "policy.json", lambda value: value.update(digest=files.digest_of(value)))
    assert "the teacher of" in refusal(experiment_run._check_stage, toy().stages[1], own / "toy", 2)


OTHERS = {
    "env": dataclasses.replace(ENV, horizon=6),
    "learner": dataclasses.replace(LEARNER, gamma=0.5),
    "steps": 404,
    "seeds": 1,
    "evaluations": 3,
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_stage_of_other_settings_is_refused(name, tmp_path):
    run.train(dataclasses.replace(STAGED, **{name: OTHERS[name]}), tmp_path / "stages/one")
    stage = Stage("one", ENV, LEARNER, 400, evaluations=2)
    says = refusal(experiment_run._check_stage, stage, tmp_path, 2)
    assert says.split("it differs in ")[1].split(":")[0] == name


def test_a_goal_is_compared_up_to_its_last_bits(tmp_path):
    run.train(STAGED, tmp_path / "stages/first")
    goal = float(np.nextafter(read_curve(tmp_path / "stages/first").returns[:, -1].mean(), 99))
    run.train(dataclasses.replace(STAGED, until=goal), tmp_path / "stages/second")
    stage = Stage("second", ENV, LEARNER, 400, evaluations=2, until="first")
    experiment_run._check_stage(stage, tmp_path, 2)
    stage = dataclasses.replace(stage, name="first")
    assert "differs in until" in refusal(experiment_run._check_stage, stage, tmp_path, 2)


def test_settings_that_a_later_version_adds_have_their_defaults(tmp_path):
    out = tmp_path / "stages/one"
    run.train(STAGED, out)
    about = json.loads((out / "run.json").read_text())
    del about["config"]["learner"]["settings"]["noise"]
    files.write_json(out / "run.json", about)
    experiment_run._check_stage(Stage("one", ENV, LEARNER, 400, evaluations=2), tmp_path, 2)


# ------------------------------------------------------------------ the command line, and earlier versions


@pytest.mark.parametrize("command", ["evaluate", "render", "resume", "report"])
def test_the_command_line_accepts_changes_where_asked(command, own, capsys):
    edit(own / "one/policy.json", lambda value: value.update(env_steps=401))
    more = {"evaluate": ["--episodes", "1"], "render": ["--out", str(own / "x.gif")]}.get(command, [])
    with pytest.raises(SystemExit, match="2"):
        cli.main([command, str(own / "one"), *more])
    assert "--accept-changed" in capsys.readouterr().err
    cli.main([command, str(own / "one"), *more, "--accept-changed"])
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "spread", "--accept-changed", "--out", str(own / "new")])
    assert not (own / "new").exists()


def as_format_1(out: Path) -> None:
    """The files that earlier versions wrote: no digests and no ids."""
    for path in (*out.rglob("run.json"), *out.rglob("policy.json"), *out.rglob("experiment.json")):
        value = json.loads(path.read_text())
        later = ("digest", "id", "files", "guides", "parameters", "run")
        path.write_text(json.dumps({"format": 1, **{k: x for k, x in value.items() if k not in (*later, "format")}}))
    for path in out.rglob("*.safetensors"):
        from safetensors import safe_open
        from safetensors.numpy import load_file, save_file

        with safe_open(path, "numpy") as file:
            note = {k: x for k, x in (file.metadata() or {}).items() if k not in ("digest", "run")}
        save_file(load_file(path), path, metadata=note or None)


def test_files_of_format_1_are_read_without_digests(own, known, monkeypatch, tmp_path):
    monkeypatch.setattr(experiment_run, "report_experiment", lambda *args: {"made": True})
    unfinished = begin(tmp_path / "run", TAUGHT)
    for path in (own, unfinished):
        as_format_1(path)
    assert load(own / "one").seeds == run.resume(own / "one").seeds == (0, 1)
    report_runs([own / "one"], own / "one")
    assert experiment_run.report_again(own / "toy") == experiment_run.resume(own / "toy") == {"made": True}
    run.resume(unfinished)
    assert load(unfinished).run == "" and json.loads((unfinished / "run.json").read_text())["format"] == 2
    assert run.resume(unfinished).seeds == (0, 1)
