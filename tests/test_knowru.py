"""KnowRU's experiments: what they are made of."""

import re
from pathlib import Path

import numpy as np
import pytest

from headstart.core.guidance import teacher_of
from headstart.guidance.distill import Distill
from headstart.papers.knowru import EXPERIMENTS
from headstart.report.build import build_report
from headstart.report.table import caption
from headstart.report.transfer import Curve


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_whole(name, scale):
    experiment = EXPERIMENTS[name](scale)
    stages = [stage.name for stage in experiment.stages]
    assert experiment.headline in experiment.arms and experiment.seeds >= (2 if scale == "smoke" else 3)
    for i, stage in enumerate(experiment.stages):
        assert {teacher_of(guide) for guide in stage.guidance} <= set(stages[:i]), "a teacher comes before its students"
    for claim in experiment.claims:
        assert claim.arm in experiment.arms and (not claim.versus or claim.versus in experiment.arms)
        assert claim.versus or experiment.arms[claim.arm].versus


def students(name, scale="paper"):
    """{arm: its last stage}."""
    return {arm: each.stages[-1] for arm, each in EXPERIMENTS[name](scale).arms.items()}


def test_arms_differ_in_nothing_but_their_guidance():
    """But for the arm that is there to compare another learner."""
    for name in EXPERIMENTS:
        stages = [stage for arm, stage in students(name).items() if arm != "independent"]
        assert not stages[0].guidance
        for stage in stages[1:]:
            assert (stage.env, stage.learner, stage.steps) == (stages[0].env, stages[0].learner, stages[0].steps), name
            assert len(stage.guidance) == 1


def test_the_tasks_are_the_papers():
    teams = {}
    for name in ("adversary-3v2", "adversary-4v3", "treasure"):
        stages = EXPERIMENTS[name]("paper").stages
        count = lambda env: {role: spec.agents for role, spec in env.spec.roles.items()}
        teams[name] = [count(next(s for s in stages if s.name == "teacher").env), count(stages[0].env)]
    assert teams == {
        "adversary-3v2": [{"adversary": 1, "agent": 2}, {"adversary": 2, "agent": 3}],
        "adversary-4v3": [{"adversary": 1, "agent": 2}, {"adversary": 3, "agent": 4}],
        "treasure": [{"collector": 4, "bank": 1}, {"collector": 6, "bank": 2}],
    }
    both = (stage.env.spec.roles for stage in EXPERIMENTS["treasure"]("paper").stages[1::-1])
    assert [(roles["collector"].obs_size, roles["bank"].obs_size) for roles in both] == [(41, 40), (86, 84)]
    assert students("treasure")["maac"].steps == 60_000 * 100 and EXPERIMENTS["treasure"]("paper").goal == 150
    assert [s.guidance[0].roles for s in list(students("adversary-3v2").values())[1:]] == [("adversary",)] * 2


def test_an_alpha_sweep_differs_in_alpha_alone():
    taught = [stage.guidance[0] for stage in list(students("alpha-sweep").values())[1:]]
    assert [guide.alpha for guide in taught] == pytest.approx(np.arange(0.1, 1.05, 0.1).tolist())
    assert {(g.schedule, g.loss, g.scale) for g in taught if isinstance(g, Distill)} == {("constant", "auto", 1.0)}


def test_a_goal_is_the_threshold():
    steps, returns = np.arange(5) * 10, np.array([[0.0, 4, 6, 8, 9]] * 2)
    arms = {name: {"stages": [{}], "curve": Curve(steps, returns), "versus": other}
            for name, other in (("plain", None), ("taught", "plain"))}  # fmt: skip
    stated, found = (build_report({"experiment": "x", "metric": "episode_return"} | goal, arms) for goal in ({"goal": 5.0}, {}))
    assert stated["threshold"] == 5.0 and found["threshold"] == 0.9 * 9
    assert "threshold 5.00: stated by the experiment" in caption(stated) and "stated" not in caption(found)
    assert stated["arms"]["plain"]["steps_to_threshold"]["iqm"] == 30  # the mean of 4, 6 and 8


def test_the_page_lists_every_experiment():
    page = (Path(__file__).parent.parent / "docs/distillation.md").read_text(encoding="utf-8")
    rows = [row for row in page[page.index("## The experiments") :].splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row.split("|")[1])} == set(EXPERIMENTS)
