"""The report: its statistics, transfer numbers, verdicts and page, each against something worked out independently."""

import ast
import io
import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import headstart.report as package
from headstart.core.checks import HeadstartError
from headstart.report import (
    Claim,
    Curve,
    build_report,
    interval,
    iqm,
    judge,
    print_report,
    ratio,
    read_curve,
    read_stage,
    versus,
    write,
)
from headstart.report.html import render_html
from headstart.report.metric import label, name_in_report
from headstart.report.plain import interval_text, number, plain, script_json, text
from headstart.report.stats import as_json
from headstart.report.summary import headline
from headstart.report.table import COLUMNS, MEANINGS, headings, rows
from headstart.report.transfer import final, fluctuation, initial, steps_to_threshold, threshold, time_bounds

HOSTILE = '</script><script>alert(1)</script><b onmouseover="x">&\''


# ------------------------------------------------------------------ statistics


@pytest.mark.parametrize("n", [4, 8, 12, 20])
def test_iqm_is_scipys_trimmed_mean_where_a_quarter_is_whole(n):
    x = np.random.default_rng(n).normal(size=(n, 3))
    np.testing.assert_allclose(iqm(x), scipy.stats.trim_mean(x, 0.25, axis=0), rtol=1e-12)


@pytest.mark.parametrize(
    ("sample", "by_hand"),
    [([7], 7), ([1, 3], 2), ([0, 6, 12], 6), ([0, 6, 18], 7), ([9, 1, 2, 4, 100], 0.3 * 2 + 0.4 * 4 + 0.3 * 9)],
)
def test_iqm_of_few_seeds_by_hand(sample, by_hand):
    assert float(iqm(sample)) == pytest.approx(by_hand)


@pytest.mark.parametrize("n", [3, 5, 6, 7, 10])
def test_iqm_is_the_integral_of_the_quantile_function(n):
    """Repeating each value four times leaves the distribution alone and makes the quarter whole."""
    x = np.random.default_rng(n).normal(size=n)
    assert float(iqm(x)) == pytest.approx(scipy.stats.trim_mean(np.repeat(x, 4), 0.25))


def test_iqm_of_values_that_are_not_numbers():
    assert float(iqm([1, 2, 3, np.inf])) == 2.5
    assert float(iqm([1, np.inf, np.inf, np.inf])) == np.inf
    assert np.isnan(iqm([1, 2, 3, np.nan]))
    with pytest.raises(ValueError, match="no values"):
        iqm([])


def test_interval_is_deterministic_and_keeps_a_seed_whole():
    x = np.random.default_rng(0).normal(size=(5, 3))
    first, again, other = interval(x), interval(x), interval(x, seed=1)
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert any(not np.array_equal(first[k], other[k]) for k in first)
    np.testing.assert_array_equal(first["low"], [interval(x[:, p])["low"] for p in range(3)])


def test_interval_covers_the_truth_about_as_often_as_it_says():
    data = np.random.default_rng(3).normal(5.0, 2.0, size=(20, 300))
    found = interval(data, resamples=500)
    covered = np.mean((found["low"] <= 5) & (found["high"] >= 5))
    assert 0.88 <= covered <= 0.99
    difference = versus(data[:10], data[10:], resamples=500)
    assert 0.86 <= np.mean((difference["low"] <= 0) & (difference["high"] >= 0)) <= 0.99


def test_interval_resamples_within_strata():
    """Two tasks far apart, each without spread: strata leave nothing to vary, pooling them does."""
    x = np.stack([np.zeros(6), np.full(6, 100.0)])
    within = interval(x, statistic=np.mean, strata=True)
    assert within["low"] == within["high"] == 50
    assert interval(x.reshape(-1), statistic=np.mean)["low"] < 50


def test_one_seed_has_no_interval():
    assert as_json(interval([3.0])) == {"iqm": 3.0, "low": None, "high": None}
    assert as_json(versus([3.0], [1.0, 2.0])) == {"iqm": 1.5, "low": None, "high": None}


def test_ratio_and_difference_of_what_is_never_reached():
    never, soon = np.full(4, np.inf), np.full(4, 10.0)
    assert as_json(ratio(soon, 2 * soon)) == {"iqm": 0.5, "low": 0.5, "high": 0.5}
    assert as_json(ratio(never, soon)) == {"iqm": None, "low": None, "high": None}
    assert as_json(ratio(never, never)) == {"iqm": None, "low": None, "high": None}
    mixed = ratio(np.array([10.0, 10, 10, np.inf]), soon)
    assert mixed["iqm"] == mixed["low"] == 1
    assert mixed["high"] == np.inf


# ------------------------------------------------------------------ transfer


def curve(*returns, every=10, learning_starts=0):
    returns = np.array(returns, float)
    return Curve(every * np.arange(returns.shape[1]), returns, learning_starts)


def test_windows_of_initial_and_final():
    ramp = curve(np.arange(101), learning_starts=200)
    # learning runs from 200 to 1000, its first tenth is (200, 280]: evaluations 21 … 28; the last tenth is 91 … 100
    assert initial(ramp)[0] == np.mean(np.arange(21, 29))
    assert final(ramp)[0] == np.mean(np.arange(91, 101))
    assert initial(curve([0, 1, 2, 3], learning_starts=10))[0] == 2  # the evaluation at 10 is from before any gradient step
    assert "none before it counts" in MEANINGS["initial"]
    assert initial(curve([0, 1, 2, 3], learning_starts=999))[0] == 3
    assert final(curve([0, 1, 2, 3]))[0] == 3


def test_threshold_is_nine_tenths_of_the_way():
    assert threshold(curve([-100, -50, 0])) == pytest.approx(-10)
    assert threshold(curve([0, -1, 0])) is None
    assert threshold(curve([0, 5, np.nan])) is None
    assert threshold(curve([0, 0, 0, 2, 0, 2])) is None, "2 are no more than it wavers by"
    assert threshold(curve([0, 0, 0, 2, 3, 4])) == pytest.approx(3.6)


def test_steps_to_threshold_on_hand_made_curves():
    curves = curve(
        [0, 9, 9, 9, 9],  # means 0, 4.5, 6, 9: reached at 30
        [9, 9, 9, 9, 9],  # from the start: known once three are in
        [0, 0, 20, 0, 0],  # one lucky evaluation: mean 6.67 at its best
        [0, 0, 0, 0, 0],
        [0, np.nan, 9, 9, 9],  # unknown until the hole has left the window
    )
    np.testing.assert_array_equal(steps_to_threshold(curves, 9), [30, 20, np.inf, np.inf, 40])
    copied = curve([9, 9, 9, 0, 9, 9, 9], learning_starts=20)  # good before learning, spoilt by its first steps
    assert steps_to_threshold(copied, 9)[0] == 60
    assert steps_to_threshold(curve([0, 9], learning_starts=10), 9)[0] == 10


def test_fluctuation_is_small_for_a_straight_line():
    straight, zigzag = np.arange(8), np.arange(8) + np.array([0, 1] * 4)
    assert fluctuation(curve(straight, zigzag))[0] == 0
    # evaluations 4 … 7 have differences 2, 0, 2
    assert fluctuation(curve(straight, zigzag))[1] == pytest.approx(np.std([2, 0, 2]))
    assert np.isnan(fluctuation(curve([1, 2])))


@pytest.mark.parametrize(("steps", "returns"), [([0, 0], [[1, 2]]), ([0, 1], [[1, 2, 3]]), ([0, 1], [1, 2]), ([], [[]])])
def test_curve_refuses_what_makes_no_sense(steps, returns):
    with pytest.raises(ValueError, match="env_steps"):
        Curve(np.array(steps), np.array(returns))


def stage(name, steps):
    return {"name": name, "env": "spread", "env_steps": steps, "run_s": 2.0, "compile_s": 1.0}


def two_arms(student=None, seeds=4):
    slow = np.tile(np.minimum(np.arange(21) * 10, 100), (seeds, 1)) + np.arange(seeds)[:, None]
    fast = np.minimum(slow + 50, 100) + np.arange(seeds)[:, None] if student is None else student
    return {
        "plain": {"stages": [stage("student", 200)], "curve": curve(*slow), "versus": None},
        "taught": {"stages": [stage("teacher", 75), stage("student", 200)], "curve": curve(*fast), "versus": "plain"},
    }


EXPERIMENT = {"experiment": "toy", "scale": "laptop", "metric": "episode_return"}


def test_report_numbers_by_hand():
    flat = np.tile(np.r_[0, np.full(20, 100.0)], (4, 1))
    slow = np.tile(np.minimum(np.arange(21) * 10.0, 100), (4, 1))
    arms = two_arms(flat)
    arms["plain"]["curve"] = curve(*slow)
    report = build_report(EXPERIMENT, arms)
    plain_arm, taught = report["arms"]["plain"], report["arms"]["taught"]
    assert report["threshold"] == 90
    # trailing means of three: 80, 90 at evaluation 10 (80, 90, 100) and 100, 100, 100 at evaluation 3
    assert plain_arm["steps_to_threshold"] == {"iqm": 100, "low": 100, "high": 100}
    assert taught["steps_to_threshold"]["iqm"] == 30
    assert taught["time_ratio"] == 0.3
    assert taught["time_ratio_with_teacher"] == (75 + 30) / 100
    assert taught["jump_start"]["iqm"] == 100 - 15
    assert taught["asymptotic_gain"] == {"iqm": 0, "low": 0, "high": 0}
    assert taught["reached"] == 1
    assert "versus" not in plain_arm
    assert plain_arm["curve"]["env_steps"] == list(range(0, 210, 10))


def test_companions_are_charged_with_what_they_took_until_then():
    """A teacher's 75 env-steps lie before an arm's first one; a companion takes two beside each of its own."""
    arms = two_arms(np.tile(np.r_[0, np.full(20, 100.0)], (4, 1)))
    arms["plain"]["curve"] = curve(*np.tile(np.minimum(np.arange(21) * 10.0, 100), (4, 1)))
    arms["taught"]["stages"] = [stage("teacher", 75), stage("companion", 400) | {"alongside": True}, stage("student", 200)]
    report = build_report(EXPERIMENT, arms)
    taught = report["arms"]["taught"]
    assert taught["time_ratio"] == 0.3 and taught["time_ratio_with_teacher"] == (75 + 3 * 30) / 100
    data = json.loads(Page(render_html(report, [], {})).scripts[0])
    moved = [t["meta"] for t in data["figures"]["curves"]["data"] if t.get("name")]
    assert [(meta["teacher_steps"], meta["companion_rate"]) for meta in moved] == [(0, 0), (75, 2)]


def test_a_cost_that_nobody_knows_is_not_taken_for_none():
    """A teacher from elsewhere: its training is not known, so neither is the ratio that charges it."""
    arms = two_arms(np.tile(np.r_[0, np.full(20, 100.0)], (4, 1)))
    arms["plain"]["curve"] = curve(*np.tile(np.minimum(np.arange(21) * 10.0, 100), (4, 1)))
    arms["taught"]["stages"] = [stage("teacher", 75) | {"env_steps": None}, stage("student", 200)]
    report = build_report(EXPERIMENT, arms)
    taught = report["arms"]["taught"]
    assert taught["time_ratio"] == 0.3 and taught["time_ratio_with_teacher"] is None
    (row,) = (dict(zip(headings(report), row, strict=True)) for row in rows(report) if row[0] == "taught")
    assert row["with teacher"] == "unknown" and row["time ratio"].startswith("0.3")
    page = Page(render_html(report, [], {}))
    assert "Teacher charged unknown" in " ".join(" ".join(page.words).split())
    data = json.loads(page.scripts[0])
    moved = [t["meta"]["teacher_steps"] for t in data["figures"]["curves"]["data"] if t.get("name")]
    assert moved == [0, None]


def test_recovered_is_the_share_of_what_the_baseline_learned():
    """From 20 to 100 and to 84: 64 of 80. Of a baseline that got worse nothing can be recovered, however the arm did."""
    learned, most = (np.tile(np.linspace(20, end, 21).clip(None, end)[None], (4, 1)) for end in (100.0, 84.0))
    learned[:, -2:], most[:, -2:] = 100, 84
    arms = two_arms(most)
    arms["plain"]["curve"] = curve(*learned)
    claim = Claim("c", "s", "taught", "recovered", "above nine tenths")
    report = build_report(EXPERIMENT, arms, [claim])
    assert report["arms"]["taught"]["recovered"] == {"iqm": 0.8, "low": 0.8, "high": 0.8}
    assert report["claims"][0]["verdict"] == "not reproduced"
    arms["plain"]["curve"], arms["taught"]["curve"] = curve(*-learned), curve(*-2 * learned)
    report = build_report(EXPERIMENT, arms, [claim])
    assert report["arms"]["taught"]["recovered"]["iqm"] is None
    assert report["claims"][0]["verdict"] == "undecided" and "plain did not improve" in report["claims"][0]["evidence"]


def test_report_keys_and_json_round_trip():
    """Diverged seeds, arms that never arrive and baselines that never learn still make JSON without NaN."""
    flat = np.zeros((4, 21))
    broken = np.full((4, 21), np.nan)
    for student in (None, flat, broken):
        report = build_report(EXPERIMENT, two_arms(student), [Claim("c", "s", "taught", "jump_start", "positive")])
        assert json.loads(json.dumps(report, allow_nan=False)) == report
        keys = {"experiment", "scale", "seeds", "metric", "threshold", "arms", "claims"}
        assert keys <= report.keys()
        assert {"stages", "curve", "initial", "final", "steps_to_threshold"} <= report["arms"]["plain"].keys()
        compared = {"versus", "jump_start", "time_ratio", "asymptotic_gain", "time_ratio_with_teacher"}
        assert compared <= report["arms"]["taught"].keys()
    arms = two_arms()
    arms["plain"]["curve"] = curve(*flat)
    report = build_report(EXPERIMENT, arms)
    assert report["threshold"] is None
    assert report["arms"]["taught"]["time_ratio"] is None
    assert render_html(report, [], {})


def test_build_report_refuses_unknown_arms():
    arms = two_arms()
    arms["taught"]["versus"] = "nobody"
    with pytest.raises(ValueError, match="nobody"):
        build_report(EXPERIMENT, arms)
    with pytest.raises(ValueError, match="at least one arm"):
        build_report(EXPERIMENT, {})
    with pytest.raises(ValueError, match="baseline"):
        build_report({**EXPERIMENT, "baseline": "nobody"}, two_arms())


# ------------------------------------------------------------------ claims


@pytest.mark.parametrize(
    ("expect", "above", "across", "below"),
    [
        ("positive", "reproduced", "undecided", "not reproduced"),
        ("negative", "not reproduced", "undecided", "reproduced"),
        ("not positive", "not reproduced", "undecided", "reproduced"),
        ("not negative", "reproduced", "undecided", "not reproduced"),
    ],
)
def test_verdicts(expect, above, across, below):
    for (low, middle, high), verdict in {(1, 2, 3): above, (-1, 0.5, 2): across, (-3, -2, -1): below}.items():
        report = {"arms": {"a": {"jump_start": {"iqm": middle, "low": low, "high": high}}}}
        assert judge(Claim("c", "Fig. 1", "a", "jump_start", expect), report)["verdict"] == verdict


def test_evidence_says_the_numbers():
    report = {"arms": {"a": {"jump_start": {"iqm": 12.3, "low": 9.9, "high": 14.8}}}}
    found = judge(Claim("KnowRU starts high", "Fig. 5", "a", "jump_start", "positive"), report)
    assert found["evidence"] == "jump_start 12.3 [9.9, 14.8] > 0"
    assert (found["claim"], found["source"]) == ("KnowRU starts high", "Fig. 5")


def test_ratios_are_held_against_one_by_their_interval():
    report = {"arms": {"a": {"time_ratio": 0.3, "time_ratio_interval": {"iqm": 0.3, "low": 0.2, "high": 0.6}}}}
    assert judge(Claim("c", "s", "a", "time_ratio", "below one"), report)["verdict"] == "reproduced"
    assert judge(Claim("c", "s", "a", "time_ratio", "above one"), report)["verdict"] == "not reproduced"
    report["arms"]["a"]["time_ratio_interval"]["high"] = None
    assert judge(Claim("c", "s", "a", "time_ratio", "below one"), report)["verdict"] == "undecided"


@pytest.mark.parametrize("expect", ["positive", "not positive", "not negative"])
def test_what_is_missing_is_undecided(expect):
    unknown = {"iqm": 5.0, "low": None, "high": None}
    report = {"arms": {"a": {"jump_start": unknown, "fluctuation": 3.0, "final": {"iqm": None}}}}
    for arm, quantity in (("b", "jump_start"), ("a", "jump_start"), ("a", "fluctuation"), ("a", "final"), ("a", "x")):
        assert judge(Claim("c", "s", arm, quantity, expect), report)["verdict"] == "undecided"


def test_an_arm_that_never_arrives_did_not_arrive_sooner():
    report = build_report(EXPERIMENT, two_arms(np.zeros((4, 21))), [Claim("c", "s", "taught", "time_ratio", "below one")])
    assert report["arms"]["taught"]["time_ratio"] is None
    assert report["claims"][0]["verdict"] == "not reproduced"
    assert re.search(r"^time_ratio at least 1\.\d+ > 1: 0 of 4 seeds of taught", report["claims"][0]["evidence"])
    assert rows(report)[1][COLUMNS.index("steps to threshold")] == "never"


def arriving(*steps):
    """Curves that arrive at 100 env-steps after each of these and stay there; those of None never do."""
    return np.stack([np.where(np.arange(21) * 10 >= (10**6 if at is None else at), 100.0, 0.0) for at in steps])


@pytest.mark.parametrize(
    ("mine", "theirs", "verdict", "evidence"),
    [
        ((20, 30, 40), (90, 120, None), "reproduced", "time_ratio at most 0.55 < 1: 3 of 3 seeds of taught and 2 of 3"),
        ((20, 30, 100), (90, 120, None), "undecided", "time_ratio at most 1.09, which allows 1: 3 of 3"),
        ((90, 120, None), (20, 30, 40), "not reproduced", "time_ratio at least 1.83 > 1: 2 of 3 seeds of taught and 3 of 3"),
        ((20, 30, None), (90, 120, None), "undecided", "no interval: 2 of 3 seeds of taught and 2 of 3 seeds of plain"),
    ],
)  # fmt: skip
def test_where_too_few_seeds_arrive_bounds_decide_if_they_can(mine, theirs, verdict, evidence):
    arms = two_arms(arriving(*mine))
    arms["plain"]["curve"] = curve(*arriving(*theirs))
    report = build_report(EXPERIMENT, arms, [Claim("c", "s", "taught", "time_ratio", "below one")])
    assert report["claims"][0]["verdict"] == verdict and report["claims"][0]["evidence"].startswith(evidence)


def test_bounds_contain_the_interval_where_there_is_one():
    rng = np.random.default_rng(0)
    for seeds in (2, 3, 5):
        for _ in range(20):
            mine, theirs = (arriving(*10 * rng.integers(1, 18, seeds)) for _ in range(2))
            arms = two_arms(mine)
            arms["plain"]["curve"] = curve(*theirs)
            found = build_report(EXPERIMENT, arms)["arms"]
            low, high = time_bounds(found["taught"], found["plain"])
            inner = found["taught"]["time_ratio_interval"]
            assert low <= inner["low"] + 1e-6 and inner["high"] <= high + 1e-6  # numbers of a report are rounded


def test_claim_refuses_an_unknown_expectation():
    with pytest.raises(ValueError, match="expect"):
        Claim("c", "s", "a", "jump_start", "nice")


# ------------------------------------------------------------------ text


def test_numbers_as_text():
    assert [text(x) for x in (None, np.inf, 0.0, 90000.0, -41.0, 12.34, 0.3123, 0.0123, -0.001)] == [
        "–",
        "–",
        "0.00",
        "90,000",
        "-41.0",
        "12.3",
        "0.31",
        "0.012",
        "-0.0010",
    ]
    assert interval_text({"iqm": 0.4, "low": -0.6, "high": 1.5}) == "0.40 [-0.60, 1.50]"
    assert interval_text({"iqm": None, "low": 80000, "high": None}) == "never [80,000, never]"
    assert interval_text({"iqm": 3.0, "low": None, "high": None}) == "3.00"
    assert interval_text(None) == "–"


def test_plain_leaves_nothing_that_json_lacks():
    data = {
        "a": np.float32("nan"),
        1: (np.int64(3), np.bool_(True)),
        "p": Path("x"),
        "f": np.array([[1.23456, np.inf]]),
    }
    assert plain(data, 2) == {"a": None, "1": [3, True], "p": "x", "f": [[1.23, None]]}
    assert number(12.299999999999997) == 12.3
    assert json.loads(script_json(HOSTILE)) == HOSTILE
    assert not set("<>&") & set(script_json(HOSTILE))


def test_headline_speaks_from_the_intervals():
    said = headline(build_report(EXPERIMENT, two_arms(), [Claim("c", "s", "taught", "jump_start", "positive")]))
    assert said.startswith("1 of 1 claim reproduced: taught starts ")
    assert " above plain, reaches the threshold in " in said
    assert "with the teacher's steps charged" in said
    arms = two_arms()
    arms["other"] = arms["taught"]
    first, second = headline(build_report(EXPERIMENT | {"headline": "other"}, arms)).split(". ")
    assert first.startswith("taught starts") and second.startswith("other starts"), "all that are compared, in their order"
    told = headline(build_report(EXPERIMENT | {"headline": "other", "title": "An experiment"}, arms))
    assert told.startswith("other starts") and "taught" not in told
    smoke = headline(build_report(EXPERIMENT | {"scale": "smoke"}, two_arms()))
    assert smoke.startswith("A smoke run shows that everything works: its numbers and verdicts mean nothing. taught starts")


def test_printed_table_holds_every_row():
    from rich.console import Console

    report = build_report(EXPERIMENT, two_arms(), [Claim("It [bold]helps", "s", "taught", "jump_start", "positive")])
    out = io.StringIO()
    print_report(report, Console(file=out, width=200))
    for word in ("plain", "taught", "It [bold]helps", "reproduced", *(cell for row in rows(report) for cell in row)):
        assert word in out.getvalue()


def printed(report, width):
    from rich.console import Console

    out = io.StringIO()
    print_report(report, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [45, 60, 80, 400])
def test_a_narrow_terminal_breaks_no_number(width):
    arms = two_arms()
    report = build_report(EXPERIMENT, arms | {f"taught-{i}": arms["taught"] for i in range(4)})
    text = printed(report, width)
    for row in rows(report):
        for cell in row:
            assert cell in text
    assert max(map(len, text.splitlines())) <= width
    parts = len(re.findall(r"^ *initial +\d", text, re.MULTILINE))
    assert parts == {45: 6, 60: 6, 80: 3, 400: 1}[width], "the quantities once in each part"


def test_one_seed_has_no_interval_to_explain():
    assert "episode return, of one seed, so without an interval\n" in printed(build_report(EXPERIMENT, two_arms(seeds=1)), 200)
    assert "interquartile mean [95 % interval] over 4 seeds\n" in printed(build_report(EXPERIMENT, two_arms()), 200)


def test_times_that_are_missing_are_explained():
    arms = two_arms()
    flat = {name: arm | {"curve": Curve(arm["curve"].env_steps, 0 * arm["curve"].returns)} for name, arm in arms.items()}
    report = build_report(EXPERIMENT, flat)
    why = "o threshold, and so no times to it: the return of plain did not improve by more than it fluctuates"
    assert f"n{why}" in printed(report, 200) and f"N{why}." in render_html(report, [], {})
    lost = arms["plain"] | {"curve": Curve(arms["plain"]["curve"].env_steps, np.nan * arms["plain"]["curve"].returns)}
    claims = [Claim("c", "s", "taught", quantity, "positive") for quantity in ("time_ratio", "recovered")]
    report = build_report(EXPERIMENT, arms | {"plain": lost}, claims)
    assert "no threshold, and so no times to it: the return of plain diverged" in printed(report, 200)
    assert all(claim["evidence"].endswith("plain diverged") for claim in report["claims"])
    plain = build_report(EXPERIMENT, arms)
    assert "no threshold" not in printed(plain, 200) and "no time ratio" not in printed(plain, 200)
    never = build_report({**EXPERIMENT, "goal": 1e6}, arms)
    assert "no time ratio: too few seeds of plain, or of all others, reach the threshold" in printed(never, 200)


# ------------------------------------------------------------------ files and page


def replay(title="plain"):
    entities = [{"name": "agent_0", "kind": "agent", "radius": 0.15, "colors": ["#4477aa"]}]
    frames = np.array([[[0.123456, 0.5]], [[np.nan, 0.0]]])
    return {
        "title": title,
        "subtitle": "return -3",
        "extent": 1.5,
        "entities": entities,
        "frames": frames,
        "score": [0, -3],
    }


class Page(HTMLParser):
    """Every attribute and the content of every script, as a browser would take them apart."""

    def __init__(self, page):
        super().__init__()
        self.found, self.scripts, self.words, self.inside = [], [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        else:
            self.words.append(data)


def test_page_needs_no_network_and_holds_the_replays():
    report = build_report(EXPERIMENT, two_arms(), [Claim("It helps", "Fig. 1", "taught", "jump_start", "positive")])
    page = Page(render_html(report, [replay(), replay("taught")], {"command": "x", "versions": {"numpy": "2"}}))
    for tag, attributes in page.found:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base"}
        assert not {"src", "href", "srcset", "action"} & attributes.keys()
    assert any("default-src 'none'" in (a.get("content") or "") for _, a in page.found)
    assert "@import" not in page.words and not any("url(" in words for words in page.words)
    data = json.loads(page.scripts[0])
    assert [r["title"] for r in data["replays"]] == ["plain", "taught"]
    assert data["replays"][0]["frames"] == [[[0.1235, 0.5]], [[None, 0.0]]]
    assert len([tag for tag, a in page.found if tag == "canvas" and a["class"] == "world"]) == 2
    lines = [t for t in data["figures"]["curves"]["data"] if t.get("name")]
    assert [t["name"] for t in lines] == ["plain", "taught"]
    assert lines[1]["meta"]["teacher_steps"] == 75
    words = " ".join(page.words)
    assert "It helps" in words and "versions.numpy" in words and "jump_start" in words


# A page for page.js: every element takes anything, and canvases write down what is drawn on them.
STAGE = """
const fs = require("fs"), [script, data] = process.argv.slice(1).map(path => fs.readFileSync(path, "utf8"));
const inputs = {}, drawn = [];
const pen = new Proxy({}, { get: (ink, what) => what in ink ? ink[what] : (...given) => {
  if (what === "measureText") return { width: 8 * given[0].length };
  drawn.push({ what, given, fill: ink.fillStyle, stroke: ink.strokeStyle });
} });
const canvas = { clientWidth: 300, clientHeight: 300, getContext: () => pen };
const deaf = { clientWidth: 300, clientHeight: 44, getContext: () => new Proxy({}, { get: () => () => 0, set: () => true }) };
const box = { querySelector: name => ({ ".world": canvas, ".score": deaf })[name] || {} };
const element = id => inputs[id] ??= { addEventListener: (_, heard) => inputs[id].heard = heard, setAttribute() {} };
globalThis.document = {
  getElementById: id => id === "data" ? { textContent: data } : element(id),
  querySelectorAll: name => name.startsWith("#replays") ? [box] : [],
};
globalThis.matchMedia = () => ({ matches: true, addEventListener() {} });
globalThis.getComputedStyle = () => ({ getPropertyValue: name => name });
globalThis.addEventListener = () => 0;
globalThis.devicePixelRatio = 1;
eval(script);
const shown = [];
for (const time of [0, 1.5, 2, 3]) {
  drawn.length = 0;
  inputs.scrub.value = time;
  inputs.scrub.heard();
  shown.push(drawn.slice());
}
console.log(JSON.stringify(shown));
"""


def played(tmp_path, replay):
    """What page.js draws of a replay on its canvas at times 0, 1.5, 2 and 3."""
    (tmp_path / "data.json").write_text(json.dumps({"figures": {}, "replays": plain([replay])}))
    command = ["node", "-e", STAGE, str(Path(package.__file__).parent / "page.js"), str(tmp_path / "data.json")]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script in node")
def test_page_draws_shades_words_and_nothing_of_what_is_hidden(tmp_path):
    kinds = ("agent", "adversary", "prey", "collector", "bank", "speaker", "listener", "landmark", "obstacle", "treasure")
    entities = [{"name": k, "kind": k, "radius": 0.01 * (5 + i), "colors": [f"{k}-0", f"{k}-1"]} for i, k in enumerate(kinds)]
    places = [[-0.8 + 0.15 * i, 0.1] for i in range(10)]
    frames = [places, places, [*places[:3], None, *places[4:]], places]
    shades = [[0] * 10, [1] + [0] * 9, [0] * 9 + [1], [0] * 10]
    words = [[-1] * 10, [-1] * 4 + [2] + [-1] * 5, [-1] * 10, [-1] * 3 + [27] + [-1] * 6]
    seen = {"title": "x", "extent": 1.5, "entities": entities, "frames": frames, "score": [0, 1, 2, 3]}
    for t, moment in enumerate(played(tmp_path, {**seen, "shades": shades, "words": words})):
        circles = [(call["given"], after["fill"]) for call, after in itertools.pairwise(moment) if call["what"] == "arc"]
        expected = [(p, e, s) for p, e, s in zip(frames[t], entities, shades[t], strict=True) if p is not None]
        expected.sort(key=lambda shown: shown[1]["kind"] not in ("landmark", "obstacle", "treasure"))
        assert [fill for _, fill in circles] == [e["colors"][s] for _, e, s in expected]
        for (found, _), (place, entity, _) in zip(circles, expected, strict=True):
            assert found[:3] == pytest.approx([150 + 100 * place[0], 150 - 100 * place[1], 100 * entity["radius"]])
        assert [call["given"][0] for call in moment if call["what"] == "fillText"] == [[], ["C"], [], ["AB"]][t]
    without = [call for moment in played(tmp_path, seen) for call in moment]
    assert not [call for call in without if call["what"] == "fillText"]
    assert not any(str(call["fill"]).endswith("-1") for call in without)


def test_hostile_names_stay_text():
    arms = two_arms()
    arms = {"plain": arms["plain"], HOSTILE: arms["taught"]}
    arms[HOSTILE]["stages"][0]["env"] = HOSTILE
    claims = [Claim(HOSTILE, HOSTILE, HOSTILE, "jump_start", "positive")]
    settings = {"title": HOSTILE, "experiment": HOSTILE, "metric": HOSTILE, "scale": HOSTILE}
    report = build_report(settings, arms, claims)
    harmless = Page(render_html(build_report(EXPERIMENT, two_arms(), claims), [replay()], {"a": "b"}))
    page = Page(render_html(report, [replay(HOSTILE)], {HOSTILE: HOSTILE}))
    assert len(page.scripts) == len(harmless.scripts) == 3
    assert not any("onmouseover" in attributes for _, attributes in page.found)
    assert sum(HOSTILE in words for words in page.words) >= 6
    assert json.loads(page.scripts[0])["replays"][0]["title"] == HOSTILE
    # plotly reads a few tags in names and titles: they too must arrive escaped
    shown = json.loads(page.scripts[0])["figures"]
    labels = [t.get(k) for figure in shown.values() for t in figure["data"] for k in ("name", "legendgroup")]
    labels += [
        shown["curves"]["layout"]["yaxis"]["title"]["text"],
        *(y for t in shown["effects"]["data"] for y in t["y"]),
    ]
    assert any("&lt;b" in label for label in labels if label) and not any("<" in label for label in labels if label)


def test_page_shows_who_attends_to_whom():
    """A heat map for each arm that attends, with names as text; a vertex that a critic does not have stays empty."""
    arms = two_arms()
    weights = np.array([[0.75, 0.25, np.nan], [0.5, 0.123456, 0.376544]])
    arms["taught"]["attention"] = {"agents": ["hawk", HOSTILE], "vertices": ["hawk", HOSTILE, "prey"], "weights": weights}
    report = build_report(EXPERIMENT, arms)
    assert report["arms"]["taught"]["attention"]["weights"] == [[0.75, 0.25, None], [0.5, 0.1235, 0.3765]]
    assert "attention" not in report["arms"]["plain"]
    page = Page(render_html(report, [], {}))
    shown = json.loads(page.scripts[0])["figures"]["attention"]
    assert "Who attends to whom" in page.words and len(shown["data"]) == 1
    assert shown["data"][0]["z"] == [[0.75, 0.25, None], [0.5, 0.1235, 0.3765]]
    assert shown["data"][0]["text"][0] == ["0.75", "0.25", ""]
    named = [*shown["layout"]["yaxis"]["ticktext"], *shown["layout"]["xaxis"]["ticktext"]]
    assert [name for name in named if "alert" not in name] == ["hawk", "hawk", "prey"]
    hovered = [name for pair in shown["data"][0]["customdata"][1] for name in pair]
    assert not any("<" in name for name in [*named, *hovered])
    without = Page(render_html(build_report(EXPERIMENT, two_arms()), [], {}))
    assert "attention" not in json.loads(without.scripts[0])["figures"] and "Who attends to whom" not in without.words
    arms["plain"]["attention"] = {"agents": ["hawk"], "vertices": ["hawk"], "weights": [[1.0]]}
    both = json.loads(Page(render_html(build_report(EXPERIMENT, arms), [], {})).scripts[0])["figures"]["attention"]
    assert [note["text"] for note in both["layout"]["annotations"]] == ["plain", "taught"]


def test_page_of_a_single_run():
    report = build_report({"experiment": "mine", "kind": "run"}, {"maddpg": two_arms(seeds=1)["plain"]})
    page = Page(render_html(report, [], {}))
    words = " ".join(page.words)
    assert "Claims" not in words and "Teams at play" not in words and "What the teacher changed" not in words
    assert report["arms"]["maddpg"]["curve"]["low"] == [None] * 21


def test_read_a_run(tmp_path):
    settings = {"format": 1, "config": {"env": {"name": "spread"}, "learner": {}}, "seeds": [0, 7], "env_steps": 20}
    settings |= {"learning_starts": 5, "timing": {"run_s": 1.5, "compile_s": 0.5}}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    lines = ["seed,env_steps,updates,loss,eval_return", "0,0,0,,1", "7,0,0,,2", "0,10,1,.1,3", "7,10,1,.1,nan"]
    lines += ["0,15,1,.1,", "7,15,1,.1,", "0,10,1,.1,5", "0,20,2,.1,9"]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    found = read_curve(tmp_path)
    np.testing.assert_array_equal(found.env_steps, [0, 10])
    np.testing.assert_array_equal(found.returns, [[1, 5], [2, np.nan]])
    assert found.learning_starts == 5
    expected = {"name": "teacher", "env": "spread", "env_steps": 20, "run_s": 1.5, "compile_s": 0.5}
    assert read_stage(tmp_path, "teacher") == expected
    (tmp_path / "metrics.csv").write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(ValueError, match="no point"):
        read_curve(tmp_path)


def test_read_a_run_by_another_metric(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "seeds": [0], "env_steps": 10}))
    lines = ["seed,env_steps,updates,eval_return,eval_return/prey,eval_event/tag", "0,0,0,1,2,3", "0,10,1,4,5,6"]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    for metric, expected in (("return", [1, 4]), ("return/prey", [2, 5]), ("tag", [3, 6])):
        np.testing.assert_array_equal(read_curve(tmp_path, metric).returns, [expected])
    with pytest.raises(
        HeadstartError, match="no column eval_event/win for the metric 'win': eval_return, eval_return/prey"
    ) as e:
        read_curve(tmp_path, "win")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("metric", "name", "shown"),
    [
        ("return", "episode_return", "episode return"),
        ("return/prey", "episode_return/prey", "episode return of prey"),
        ("tag", "tag", "tag per episode"),
        ("win", "win", "win rate"),
    ],
)
def test_a_report_calls_its_metric_by_name(metric, name, shown):
    from rich.console import Console

    assert name_in_report(metric) == name and label(name) == shown
    report = build_report({**EXPERIMENT, "metric": name}, two_arms())
    assert report["metric"] == name
    page = Page(render_html(report, [], {}))
    assert json.loads(page.scripts[0])["figures"]["curves"]["layout"]["yaxis"]["title"]["text"] == shown
    assert any(f"baseline's {shown} before training" in words for words in page.words)
    out = io.StringIO()
    print_report(report, Console(file=out, width=100))
    assert shown in out.getvalue()


def test_write_replaces_whole_files_or_none(tmp_path):
    report = build_report(EXPERIMENT, two_arms())
    paths = write(tmp_path / "out", report, [replay()], {"seeds": [0, 1]})
    assert json.loads(paths[0].read_text()) == report
    before = paths[0].read_bytes(), paths[1].read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "out", {**report, "threshold": float("nan")})
    assert (paths[0].read_bytes(), paths[1].read_bytes()) == before
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]


def test_report_imports_no_jax():
    for path in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {n.split(".")[0] for n in names} & {"jax", "jaxlib", "equinox", "optax"}, path.name
            ours = [n for n in names if n.startswith("headstart")]
            allowed = ("headstart.report", "headstart.core.checks", "headstart.core.cost", "headstart.storage")
            assert all(n.startswith(allowed) for n in ours), path.name
            assert "headstart.storage.arrays" not in ours, path.name
