"""The command line as a person meets it: every command on a tiny task, and every mistake in one line with exit code 2."""

import json
import os
import subprocess
import sys

import pytest

from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.papers import knowru
from headstart.training import api

TINY = ["--steps", "400", "--evaluations", "2", "--episodes", "4", "--learner.warmup", "100", "--learner.batch", "16"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny finished run of three agents."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    cli.main(["train", "spread", "--learner", "maddpg", *TINY, "--seeds", "2", "--out", str(out)])
    return out


def refused(capsys, *args: str) -> str:
    """The one line on stderr of a command that must fail with exit code 2."""
    with pytest.raises(SystemExit) as end:
        cli.main(list(args))
    assert end.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1, told
    assert told[0].startswith("headstart: ")
    return told[0]


def test_help_imports_nothing_heavy():
    heavy = "[m for m in ('jax', 'equinox', 'plotly') if m in sys.modules]"
    code = f"import sys, headstart.cli.main as c; c.main(['--help']); print({heavy})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")
    for command in cli.COMMANDS:
        assert f"  {command} " in out


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code in (0, None)
    assert len(capsys.readouterr().out) > 40


def test_list_names_every_part(capsys):
    cli.main(["list"])
    out = capsys.readouterr().out
    for name in ("spread", "maddpg", "ppo", "distill", "warm_start", "knowru/spread-6"):
        assert name in out


def test_train_leaves_a_whole_run(trained):
    files = {path.name for path in trained.iterdir()}
    assert {"run.json", "metrics.csv", "policy.json", "policy.safetensors", "report.json", "report.html"} <= files
    assert "checkpoints" not in files
    assert json.loads((trained / "run.json").read_text())["finished"]
    assert (trained / "metrics.csv").read_text().count("\n") == 1 + 3 * 2


@pytest.mark.slow
def test_evaluate_render_report_and_resume_a_finished_run(trained, tmp_path, capsys):
    cli.main(["evaluate", str(trained), "--episodes", "8"])
    out = capsys.readouterr().out
    assert "over 2 seeds, 8 greedy episodes each\ncovered per episode " in out and "sampled" not in out
    cli.main(["evaluate", str(trained), "--episodes", "8", "--sample"])
    told = capsys.readouterr().out
    assert told.startswith(out) and "seed 1: sampled return" in told and "over 2 seeds, 8 sampled episodes each" in told
    cli.main(["evaluate", str(trained), "--env", "spread", "--env.semantics", "openai", "--episodes", "8"])
    cli.main(["render", str(trained), "--out", str(tmp_path / "x.gif"), "--seed", "1"])
    assert (tmp_path / "x.gif").read_bytes()[:4] == b"GIF8"
    assert "x.gif" in capsys.readouterr().out
    cli.main(["resume", str(trained)])
    assert "no column eval_event/win" in refused(capsys, "report", str(trained), "--metric", "win")
    for args, metric in (["--metric", "covered"], "covered"), ([], "episode_return"):
        cli.main(["report", str(trained), *args])
        assert json.loads((trained / "report.json").read_text())["metric"] == metric


def test_render_writes_a_video_and_refuses_what_it_cannot(trained, tmp_path, capsys, monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    out = tmp_path / "new" / "x.mp4"
    cli.main(["render", str(trained), "--out", str(out)])
    assert out.read_bytes()[4:8] == b"ftyp"
    told = capsys.readouterr()
    assert told.out == f"wrote {out}\n" and not told.err
    out.unlink()
    out.parent.rmdir()
    assert "must end in .gif or .mp4" in refused(capsys, "render", str(trained), "--out", str(tmp_path / "x.webm"))
    assert "seed must be between 0 and 1" in refused(capsys, "render", str(trained), "--out", str(out), "--seed", "2")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert "pip install 'headstart[video]'" in refused(capsys, "render", str(trained), "--out", str(out))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_teacher_from_a_run_and_a_comparison(trained, tmp_path):
    teach = ["--guidance", "knowru", "--teacher", str(trained), "--guidance.alpha", "0.4"]
    cli.main(["train", "spread", *teach, "--env.agents", "4", *TINY, "--out", str(tmp_path / "four")])
    about = json.loads((tmp_path / "four" / "run.json").read_text())
    assert about["config"]["guidance"][0]["settings"]["alpha"] == 0.4
    assert about["teachers"][0]["env_steps"] == 400
    cli.main(["train", "spread", "--env.agents", "4", *TINY, "--out", str(tmp_path / "plain")])
    cli.main(["report", str(tmp_path / "plain"), str(tmp_path / "four"), "--out", str(tmp_path / "both")])
    report = json.loads((tmp_path / "both" / "report.json").read_text())
    assert report["arms"]["four"]["versus"] == "plain"
    assert [stage["env_steps"] for stage in report["arms"]["four"]["stages"]] == [400, 400]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["trian"], "did you mean train"),
        (["train"], "say which environment"),
        (["train", "spred"], "did you mean spread"),
        (["train", "spread", "--learner", "madpg"], "maddpg"),
        (["train", "spread", "--guidance", "distil"], "distill"),
        (["train", "spread", "--guidance", "distill"], "needs a teacher"),
        (["train", "spread", "--teacher", "x"], "needs --guidance"),
        (
            ["train", "spread", "--guidance", "distill", "--teacher", "nowhere"],
            "nowhere is not a directory: pass the directory of a finished run, or of demonstrations",
        ),
        (["train", "spread", "--steps", "-5"], "steps must be between 1 and 10^12"),
        (["train", "spread", "--steps", "many"], "many"),
        (["train", "spread", "--seeds", "0"], "seeds must be at least 1"),
        (["train", "spread", "--env.agents", "0"], "agents must be between 1 and 1000"),
        (["train", "spread", "--learner.gamma", "1.5"], "gamma must be between 0 and 1"),
        (["train", "spread", "--learner.gama", "0.9"], "--learner.gamma"),
        (["train", "spread", "--learner"], "--learner needs a value"),
        (["reproduce", "knowru/spread-7"], "knowru/spread-6"),
        (["reproduce"], "knowru/spread-6"),
        (["reproduce", "knowru/spread-6", "--scale", "huge"], "huge"),
        (["reproduce", "knowru/spread-6", "--scale", "literal"], "no scale 'literal': take smoke, laptop, paper"),
        (["reproduce", "cesma/navigation-3", "--scale", "literal"], "no scale 'literal': take smoke, laptop, paper"),
        (["reproduce", "knowru/spread-6", "--arms", "maddpgg"], "maddpg"),
        (["reproduce", "knowru/spread-6", "--seeds", "-1"], "seeds"),
        (["resume"], "say which directory"),
        (["resume", "nowhere"], "nowhere is not a directory"),
        (["evaluate", "nowhere"], "nowhere is not a directory"),
        (["render", "nowhere"], "nowhere is not a directory"),
        (["report", "nowhere"], "nowhere is not a directory"),
    ],
)
def test_mistakes_are_told_in_one_line(args, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in refused(capsys, *args)
    assert not list(tmp_path.iterdir()), "a refused command must leave nothing behind"


def test_a_directory_with_something_in_it_is_left_alone(trained, capsys, tmp_path):
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    told = refused(capsys, "train", "spread", *TINY, "--out", str(trained))
    assert "already holds something" in told and "(a run that has finished; it goes on with: headstart resume" in told
    assert "already holds something" in refused(capsys, "reproduce", "knowru/spread-6", "--out", str(trained))
    assert before == {path.name: path.read_bytes() for path in trained.iterdir()}


def test_a_teacher_with_other_actions_is_refused(trained, capsys, tmp_path):
    about = json.loads((trained / "policy.json").read_text())
    changed = tmp_path / "changed"
    changed.mkdir()
    from headstart.core import types
    from headstart.teams import policy, saved

    team = saved.load(trained)
    role = team.spec.roles["agent"]._replace(actions=types.Discrete((4,)))
    spec = team.spec._replace(roles={"agent": role})
    import jax

    params = jax.vmap(team.config.make(spec).init)(jax.random.split(jax.random.key(0), 2))
    policy.TeamPolicy(spec, team.config, params, team.seeds).save(changed)
    told = refused(capsys, "train", "spread", "--guidance", "distill", "--teacher", str(changed), "--out", str(tmp_path / "x"))
    assert "same action heads" in told
    assert not (tmp_path / "x").exists()
    moves = ["stay", "left", "right", "down", "up"]
    assert about["spec"]["roles"]["agent"]["actions"] == {"discrete": [5], "options": [moves]}


def test_a_team_of_another_size_is_not_evaluated_wrongly(trained, capsys):
    assert "trained for 3 × agent" in refused(capsys, "evaluate", str(trained), "--env.agents", "5")
    told = refused(capsys, "evaluate", str(trained), "--env", "tag", "--adapt")
    assert "unknown role of this team 'adversary': there are: agent" in told


def test_adapting_is_told(trained, capsys):
    cli.main(["evaluate", str(trained), "--env.agents", "5", "--adapt", "--episodes", "2"])
    out = capsys.readouterr().out
    assert "adapted agent: 5 agents by a team of 3, landmarks the nearest 3 of 5, agents the nearest 2 of 4, messages" in out
    cli.main(["evaluate", str(trained), "--env.agents", "5", "--adapt", "--select", "first", "--episodes", "2"])
    first = capsys.readouterr().out
    assert "landmarks the first 3 of 5, agents the first 2 of 4" in first and first.split("return")[1] != out.split("return")[1]
    assert "--select goes with --adapt" in refused(capsys, "evaluate", str(trained), "--select", "first")


def test_names_stand_for_parts_in_python_too(tmp_path):
    with pytest.raises(HeadstartError, match="did you mean spread"):
        api.train("spred", "maddpg", tmp_path / "a")
    with pytest.raises(HeadstartError, match="warm-up"):
        api.train("navigation", "maddpg", tmp_path / "a", steps=100)
    assert not (tmp_path / "a").exists()


def test_whoever_stops_reading_is_not_told_of_it():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "headstart.cli", "list"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("run.json", "{", "damaged"),
        ("run.json", '{"format": 99}', "update headstart"),
        ("run.json", "[]", "no format number"),
        ("policy.json", '{"format": 1', "damaged"),
        ("policy.json", '{"format": 99}', "update headstart"),
        ("policy.safetensors", "", "damaged"),
    ],
)
def test_damaged_files_are_refused(trained, tmp_path, capsys, name, content, says):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    (copy / name).write_text(content)
    command = "resume" if name == "run.json" else "evaluate"
    assert says in refused(capsys, command, str(copy))
    (copy / name).unlink()
    assert ("has not finished" if name == "policy.json" else "missing") in refused(capsys, command, str(copy))


@pytest.mark.slow
def test_reproduce_at_smoke_scale_resumes_and_reports(tmp_path, monkeypatch):
    monkeypatch.setitem(knowru.PLANS, "smoke", (48, 2))
    out = tmp_path / "six"
    cli.main(["reproduce", "knowru/spread-6", "--scale", "smoke", "--arms", "knowru", "--out", str(out)])
    report = json.loads((out / "report.json").read_text())
    assert set(report["arms"]) == {"maddpg", "knowru"}
    assert report["arms"]["knowru"]["versus"] == "maddpg"
    assert {"jump_start", "time_ratio", "asymptotic_gain", "time_ratio_with_teacher"} <= set(report["arms"]["knowru"])
    page = (out / "report.html").read_text()
    assert "knowru" in page
    (out / "report.json").unlink()
    cli.main(["resume", str(out)])
    assert json.loads((out / "report.json").read_text()) == report
