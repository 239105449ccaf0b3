"""Small directories of every kind that headstart writes, made without training; each case damages a copy of one."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

from headstart.envs.particle.spread import Spread
from headstart.experiments import report as reports
from headstart.experiments import run as experiments
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.papers import knowru
from headstart.registry import experiments as known
from headstart.teams.policy import TeamPolicy
from headstart.training import lanes, run, session
from headstart.training.watch import Watcher

ENV, LEARNER = Spread(2, horizon=5), DDPG(hidden=(4,), num_envs=4, train_every=4, batch=16, warmup=40, capacity=400)
TRAPS = ("jaxmarl", "mpe2", "pettingzoo", "gymnasium", "jax_plugins", "libtpu", "evil", "json", "numpy", "examples")
"""Modules that lie in the working directory of every case; importing one leaves a mark."""


def _config(**more: Any) -> run.Config:
    return run.Config(ENV, LEARNER, steps=400, seeds=2, evaluations=2, episodes=5, **more)


@contextlib.contextmanager
def stubbed() -> Iterator[None]:
    """Leave out what JAX would compile: training, scoring and replays. All else is as users have it."""
    with contextlib.ExitStack() as stack:
        for owner, name, stub in (
            (session.Session, "_trained", _trained),
            (run, "score", lambda team, env, episodes, sample=False: np.zeros(len(team.seeds))),
            (reports, "replay_of", lambda *args, **more: None),
        ):
            stack.enter_context(mock.patch.object(owner, name, stub))
        stack.enter_context(mock.patch("headstart.replay.record.record", _no_replay))
        stack.enter_context(mock.patch.dict(knowru.PLANS, dict.fromkeys(knowru.PLANS, (24, 2))))
        yield


def _trained(self: session.Session, stop: Any) -> Any:
    """In place of training: parameters of the right shapes, a checkpoint, and a row at the start and the end."""
    shapes = jax.eval_shape(jax.vmap(self.learner.init), jax.random.split(jax.random.key(0), len(self.seeds)))
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    [point] = self.points
    point.directory.load_checkpoint({"params": params}, self.trainer.updates, point.manifest.get("id"))
    self._checkpoint(10, lanes.Blocks(({"params": params},)))
    point.metrics.forget_after(-1)
    for steps in (0, point.manifest["env_steps"]):
        point.watched.tell("row", steps, {"eval_return": self.seeds + steps / 7})
    point.watched.check("")
    return lanes.Blocks((params,))


class Recorded(Exception):
    """A replay would be drawn now."""


def _no_replay(team: TeamPolicy, env: Any, seed: int = 0, episode: int = 0, title: str = "") -> dict[str, Any]:
    team.place(seed)
    raise Recorded


class Cut(Watcher):
    """Stops a run after its first row."""

    def row(self, env_steps: int, values: Any) -> None:
        raise RuntimeError("cut")


def build(place: Path) -> None:
    """Write the directories at `place`: run, cut, taught, team, experiment."""
    with stubbed():
        run.train(_config(), place / "run").save(place / "team")
        run.train(_config(guidance=(Distill(place / "team"),)), place / "taught")
        with contextlib.suppress(ValueError):
            run.train(_config(), place / "cut", (Cut(),))
        experiments.reproduce("knowru/spread-6", known()["knowru/spread-6"], "smoke", place / "experiment", ("knowru",))


def copied(place: Path, name: str, to: Path) -> Path:
    """A copy of one of the directories."""
    return Path(shutil.copytree(place / name, to / name))


def set_traps(directory: Path, mark: Path) -> None:
    """Modules that write `mark` when they are imported."""
    for name in TRAPS:
        (directory / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
