"""A worker that knows the experiment `toy/toy`, and does what the test has left in its directory: see `after`."""

import os
import sys
from pathlib import Path
from typing import Any

from headstart import registry
from headstart.envs.particle.spread import Spread
from headstart.experiments import distributed, run, worker
from headstart.experiments.base import Arm, Experiment, Stage
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.training import session, worth
from headstart.training.cluster.address import engine

ENV = Spread(2, horizon=5)
LEARNER = DDPG(hidden=(8,), num_envs=4, train_every=4, batch=16, warmup=40, capacity=400)


def _stage(name: str, *guides: Any) -> Stage:
    return Stage(name, ENV, LEARNER, 400, guides, evaluations=2)


def toy(scale: str = "smoke") -> Experiment:
    """A student and the teacher that it learns from, beside a team without one."""
    taught = Arm((_stage("teacher"), _stage("student", Distill("teacher"))), "alone")
    return Experiment("toy", "", 2, {"alone": Arm((_stage("alone"),)), "taught": taught}, (), "taught")


def known(patch: Any) -> None:
    """Make `toy/toy` known, and checkpoints frequent; drivers order workers of this module."""
    patch.setattr(registry, "experiments", lambda: {"toy/toy": toy})
    patch.setattr(session, "PIECE_SECONDS", 1e-9)
    patch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    patch.setattr(worth, "EPISODES", 0)
    patch.setattr(distributed, "WORKER", __name__)


def after(stage: Path, number: int, process: int | str) -> None:
    """Ask for a signal to a process (or to the worker itself) once the stage's worker has written its third checkpoint."""
    asked = stage.parents[1] / f"signal-{stage.name}"
    asked.write_text(f"{number} {process}")


def _obey(point: Any) -> None:
    path = point.directory.path
    asked = path.parents[1] / f"signal-{path.name}"
    if point.kept < 3 * point.trainer.updates // 10 or not asked.exists():
        return
    number, process = asked.read_text().split()
    asked.unlink()
    asked.with_name(f"obeyed-{path.name}").write_text(str(point.kept))
    os.kill(os.getpid() if process == "itself" else int(process), int(number))


def main(order: dict[str, Any]) -> None:
    """In place of `worker.main`."""
    known(_Patch())
    checkpoint = session.Session._checkpoint

    def checkpointed(self, *args: Any) -> None:
        checkpoint(self, *args)
        _obey(self.points[0])

    session.Session._checkpoint = checkpointed
    worker.main(order)


class _Patch:
    setattr = staticmethod(setattr)


def drive(out: str, on: str) -> None:
    """In a process of its own: a driver."""
    known(_Patch())
    run.reproduce("toy/toy", toy, "smoke", out, on=engine(on))


if __name__ == "__main__":
    import toy_cluster

    toy_cluster.drive(*sys.argv[1:])
