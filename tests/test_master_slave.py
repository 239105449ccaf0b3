"""The master-slave framework: who trains where, the quantities that are compared, and a slave with a part of the actions."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import fresh, small

from headstart.core.guidance import start_rows
from headstart.core.own import installed
from headstart.core.types import Continuous, Field, RoleSpec, TeamSpec
from headstart.envs.architecture.env import Architecture
from headstart.experiments import run
from headstart.guidance.companion import Companion
from headstart.guidance.warm_start import WarmStart
from headstart.learners.ppo import PPO
from headstart.papers.master_slave import EXPERIMENTS, search
from headstart.papers.master_slave.tested import MEASURES, of_episodes
from headstart.teams.policy import TeamPolicy

needs_mujoco = pytest.mark.skipif(not installed("mujoco"), reason="needs mujoco")


@needs_mujoco
@pytest.mark.parametrize("name", ["walker2d", "humanoid"])
@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_the_slave_helps_in_three_ways(name, scale):
    experiment = EXPERIMENTS[name](scale)
    assert list(experiment.arms) == ["slave", "master", "pretrain", "multitask", "momentum"]
    assert experiment.headline in experiment.arms and {claim.arm for claim in experiment.claims} <= set(experiment.arms)
    slave, master = (experiment.arms[arm].stages[-1] for arm in ("slave", "master"))
    for arm in ("pretrain", "multitask", "momentum"):
        *before, last = experiment.arms[arm].stages
        (guide,) = last.guidance
        assert (last.env, last.learner, last.steps) == (master.env, master.learner, master.steps)
        assert before == ([slave] if arm == "pretrain" else [])
        if arm == "pretrain":
            assert guide == WarmStart("slave", ("actor", "critic", "inputs"))
        else:
            assert guide == Companion(slave.env, coupling="tie" if arm == "multitask" else "momentum")
    settings = master.learner
    assert scale == "smoke" or len(settings.hidden) == 3
    assert (settings.lr, settings.gamma, settings.lam, settings.clip) == (3e-4, 0.99, 0.95, 0.2)
    assert settings.obs_norm


def test_the_tables_quantities_by_hand():
    found = of_episodes(
        np.array([[1.0, 2, 3, 6], [1, 2, 3, 4]]), np.array([[4, 2, 4, 2]] * 2), np.array([[1.0, 0, 1, 0], [0] * 4])
    )
    assert set(found) == set(MEASURES)
    np.testing.assert_array_equal(found["success_rate"], [0.5, 0])
    np.testing.assert_array_equal(found["reward"], [3, 2.5])
    np.testing.assert_array_equal(found["successful_reward"], [2, np.nan])
    np.testing.assert_array_equal(found["length"], [3, 3])


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_two_slaves_search_a_smaller_space(scale):
    experiment = EXPERIMENTS["nas"](scale)
    assert list(experiment.arms) == ["direct", "momentum", "literal", "naive"] and experiment.metric == "agreement"
    (master,) = experiment.arms["direct"].stages
    (matching,) = master.guidance
    assert (master.env, matching.expert) == (Architecture(24), Architecture(24)) and not matching.teacher
    ways = {"momentum": ("momentum", "intended"), "literal": ("momentum", "literal"), "naive": ("sum", "intended")}
    for name, way in ways.items():
        (stage,) = experiment.arms[name].stages
        own, slaves = stage.guidance
        assert dataclasses.replace(stage, name="direct", guidance=(own,)) == master
        assert (slaves.coupling, slaves.form, slaves.count, slaves.updates, slaves.every) == (*way, 2, 2, 1)
        assert slaves.env == Architecture(8, "reduced") and slaves.guidance[0].expert == slaves.env
        assert dataclasses.replace(slaves.guidance[0], expert=master.env) == matching
        assert dataclasses.replace(slaves.learner, rollout=master.learner.rollout) == master.learner
        assert not slaves.guidance[0].teacher, "a companion's guidance can have none"


def test_distances_by_hand():
    """Twenty points after the one before training; with slaves, half of them are affordable."""
    distance = np.concatenate([[np.nan], np.arange(20, 0, -1.0)])
    found = search.of_distances(np.arange(21), np.stack([distance, 2 * distance]), 2 * np.arange(21))
    assert set(found) == set(search.MEASURES)
    np.testing.assert_array_equal(found["final_distance"], [1.5, 3])
    np.testing.assert_array_equal(found["mean_distance"], [10.5, 21])
    np.testing.assert_array_equal(found["charged_distance"], [11, 22])
    nothing = search.of_distances(np.arange(3), np.array([[np.nan, 2, 1]]), 3 * np.arange(3))
    np.testing.assert_array_equal(nothing["charged_distance"], [np.nan])


def acting_by(*names, fields=("height",)) -> TeamSpec:
    ends = (-0.4,) * len(names), (0.4,) * len(names)
    obs = tuple(Field(field, 1, 2, own=True) for field in fields)
    return TeamSpec({"agent": RoleSpec(1, obs, Continuous(len(names), *ends, names))}, 5)


def test_a_warm_start_from_a_part_of_the_actions_leaves_the_others_at_0():
    """Each number of the teacher's action is in its place by name; what the student alone observes does not matter yet."""
    theirs, ours = acting_by("knee", "hip"), acting_by("arm", "hip", "knee", fields=("height", "arms"))
    config = small(PPO(), hidden=(8, 8), obs_norm=True)
    team = TeamPolicy(theirs, config, fresh(config, theirs, 1), (0,), None)
    learner = config.make(ours)
    guide = WarmStart(team, ("actor", "critic", "inputs")).make(ours, learner)
    params, rows = guide.start(team.seed(0), learner.init(jax.random.key(1)))
    assert {name for name, happened, _ in rows if happened == "re-initialised"} == set()
    assert rows == start_rows(guide, learner)
    obs = jnp.asarray(np.random.default_rng(0).normal(size=(6, 1, 4)), jnp.float32)
    taught = np.asarray(config.make(theirs).policy(team.seed(0), (), {"agent": obs[..., :2]})[1]["agent"])
    found = np.asarray(learner.policy(params, (), {"agent": obs})[1]["agent"])
    np.testing.assert_allclose(found, np.stack([0 * taught[..., 0], taught[..., 1], taught[..., 0]], -1), rtol=1e-5, atol=1e-6)
    assert np.abs(taught).max() > 0
    actor = params["actor"]["agent"].net
    np.testing.assert_array_equal(actor.log_std, learner.init(jax.random.key(1))["actor"]["agent"].net.log_std)


@needs_mujoco
@pytest.mark.slow
def test_an_experiment_runs_at_smoke_scale(tmp_path):
    make = lambda scale: dataclasses.replace(EXPERIMENTS["humanoid"](scale), seeds=1)
    report = run.reproduce("master_slave/humanoid", make, "smoke", tmp_path / "out", arms=("pretrain", "multitask"))
    steps = make("smoke").arms["master"].stages[-1].steps
    stages = {arm: [(stage["name"], stage["env_steps"]) for stage in found["stages"]] for arm, found in report["arms"].items()}
    assert stages == {
        "master": [("master", steps)],
        "pretrain": [("slave", steps), ("pretrain", steps)],
        "multitask": [("companion of multitask", steps), ("multitask", steps)],
    }
    assert all(set(MEASURES) <= set(found) for found in report["arms"].values())
    saved = json.loads((tmp_path / "out/report.json").read_text())
    assert len(saved["claims"]) == len([c for c in make("smoke").claims if c.arm in stages])


@pytest.mark.slow
def test_architecture_search_runs_at_smoke_scale(tmp_path):
    """What two slaves take is charged, and the measures are those of metrics.csv."""
    make = lambda scale: dataclasses.replace(EXPERIMENTS["nas"](scale), seeds=1)
    report = run.reproduce("master_slave/nas", make, "smoke", tmp_path / "out", arms=("momentum",))
    stages = {arm: [(stage["name"], stage["env_steps"]) for stage in found["stages"]] for arm, found in report["arms"].items()}
    updates = 256 // (2 * 32)
    slaves = ("companion of momentum", 2 * 2 * updates * 2 * 9)
    assert stages == {"direct": [("direct", 256)], "momentum": [slaves, ("momentum", 256)]}
    for arm in stages:
        rows = np.genfromtxt(tmp_path / "out/stages" / arm / "metrics.csv", delimiter=",", names=True)["feature_distance"]
        assert np.isclose(report["arms"][arm]["mean_distance"]["iqm"], np.nanmean(rows))
