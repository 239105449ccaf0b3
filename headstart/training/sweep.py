"""Sweeps: runs that differ in a few settings, trained in one program, each of them an ordinary run on disk.

    DIR/sweep.json     the settings, the points and their values
    DIR/points/NAME/   a run directory for every point, e.g. points/alpha=0.1,actor_lr=0.01

The lanes of the program are points times seeds (see `training.made`). With `separate`, every point has a program of its own,
and they train one after another.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.scope import innermost, scope
from headstart.core.trust import trusting
from headstart.registry import command
from headstart.report.build import read_curve
from headstart.report.stats import iqm
from headstart.report.transfer import final
from headstart.storage import files, places, schema
from headstart.storage.places import POINTS, SWEEP
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.training import cores, settings
from headstart.training.config import Config, restore
from headstart.training.directory import RunDir, check_free, undone_if_refused
from headstart.training.ends import Diverged
from headstart.training.point import Point
from headstart.training.run import bound_of, with_teachers
from headstart.training.session import Session
from headstart.training.signals import Signals
from headstart.training.watch import Watcher

Watch = Callable[[str], Sequence[Watcher]]
"""The name of a point -> the watchers of its run."""


def unwatched(name: str) -> Sequence[Watcher]:
    """No watchers for any point."""
    return ()


@dataclasses.dataclass(frozen=True)
class SweptPoint:
    """A point of a finished sweep."""

    path: Path
    """Its run directory."""
    values: dict[str, Any]
    """Its values by setting."""
    returns: np.ndarray | None
    """[S]: every seed's mean return over the last tenth of the evaluations; None if the point has diverged."""

    @property
    def team(self) -> TeamPolicy:
        """Its trained team; HeadstartError if it has diverged."""
        return load(self.path)


@dataclasses.dataclass(frozen=True)
class Swept:
    """A finished sweep."""

    path: Path
    points: dict[str, SweptPoint]
    """By their names, in the order of the values."""

    @property
    def best(self) -> SweptPoint:
        """The point with the highest interquartile mean of returns."""
        ended = [point for point in self.points.values() if point.returns is not None]
        return max(ended, key=lambda point: float(iqm(point.returns)))


@scope()
def sweep(
    config: Config, over: Mapping[str, Sequence[Any]], out: str | Path, separate: bool = False, watch: Watch = unwatched,
    elsewhere: Callable[[Path], None] | None = None,
) -> Swept:  # fmt: skip
    """Train every combination of the values `over` {setting: values} and write a sweep at `out`.

    Refuses a directory that holds anything, and before anything is written every setting that a program cannot take as a
    value, unless `separate`. A point that diverges is left as it is, and the others go on.
    `elsewhere` trains the sweep at a path to its end, in place of this process.
    """
    home = places.located(out)
    check_free(home)
    if config.until is not None:
        raise HeadstartError("the points of a sweep are equally long: leave out until")
    grid = settings.grid(with_teachers(config), over, any_kind=separate)
    points = [Point(made, RunDir(home / POINTS / name), watch(name)) for name, (_, made) in grid.items()]
    sessions = _sessions(points, tuple(over), home, separate)
    named = [{"name": name, "values": values} for name, (values, _) in grid.items()]
    with Signals(innermost().stop), undone_if_refused(home, lambda: any(session.begun for session in sessions)):
        with places.made_at_once(home) as staged:
            for point in points:
                point.create(RunDir(staged / POINTS / point.directory.path.name))
            about = {"settings": list(over), "points": named, "separate": separate}
            files.write_json(staged / SWEEP, about, schema.Sweep)
        if not elsewhere:
            with places.held(home):
                return _train(home, sessions)
    elsewhere(home)
    return swept(home)


def _sessions(points: Sequence[Point], over: Sequence[str], home: Path, separate: bool) -> list[Session]:
    """The sessions that train the points: one, or one for each point."""
    if separate:
        return [Session([point], home=home) for point in points]
    return [Session(points, over, home)] if points else []


def _train(home: Path, sessions: Sequence[Session]) -> Swept:
    with contextlib.ExitStack() as held:
        for point in (point for session in sessions for point in session.points):
            held.enter_context(point.directory.held())
        for session in sessions:
            with scope():
                session.go()
    return swept(home)


@scope()
def resume(
    home: Path, watch: Watch = unwatched, teacher: Any = None, accept_changed: bool = False, trust: bool = False
) -> Swept:
    """Go on with a sweep; its finished points stay as they are. `teacher`, `trust`: see `run.resume`."""
    home = places.located(home)
    with places.held(home), files.accepting(accept_changed), trusting(trust):
        places.tidy(home)
        about = files.read_json(home / SWEEP, schema.Sweep)
        found = (_left(home, each, watch(each["name"]), teacher) for each in about["points"])
        left = [point for point in found if point]
        return _train(home, _sessions(left, tuple(about["settings"]), home, about["separate"]))


@scope()
def resume_point(home: Path, name: str, watchers: Sequence[Watcher] = ()) -> None:
    """Go on with one point of a sweep whose points train separately; others may work on the other points."""
    about = files.read_json(home / SWEEP, schema.Sweep)
    each = next(each for each in about["points"] if each["name"] == name)
    point = _left(home, each, watchers)
    if point:
        with point.directory.held():
            Session([point], home=home).go()


def _left(home: Path, each: Mapping[str, Any], watchers: Sequence[Watcher], teacher: Any = None) -> Point | None:
    """A point of sweep.json, if it has not ended."""
    directory = RunDir(places.inside(home, POINTS, each["name"]))
    manifest = directory.manifest()
    if manifest.get("finished"):
        directory.clear(manifest)  # a kill may have left something to do
    if manifest.get("finished") or "diverged" in manifest:
        return None
    cores.use_pool(manifest.get("cores"))
    config = restore(manifest, directory.path, teacher)
    _check_point(directory.path, each["values"], config)
    return Point(config, directory, watchers, bound_of(manifest))


def _check_point(path: Path, values: Mapping[str, Any], config: Config) -> None:
    """Refuse a run that is not the point that sweep.json describes, e.g. because two were exchanged."""
    have, plain = settings.settings(config), lambda x: list(x) if isinstance(x, tuple) else x
    if odd := [name for name, value in values.items() if name not in have or plain(have[name][0]) != plain(value)]:
        files.refuse_change(f"{path} is not the point that sweep.json describes: it differs in {', '.join(odd)}")


def swept(home: Path) -> Swept:
    """The sweep at `home`, whose points have all ended; HeadstartError if one has not, or if all have diverged."""
    about, points = files.read_json(home / SWEEP, schema.Sweep), {}
    for each in about["points"]:
        path = places.inside(home, POINTS, each["name"])
        manifest = files.read_json(path / "run.json", schema.Run)
        if not manifest.get("finished") and "diverged" not in manifest:
            again = command("resume", home, saved=manifest["config"])
            raise HeadstartError(f"point {each['name']} of {home} has not finished: {again}")
        returns = None if "diverged" in manifest else final(read_curve(path))
        points[each["name"]] = SweptPoint(path, each["values"], returns)
    if all(point.returns is None for point in points.values()):
        raise Diverged(f"every point of {home} has diverged: begin a new sweep with lower learning rates")
    return Swept(home, points)
