"""What a run keeps beside its last team: the team of its best evaluation, teams of chosen quality, its last training state.

A kept team is a directory of the run, `best/` or `eval_return=-20/`, with policy.* as for the last team and kept.json. It is
first written into checkpoints/, then the checkpoint follows, and then it moves to its place: a run that goes on from its last
checkpoint finds the teams that belong to the rows before it, and no later ones.
"""

import dataclasses
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headstart.core.checks import HeadstartError, check_known
from headstart.report.metric import column
from headstart.storage import files, places, schema
from headstart.teams.policy import TeamPolicy

LAST, BEST = "last", "best"
RETURN = "eval_return"
FORM = "best, last or METRIC=LEVEL[,LEVEL..] such as eval_return=-20,-10"


class Rule(NamedTuple):
    """A team to keep: of the best evaluation (`level` None), or of the first at which a column's mean reaches the level."""

    name: str
    """Of its directory."""
    column: str
    level: float | None = None


def rules(keep: Sequence[str]) -> tuple[Rule, ...]:
    """The teams that `Config.keep` asks for; HeadstartError for what is no such wish."""
    found: list[Rule] = []
    for wish in keep:
        metric, equals, levels = wish.partition("=")
        several = wish.replace(",", " ").split()
        if len(several) > 1 and {BEST, LAST} & set(several):
            raise HeadstartError(f"keep takes each wish by itself, --keep {' '.join(several)}, not '{wish}'")
        if wish == BEST:
            found.append(Rule(BEST, RETURN))
        elif metric and equals:
            found += [_reached(wish, metric, text.strip()) for text in levels.split(",")]
        elif wish != LAST:
            raise HeadstartError(f"keep must be {FORM}, not '{wish}'")
    names = [*(rule.name for rule in found), *(wish for wish in keep if wish == LAST)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise HeadstartError(f"keep names {twice} twice: leave one out")
    return tuple(found)


def _reached(wish: str, metric: str, text: str) -> Rule:
    try:
        level = float(text)
        if not math.isfinite(level):
            raise ValueError
    except ValueError:
        raise HeadstartError(f"keep must be {FORM}: '{text}' in '{wish}' is no level") from None
    return Rule(f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', metric)}={level:g}", metric, level)


def in_columns(wanted: Sequence[Rule], columns: Iterable[str]) -> tuple[Rule, ...]:
    """The rules with their columns of metrics.csv: a metric is a column's name, or that of an experiment's metric."""
    known = set(columns)
    found = [rule._replace(column=rule.column if rule.column in known else column(rule.column)) for rule in wanted]
    for rule, asked in zip(found, wanted, strict=True):
        if rule.column not in known:
            check_known("column of metrics.csv in keep", asked.column, known)
    return tuple(found)


class Kept(NamedTuple):
    """An evaluation whose team is kept."""

    updates: int
    value: float
    """The column's mean over seeds."""
    returned: float
    """The mean return over seeds."""


@dataclasses.dataclass
class Keeper:
    """The teams that a run keeps, as it goes. `team` makes one of parameters and of the number of updates they had."""

    rules: tuple[Rule, ...]
    checkpoints: Path
    team: Callable[[Any, int], TeamPolicy]
    per_update: int
    kept: dict[str, Kept] = dataclasses.field(default_factory=dict)
    new: dict[str, TeamPolicy] = dataclasses.field(default_factory=dict)
    highest: dict[str, float] = dataclasses.field(default_factory=dict)
    """{column: the largest mean over seeds of the evaluations so far}."""

    def recall(self, points: Iterable[tuple[int, Mapping[str, np.ndarray]]]) -> None:
        """Go on from the evaluations (updates, {column: [S]}) that the run has had."""
        for updates, columns in points:
            self._judge(updates, columns)
        for rule in self.rules:
            path, kept = places.inside(self.checkpoints, rule.name), self.kept.get(rule.name)
            if files.kind(path) and (kept is None or _updates_of(path) != kept.updates):  # of rows that were lost
                shutil.rmtree(path, ignore_errors=True)
        self.publish()

    def see(self, updates: int, columns: Mapping[str, np.ndarray], params: Callable[[], Any]) -> None:
        """An evaluation of a team with the parameters `params()`, and its row."""
        if names := self._judge(updates, columns):
            team = self.team(params(), updates)
            self.new |= dict.fromkeys(names, team)

    def _judge(self, updates: int, columns: Mapping[str, np.ndarray]) -> list[str]:
        """The rules whose team is now that of this evaluation."""
        mean = lambda name: float(np.mean(np.asarray(columns[name], np.float32))) if name in columns else math.nan
        found = []
        for rule in self.rules:
            value, before = mean(rule.column), self.kept.get(rule.name)
            if not math.isnan(value):
                self.highest[rule.column] = max(value, self.highest.get(rule.column, value))
            if rule.level is None and (math.isnan(value) or (before is not None and value <= before.value)):
                continue
            if rule.level is not None and (before is not None or not value >= rule.level):
                continue
            self.kept[rule.name] = Kept(updates, value, mean(RETURN))
            found.append(rule.name)
        return found

    def missed(self) -> list[str]:
        """A line for each level that no evaluation has reached."""
        lines = []
        for rule in self.rules:
            if rule.level is not None and rule.name not in self.kept:
                highest = self.highest.get(rule.column)
                lines.append(f"{rule.name} was not reached ({'no value' if highest is None else f'best {highest:.6g}'})")
        return lines

    def stage(self) -> None:
        """Write the new teams beside the checkpoints."""
        columns = {rule.name: rule for rule in self.rules}
        for name, team in self.new.items():
            path, kept, rule = places.inside(self.checkpoints, name), self.kept[name], columns[name]
            shutil.rmtree(path, ignore_errors=True)
            about = {"column": rule.column, "level": rule.level, "value": kept.value, "return": kept.returned}
            about |= {"updates": kept.updates, "env_steps": kept.updates * self.per_update}
            team.write(path)
            files.write_json(path / "kept.json", about, schema.Kept)
        self.new.clear()

    def publish(self) -> None:
        """Move the teams to their places, once a checkpoint or the run's end follows them."""
        for name in self.kept:
            if files.kind(places.inside(self.checkpoints, name)):
                _place(self.checkpoints, name)

    def digests(self) -> dict[str, str]:
        """{name: digest of policy.json} of the teams that are kept."""
        found = {}
        for name in self.kept:
            staged, there = (
                places.inside(where, name) / "policy.json" for where in (self.checkpoints, self.checkpoints.parent)
            )
            path = staged if files.kind(staged) else there
            if files.kind(path):
                found[name] = files.digest_of(files.read_json(path, schema.Policy))
        return found


def _updates_of(path: Path) -> int | None:
    """The number of updates that a kept team had; None if it was not written completely."""
    about = path / "kept.json"
    return files.read_json(about, schema.Kept)["updates"] if files.kind(about) else None


def _place(checkpoints: Path, name: str) -> None:
    """Move a kept team from beside the checkpoints to the run's directory, in place of an earlier one."""
    staged, target = places.inside(checkpoints, name), places.inside(checkpoints.parent, name)
    with files.writing(target):
        shutil.rmtree(target, ignore_errors=True)
        os.rename(staged, target)


def place_all(checkpoints: Path, manifest: Mapping[str, Any]) -> None:
    """The same for the teams that a finished run knows by their digests, if a kill has kept them from their places."""
    digests = manifest.get("files", {}).get("kept", {})
    for rule in rules(manifest["config"].get("keep", ())):
        path = places.inside(checkpoints, rule.name) / "policy.json"
        if files.kind(path) and files.digest_of(files.read_json(path, schema.Policy)) == digests.get(rule.name):
            _place(checkpoints, rule.name)
