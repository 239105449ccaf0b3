"""Where a newcomer stumbles on the command line: a word nearly right, a number with a unit, a table without explanation."""

import io
from pathlib import Path

import numpy as np
import pytest
from probes import small
from test_cli import refused
from test_film import PAINTED
from test_report import EXPERIMENT, two_arms

import headstart as hs
from examples.controller import ENV, controller
from headstart.cli import main as cli
from headstart.cli.train import _roles, _rounded
from headstart.envs.centralized import Centralized
from headstart.envs.particle.spread import Spread
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.report import print_report
from headstart.report.build import build_report, read_curve
from headstart.report.plain import text
from headstart.report.stats import iqm
from headstart.report.table import COLUMNS, MEANINGS, rows
from headstart.report.transfer import final
from headstart.teams.scripted import Scripted
from headstart.training.config import Config, resumption
from headstart.training.worth import short


@pytest.mark.parametrize(("args", "says"), [
    (["train", "spread", "--lerner", "maddpg"], "did you mean --learner?"),
    (["train", "spread", "--lerner=maddpg"], "did you mean --learner?"),
    (["train", "spread", "--guidence", "knowru"], "did you mean --guidance?"),
    (["train", "spread", "--techer", "x"], "did you mean --teacher?"),
    (["train", "spread", "--learner.gama", "1"], "did you mean --learner.gamma?"),
    (["train", "spread", "--colour", "red"], "Unrecognized options: --colour, red (see"),
    (["evaluate", "tests", "--use", "toy_envs", "json"], "leave out 'json'; for another module, repeat --use"),
    (["train", "spread", "--use", "toy_envs,json"], "nor installed: name one module each time"),
    (["train", "spread", "--learner", "maddpg", "--learner.chunk", "3"], "--learner.chunk, 3; ppo, ippo, mappo have it (see"),
    (["train", "spread", "--use", "toy_envs", "json"], "Unrecognized options: json; a flag such as --use takes one value: "),
    (["train", "pettingzoo:toy_envs:Match", "--use", "toy_envs", "--env.size", "3"],
     "; the environment is made with --env.options '{\"size\": 3}' (see"),
    (["train", "pettingzoo:toy_envs:Match", "--use", "toy_envs", "--env.mode=easy"], "--env.options '{\"mode\": \"easy\"}'"),
    (["train", "spread", "--steps", "20k"], "--steps must be a whole number such as 20000, not '20k' (see"),
    (["train", "spread", "--steps", "1.5M"], "--steps must be a whole number such as 1500000, not '1.5M'"),
    (["train", "spread", "--steps", "many"], "--steps must be a whole number such as 20000, not 'many'"),
    (["train", "spread", "--seeds", "two"], "--seeds must be a whole number such as 3, not 'two'"),
    (["train", "spread", "--worth", "no"], "--worth must be a whole number such as 3, not 'no'"),
    (["train", "spread", "--until", "high"], "--until must be a number such as 0.5, not 'high'"),
    (["train", "spread", "--learner.gamma", "x"], "--learner.gamma must be a number such as 0.5, not 'x'"),
    (["train", "spread", "--guidance", "knowru", "--guidance", "warm_start", "--guidance.hold", "1"],
     "--guidance0.hold (knowru) or --guidance1.hold (warm_start)"),
    (["train", "spread", "--guidance", "knowru", "--guidance", "warm_start", "--guidance2.hold=1"], "--guidance1.hold (warm"),
    (["train", "spread", "--guidance", "warm_start", "--guidance0.hold", "1"], "have no number: --guidance.hold"),
    (["train", "spread", "--guidance.hold", "1"], "--guidance.hold needs --guidance NAME"),
    (["train", "spread", "--guidance", "knowru", "--guidance.alpha", "3"], "headstart: guidance.alpha must be between 0 and 1"),
    (["reproduce", "leader/default", "--seeds", "-1"], "seeds must be at least 0, not -1: 0 takes the number of the scale"),
    (["train", "spread", "--keep", "best,last"], "--keep best last, not 'best,last'"),
    (["train", "spread", "--keep", "worst"], "keep must be best, last or METRIC=LEVEL"),
])  # fmt: skip
def test_a_mistake_names_the_flag_and_the_fix(args, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = refused(capsys, *args)
    assert says in told and not any(word in told for word in ("int()", "literal", "NoneType", "class"))


@pytest.mark.parametrize(("command", "words"), [
    (["train", "spread"], ["--learner NAME", "--guidance NAME", "--teacher DIR", "--keep", "(at least 0) (default: None)"]),
    (["evaluate"], ["usage: headstart evaluate DIR", "--env NAME", "--use MODULE", "--accept-changed"]),
    (["render"], ["usage: headstart render DIR", "--use MODULE", "--accept-changed"]),
    (["resume"], ["usage: headstart resume DIR", "Go on with an interrupted", "--steps", "--use MODULE", "--accept-changed"]),
    (["reproduce", "leader/default"], ["maddpg, lldr, agp, agnn, by-field, by-field-held", "(at least 0) (default: 0)"]),
    (["report"], ["usage: headstart report DIR [DIR ...]", "Make a report again", "--out", "--accept-changed"]),
])  # fmt: skip
def test_help_has_usage_purpose_flags_and_an_example(command, words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert end.value.code in (0, None) and f"Example: headstart {command[0]} " in told
    assert all(word in told for word in words), [word for word in words if word not in told]


@pytest.mark.parametrize(("end", "teacher", "better", "told"), [
    ([-8.2, -8.0], [-1.5, -1.4], True, 1),
    ([-4.0, -3.0], [-1.5, -1.4], True, 0),
    ([-8.2, -8.0], [-1.5, -1.4], False, 0),
    ([np.nan, -8.0], [-1.5, -1.4], True, 0),
    ([-8.2, -8.0], [-1.5, None], True, 0),
])  # fmt: skip
def test_a_team_that_hardly_learned_from_its_teacher_is_said_to(end, teacher, better, told):
    found = {"guidance": 0, "name": "Distill", "teacher": teacher, "student": [-9, -9], "better": better}
    found["random"] = [-8.6, -8.8]
    lines = short([found], np.array(end))
    assert len(lines) == told
    says = "-8.10 is nearer to that of random actions (-8.70) than to that of the teacher (-1.45)"
    assert all(says in line for line in lines)
    assert not short([found | {"roles": ["adversary"]}], np.array([-8.2, -8.0]))


def test_a_short_run_says_that_it_hardly_learned_from_its_teacher(tmp_path, capsys):
    guide, learner = Distill(Scripted(controller, ENV.spec)), small(PPO())
    hs.train(ENV, learner, tmp_path / "run", steps=1, guidance=guide, worth=8, seeds=2, progress=False)
    told = capsys.readouterr().err
    ended = iqm(final(read_curve(tmp_path / "run")))
    assert f"headstart: run: a final return of {text(float(ended))} is nearer to" in told, "as the report has it"


def test_steps_that_are_rounded_up_are_said():
    learner = PPO(num_envs=16, rollout=128)
    assert _rounded(Config(Spread(3), learner, steps=5000)) == ["5,000 env-steps become 6,144: whole updates of 2,048"]
    assert _rounded(Config(Spread(3), learner, steps=6144)) == []


def test_roles_of_other_libraries_environments_are_said():
    line = "roles and their agents: agent: agent_0, agent_1 ({}.roles ROLE=AGENT,AGENT says otherwise)"
    assert _roles(PAINTED, "--env") == [line.format("--env")]
    assert _roles(Centralized(PAINTED), "--env") == [line.format("--env.env")]
    assert _roles(Spread(3), "--env") == []


def printed(report) -> str:
    from rich.console import Console

    out = io.StringIO()
    print_report(report, Console(file=out, width=200))
    return out.getvalue()


def test_every_quantity_of_a_table_is_defined_below_it():
    assert set(MEANINGS) == set(COLUMNS[1:])
    told = printed(build_report(EXPERIMENT, two_arms()))
    assert all(f"\n{meaning}" in told for meaning in MEANINGS.values())
    alone = printed(build_report(EXPERIMENT | {"kind": "run"}, {"plain": two_arms()["plain"]}))
    assert MEANINGS["initial"] in alone and "gain" not in alone and "threshold" not in alone


def test_a_threshold_that_most_seeds_miss_reads_as_a_sentence():
    late = [[0] * 21, [0] * 21, [0] * 21, [0] * 10 + [200] * 11]
    report = build_report(EXPERIMENT, two_arms(np.array(late)))
    assert report["arms"]["taught"]["steps_to_threshold"] == {"iqm": None, "low": 110, "high": None}
    found = dict(zip(COLUMNS, rows(report)[1], strict=True))
    assert found["steps to threshold"] == "only 1 of 4 seeds reach it"
    assert found["time ratio"] == "at least 1.00", "a bound, where the middle half of the seeds does not arrive"


def test_a_run_that_learns_from_a_function_goes_on_in_python(as_users):
    """No command can pass it one."""
    env = Spread(2)
    guide = Distill(Scripted(lambda obs: obs, env.spec))
    tells = lambda *guides: resumption(Config(env, DDPG(), guides), Path("runs/a b"))
    assert tells() == "headstart resume 'runs/a b'"
    assert tells(guide) == "headstart.resume('runs/a b', teacher=...)"
    assert tells(guide, guide) == "headstart.resume('runs/a b', teacher=[..., ...])"
