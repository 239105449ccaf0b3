"""Runs without training: everything that a run writes, in milliseconds."""

from typing import Any

import jax

from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG
from headstart.teams.policy import TeamPolicy
from headstart.training import footprint, lanes, programs, run, session

ENV, LEARNER = Spread(2, horizon=5), DDPG(hidden=(4,), num_envs=4, train_every=4, batch=16, warmup=40, capacity=400)
CONFIG = run.Config(ENV, LEARNER, steps=400, seeds=2, evaluations=2, episodes=5)


_drawn: dict[tuple, Any] = {}


def team(seed: int = 0, learner=LEARNER, spec=ENV.spec) -> TeamPolicy:
    """A team that has learned nothing."""
    key = seed, learner, repr(spec)
    if key not in _drawn:
        _drawn[key] = jax.jit(jax.vmap(learner.make(spec).init))(jax.random.split(jax.random.key(seed), 2))
    return TeamPolicy(spec, learner, _drawn[key], (0, 1), ENV)


def trained(self, stop):
    """In place of `Session._trained`: the team as it is drawn, with a checkpoint and with rows that depend on the seeds."""
    params, [point] = team(self.config.first_seed, self.config.learner).params, self.points
    point.directory.load_checkpoint({"params": params}, self.trainer.updates, point.manifest.get("id"))
    self._checkpoint(10, lanes.Blocks(({"params": params},)))
    point.metrics.forget_after(-1)
    for steps in (0, point.manifest["env_steps"]):
        point.metrics.row(steps, {"eval_return": self.seeds + steps / 7})
    return lanes.Blocks((params,))


def without_training(patch) -> None:
    """Replace training in this process, and the look at its memory."""
    patch.setattr(session.Session, "_trained", trained)
    patch.setattr(programs, "begin", lambda *args: ())
    patch.setattr(footprint, "check_training", lambda *args: [])
