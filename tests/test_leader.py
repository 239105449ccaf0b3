"""The leader's experiments: what is copied in each arm, and the measures of a hunt."""

import dataclasses
import html
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import headstart.experiments.hunting as hunting
from headstart.core.checks import HeadstartError
from headstart.core.guidance import chain, start_rows
from headstart.envs.particle.spread import Spread
from headstart.envs.particle.tag import Tag
from headstart.learners.ddpg import DDPG
from headstart.papers.leader import EXPERIMENTS, PLANS
from headstart.report.build import build_report
from headstart.report.html import render_html
from headstart.report.plain import interval_text
from headstart.report.table import caption, filled
from headstart.report.transfer import Curve
from headstart.teams.policy import TeamPolicy


def untrained(stage):
    """The team of a stage before it learns."""
    params = jax.eval_shape(stage.learner.make(stage.env.spec).init, jr.key(0))
    zeros = jax.tree.map(lambda x: jnp.zeros((1, *x.shape), x.dtype), params)
    return TeamPolicy(stage.env.spec, stage.learner, zeros, (0,), stage.env)


def outcomes(experiment, name):
    """{parameter: what becomes of it} as an arm's last stage begins."""
    stages = {stage.name: stage for stage in experiment.stages}
    last = experiment.arms[name].stages[-1]
    learner = last.learner.make(last.env.spec)
    taught = [dataclasses.replace(guide, teacher=untrained(stages[guide.teacher])) for guide in last.guidance]
    rows = start_rows(chain(*(guide.make(last.env.spec, learner) for guide in taught)), learner)
    return {parameter: happened for parameter, happened, _ in rows}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_stage_begins_with_what_its_arm_is_about(name):
    experiment = EXPERIMENTS[name]("smoke")
    for arm in experiment.arms:
        found = outcomes(experiment, arm)
        few_shot = name == "few-shot"
        if arm == "maddpg" and not few_shot:
            assert not found
            continue
        copied = {parameter for parameter, happened in found.items() if happened == "loaded"}
        if few_shot:  # the same task with faster prey: all of it
            assert copied == set(found) and {p.split("/")[0] for p in found} == {"actor", "critic"}
            assert {p.split("/")[1].split(".")[0] for p in found} == {"leader", "adversary"}
            continue
        assert all(p.split("/")[1].startswith("leader") for p in found)  # novices are fresh
        if arm.startswith("by-field"):
            assert {p for p in found if p not in copied} == {"actor/leader.layers[0].weight"}
            assert found["actor/leader.layers[0].weight"] == "adapted"
            continue
        assert {p for p in found if p.startswith("actor/leader.trunk")} == {p for p in copied if p.startswith("actor/")}
        new = {p for p in found if p.startswith("critic/") and p not in copied}
        if arm == "lldr":
            assert not any(p.startswith("critic/") for p in found)
        elif arm == "lldr-critic":
            assert new == {"critic/leader.embed.weight", "critic/leader.embed.bias"}
        else:
            assert new == {"critic/leader.agents[0].weight"} and "critic/leader.graph.pool.query" in copied


def test_scales_are_what_the_page_says():
    assert PLANS["laptop"].seeds >= 3 and PLANS["paper"].team == 1_000_000
    assert EXPERIMENTS["fast-prey"]("paper").stages[-1].steps == 200_000
    assert EXPERIMENTS["fast-prey"]("smoke").stages[-1].env.env.scale_acceleration
    assert not EXPERIMENTS["fast-prey-literal"]("smoke").stages[-1].env.env.scale_acceleration


def test_the_measures_of_a_hunt_against_loops():
    hunters = np.array([[0.1, 0.0], [-0.1, 0.0], [0.0, 0.4], [0.9, 0.9]])
    prey = np.array([[0.0, 0.0], [0.9, 0.8], [-0.9, -0.9]])
    near, spread, tagged, tags = 0, 0.0, 0, 0
    for p in prey:
        around = [h - p for h in hunters if math.dist(h, p) < 0.5]
        near += len(around)
        touching = sum(math.dist(h, p) < 0.075 + 0.05 for h in hunters)
        tags += touching
        if touching:
            tagged += 1
            spread += 1 - np.linalg.norm(sum(d / np.linalg.norm(d) for d in around)) / len(around)
    got = hunting.moments(jnp.asarray(hunters, jnp.float32), jnp.asarray(prey, jnp.float32))
    want = {"near": near / 3, "spread": spread, "tagged": tagged, "tags": tags}
    assert (tags, tagged) == (3, 2) and 0.6 < spread < 0.7  # one is surrounded from three sides, one met by a single predator
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, atol=1e-4)


def test_a_runs_hunt_is_that_of_each_of_its_seeds(tmp_path):
    env = Tag(2, policy="random", horizon=5)
    learner = DDPG(hidden=(4,))
    params = jax.vmap(learner.make(env.spec).init)(jr.split(jr.key(0), 2))
    TeamPolicy(env.spec, learner, params, (0, 1), env).save(tmp_path / "team")
    found = {name: measure(tmp_path / "team") for name, measure in hunting.MEASURES.items()}
    assert all(x.shape == (2,) for x in found.values()) and (found["near"] > 0).all()
    spread = Spread(2)
    params = jax.vmap(learner.make(spread.spec).init)(jr.split(jr.key(0), 1))
    TeamPolicy(spread.spec, learner, params, (0,), spread).save(tmp_path / "other")
    with pytest.raises(HeadstartError, match="its environment is Spread, not tag"):
        hunting.MEASURES["near"](tmp_path / "other")


def test_measures_that_arms_share_are_compared():
    curve = lambda: Curve(np.array([0, 10]), np.zeros((3, 2)))
    arms = {
        "plain": {"stages": [{}], "curve": curve(), "versus": None, "measures": {"near": np.array([1.0, 1.1, 0.9])}},
        "taught": {"stages": [{}], "curve": curve(), "versus": "plain", "measures": {"near": np.array([2.0, 2.1, 1.9])}},
    }
    report = build_report({"experiment": "x"}, arms)["arms"]["taught"]
    assert abs(report["near_gain"]["iqm"] - 1) < 0.05 and report["near_gain"]["low"] > 0.5


def test_measures_are_shown_and_defined_in_the_table_and_on_the_page():
    meant = {name: measure.meaning for name, measure in hunting.MEASURES.items()} | {"of_one": "what only one arm has"}
    values = dict.fromkeys(("near", "surround", "tags"), np.array([1.0, 2.0, 3.0]))
    arms = {
        "plain": {"stages": [{}], "curve": Curve(np.array([0, 10]), np.zeros((3, 2))), "measures": values},
        "other": {"stages": [{}], "curve": Curve(np.array([0, 10]), np.zeros((3, 2))), "measures": {"of_one": np.ones(3)}},
    }
    report = build_report({"experiment": "x", "measures": meant}, arms)
    columns, rows = filled(report)
    shown = dict(zip(columns, rows[0], strict=True))
    assert columns[-4:] == ("near", "surround", "tags", "of one") and shown["of one"] == "–"
    assert shown["near"] == interval_text(report["arms"]["plain"]["near"]) and shown["near"].startswith("2.00 [1.00")
    page = html.unescape(render_html(report, [], {}))
    for name, meaning in meant.items():
        name = name.replace("_", " ")
        assert f"\n{name}: {meaning}" in caption(report)
        assert f"<dt>{name.capitalize()}</dt><dd>{meaning[0].upper()}{meaning[1:]}.</dd>" in page
