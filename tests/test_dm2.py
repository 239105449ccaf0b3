"""DM²'s experiments: what is recorded of whom, and that a stage learns from demonstrations that the experiment has recorded."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from instant import ENV, LEARNER, without_training
from probes import Lengths, random_demos

from headstart.core.checks import HeadstartError
from headstart.experiments import run as experiments
from headstart.experiments.base import Arm, Experiment, Stage, stage_of
from headstart.experiments.recordings import Recording
from headstart.guidance.gail import Gail
from headstart.learners.ppo import PPO
from headstart.papers.dm2 import EXPERIMENTS, particles, task
from headstart.papers.dm2.battles import FIVE_MARINES, THREE_STALKERS
from headstart.storage import files
from headstart.teams.policy import TeamPolicy
from headstart.teams.recording import record
from headstart.teams.saved_demos import load_demos

TAUGHT = ["5m_vs_6m", "3s_vs_4z", "ablation-5m_vs_6m"]


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
@pytest.mark.parametrize("name", TAUGHT)
def test_every_arm_learns_from_a_team_of_the_demonstrators(name, scale):
    experiment = EXPERIMENTS[name](scale)
    assert experiment.headline in experiment.arms and {claim.arm for claim in experiment.claims} <= set(experiment.arms)
    stages = {stage.name: stage for stage in experiment.stages}
    shown, alone = experiment.stages[0], stages["ippo"].learner
    assert shown.name == ("ippo" if scale == "paper" else "demonstrators")
    surely = {"after_death": False} if scale != "paper" and name != "3s_vs_4z" else {}
    assert shown.learner == dataclasses.replace(alone, shared=scale != "paper", **surely) and not alone.shared
    for stage in experiment.stages:
        stage.learner.make(stage.env.spec)
        for guide in stage.guidance:
            assert stage_of(guide.teacher) == shown.name and stage.learner == alone
            assert guide.env_reward != stage.name.startswith("imitation")


def test_settings_are_those_of_the_papers_tables():
    for battle, epochs, clip, coefficient in ((FIVE_MARINES, 10, 0.05, 0.3), (THREE_STALKERS, 15, 0.2, 0.05)):
        plan = task.PLANS["paper"]
        ppo, (guide,) = battle.ippo(plan), battle.taught("x", plan, task.recording(plan, 30)).guidance
        assert (ppo.epochs, ppo.clip, ppo.actor_gain, guide.coefficient, guide.steps) == (epochs, clip, 0.01, coefficient, 120)
        assert (plan.episodes, plan.seeds, guide.hidden, guide.penalty, guide.lr) == (1000, 5, (64, 64), 10, 1e-3)
        assert not ppo.shared and ppo.core == "gru" and ppo.critic == "local"


def test_recordings_are_of_the_units_and_episodes_that_their_names_say(monkeypatch):
    """Of a team of two agents with three seeds, of which the last wins most nearly as often as asked."""
    asked = []

    def recorded(team, episodes, seed=0, first_episode=0):
        asked.append((seed, first_episode, episodes))
        return dataclasses.replace(
            random_demos(Lengths(), episodes), events={"win": np.full(episodes, (0.9, 0.0, 0.4)[seed], np.float32)}
        )

    team, plan = (
        TeamPolicy(Lengths().spec, PPO(), {}, (5, 6, 7), Lengths()),
        dataclasses.replace(task.PLANS["smoke"], episodes=4),
    )
    noted = lambda demos, **notes: dataclasses.replace(demos, notes=notes)
    monkeypatch.setattr(task, "record", recorded)
    monkeypatch.setattr(task, "non_concurrent", lambda demos: noted(demos, own=len(demos)))
    wins = lambda demos: float(demos.events["win"][0])
    monkeypatch.setattr(task, "independent", lambda *demos: noted(demos[0], of=[wins(each) for each in demos]))
    every = [(0, 0, 4), (1, 0, 4), (2, 0, 4)]
    assert wins(task.recording(plan, 30).record(team)) == np.float32(0.4) and asked == every
    asked.clear()
    assert task.recording(plan, 30, concurrent=False).record(team).notes == {"own": 8} and asked == [*every, (2, 0, 8)]
    asked.clear()
    assert task.recording(plan, 30, False, False).record(team).notes == {"of": [float(np.float32(0.9)), 0.0]} and asked == [
        (0, 0, 4),
        (1, 4, 4),
    ]
    monkeypatch.setattr(task, "record", lambda team, episodes, seed: noted(random_demos(Lengths()), asked=(episodes, seed)))
    assert task.recording(plan, 30, False).record(team).notes == {"asked": (4, [0, 1])}


@pytest.mark.parametrize("name", ["spread", "tag"])
def test_the_best_seed_of_a_first_team_demonstrates_to_a_second(name, monkeypatch):
    experiment = EXPERIMENTS[name]("laptop")
    first, *seconds = experiment.stages
    for second in seconds:
        (guide,) = second.guidance
        assert stage_of(guide.teacher) == first.name and second.learner == first.learner and second.env == first.env
    worth = lambda seed: np.full((4, 2), (1.0, 3.0, 2.0)[seed], np.float32)
    shown = lambda team, episodes, seed: dataclasses.replace(random_demos(Lengths(), episodes), returns={"agent": worth(seed)})
    monkeypatch.setattr(particles, "record", shown)
    found = particles._best(TeamPolicy(Lengths().spec, PPO(), {}, (5, 6, 7), Lengths()), 4)
    assert (found.returns["agent"] == 3).all()


# ------------------------------------------------------------------ a recording in an experiment


def toy(scale="smoke") -> Experiment:
    """A team, and one that learns from what it shows; the team that is asked for first was never reached."""
    shown = Recording("shown", ("teacher/eval_return=1e9", "teacher"), lambda team: record(team, episodes=8, seed=1))
    teacher = Stage("teacher", ENV, LEARNER, 400, evaluations=2)
    student = Stage("student", ENV, LEARNER, 400, (Gail(shown, steps=1, batch=4, hidden=(4,)),), 2)
    return Experiment(
        "toy", "none", 2, {"teacher": Arm((teacher,)), "taught": Arm((teacher, student), "teacher")}, (), "taught"
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("recorded") / "toy"
    with pytest.MonkeyPatch.context() as patch:
        without_training(patch)
        experiments.reproduce("toy/toy", toy, "smoke", out)
    return out


def test_a_stage_learns_from_what_an_earlier_one_shows(finished):
    """The demonstrations stand in the experiment, and the run has them too; going on records nothing anew."""
    demos, own = (load_demos(finished / path) for path in ("demos/shown", "stages/student/teacher-0"))
    want = record(finished / "stages/teacher", episodes=8, seed=1)
    for found in (demos, own):
        for x, y in zip(jax.tree.leaves(found.obs), jax.tree.leaves(want.obs), strict=True):
            np.testing.assert_array_equal(x, y)
    price = json.loads((finished / "stages/student/run.json").read_text())["teachers"]
    assert [each["env_steps"] for each in price] == [want.env_steps]
    before = (finished / "demos/shown/demos.json").stat().st_mtime_ns
    experiments.continue_experiment("toy/toy", toy(), "smoke", finished, 2)
    assert (finished / "demos/shown/demos.json").stat().st_mtime_ns == before


def test_other_demonstrations_in_their_place_are_refused(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "toy")
    shutil.rmtree(out / "demos/shown")
    record(out / "stages/teacher", episodes=8, seed=0).save(out / "demos/shown")
    with pytest.raises(HeadstartError, match=r"is not the demonstrations in .*demos/shown") as caught, files.accepting(False):
        experiments.continue_experiment("toy/toy", toy(), "smoke", out, 2)
    assert "\n" not in str(caught.value)
