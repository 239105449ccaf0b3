"""Sessions of one configuration trace and compile once: most of what a test of interruptions does is to begin again.

Environments on the host and programs that call Python are made anew each time, since they belong to one run.
"""

import contextlib
import dataclasses
import hashlib

import jax
import numpy as np
import pytest

from headstart.core.env import Vectorised, unwrapped
from headstart.teams.demos import Demos
from headstart.teams.policy import TeamPolicy
from headstart.training import session


def _shapes(args) -> str:
    return str(jax.tree.map(lambda x: (getattr(x, "shape", x), str(getattr(x, "dtype", ""))), args))


def _guide(guide) -> tuple:
    """Guidance by its settings; a teacher that was loaded again is the same teacher."""
    fields = ((f.name, getattr(guide, f.name)) for f in dataclasses.fields(guide))
    known = lambda x: _team(x) if isinstance(x, TeamPolicy) else _demos(x) if isinstance(x, Demos) else x
    return type(guide), *((name, known(value)) for name, value in fields)


def _demos(demos: Demos) -> str:
    arrays = [x.tobytes() for x in jax.tree.leaves((demos.obs, demos.alive, demos.lengths, demos.actions))]
    return hashlib.sha256(b"".join(arrays)).hexdigest()


def _team(team: TeamPolicy) -> tuple:
    numbers = hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(team.params))).hexdigest()
    return team.config, team.seeds, numbers, repr((team.spec, team.env, team.trained, team.select))


@contextlib.contextmanager
def sessions_once():
    """While it is open, a session takes the trainer, the shapes and the programs of an equal one before it."""
    made, shapes, compiled = {}, {}, {}
    real_make, real_begun, real_compiled = session.make, session.begun, session.Session._compiled

    def make(config, extended=()):
        env = config.env
        try:
            key = (type(env), env, config.learner, *map(_guide, config.guidance), config.steps, str(extended))
            hash(key)
        except TypeError:
            return real_make(config, extended)
        if isinstance(env, Vectorised) or isinstance(unwrapped(env), Vectorised):
            return real_make(config, extended)
        if key not in made:
            made[key] = real_make(config, extended)
        return made[key]

    def kept(trainer) -> bool:
        return any(trainer is known.trainer for known in made.values())

    def begun(of_lane, values):
        if values or not kept(trainer := of_lane({}).trainer):
            return real_begun(of_lane, values)
        if id(trainer) not in shapes:
            shapes[id(trainer)] = real_begun(of_lane, values)
        return shapes[id(trainer)]

    def compile_once(self, function, *args, **named):
        if not kept(self.trainer):
            return real_compiled(self, function, *args, **named)
        key = (id(self.trainer), self.config.episodes, _shapes(args), str(named))
        program = compiled.get(key) or real_compiled(self, function, *args, **named)
        if not program.calls_python:
            compiled[key] = program
        return program

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "make", make)
        patch.setattr(session, "begun", begun)
        patch.setattr(session.Session, "_compiled", compile_once)
        yield
