"""The master-slave framework: who trains where, the tables' quantities, and a slave with a part of the actions."""

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
from headstart.experiments import run
from headstart.guidance.companion import Companion
from headstart.guidance.warm_start import WarmStart
from headstart.learners.ppo import PPO
from headstart.papers.master_slave import EXPERIMENTS
from headstart.papers.master_slave.tested import MEASURES, of_episodes
from headstart.teams.policy import TeamPolicy

needs_mujoco = pytest.mark.skipif(not installed("mujoco"), reason="needs mujoco")


@needs_mujoco
@pytest.mark.parametrize("name", EXPERIMENTS)
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
