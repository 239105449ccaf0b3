"""Demonstrations that an experiment records of a team of an earlier stage, once a later stage is to learn from them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from headstart.core.checks import notice
from headstart.storage import files
from headstart.storage.places import inside
from headstart.teams.demos import Demos
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.teams.saved_demos import holds_demos


@dataclasses.dataclass(frozen=True)
class Recording:
    """A guide's `teacher` in a stage: demonstrations of a team of an earlier one, kept in `demos`/NAME of the experiment."""

    name: str
    teams: tuple[str, ...]
    """STAGE, or STAGE/KEPT for a team that the stage keeps: the first of these that there is, all of one stage."""
    record: Callable[[TeamPolicy], Demos]
    """The team with all its seeds -> demonstrations, e.g. of one of the seeds."""

    @property
    def stage(self) -> str:
        """The name of the stage."""
        return self.teams[0].partition("/")[0]

    def path(self, out: Path) -> Path:
        """The directory of the demonstrations in an experiment at `out`."""
        return inside(out, "demos", self.name)

    def made(self, out: Path) -> Path:
        """The same, once they are there: what an interrupted experiment has recorded stays."""
        path = self.path(out)
        if not holds_demos(path):
            demos = self.record(load(out / "stages" / self._team(out)))
            demos.save(path)
            notice(f"{path} has {demos.told()}")
        return path

    def _team(self, out: Path) -> str:
        there = [team for team in self.teams if files.kind(out / "stages" / team / "policy.json")]
        found = (there or self.teams)[0]
        if found != self.teams[0]:
            notice(f"there is no {self.teams[0]}, which was not reached: {self.name} are of {found}")
        return found
