"""How long an experiment takes, told before it starts."""

from types import SimpleNamespace

import jax
import jax.random as jr
import pytest

from headstart import registry
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.envs.particle.spread import Spread
from headstart.experiments import estimate, run
from headstart.experiments.base import Arm, Experiment, Stage, planned
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.training.lanes import Blocks

ENV = Spread(agents=2, horizon=5)
LEARNER = DDPG(hidden=(4,), num_envs=2, train_every=2, warmup=40, batch=4, capacity=64)
STAGES = (Stage("teacher", ENV, LEARNER, 400, evaluations=4), Stage("student", ENV, LEARNER, 1000, (Distill("teacher"),), 9))


def toy(scale="paper") -> Experiment:
    """A teacher and a student."""
    return Experiment("toy", "", 2, {"taught": Arm(STAGES)}, (), "taught")


def test_an_estimate_multiplies_what_it_timed(monkeypatch):
    """20 updates collect, at 0.1 s; 180 and 480 learn, at 0.5 s and 2 s; 5 and 10 evaluations take 3 s; compiling takes 7 s."""
    now = [0.0]

    def spend(seconds):
        now[0] += seconds

    def compiled(config, trainer, learner, shape):
        spend(7.0)
        learning = 2.0 if config.guidance else 0.5

        def advance(loop, start, stop):
            spend(sum(0.1 if i < trainer.warmup_updates else learning for i in range(start, stop)))
            return loop

        state = SimpleNamespace(params=jax.vmap(learner.init)(jr.split(jr.key(0), config.seeds)))
        return advance, lambda params: spend(3.0), Blocks(({"state": state},))

    monkeypatch.setattr(estimate, "_compiled", compiled)
    found = estimate.estimate(toy(), 2, clock=lambda: now[0])
    assert found == pytest.approx({
        "teacher": 7 + 20 * 0.1 + 180 * 0.5 + 5 * 3, "student": 7 + 20 * 0.1 + 480 * 2 + 10 * 3,
    })  # fmt: skip


@pytest.mark.parametrize(("seconds", "told"), [
    (0.2, "1 s"), (44.6, "45 s"), (600, "10 min"), (3570, "1 h"), (3600 + 120, "1 h 2 min"), (12_010, "3 h 20 min"),
    (47 * 3600, "47 h"), (101 * 3600, "4 days 5 h"), (48 * 3600, "2 days"),
])  # fmt: skip
def test_durations_in_words(seconds, told):
    assert estimate.in_words(seconds) == told


@pytest.mark.slow
def test_a_long_experiment_says_first_how_long_it_takes(monkeypatch, tmp_path, capsys):
    """Stages are timed as they are, the second with a teacher; nothing is written before."""
    monkeypatch.setattr(registry, "experiments", lambda: {"toy/toy": toy})
    monkeypatch.setattr(estimate, "SECONDS", 0.02)

    class Began(Exception):
        pass

    def begins(*args):
        assert not list(tmp_path.iterdir())
        raise Began

    monkeypatch.setattr(run, "continue_experiment", lambda *args: {})
    monkeypatch.setattr(run.places, "made_at_once", begins)
    with pytest.raises(Began):
        cli.main(["reproduce", "toy/toy", "--scale", "literal", "--out", str(tmp_path / "out")])
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert lines[0] == "toy/toy with 2 seeds on this machine takes" and len(lines) == 4
    assert [line.split(" for ")[-1] for line in lines[1:3]] == ["teacher", "student"]
    assert lines[3].startswith("  about ") and lines[3].endswith(" in all")


def test_a_scale_that_a_paper_does_not_have_is_refused():
    with pytest.raises(HeadstartError, match="no scale 'literal': take smoke, paper"):
        planned({"smoke": 1, "demo": 2, "paper": 3}, "literal")
