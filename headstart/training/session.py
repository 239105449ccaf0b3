"""One process's part of a run: pieces of the jitted loop, and between them evaluation, metrics, checkpoints and signals.

One program advances a run by any number of updates, so evaluations, checkpoints and interruptions cost no compilation of
their own, and an interrupted run equals an uninterrupted one, bitwise.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from headstart.core.checks import HeadstartError, require
from headstart.core.errors import host_errors
from headstart.core.guidance import start_rows
from headstart.core.scope import innermost
from headstart.core.types import Metrics
from headstart.registry import command
from headstart.storage import files
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.training import copied, extend, footprint, lanes, programs, worth
from headstart.training.config import resumption
from headstart.training.ends import Diverged, Interrupted, divergence
from headstart.training.keep import LAST
from headstart.training.made import begun, check_alike, in_lane, make
from headstart.training.metrics import columns_of
from headstart.training.point import Point, load_together
from headstart.training.settings import values_of
from headstart.training.signals import Signals

PIECE_SECONDS = 0.5
"""Target duration of one piece; the progress bar moves and signals are checked once a piece."""
CHECKPOINT_SECONDS = 30.0
"""Least time between two checkpoints of a run that is not interrupted."""
CHECKPOINT_COST = 1.5
"""Seconds of writing in CHECKPOINT_SECONDS; a checkpoint that takes longer is made less often in proportion."""


class Session:
    """One process's part of one run, or of the points of a sweep that train together: programs, and a place in the run.

    The current scope owns what it opens. `over`: the settings in which the points differ, real numbers that the programs take
    as values. `home`: the sweep's directory. `changed`: whether run.json is to be written anew before the run goes on.
    """

    def __init__(self, points: Sequence[Point], over: Sequence[str] = (), home: Path | None = None, changed: bool = False):
        programs.use_compilation_cache()
        first = points[0]
        self.points, self.home, self.changed = tuple(points), home, changed
        self.config = first.config
        self.resume = command("resume", home) if home else resumption(first.config, first.directory.path)
        extended, config = first.bound.get("extended", ()), first.config
        made = make(config, extended)
        self.learner, self.trainer, self.fresh_at = made.learner, made.trainer, made.fresh_at
        self.of_lane = in_lane(config, made)
        each = values_of([point.config for point in points], over)
        check_alike([made, *(make(point.config) for point in points[1:])])
        self.evaluated = extend.evaluated_after(self.trainer.updates, config.evaluations, extended, self._per_update)
        """The numbers of updates after which there is an evaluation."""
        if self.learner.warmup >= config.steps:
            raise HeadstartError(
                f"the learner's warm-up takes {self.learner.warmup} env-steps, so that {config.steps} leave nothing to learn: "
                "raise --steps or lower --learner.warmup"
            )
        for name, count in (("updates", self.trainer.updates), ("env-steps an update", self.trainer.steps_per_update)):
            require(count < 2**31, f"the number of {name}", count, "below 2³¹: lower --steps or --learner.num-envs")
        with footprint.no_overflow():
            self.shape = begun(self.of_lane, each)
            self.memory = footprint.check_training(config, self.learner, self.shape, len(points))
        self.values = {name: jnp.asarray(np.repeat(values, config.seeds)) for name, values in each.items()}
        """{setting: [L]}: the values of every lane; the lanes of a point are neighbours."""
        self.copied = [start_rows(guide, self.learner) for guide in made.guides]
        rows = [row for rows in self.copied for row in rows]
        for point in points:
            point.prepare(made, rows, self._columns)
        self.seeds = np.concatenate([point.seeds for point in points])
        """[L]."""
        self.compile_s, self.run_s, self.room = 0.0, 0.0, 0
        self.begun = False
        """Whether there is anything to go on with: an evaluation, a checkpoint, or a wish to try again."""

    @property
    def _per_update(self) -> int:
        return self.trainer.steps_per_update

    @property
    def _active(self) -> list[tuple[Point, slice]]:
        """The points that have not diverged, with the places of their lanes."""
        count = self.config.seeds
        places = ((point, slice(i * count, (i + 1) * count)) for i, point in enumerate(self.points))
        return [(point, place) for point, place in places if not point.diverged]

    def go(self) -> list[TeamPolicy]:
        """Run to the end, from the last checkpoint if there is one; the teams of the points that have not diverged."""
        try:
            return self._go()
        except files.NotWritten as error:
            raise files.NotWritten(error.what, self.resume) from None

    def _go(self) -> list[TeamPolicy]:
        opened = innermost()
        stop = opened.stop
        with Signals(stop):
            for point in self.points:
                point.watched.tell("begin", point.manifest)
                if self.memory:
                    point.watched.tell("memory", self.memory)
            self.begun = self._failed
            self._check_watchers(f"try again with: {self.resume}")
            try:
                with host_errors():
                    params = self._trained(stop)
            except HeadstartError:
                if opened.abandoned:  # a call of the host, and with it all since the last checkpoint
                    self.begun = True
                    raise Interrupted(self._stopped(self.points[0].kept)) from None
                raise
            # Teams are written also if the run was asked to stop while it computed its last piece.
            teams = [point.finish(params.part(place.start, place.stop), self._shares()) for point, place in self._active]
            if stop.is_set():
                raise Interrupted(f"stopped after the last update; go on with: {self.resume}")
            return teams

    def _shares(self) -> dict[str, float]:
        """The seconds of one point: all points' in equal parts."""
        return {name: round(x / len(self.points), 3) for name, x in (("run_s", self.run_s), ("compile_s", self.compile_s))}

    @property
    def _failed(self) -> bool:
        """Whether a watcher has raised an error."""
        return any(point.watched.error is not None for point in self.points)

    def _check_watchers(self, where: str) -> None:
        for point in self.points:
            point.watched.check(where)

    def _leave(self, stop: threading.Event) -> None:
        """Stop where nothing has been computed yet that a checkpoint would keep."""
        if stop.is_set():
            self.begun = True
            raise Interrupted(f"stopped before the next update; go on with: {self.resume}")

    def _trained(self, stop: threading.Event) -> lanes.Blocks:
        seeds = jnp.asarray(self.seeds)
        keys = jax.vmap(lambda seed: jr.fold_in(jr.key(0), seed))(seeds)
        shape = self._of_all(self.shape)
        self.room = jax.tree.leaves(self.shape["state"].memory)[0].shape[0]
        data, values = self.trainer.data, self.values
        self._leave(stop)
        advance = programs.advance_lanes(lambda values: self.of_lane(values).trainer)
        advance = self._compiled(advance, shape, values, 0, 0, data, mapped=2, donate=0)
        self._leave(stop)
        score = self._compiled(self._score(), shape["state"].params, keys, values, 0, mapped=3)
        self._leave(stop)
        saved = self._loaded()
        done, tree, notes = saved or (0, lanes.Blocks(()), [])
        if saved is None and not self.fresh_at:
            copied.tell(self.points, self.copied)
            if not all("worth" in point.manifest for point in self.points):
                self._appraise(keys, seeds)
            self._leave(stop)
        loop = tree if saved else self._first(keys, seeds)
        self.run_s += sum(note.get("run_s", 0.0) for note in notes)
        self.compile_s += sum(note.get("compile_s", 0.0) for note in notes)
        for point in self.points if self.changed else ():  # from here on the run has its new length
            point.directory.write_manifest(point.manifest)
        if saved is None and self.fresh_at:
            done = self.fresh_at
            self._checkpoint(done, loop)  # the team that it begins with is overwritten at the end
        for point in self.points:
            point.metrics.forget_after(done if done else -1)
            point.keeper.recall(point.metrics.points())
        run = lambda loop, start, stop: advance(loop, values, start, stop, data)
        judge = lambda loop, index: score(_params(loop), keys, values, index).whole()
        done, loop = self._advance_all(done, loop, run, judge, stop, fresh=not done)
        # In calls of all lanes numbers depend on how many there are: a kill between two points' ends must lose none of them.
        together = len(self.points) > 1 and advance.size > 1
        if (LAST in self.config.keep or together) and any(done > point.kept for point, _ in self._active):
            self._checkpoint(done, loop)
        return _params(loop)

    def _of_all(self, shape: PyTree, count: int | None = None) -> PyTree:
        """The shapes of all lanes' arrays [L ..], or of so many lanes', from those of one."""
        count = len(self.seeds) if count is None else count
        of_all = lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype, weak_type=x.weak_type)
        return jax.tree.map(of_all, shape)

    def _score(self) -> Callable[..., Metrics]:
        return programs.score_lanes(lambda values: self.of_lane(values)[:2], self.config.episodes)

    def _columns(self) -> set[str]:
        """The columns of metrics.csv that hold numbers of an evaluation."""
        count = len(self.points) * self.config.seeds
        key = jax.eval_shape(lambda: jr.split(jr.key(0), count))
        scores = jax.eval_shape(self._score(), self._of_all(self.shape, count)["state"].params, key, self.values, 0)
        return columns_of(self.shape["sums"], scores)

    def _loaded(self) -> tuple[int, lanes.Blocks, list[dict[str, float]]] | None:
        """The newest checkpoint that every point has, with a memory of the length that it needs; None if one has none."""
        shape = self._of_all(self.shape, self.config.seeds)
        like = lambda room: {**shape, "state": extend.with_room(shape["state"], room)} if room else shape
        if (saved := load_together(self.points, like)) is None:
            return None
        done, trees, notes = saved
        return done, lanes.Blocks(tuple({**x, "state": extend.in_room(x["state"], shape["state"])} for x in trees)), notes

    def _first(self, keys: PyTree, seeds: PyTree) -> lanes.Blocks:
        """The loop state with which the run begins, or goes on from a team that was kept without its training state."""
        if not self.fresh_at:
            return programs.first(lambda values: self.of_lane(values).trainer, keys, seeds, self.values, self._compiled)
        point = self.points[0]
        last = point.manifest["extended"][-1]
        team = load(point.directory.path, digest=last.get("policy"))
        self.run_s, self.compile_s = ((last.get("timing") or {}).get(name) or 0.0 for name in ("run_s", "compile_s"))
        keys = jax.vmap(lambda key: jr.fold_in(key, self.fresh_at))(keys)  # other numbers than those of the run's beginning
        begin = lambda key, seed, values, params: programs.begin(self.of_lane(values).trainer, key, seed, params)
        lanewise = (keys, seeds, self.values, team.params)
        return self._compiled(jax.vmap(begin), *lanewise, mapped=4, runs_once=True)(*lanewise)

    def _appraise(self, keys: PyTree, seeds: PyTree) -> None:
        """Measure the teachers before anything is trained; tell, and keep it in run.json.

        Points of one environment share what is found for the first of them.
        """
        if not any(name.startswith("env.") for name in self.values):
            worth.appraise_points(self.points, self.learner, keys, seeds)

    def _compiled(
        self, function: Callable, *args: Any, mapped: int, donate: int | None = None, runs_once: bool = False
    ) -> lanes.Program:
        start = time.perf_counter()
        arrays = (jnp.asarray(x) if isinstance(x, int) else x for x in args)
        program = lanes.compile_program(function, *arrays, mapped=mapped, donate=donate, runs_once=runs_once)
        self.compile_s += time.perf_counter() - start
        return program

    def _advance_all(self, done, loop, advance, score, stop, fresh: bool):
        trainer, first = self.trainer, self.points[0]
        counted_from = int(self.evaluated[self.evaluated <= done][-1])
        piece, saved_at, spent, wrote = 1, time.perf_counter(), 0.0, 0.0
        if fresh:
            self._rows(0, 0, loop, score(loop, jnp.asarray(0)))
        self.begun = True
        if not fresh and self._goal_reached(done):
            first.manifest["env_steps"] = done * trainer.steps_per_update
            return done, loop
        first_update = done
        while done < trainer.updates:
            following = int(self.evaluated[self.evaluated > done][0])
            until = min(done + piece, following)
            start = time.perf_counter()
            loop = advance(loop, jnp.asarray(done), jnp.asarray(until))
            broken = np.asarray(loop["broken"].whole())
            took = time.perf_counter() - start
            spent, self.run_s = spent + took, self.run_s + took
            piece = max(1, int((until - done) * min(2.0, PIECE_SECONDS / max(took, 1e-9))))
            done = until
            self._set_aside(broken)
            if not self._active:
                return done, loop
            if done == following:
                start = time.perf_counter()
                self._rows(counted_from, done, loop, score(loop, jnp.asarray(done)))
                loop, counted_from = loop.map(lambda x: x | {"sums": jax.tree.map(jnp.zeros_like, x["sums"])}), done
                self.run_s += time.perf_counter() - start
                if self.config.until is not None and first.returns is not None and first.returns.mean() >= self.config.until:
                    first.manifest["env_steps"] = done * trainer.steps_per_update
            per_second = (done - first_update) * trainer.steps_per_update / max(spent, 1e-9)
            for point, _ in self._active:
                point.progress(done, per_second)
            if done * trainer.steps_per_update >= first.manifest["env_steps"]:
                return done, loop
            start = time.perf_counter()
            due = start - saved_at > CHECKPOINT_SECONDS * max(1.0, wrote / CHECKPOINT_COST)
            if due or stop.is_set() or self._failed:
                self._checkpoint(done, loop)
                saved_at = time.perf_counter()
                wrote = saved_at - start
            self._check_watchers(self._stopped(done))
            if stop.is_set() and done < trainer.updates:
                raise Interrupted(self._stopped(done))
        return done, loop

    def _set_aside(self, broken: np.ndarray) -> None:
        """Go on without the points of a sweep that have diverged; a run alone ends."""
        for point, place in self._active:
            if (broken[place] != -1).any():
                why = divergence(broken[place], point.seeds, point.directory, "" if self.home else self.resume)
                if self.home is None:
                    raise Diverged(why)
                point.set_aside(why)

    def _goal_reached(self, done: int) -> bool:
        """Whether the run had reached its goal at an evaluation `done`, and was killed before it could end."""
        goal = self.config.until
        rows = dict(self.points[0].metrics.points()) if goal is not None else {}
        return goal is not None and done in rows and done in self.evaluated and bool(rows[done]["eval_return"].mean() >= goal)

    def _checkpoint(self, done: int, loop: lanes.Blocks) -> None:
        seconds = (self.run_s / len(self.points), self.compile_s / len(self.points))
        note = {name: str(x) for name, x in zip(("run_s", "compile_s", "room"), (*seconds, self.room), strict=True)}
        for point, place in self._active:
            point.checkpoint(done, loop.part(place.start, place.stop), note)

    def _stopped(self, done: int) -> str:
        return f"stopped after {done} of {self.trainer.updates} updates; go on with: {self.resume}"

    def _rows(self, counted_from: int, done: int, loop: lanes.Blocks, scores: Metrics) -> None:
        """Report the metrics of every point since the last row."""
        learned = max(done - max(counted_from, self.trainer.warmup_updates), 0)
        for point, place in self._active:
            sums = loop["sums"].part(place.start, place.stop)
            params = lambda place=place: _params(loop).part(place.start, place.stop)
            mine = {name: x[place] for name, x in scores.items()}
            point.row(done, sums, mine, done - counted_from, learned, params)


def _params(loop: lanes.Blocks) -> lanes.Blocks:
    return loop["state"].map(lambda state: state.params)
