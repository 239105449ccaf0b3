"""Training from Python: the same run directory, progress bar and result as from the command line."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.env import Env
from headstart.core.guidance import GuidanceConfig
from headstart.core.learner import LearnerConfig
from headstart.storage.places import POINTS
from headstart.teams.policy import TeamPolicy
from headstart.training import run
from headstart.training import sweep as sweeps
from headstart.training.config import Config
from headstart.training.progress import progress as bars
from headstart.training.progress import sweep_bar
from headstart.training.sweep import Swept, Watch
from headstart.training.trackers.choice import check, trackers
from headstart.training.watch import Watcher


def train(
    env: Env | str,
    learner: LearnerConfig | str,
    out: str | Path,
    *,
    guidance: GuidanceConfig | Sequence[GuidanceConfig] = (),
    steps: int = 500_000,
    seeds: int = 1,
    first_seed: int = 0,
    evaluations: int = 20,
    episodes: int = 100,
    until: float | None = None,
    worth: int | None = None,
    keep: str | Sequence[str] = (),
    track: str | Sequence[str] = (),
    progress: bool = True,
    watchers: Sequence[Watcher] = (),
) -> TeamPolicy:
    """Train one team for each seed in `env` and write a run directory at `out`; returns the trained teams.

    env, learner: parts, or names from `headstart list` ("navigation", "maddpg"), which stand for parts and settings.
    steps: env-steps of each seed, rounded up to whole updates. seeds: independent teams, trained side by side and
    numbered from `first_seed`. evaluations: how often to evaluate, each on `episodes` fresh greedy episodes.
    until: stop early, at the first evaluation whose mean return over seeds has reached this.
    worth: episodes of each seed in which a teacher is measured before training, beside random actions and the untrained team;
    None for the usual number, 0 for none. The result is in run.json and in the report, and a line on stderr warns of a teacher
    that is no better than these.
    keep: "best" keeps the team of the best evaluation in `out`/best, "eval_return=-20,-10" those of the first evaluations whose
    mean of that column of metrics.csv reaches a level, and "last" the last training state, for `resume(out, steps=..)`.
    track: "tensorboard" or "wandb" writes the numbers of metrics.csv for these tools as well, into the run directory.
    progress: show a progress bar. watchers: get the run's progress, beside the bar and metrics.csv.

    Raises HeadstartError for settings that do not fit, or if `out` already holds something.
    """
    _check_call(out, watchers)
    numbers = {"steps": steps, "seeds": seeds, "first_seed": first_seed, "evaluations": evaluations, "episodes": episodes}
    config = _config(env, learner, guidance, keep, until=until, worth=worth, **numbers)
    watchers = (*watchers, *trackers(track, out))
    if not progress:
        return run.train(config, out, watchers)
    with bars() as bar:
        return run.train(config, out, (bar(Path(out).name), *watchers))


def sweep(
    env: Env | str,
    learner: LearnerConfig | str,
    out: str | Path,
    over: Mapping[str, Sequence[Any]],
    *,
    guidance: GuidanceConfig | Sequence[GuidanceConfig] = (),
    steps: int = 500_000,
    seeds: int = 1,
    first_seed: int = 0,
    evaluations: int = 20,
    episodes: int = 100,
    worth: int | None = None,
    keep: str | Sequence[str] = (),
    separate: bool = False,
    track: str | Sequence[str] = (),
    progress: bool = True,
    watch: Callable[[str], Watcher] | None = None,
) -> Swept:
    """Train every combination of settings in one program, as points of a sweep at `out`; returns the sweep.

    over: {setting: values}, e.g. {"learner.actor_lr": [1e-2, 1e-3], "guidance.alpha": [0, 0.5]}. A setting is named as on the
    command line: of `env`, `learner` or `guidance` (`guidance0`, `guidance1`, .. of several). It must be a real number with
    which the program computes; `separate` lifts this, and trains the points one after another, each in a program of its own.
    watch: name of a point -> a watcher of its run. All else is as in `train`.

    Every point is an ordinary run directory, `out`/points/NAME: `.points` lists them and `.best` is that with the highest
    return. Raises HeadstartError as `train` does, and for a setting that cannot be swept.
    """
    _check_call(out, ())
    if not isinstance(over, Mapping) or not all(isinstance(name, str) for name in over):
        raise HeadstartError(f"over must be a dict of values by setting, e.g. {{'learner.gamma': [0.9, 0.99]}}, not {over!r}")
    numbers = {"steps": steps, "seeds": seeds, "first_seed": first_seed, "evaluations": evaluations, "episodes": episodes}
    config = _config(env, learner, guidance, keep, worth=worth, **numbers)
    check(track)
    with _watching(out, progress, watch, track) as told:
        return sweeps.sweep(config, over, out, separate, told)


def resume_sweep(
    out: str | Path,
    *,
    teacher: Any = None,
    track: str | Sequence[str] = (),
    progress: bool = True,
    watch: Callable[[str], Watcher] | None = None,
    accept_changed: bool = False,
    trust: bool = False,
) -> Swept:
    """Go on with the sweep at `out` from its last checkpoint; a finished sweep is loaded. See `resume` and `sweep`."""
    _check_call(out, ())
    check(track)
    with _watching(out, progress, watch, track) as told:
        return sweeps.resume(Path(out), told, teacher, accept_changed, trust)


@contextlib.contextmanager
def _watching(
    out: str | Path, progress: bool, watch: Callable[[str], Watcher] | None, track: str | Sequence[str]
) -> Iterator[Watch]:
    """The watchers of a sweep's points: the user's, trackers, and with `progress` those that move one bar for all."""
    own: Watch = lambda name: (*((watch(name),) if watch else ()), *trackers(track, Path(out) / POINTS / name))
    if not progress:
        yield own
        return
    with sweep_bar(Path(out).name) as behind:
        yield lambda name: (*behind(name), *own(name))


def _config(env: Any, learner: Any, guidance: Any, keep: Any, **scalars: Any) -> Config:
    """A configuration, with names in place of parts allowed, and one guidance or wish to keep in place of a tuple."""
    made_env: Any = registry.preset("env", env) if isinstance(env, str) else env
    made_learner: Any = registry.preset("learner", learner) if isinstance(learner, str) else learner
    guides: tuple[Any, ...] = (
        (guidance,) if isinstance(guidance, str) or not isinstance(guidance, Sequence) else tuple(guidance)
    )
    for name in guides:
        if isinstance(name, str):
            part = type(registry.preset("guidance", name))
            home = "headstart" if part.__module__.startswith("headstart.") else part.__module__
            written = f"{home}.{part.__name__}(teacher=..)"
            raise HeadstartError(f"guidance must be a part, which holds its teacher: {name} is {written}")
    kept: Any = (keep,) if isinstance(keep, str) else keep
    return Config(made_env, made_learner, guides, keep=kept, **scalars)


def _check_call(out: Any, watchers: Any) -> None:
    """Raise HeadstartError unless `out` is a path and `watchers` are watchers."""
    if not isinstance(out, str | Path) or not str(out) or "\0" in str(out):
        raise HeadstartError(f"out must be a path, not {out!r}")
    if not isinstance(watchers, Sequence) or not all(isinstance(watcher, Watcher) for watcher in watchers):
        raise HeadstartError(f"watchers must be a list of headstart.Watcher, not {watchers!r}")


def resume(
    out: str | Path,
    *,
    steps: int | None = None,
    teacher: Any = None,
    track: str | Sequence[str] = (),
    progress: bool = True,
    watchers: Sequence[Watcher] = (),
    accept_changed: bool = False,
    trust: bool = False,
) -> TeamPolicy:
    """Go on with the run at `out` from its last checkpoint; a finished run is loaded.

    steps: env-steps of each seed in all, if they are to be other ones: a finished run goes on until it has them, and is then
    bitwise a run of that length if it was trained with `keep="last"` and no schedule follows its progress; else a line on
    stderr says what differs. Evaluations go on at their spacing. Raises HeadstartError unless this is more than it has.
    teacher: the scripted teacher of a run that learns from one, or a list if several guides have one; no file keeps a
    function. track, watchers: as in `train`; trackers that the run has go on.
    accept_changed: go on even if files were changed after headstart had written them, or do not belong together.
    trust: open a teacher that may run any code (see `load_teacher`), which the run has kept; only if you know who wrote it.
    """
    _check_call(out, watchers)
    watchers = (*watchers, *trackers(track, out))
    if not progress:
        return run.resume(out, watchers, teacher, accept_changed, steps, trust)
    with bars() as bar:
        return run.resume(out, (bar(Path(out).name), *watchers), teacher, accept_changed, steps, trust)
