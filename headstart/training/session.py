"""One process's part of a run: pieces of the jitted loop, and between them evaluation, metrics, checkpoints and signals.

One program advances a run by any number of updates, so evaluations, checkpoints and interruptions cost no compilation of
their own, and an interrupted run equals an uninterrupted one, bitwise.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from headstart.core.checks import HeadstartError, require
from headstart.core.errors import host_errors
from headstart.core.guidance import chain, start_rows
from headstart.core.scope import innermost
from headstart.core.trainer import make_trainer
from headstart.core.types import Metrics
from headstart.storage import files
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.training import copied, extend, footprint, lanes, programs, worth
from headstart.training.config import Config, describe
from headstart.training.directory import RunDir
from headstart.training.keep import LAST, Keeper, in_columns, rules
from headstart.training.metrics import MetricsFile, columns_of, row_of
from headstart.training.signals import Signals
from headstart.training.watch import Progress, Watched, Watcher

PIECE_SECONDS = 0.5
"""Target duration of one piece; the progress bar moves and signals are checked once a piece."""
CHECKPOINT_SECONDS = 30.0
"""Least time between two checkpoints of a run that is not interrupted."""


class Interrupted(HeadstartError):
    """The run was asked to stop; it left a checkpoint."""


class Diverged(HeadstartError):
    """A loss or a parameter became NaN or infinite."""


class Session:
    """One process's part of a run: its compiled programs and its place in the run. The current scope owns what it opens.

    `bound`: the run's id, the digests of its teachers and its former lengths, from run.json. `changed`: whether run.json is to
    be written anew before the run goes on.
    """

    def __init__(
        self,
        config: Config,
        directory: RunDir,
        watchers: Sequence[Watcher] = (),
        bound: dict[str, Any] | None = None,
        changed: bool = False,
    ):
        programs.use_compilation_cache()
        self.config, self.directory, self.changed = config, directory, changed
        spec = config.env.spec
        self.learner = config.learner.make(spec)
        guides = [guide.make(spec, self.learner) for guide in config.guidance]
        guidance, self.copied = chain(*guides), [start_rows(guide, self.learner) for guide in guides]
        per_update, extended = self.learner.rollout * self.learner.num_envs, (bound or {}).get("extended", ())
        self.fresh_at = extend.fresh_at(extended, per_update)
        self.trainer = make_trainer(config.env, self.learner, guidance, config.steps, self.fresh_at)
        self.points = extend.evaluated_after(self.trainer.updates, config.evaluations, extended, per_update)
        if self.learner.warmup >= config.steps:
            raise HeadstartError(
                f"the learner's warm-up takes {self.learner.warmup} env-steps, so that {config.steps} leave nothing to learn: "
                "raise --steps or lower --learner.warmup"
            )
        for name, count in (("updates", self.trainer.updates), ("env-steps an update", self.trainer.steps_per_update)):
            require(count < 2**31, f"the number of {name}", count, "below 2³¹: lower --steps or --learner.num-envs")
        with footprint.no_overflow():
            self.shape = jax.eval_shape(lambda key: programs.begin(self.trainer, key, jnp.asarray(0)), jr.key(0))
            footprint.check_training(config, self.learner, self.shape)
        self.seeds = config.first_seed + np.arange(config.seeds)
        rows = [row for rows in self.copied for row in rows]
        self.manifest = describe(config, self.trainer, rows, self.seeds.tolist()) | (bound or {})
        self.compile_s, self.run_s, self.kept, self.room = 0.0, 0.0, 0, 0
        self.begun = False
        """Whether there is anything to go on with: an evaluation, a checkpoint, or a wish to try again."""
        self.metrics = MetricsFile(directory.metrics, self.trainer.steps_per_update)
        wanted = rules(config.keep)
        wanted = in_columns(wanted, self._columns()) if wanted else ()
        self.keeper = Keeper(wanted, directory.checkpoints, self._team, self.trainer.steps_per_update)
        self.watched = Watched(self.metrics, watchers)

    def go(self) -> TeamPolicy:
        """Run to the end, from the last checkpoint if there is one."""
        try:
            return self._go()
        except files.NotWritten as error:
            raise files.NotWritten(error.what, self.directory.path) from None

    def _go(self) -> TeamPolicy:
        opened = innermost()
        stop = opened.stop
        with Signals(stop):
            self.watched.tell("begin", self.manifest)
            self.begun = self.watched.error is not None
            self.watched.check(f"try again with: {self.directory.resume}")
            try:
                with host_errors():
                    params = self._trained(stop)
            except HeadstartError:
                if opened.abandoned:  # a call of the host, and with it all since the last checkpoint
                    self.begun = True
                    raise Interrupted(self._stopped(self.kept)) from None
                raise
            return self._finish(params, stop)

    def _finish(self, params: PyTree, stop: threading.Event) -> TeamPolicy:
        """Write the trained team, also if the run was asked to stop while it computed its last piece."""
        team = self._team(params, self.manifest["env_steps"] // self.trainer.steps_per_update)
        # A kill between any two of these leaves a run that goes on from its last checkpoint.
        self.keeper.stage()
        with files.writing(self.directory.path):  # an earlier team, if the run was shorter, must not be mixed with this one
            (self.directory.path / "policy.json").unlink(missing_ok=True)
        digests: dict[str, Any] = {"policy": team.write(self.directory.path), "metrics": files.sha256(self.directory.metrics)}
        digests |= {"kept": kept} if (kept := self.keeper.digests()) else {}
        timing = {"run_s": round(self.run_s, 3), "compile_s": round(self.compile_s, 3)}
        finished = self.manifest | {"finished": True, "timing": timing, "files": digests}
        self.directory.write_manifest(finished)
        self.directory.clear(finished)
        self.watched.tell("end", team)
        self.watched.check(f"the run has finished: {self.directory.path}")
        if stop.is_set():
            raise Interrupted(f"stopped after the last update; go on with: {self.directory.resume}")
        return team

    def _team(self, params: PyTree, updates: int) -> TeamPolicy:
        """A team of this run, with its parameters after a number of updates."""
        steps = updates * self.trainer.steps_per_update + sum(teacher["env_steps"] for teacher in self.manifest["teachers"])
        seeds, run = tuple(self.seeds.tolist()), self.manifest.get("id", "")
        return TeamPolicy(self.config.env.spec, self.config.learner, params, seeds, self.config.env, steps, run=run)

    def _leave(self, stop: threading.Event) -> None:
        """Stop where nothing has been computed yet that a checkpoint would keep."""
        if stop.is_set():
            self.begun = True
            raise Interrupted(f"stopped before the next update; go on with: {self.directory.resume}")

    def _trained(self, stop: threading.Event) -> PyTree:
        seeds = jnp.asarray(self.seeds)
        keys = jax.vmap(lambda seed: jr.fold_in(jr.key(0), seed))(seeds)
        shape = self._of_all(self.shape)
        self.room = jax.tree.leaves(self.shape["state"].memory)[0].shape[0]
        data = self.trainer.data
        self._leave(stop)
        advance = self._compiled(programs.advance(self.trainer), shape, 0, 0, data, mapped=1, donate=0)
        self._leave(stop)
        score = programs.score(self.config.env, self.learner, self.config.episodes)
        score = self._compiled(score, shape["state"].params, keys, 0, mapped=2)
        self._leave(stop)
        saved = self._loaded(shape)
        done, tree, note = saved or (0, None, {})
        self.kept = done
        if saved is None and not self.fresh_at:
            self._tell_copied()
            if "worth" not in self.manifest:
                self._appraise(keys, seeds)
            self._leave(stop)
        loop = lanes.Blocks((tree,)) if saved else self._first(keys, seeds)
        self.run_s += note.get("run_s", 0.0)
        self.compile_s += note.get("compile_s", 0.0)
        if self.changed:  # from here on the run has its new length
            self.directory.write_manifest(self.manifest)
        if saved is None and self.fresh_at:
            done = self.fresh_at
            self._checkpoint(done, loop)  # the team that it begins with is overwritten at the end
        self.metrics.forget_after(done if done else -1)
        self.keeper.recall(self.metrics.points())
        run = lambda loop, start, stop: advance(loop, start, stop, data)
        params = lambda loop: loop["state"].map(lambda state: state.params)
        judge = lambda loop, index: score(params(loop), keys, index).whole()
        done, loop = self._advance_all(done, loop, run, judge, stop, fresh=not done)
        if LAST in self.config.keep and done > self.kept:
            self._checkpoint(done, loop)
        return params(loop).whole()

    def _of_all(self, shape: PyTree) -> PyTree:
        """The shapes of all seeds' arrays [S ..] from those of one."""
        of_all = lambda x: jax.ShapeDtypeStruct((len(self.seeds), *x.shape), x.dtype, weak_type=x.weak_type)
        return jax.tree.map(of_all, shape)

    def _columns(self) -> set[str]:
        """The columns of metrics.csv that hold numbers of an evaluation."""
        score = programs.score(self.config.env, self.learner, self.config.episodes)
        key = jax.eval_shape(lambda: jr.split(jr.key(0), len(self.seeds)))
        scores = jax.eval_shape(score, self._of_all(self.shape)["state"].params, key, 0)
        return columns_of(self.shape["sums"], scores)

    def _loaded(self, shape: PyTree) -> tuple[int, PyTree, dict[str, float]] | None:
        """The newest checkpoint, with a memory of the length that this run needs; None if there is none."""
        like = lambda room: {**shape, "state": extend.with_room(shape["state"], room)} if room else shape
        saved = self.directory.load_checkpoint(like, self.trainer.updates, self.manifest.get("id"))
        if saved is None:
            return None
        done, tree, note = saved
        return done, {**tree, "state": extend.in_room(tree["state"], shape["state"])}, note

    def _first(self, keys: PyTree, seeds: PyTree) -> lanes.Blocks:
        """The loop state with which the run begins, or goes on from a team that was kept without its training state."""
        start = jax.vmap(lambda key, seed, *params: programs.begin(self.trainer, key, seed, *params))
        if not self.fresh_at:
            return self._compiled(start, keys, seeds, mapped=2)(keys, seeds)
        last = self.manifest["extended"][-1]
        team = load(self.directory.path, digest=last.get("policy"))
        self.run_s, self.compile_s = ((last.get("timing") or {}).get(name) or 0.0 for name in ("run_s", "compile_s"))
        keys = jax.vmap(lambda key: jr.fold_in(key, self.fresh_at))(keys)  # other numbers than those of the run's beginning
        return self._compiled(start, keys, seeds, team.params, mapped=3)(keys, seeds, team.params)

    def _tell_copied(self) -> None:
        """Tell what guidance copies into the networks that the run begins with."""
        if lines := copied.in_words(self.config.guidance, self.copied, self.config.env.spec):
            self.watched.tell("copied", lines)

    def _appraise(self, keys: PyTree, seeds: PyTree) -> None:
        """Measure the teachers before anything is trained; tell, and keep it in run.json."""
        episodes = worth.EPISODES if self.config.worth is None else self.config.worth
        found = worth.appraise(self.config, self.learner, keys, seeds, episodes)
        if found:
            self.manifest["worth"] = found
            self.directory.write_manifest(self.manifest)
            worth.warn(found)
            self.watched.tell("worth", worth.in_words(found))

    def _compiled(self, function: Callable, *args: Any, mapped: int, donate: int | None = None) -> lanes.Program:
        start = time.perf_counter()
        arrays = (jnp.asarray(x) if isinstance(x, int) else x for x in args)
        program = lanes.compile_program(function, *arrays, mapped=mapped, donate=donate)
        self.compile_s += time.perf_counter() - start
        return program

    def _advance_all(self, done, loop, advance, score, stop, fresh: bool):
        trainer, config = self.trainer, self.config
        points = self.points
        counted_from = int(points[points <= done][-1])
        returns, piece, saved_at, spent = None, 1, time.perf_counter(), 0.0
        if fresh:
            returns = self._row(0, 0, loop, score(loop, jnp.asarray(0)))
        self.begun = True
        if not fresh and self._goal_reached(done):
            self.manifest["env_steps"] = done * trainer.steps_per_update
            return done, loop
        first_update = done
        while done < trainer.updates:
            following = int(points[points > done][0])
            until = min(done + piece, following)
            start = time.perf_counter()
            loop = advance(loop, jnp.asarray(done), jnp.asarray(until))
            broken = np.asarray(loop["broken"].whole())
            took = time.perf_counter() - start
            spent, self.run_s = spent + took, self.run_s + took
            piece = max(1, int((until - done) * min(2.0, PIECE_SECONDS / max(took, 1e-9))))
            done = until
            if (broken != -1).any():
                raise Diverged(_diverged(broken, self.seeds, self.directory))
            if done == following:
                start = time.perf_counter()
                returns = self._row(counted_from, done, loop, score(loop, jnp.asarray(done)))
                loop, counted_from = loop.map(lambda x: x | {"sums": jax.tree.map(jnp.zeros_like, x["sums"])}), done
                self.run_s += time.perf_counter() - start
                if config.until is not None and returns.mean() >= config.until:
                    self.manifest["env_steps"] = done * trainer.steps_per_update
            per_second = (done - first_update) * trainer.steps_per_update / max(spent, 1e-9)
            now = Progress(done * trainer.steps_per_update, self.manifest["env_steps"], returns, per_second)
            self.watched.tell("progress", now)
            if done * trainer.steps_per_update >= self.manifest["env_steps"]:
                return done, loop
            due = time.perf_counter() - saved_at > CHECKPOINT_SECONDS
            if due or stop.is_set() or self.watched.error:
                self._checkpoint(done, loop)
                saved_at = time.perf_counter()
            self.watched.check(self._stopped(done))
            if stop.is_set() and done < trainer.updates:
                raise Interrupted(self._stopped(done))
        return done, loop

    def _goal_reached(self, done: int) -> bool:
        """Whether the run had reached its goal at an evaluation `done`, and was killed before it could end."""
        goal, rows = self.config.until, dict(self.metrics.points()) if self.config.until is not None else {}
        return goal is not None and done in rows and done in self.points and bool(rows[done]["eval_return"].mean() >= goal)

    def _checkpoint(self, done: int, loop: lanes.Blocks) -> None:
        note = {"run_s": str(self.run_s), "compile_s": str(self.compile_s), "room": str(self.room)}
        if "id" in self.manifest:
            note["run"] = self.manifest["id"]
        self.keeper.stage()
        self.directory.save_checkpoint(done, loop.whole(), note)
        self.keeper.publish()
        self.kept = done

    def _stopped(self, done: int) -> str:
        return f"stopped after {done} of {self.trainer.updates} updates; go on with: {self.directory.resume}"

    def _row(self, counted_from: int, done: int, loop: lanes.Blocks, scores: Metrics) -> np.ndarray:
        """Report the metrics since the last row, one value per seed; returns the evaluation returns [S]."""
        learned = max(done - max(counted_from, self.trainer.warmup_updates), 0)
        columns = row_of(loop["sums"].whole(), scores, done - counted_from, learned)
        self.watched.tell("row", done * self.trainer.steps_per_update, columns)
        params = lambda: jax.tree.map(np.array, loop["state"].map(lambda state: state.params).whole())  # a copy: it is donated
        self.keeper.see(done, columns, params)
        return columns["eval_return"]


def _diverged(broken: np.ndarray, seeds: np.ndarray, directory: RunDir) -> str:
    updates = np.where(broken < -1, -2 - broken, broken)
    where = ", ".join(f"seed {seed} at update {at}" for seed, at in zip(seeds, updates, strict=True) if at >= 0)
    kept = (
        f"the last good checkpoint is in {directory.checkpoints}" if directory.has_checkpoint() else "no checkpoint was due yet"
    )
    if (broken < -1).any():
        return f"the environment's observations or rewards became NaN or infinite: {where}; {kept}; mend the environment"
    return f"a loss or parameter became NaN or infinite: {where}; {kept}; try a lower learning rate"
