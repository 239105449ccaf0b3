"""One run of a session: its configuration, its directory and all that is written there. A sweep's session has many points."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from headstart.core.checks import HeadstartError, notice
from headstart.core.cost import total
from headstart.core.env_check import check_ends
from headstart.core.guidance import Rows, teacher_of
from headstart.core.types import Metrics
from headstart.report.build import read_curve
from headstart.report.transfer import final
from headstart.storage import files
from headstart.teams.policy import TeamPolicy
from headstart.training.config import Config, bind, describe, prices
from headstart.training.directory import RunDir
from headstart.training.extend import beginnings
from headstart.training.keep import Keeper, in_columns, rules
from headstart.training.made import Made
from headstart.training.metrics import MetricsFile, row_of
from headstart.training.watch import Progress, Watched, Watcher
from headstart.training.worth import short


class Point:
    """A run among those that train together; a run alone is the only one.

    `bound`: the run's id, the digests of its teachers and its former lengths, from run.json.
    """

    def __init__(
        self, config: Config, directory: RunDir, watchers: Sequence[Watcher] = (), bound: dict[str, Any] | None = None
    ):
        self.config, self.directory, self.bound = config, directory, bound or {}
        self.manifest: dict[str, Any] = {}
        self.kept = 0
        """Updates before the newest checkpoint."""
        self.returns: np.ndarray | None = None
        """[S]: evaluation return of each seed, once there is one."""
        self.watchers = tuple(watchers)

    def prepare(self, made: Made, start: Rows, columns: Callable[[], set[str]]) -> None:
        """Get ready to write. `start`: what guidance does at the start; `columns`: those of an evaluation in metrics.csv."""
        self.trainer, self.guides, self.rollout = made.trainer, made.guides, made.learner.rollout
        self.seeds = self.config.first_seed + np.arange(self.config.seeds)
        self.manifest = describe(self.config, made.trainer, start, self.seeds.tolist(), made.guides) | self.bound
        self.metrics = MetricsFile(self.directory.metrics, made.trainer.steps_per_update)
        wanted = rules(self.config.keep)
        wanted = in_columns(wanted, columns()) if wanted else ()
        self.keeper = Keeper(wanted, self.directory.checkpoints, self.team, made.trainer.steps_per_update)
        self.watched = Watched(self.metrics, self.watchers)

    def create(self, place: RunDir | None = None) -> None:
        """Make the run's directory, in another place if it is to be moved from there."""
        teachers = [teacher_of(guide) for guide in self.config.guidance]
        place = place or self.directory
        self.manifest = place.create(self.manifest, lambda path: bind(self.manifest, teachers, path))

    @property
    def diverged(self) -> bool:
        """Whether the session goes on without this point."""
        return "diverged" in self.manifest

    def set_aside(self, why: str) -> None:
        """Leave the run as it is, since it has diverged."""
        self.manifest["diverged"] = why
        self.directory.write_manifest(self.manifest)
        notice(f"{self.directory.path.name}: {why}")

    def team(self, params: PyTree, updates: int) -> TeamPolicy:
        """A team of this run, with its parameters after a number of updates."""
        others = (other["env_steps"] for other in self._prices(updates))
        steps = total([updates * self.trainer.steps_per_update, *others])
        seeds, run = tuple(self.seeds.tolist()), self.manifest.get("id", "")
        return TeamPolicy(self.config.env.spec, self.config.learner, params, seeds, self.config.env, steps, run=run)

    def _prices(self, updates: int) -> list[dict[str, Any]]:
        begun = beginnings(self.bound.get("extended", ()), self.trainer.steps_per_update)
        return prices(self.config, self.guides, updates, begun)

    def load(self, like: Callable[[int], PyTree], at: int | None = None) -> tuple[int, PyTree, dict[str, float]] | None:
        """The newest checkpoint, or that after `at` updates; None if there is none."""
        saved = self.directory.load_checkpoint(like, self.trainer.updates, self.manifest.get("id"), at)
        self.kept = saved[0] if saved else 0
        return saved

    def checkpoint(self, done: int, state: PyTree, note: dict[str, str]) -> None:
        """Write the whole training state, and publish the teams that it makes safe to keep."""
        if "id" in self.manifest:
            note = note | {"run": self.manifest["id"]}
        self.keeper.stage()
        self.directory.save_checkpoint(done, state, note)
        self.keeper.publish()
        self.kept = done

    def row(self, done: int, sums: PyTree, scores: Metrics, updates: int, learned: int, params: Callable[[], PyTree]) -> None:
        """Report the metrics of so many `updates` since the last row, one value per seed."""
        check_ends(self.config.env, np.asarray(sums["episodes"]["count"]).min(), updates * self.rollout, self.directory.path)
        columns = row_of(sums, scores, updates, learned)
        self.watched.tell("row", done * self.trainer.steps_per_update, columns)
        self.keeper.see(done, columns, lambda: jax.tree.map(np.array, params()))  # a copy: the next update takes its memory
        self.returns = columns["eval_return"]

    def progress(self, done: int, per_second: float) -> None:
        """Tell the watchers how far the run is."""
        steps = done * self.trainer.steps_per_update
        self.watched.tell("progress", Progress(steps, self.manifest["env_steps"], self.returns, per_second))

    def appraised(self, found: list[dict[str, Any]], lines: list[str]) -> None:
        """Keep what the teachers are worth, if they could be measured, and tell the watchers in words."""
        if found:
            self.manifest["worth"] = found
            self.directory.write_manifest(self.manifest)
        self.watched.tell("worth", lines)

    def finish(self, params: PyTree, timing: dict[str, float]) -> TeamPolicy:
        """Write the trained team. A kill between any two steps leaves a run that goes on from its last checkpoint."""
        updates, path = self.manifest["env_steps"] // self.trainer.steps_per_update, self.directory.path
        team = self.team(params, updates)
        self.keeper.stage()
        with files.writing(path):  # an earlier team, if the run was shorter, must not be mixed with this one
            (path / "policy.json").unlink(missing_ok=True)
        digests: dict[str, Any] = {"policy": team.write(path), "metrics": files.sha256(self.directory.metrics)}
        digests |= {"kept": kept} if (kept := self.keeper.digests()) else {}
        spent = self._prices(updates)  # less than was planned, if the run has reached its goal early
        finished = self.manifest | {"finished": True, "timing": timing, "files": digests, "teachers": spent}
        self.directory.write_manifest(finished)
        self.directory.clear(finished)
        self.watched.tell("end", team)
        worth = self.manifest.get("worth", ())
        for line in [*self.keeper.missed(), *(short(worth, final(read_curve(path))) if worth else ())]:
            notice(f"{path.name}: {line}")
        self.watched.check(f"the run has finished: {path}")
        return team


def load_together(
    points: Sequence[Point], like: Callable[[int], PyTree]
) -> tuple[int, list[PyTree], list[dict[str, float]]] | None:
    """(updates, states, notes) of the newest checkpoint that every point has; None if a point has none.

    A kill between two points' checkpoints leaves some of them one ahead, and these have the one before it as well.
    """
    found: list[tuple[int, PyTree, dict[str, float]]] = []
    for point in points:
        if (saved := point.load(like)) is None:
            return None
        found.append(saved)
    done = min(updates for updates, *_ in found)
    for i, point in enumerate(points):
        if found[i][0] == done:
            continue
        if (saved := point.load(like, done)) is None:
            raise HeadstartError(f"{point.directory.path} has no checkpoint after {done} updates, as others of its sweep have")
        found[i] = saved
    return done, [tree for _, tree, _ in found], [note for *_, note in found]
