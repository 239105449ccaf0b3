"""Everything a run needs to be repeated, and its form in run.json."""

import dataclasses
import platform
from pathlib import Path
from typing import Any

import jax

from headstart import registry
from headstart._version import __version__
from headstart.core.checks import HeadstartError, check_choices, require
from headstart.core.env import Env
from headstart.core.guidance import GuidanceConfig, Rows
from headstart.core.learner import LearnerConfig
from headstart.core.spec import encode_spec
from headstart.core.trainer import Trainer
from headstart.teams.policy import TeamPolicy, load


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a run needs to be repeated."""

    env: Env
    learner: LearnerConfig
    guidance: tuple[GuidanceConfig, ...] = ()
    steps: int = 500_000
    """Env-steps of one seed (rounded up to whole updates)."""
    seeds: int = 1
    """How many independent teams to train side by side."""
    first_seed: int = 0
    """Number of the first seed; seed 2 alone gives the same team as seed 2 among others."""
    evaluations: int = 20
    """How often to evaluate, beside once before training."""
    episodes: int = 100
    """Fresh episodes of an evaluation, with greedy actions."""
    until: float | None = None
    """Stop at the first evaluation after which the mean return over seeds has reached this."""

    def __post_init__(self):
        for name in ("steps", "seeds", "evaluations", "episodes"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name, has, example in (("env", "step", "Spread()"), ("learner", "make", "DDPG()")):
            part = getattr(self, name)
            require(hasattr(type(part), has), name, repr(part), f"a part, e.g. headstart.{example}, or its name")
        check_choices(self.env, "env")
        check_choices(self.learner, "learner")
        for guide in self.guidance:
            check_choices(guide, "guidance")
        require(0 <= self.first_seed < 2**31 - self.seeds, "first_seed", self.first_seed, "at least 0 and below 2³¹")


def describe(config: Config, trainer: Trainer, start: Rows, seeds: list[int]) -> dict[str, Any]:
    """The content of run.json when a run begins."""
    spec = config.env.spec
    saved = {f.name: getattr(config, f.name) for f in dataclasses.fields(Config)}
    saved["env"], saved["learner"] = registry.encode("env", config.env), registry.encode("learner", config.learner)
    saved["guidance"] = [registry.encode("guidance", guide) | _teacher(guide.teacher) for guide in config.guidance]
    return {
        "config": saved,
        "seeds": seeds,
        "spec": encode_spec(spec),
        "env_steps": trainer.updates * trainer.steps_per_update,
        "learning_starts": trainer.warmup_updates * trainer.steps_per_update,
        "start": start,
        "teachers": [_price(guide.teacher) for guide in config.guidance if isinstance(guide.teacher, TeamPolicy)],
        "versions": {"headstart": __version__, "jax": jax.__version__, "python": platform.python_version()},
        "device": jax.devices()[0].device_kind,
        "finished": False,
    }


def _teacher(teacher: Any) -> dict[str, bool]:
    """Whether there is a team to save, or something in Python that cannot be."""
    team = isinstance(teacher, TeamPolicy)
    return {"teacher": team, "scripted": teacher is not None and not team}


def _price(teacher: TeamPolicy) -> dict[str, Any]:
    """A teacher as a stage of a report: what it took to train it."""
    env = registry.encode("env", teacher.env)["name"] if teacher.env is not None else ""
    return {"name": "teacher", "env": env, "env_steps": teacher.env_steps, "run_s": None, "compile_s": None}


def restore(about: dict[str, Any], directory: Path, teacher: Any = None) -> Config:
    """The configuration that `describe` wrote, with the teachers kept beside it; HeadstartError where it is damaged.

    `teacher` is the scripted one, which no file can keep.
    """
    try:
        saved = about["config"]
        guides = []
        for i, guide in enumerate(saved["guidance"]):
            part = registry.decode("guidance", guide)
            if guide.get("teacher"):
                part = dataclasses.replace(part, teacher=load(directory / f"teacher-{i}"))
            if guide.get("scripted"):
                if teacher is None:
                    call = f"headstart.resume({str(directory)!r}, teacher=...)"
                    raise HeadstartError(f"{directory} learns from a Python function, which no file keeps: pass it to {call}")
                part = dataclasses.replace(part, teacher=teacher)
            guides.append(part)
        scalars = {f.name: saved[f.name] for f in dataclasses.fields(Config) if f.type in (int, "int")}
        for name, value in scalars.items():
            require(isinstance(value, int), f"{name} in {directory / 'run.json'}", value, "a whole number")
        until = saved.get("until")
        require(until is None or isinstance(until, int | float), f"until in {directory / 'run.json'}", until, "a number")
        env, learner = registry.decode("env", saved["env"]), registry.decode("learner", saved["learner"])
    except (KeyError, TypeError, AttributeError) as error:
        raise HeadstartError(f"{directory / 'run.json'} is damaged ({error!r})") from None
    return Config(env, learner, tuple(guides), **scalars, until=until)
