"""Everything a run needs to be repeated, and its form in run.json."""

import dataclasses
import itertools
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from headstart import registry
from headstart._version import __version__
from headstart.core.checks import HeadstartError, require
from headstart.core.env import Env
from headstart.core.guidance import Guidance, GuidanceConfig, Rows, takes_teacher, teacher_of
from headstart.core.learner import LearnerConfig
from headstart.core.part import check_kind, check_part
from headstart.core.ranges import Count, Evaluations, Natural, Steps
from headstart.core.spec import encode_spec
from headstart.core.trainer import Trainer
from headstart.storage import files, places
from headstart.teams.demos import Demos
from headstart.teams.foreign import Foreign
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved_demos import load_teacher
from headstart.training import cores
from headstart.training.keep import rules


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a run needs to be repeated."""

    env: Env
    learner: LearnerConfig
    guidance: tuple[GuidanceConfig, ...] = ()
    steps: Steps = 500_000
    """Env-steps of one seed (rounded up to whole updates)."""
    seeds: Count = 1
    """How many independent teams to train side by side."""
    first_seed: Natural = 0
    """Number of the first seed; seed 2 alone gives the same team as seed 2 among others."""
    evaluations: Evaluations = 20
    """How often to evaluate during training; one more evaluation precedes it."""
    episodes: Count = 100
    """Fresh episodes of an evaluation, with greedy actions."""
    until: float | None = None
    """Stop at the first evaluation after which the mean return over seeds has reached this."""
    worth: Natural | None = None
    """Episodes of each seed in which teachers are measured before training (see `training.worth`): None for the usual number,
    0 for none."""
    keep: tuple[str, ...] = ()
    """What to keep beside the last team (see `training.keep`): "best", "last", "METRIC=LEVEL[,LEVEL..]"."""

    def __post_init__(self):
        check_kind("env", self.env)
        check_kind("learner", self.learner)
        for guide in self.guidance:
            check_kind("guidance", guide)
        check_part(self)
        rules(self.keep)
        require(self.first_seed < 2**31 - self.seeds, "first_seed", self.first_seed, "below 2³¹ with all seeds after it")


SAVED = TeamPolicy | Demos | Foreign
"""The teachers that a run saves beside run.json."""


def describe(
    config: Config, trainer: Trainer, start: Rows, seeds: list[int], guides: Sequence[Guidance] = ()
) -> dict[str, Any]:
    """The content of run.json when a run begins. `guides`: what the configuration's guidance has become."""
    spec = config.env.spec
    saved = encode(config)
    saved["guidance"] = [
        guide | _teacher(teacher_of(made)) for guide, made in zip(saved["guidance"], config.guidance, strict=True)
    ]
    return {
        "config": saved,
        "seeds": seeds,
        "spec": encode_spec(spec),
        "env_steps": trainer.updates * trainer.steps_per_update,
        "learning_starts": trainer.warmup_updates * trainer.steps_per_update,
        "start": start,
        "teachers": prices(config, guides, trainer.updates),
        "versions": {"headstart": __version__, "jax": jax.__version__, "python": platform.python_version()},
        "cores": cores.pool(),
        "device": jax.devices()[0].device_kind,
        "finished": False,
    }


def encode(config: Config) -> dict[str, Any]:
    """A configuration as JSON, without the teachers of its guidance."""
    saved = {f.name: getattr(config, f.name) for f in dataclasses.fields(Config)}
    saved["env"], saved["learner"] = registry.encode("env", config.env), registry.encode("learner", config.learner)
    return saved | {"guidance": [registry.encode("guidance", guide) for guide in config.guidance]}


def bind(manifest: dict[str, Any], teachers: Sequence[Any], directory: Path) -> dict[str, Any]:
    """Save the teachers of a run that begins; returns their digests and the run's id, by which its files know each other."""
    write = lambda i, teacher: teacher.write(directory / f"teacher-{i}") if isinstance(teacher, SAVED) else None
    guides = [write(i, teacher) for i, teacher in enumerate(teachers)]
    about = {name: manifest[name] for name in ("config", "seeds", "spec")}
    return {"guides": guides, "id": files.digest_of(about | {"guides": guides})}


def differences(manifest: dict[str, Any], config: Config) -> list[str]:
    """The settings, by name, in which a run differs from a configuration. Settings new to this version have their defaults."""
    saved, wanted = {"keep": [], **manifest["config"]}, encode(config)
    for kind in ("env", "learner"):
        saved[kind] = registry.encode(kind, registry.decode(kind, saved[kind]))
    saved["guidance"] = [registry.encode("guidance", registry.decode("guidance", guide)) for guide in saved["guidance"]]
    if saved.get("until") is not None and wanted["until"] is not None and math.isclose(saved["until"], wanted["until"]):
        saved["until"] = wanted["until"]  # a mean of returns: its last bits may depend on libraries
    return [name for name in wanted if files.canonical(saved.get(name)) != files.canonical(wanted[name])]


def _teacher(teacher: Any) -> dict[str, bool]:
    """Whether the teacher is a team, demonstrations or a model, which can be saved, or Python code, which cannot."""
    saved = isinstance(teacher, SAVED)
    trusted = {"trusted": True} if isinstance(teacher, Foreign) and teacher.trusted else {}
    return {"teacher": saved, "scripted": teacher is not None and not saved} | trusted


def prices(config: Config, guides: Sequence[Guidance], updates: int, begun: Sequence[int] = (0,)) -> list[dict[str, Any]]:
    """What a run of so many updates costs beside its own env-steps, as stages of a report.

    These are the training of its teachers, with its recording, and the env-steps of companions, which train alongside.
    `begun`: the numbers of updates before which guidance began, see `extend.beginnings`.
    """
    found = []
    for teacher in (teacher for teacher in map(teacher_of, config.guidance) if isinstance(teacher, SAVED)):
        found.append(_price("demos" if isinstance(teacher, Demos) else "teacher", teacher.env, teacher.env_steps))
    for guide, made in zip(config.guidance, guides, strict=False):
        if spent := sum(made.env_steps(end - start) for start, end in itertools.pairwise([*begun, updates])):
            found.append(_price("companion", getattr(guide, "env", None), spent) | {"alongside": True})
    return found


def _price(name: str, env: Any, env_steps: int | None) -> dict[str, Any]:
    env = registry.encode("env", env)["name"] if env is not None else ""
    return {"name": name, "env": env, "env_steps": env_steps, "run_s": None, "compile_s": None}


def _whole(value: Any) -> Any:
    """A count that an earlier version saved as it was given, e.g. 2e6, as a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def restore(manifest: dict[str, Any], directory: Path, teacher: Any = None) -> Config:
    """The configuration that `describe` wrote, with the teachers saved beside it; HeadstartError if it is damaged.

    `teacher` is the scripted one, which no file can keep, or a list of them if several guides learn from one each.
    """
    saved = manifest["config"]
    digests = manifest.get("guides", [None] * len(saved["guidance"]))
    if len(digests) != len(saved["guidance"]):
        raise HeadstartError(f"{directory / 'run.json'} is damaged: guides must have an entry for each guidance")
    scripted = _scripted([guide for guide in saved["guidance"] if guide.get("scripted")], teacher, directory)
    guides = []
    for i, (guide, digest) in enumerate(zip(saved["guidance"], digests, strict=True)):
        part = registry.decode("guidance", guide)
        if (guide.get("teacher") or guide.get("scripted")) and not takes_teacher(part):
            raise HeadstartError(f"{directory / 'run.json'} is damaged: config.guidance.{i} takes no teacher")
        if guide.get("teacher"):
            part = dataclasses.replace(part, teacher=load_teacher(places.inside(directory, f"teacher-{i}"), digest=digest))
        if guide.get("scripted"):
            part = dataclasses.replace(part, teacher=scripted.pop(0))
        guides.append(part)
    scalars = {name: _whole(saved[name]) for name in ("steps", "seeds", "first_seed", "evaluations", "episodes")}
    env, learner = registry.decode("env", saved["env"]), registry.decode("learner", saved["learner"])
    since = {"until": saved.get("until"), "worth": saved.get("worth"), "keep": tuple(saved.get("keep", ()))}
    return Config(env, learner, tuple(guides), **scalars, **since)


def resumption(config: Config, directory: Path, steps: int | None = None) -> str:
    """How a run of `config` goes on, perhaps to `steps` env-steps in all: the command, or the call in Python if it learns from
    functions, which no file keeps."""
    teachers = [teacher_of(guide) for guide in config.guidance]
    functions = sum(teacher is not None and not isinstance(teacher, SAVED) for teacher in teachers)
    if functions:
        return _call(directory, functions, steps)
    return registry.command("resume", directory) + (f" --steps {steps}" if steps else "")


def _call(directory: Path, functions: int, steps: int | None = None) -> str:
    """The call in Python by which a run that learns from functions goes on, after the user's own modules are named."""
    named = "".join(f"headstart.use({module!r}); " for module in sorted(registry.used))
    longer = f", steps={steps}" if steps else ""
    return f"{named}headstart.resume({str(directory)!r}, teacher={'...' if functions == 1 else '[..., ...]'}{longer})"


def _scripted(guides: list[dict[str, Any]], given: Any, directory: Path) -> list[Any]:
    """The scripted teacher of each guide that has one, of those given; HeadstartError if they are not as many."""
    if not guides:
        return []
    count = len(guides)
    call = _call(directory, count)
    if given is None:
        raise HeadstartError(f"{directory} learns from a Python function, which no file keeps: pass it to {call}")
    teachers = list(given) if isinstance(given, list | tuple) else [given]
    if len(teachers) != count:
        raise HeadstartError(f"{directory} learns from {count} Python functions, not {len(teachers)}: pass them all to {call}")
    return teachers
