"""Watchers follow a run as it trains. metrics.csv and the progress bar are two of them; users may add others."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.teams.policy import TeamPolicy


@dataclasses.dataclass
class Progress:
    """How far a run has come."""

    env_steps: int
    total_steps: int
    returns: np.ndarray | None
    """[S]: evaluation return of each seed, once there is one."""
    steps_per_second: float
    """Env-steps of one seed a second, compilation left out."""


class Watcher:
    """Follows a run: the run calls these methods as it goes, and a subclass defines those it needs.

    A resumed run calls `begin` again and goes on with the rows after its last checkpoint: rows that followed it before the
    interruption come a second time, with the same values. An exception stops the run with a checkpoint and the message.
    """

    def begin(self, manifest: dict[str, Any]) -> None:
        """The run begins or goes on; `manifest` is the content of run.json: "config", "seeds", "env_steps" and more."""

    def copied(self, lines: list[str]) -> None:
        """Guidance copied weights before training: what was copied from where, in words."""
        self.told(lines)

    def worth(self, lines: list[str]) -> None:
        """The teachers were measured before training: what each is worth in this environment, in words."""
        self.told(lines)

    def memory(self, lines: list[str]) -> None:
        """The run, or the points of a sweep that train together, need a large share of the free memory: how much, in words."""
        self.told(lines)

    def told(self, lines: list[str]) -> None:
        """The run says something in words before training: `copied`, `worth` and `memory` call this."""

    def progress(self, progress: Progress) -> None:
        """A piece of the run is done, about half a second of it."""

    def row(self, env_steps: int, values: dict[str, np.ndarray]) -> None:
        """Every seed was evaluated after `env_steps`: {column of metrics.csv: [S]}, NaN for a missing value."""

    def end(self, team: TeamPolicy) -> None:
        """The run has finished, and this is the trained team. A run that is interrupted or diverges has no end."""


class Watched:
    """The watchers of a run as one. `error` is the first error that one raised; the run stops at its next checkpoint."""

    def __init__(self, metrics: Watcher, others: Sequence[Watcher]):
        self.metrics, self.others = metrics, tuple(others)
        self.error: HeadstartError | None = None

    def tell(self, method: str, *args: Any) -> None:
        """Call one method of every watcher."""
        # An error of the run's own file is raised at once: no checkpoint must follow a row that was lost.
        getattr(self.metrics, method)(*args)
        for watcher in self.others:
            try:
                getattr(watcher, method)(*args)
            except Exception as error:
                if self.error is None:
                    message = str(error) if isinstance(error, HeadstartError) else repr(error)
                    self.error = HeadstartError(f"the watcher {type(watcher).__name__} failed: {message}")
                    self.error.__cause__ = error

    def check(self, where: str) -> None:
        """Raise the first error of a watcher; `where` describes the state of the run."""
        if self.error is not None:
            raise HeadstartError(f"{self.error}; {where}") from self.error.__cause__
