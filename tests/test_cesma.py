"""CESMA's experiments: what they are made of, and that small ones run to a report with every claim judged."""

import itertools
import json

import numpy as np
import pytest

from headstart.envs.particle.spread import Spread
from headstart.experiments.run import reproduce
from headstart.learners.ddpg import DDPG
from headstart.papers import cesma
from headstart.papers.cesma import continuous, rivals
from headstart.report.build import read_column
from headstart.teams.saved import load
from headstart.training import api

pytestmark = pytest.mark.usefixtures("sessions_once")
PAPERS = ["navigation-3", "navigation-3-nonhomogeneous", "speaker-listener", "communication-2", "communication-3"]


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
@pytest.mark.parametrize("name", cesma.EXPERIMENTS)
def test_every_experiment_is_whole(name, scale):
    experiment = cesma.EXPERIMENTS[name](scale)
    stages = [stage.name for stage in experiment.stages]
    for i, stage in enumerate(experiment.stages):
        needs = {stage.until, *(guide.teacher.partition("/")[0] for guide in stage.guidance)} - {""}
        assert needs <= set(stages[:i]), "a stage comes after those it needs"
    for claim in experiment.claims:
        assert claim.arm in experiment.arms and (not claim.versus or claim.versus in experiment.arms)
        assert claim.versus or experiment.arms[claim.arm].versus or claim.quantity in experiment.arms[claim.arm].measures
    assert experiment.seeds >= (2 if scale == "smoke" else 3)


@pytest.mark.parametrize("name", PAPERS)
def test_experts_are_no_larger_than_maddpg(name):
    """As the paper sizes them: 125,341 beside 126,354 on navigation with 12 observed numbers (counted by hand below)."""
    stages = {stage.name: stage for stage in cesma.EXPERIMENTS[name]("paper").stages}
    expert, maddpg = (rivals.parameters(stages[n].env, stages[n].learner) for n in ("expert", "maddpg"))
    assert expert <= maddpg


def test_parameters_are_counted_by_hand():
    def mlp(*sizes):
        return sum(a * b + b for a, b in itertools.pairwise(sizes))

    stages = {stage.name: stage for stage in cesma.EXPERIMENTS["navigation-3"]("paper").stages}
    expert = mlp(36, 225, 225, 15) + mlp(36 + 15, 225, 225, 1)
    maddpg = 3 * (mlp(12, 128, 128, 5) + mlp(3 * (12 + 5), 128, 128, 1))
    assert rivals.parameters(stages["expert"].env, stages["expert"].learner) == expert == 125_341
    assert rivals.parameters(stages["maddpg"].env, stages["maddpg"].learner) == maddpg == 126_354


@pytest.mark.slow
def test_a_small_one_judges_its_claim(tmp_path, monkeypatch):
    monkeypatch.setitem(cesma.PLANS, "smoke", cesma.Plan(800, 800, 800, 2))
    make = cesma.EXPERIMENTS["one-at-a-time"]
    report = reproduce("cesma/one-at-a-time", make, "smoke", tmp_path / "out", arms=("cesma-3-weight-5",))
    saved = json.loads((tmp_path / "out/report.json").read_text())
    assert saved["experiment"] == "cesma/one-at-a-time"
    assert list(saved["arms"]) == ["expert-3", "cesma-3-weight-5"] == list(report["arms"])
    assert [c["claim"] for c in saved["claims"]] == [c.claim for c in make("smoke").claims if c.arm in report["arms"]]
    assert {c["verdict"] for c in saved["claims"]} <= {"reproduced", "not reproduced", "undecided"}
    assert all("not known" not in claim["evidence"] for claim in saved["claims"])


@pytest.mark.slow
def test_a_run_stops_where_it_is_told(tmp_path):
    """At the first evaluation with the mean return over seeds; what it did not do is not charged."""
    learner = DDPG(hidden=(8,), warmup=100, batch=16, num_envs=20, train_every=20)
    settings = {"steps": 800, "seeds": 2, "evaluations": 8, "episodes": 4, "progress": False}
    whole = api.train(Spread(2), learner, tmp_path / "whole", **settings)
    returns = read_column(tmp_path / "whole", "eval_return").mean(0)
    goal = float(np.sort(returns[1:])[3])
    first = 1 + int(np.argmax(returns[1:] >= goal))
    early = api.train(Spread(2), learner, tmp_path / "early", until=goal, **settings)
    np.testing.assert_array_equal(read_column(tmp_path / "early", "eval_return").mean(0), returns[: first + 1])
    assert early.env_steps == 100 * first < whole.env_steps == 800
    assert json.loads((tmp_path / "early/run.json").read_text())["env_steps"] == 100 * first
    assert load(tmp_path / "early").env_steps == 100 * first
    never = api.train(Spread(2), learner, tmp_path / "never", until=1.0, **settings)
    assert never.env_steps == 800


def test_correlation_and_order_of_losses(tmp_path):
    """Two seeds written by hand: losses that fall as returns rise, and the third agent's three times the first's."""
    lines = ["seed,env_steps,eval_return,error/agent_0,error/agent_1,error/agent_2"]
    for point in range(5):
        for seed in (0, 1):
            loss = 1.0 / (point + 1 + seed)
            errors = f"{loss},{2 * loss},{3 * loss}" if point else ",,"
            lines.append(f"{seed},{100 * point},{-10.0 + point if seed == 0 else 10.0 - point},{errors}")
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    np.testing.assert_allclose(continuous._correlation(tmp_path), [-1, 1])
    np.testing.assert_allclose(continuous._slow_over_fast(tmp_path), [3, 3])
