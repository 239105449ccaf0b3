"""Transfer matrices: the numbers of every cell beside the team that learns the student's task alone, counted again here."""

import json
import re

import numpy as np
import pytest

from headstart.experiments.base import Experiment
from headstart.papers import transfer
from headstart.report import ledger, matrix
from headstart.report.build import build_report
from headstart.report.html import render_html
from headstart.report.stats import iqm
from headstart.report.table import print_report
from headstart.report.transfer import Curve

STEPS = np.arange(0, 11) * 100
SIZES = ("3", "6")


def rising(start, end, at=1.0):
    """Four seeds that rise from start to end within the share `at` of the run."""
    return start + (end - start) * np.clip(STEPS / (at * 1000), 0, 1) + np.arange(4)[:, None] * 0.01


def arm(returns, *before, versus=None):
    stages = [{"name": name, "env": "e", "env_steps": 1000, "run_s": 1.0, "compile_s": 1.0} for name in (*before, "own")]
    return {"stages": stages, "curve": Curve(STEPS, returns), "versus": versus, "measures": {}, "worth": (), "attention": None}


@pytest.fixture(scope="module")
def report():
    """Teams alone rise by 10 and by 100. The team of three helps that of six, and harms its own successor."""
    arms = {"alone-3": arm(rising(-20, -10, 0.8)), "alone-6": arm(rising(-200, -100, 0.8))}
    arms["distill-3-to-6"] = arm(rising(-120, -100, 0.2), "alone-3", versus="alone-6")
    arms["distill-3-to-3"] = arm(rising(-20, -15), "alone-3", versus="alone-3")
    arms["distill-6-to-3"] = arm(rising(-20, -10, 0.8), "alone-6", versus="alone-3")
    cells = [matrix.Cell(name, *re.fullmatch(r"(\w+)-(\d)-to-(\d)", name).groups()) for name in arms if "-to-" in name]
    header = {"experiment": "transfer/toy", "scale": "laptop", "headline": "distill-3-to-6", "matrix": matrix.summary(cells)}
    return json.loads(json.dumps(build_report(header, arms), allow_nan=False))


def cell(report, quantity, teacher, student):
    (found,) = (rows for caption, rows in matrix.tables(report) if caption.startswith(f"distill: {quantity}"))
    return found[[row[0] for row in found].index(teacher)][found[0].index(student)]


def test_a_student_is_measured_by_the_team_of_its_own_task(report):
    """Three evaluations in a row must reach −20 + 0.9·10 or −200 + 0.9·100 on average."""
    assert report["threshold"] is None
    slow, fast, alone = (
        report["arms"][name]["steps_to_threshold"]["iqm"] for name in ("distill-3-to-3", "distill-3-to-6", "alone-6")
    )
    smooth = lambda x: np.convolve(iqm(x), np.ones(3) / 3, "valid")
    expected = STEPS[2:][np.argmax(smooth(rising(-120, -100, 0.2)) >= -110)]
    assert slow is None and fast is not None and fast < alone and abs(fast - expected) <= 100
    assert report["arms"]["distill-3-to-6"]["time_ratio"] == pytest.approx(fast / alone)


def test_gains_are_shares_of_what_the_team_alone_improves_by(report):
    gain = np.mean([-15, -15]) - np.mean([-10, -10])
    told = cell(report, "final gain", "3", "3")
    assert float(told.split(" ")[0]) == pytest.approx(gain / 10, abs=0.03) and told.endswith("−")
    ahead = report["arms"]["distill-3-to-6"]["jump_start"]["iqm"]
    told = cell(report, "jump start", "3", "6")
    assert float(told.split(" ")[0]) == pytest.approx(ahead / 100, abs=0.02) and told.endswith("+")
    assert cell(report, "time ratio, env-steps", "3", "3") == "never −"
    assert cell(report, "final gain", "6", "6") == "–", "a cell without an arm"
    assert not cell(report, "final gain", "6", "3").endswith(("+", "−")), "its interval contains 0"


def test_a_student_that_never_arrives_is_harmed_only_if_every_seed_alone_arrives():
    """As in the verdicts on claims: one seed alone that does not arrive either leaves an interval without an end."""
    header = {"experiment": "transfer/toy", "scale": "laptop", "headline": "distill-3-to-3"}
    header["matrix"] = matrix.summary([matrix.Cell("distill-3-to-3", "distill", "3", "3")])
    taught = arm(rising(-20, -16), "alone-3", versus="alone-3")
    for last, mark in ((-12.5, " −"), (-18, "")):
        alone = np.concatenate([rising(-20, -12, 0.5)[:3], rising(-20, last, 0.5)[3:]])
        report = build_report(header, {"alone-3": arm(alone), "distill-3-to-3": taught})
        for quantity in ("time ratio, env-steps", "time ratio, teacher charged"):
            assert cell(report, quantity, "3", "3") == f"never{mark}", (last, quantity)


def test_a_team_alone_that_does_not_improve_sets_no_threshold():
    arms = {"alone-3": arm(rising(-20, -25)), "distill-3-to-3": arm(rising(-22, -10), "alone-3", versus="alone-3")}
    cells = [matrix.Cell("distill-3-to-3", "distill", "3", "3")]
    header = {"experiment": "transfer/toy", "scale": "laptop", "headline": "distill-3-to-3", "matrix": matrix.summary(cells)}
    assert cell(build_report(header, arms), "time ratio, env-steps", "3", "3") == "no threshold"


def test_it_is_drawn_and_told(report, capsys):
    page, words = render_html(report, [], {}), ledger.section(report)
    assert 'id="matrix"' in page and 'id="curves"' not in page
    drawn = matrix.matrix_figure(report).data
    jump, time, charged, gain = (trace.z[[*zip(trace.y, trace.x, strict=True)].index(("3", "6"))] for trace in drawn)
    assert jump > 0.5 and time < 0.5 and charged > 1 and gain == pytest.approx(0)
    assert "distill of 3: arrives sooner in 1, later in 1; ends higher in 0, lower in 1" in words
    print_report(report)
    for told in (words, capsys.readouterr().out):
        assert cell(report, "final gain", "3", "3") in told


@pytest.mark.parametrize("world", transfer.WORLDS)
@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_every_pair_of_sizes_has_a_cell_for_each_method(world, scale):
    experiment: Experiment = transfer.transfer(world, scale)
    sizes = {found.student for found in experiment.matrix}
    assert len(experiment.matrix) == 3 * len(sizes) ** 2 == len(experiment.arms) - len(sizes)
    for found in experiment.matrix:
        taught = experiment.arms[found.arm]
        assert taught.versus == f"alone-{found.student}" and taught.stages[0].name == f"alone-{found.teacher}"
        assert taught.stages[-1].env == experiment.arms[taught.versus].stages[-1].env
    one = experiment.only((experiment.headline,))
    assert [found.arm for found in one.matrix] == [experiment.headline]
