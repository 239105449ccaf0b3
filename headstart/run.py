"""A run on disk: chunks of the jitted loop, and between them evaluation, metrics, checkpoints and a look at the signals.

One program advances all seeds by any number of updates, so evaluation points, checkpoints and interruptions cost no
compilation of their own, and a run cut anywhere equals one that was not, bitwise.
"""

import dataclasses
import platform
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from headstart import registry
from headstart._version import __version__
from headstart.checks import HeadstartError, require
from headstart.envs.base import Env
from headstart.guidance.base import Guidance, GuidanceConfig, chain
from headstart.guidance.warm_start import WarmStart
from headstart.learners.base import LearnerConfig
from headstart.policy import TeamPolicy, encode_spec, load
from headstart.rundir import RunDir
from headstart.trainer import evaluate, make_trainer, team_mean
from headstart.types import Metrics, TeamSpec

PIECE_SECONDS = 0.5
"""Aim for one call of the program: how often the progress bar moves and signals are looked at."""
CHECKPOINT_SECONDS = 30.0
"""Least time between two checkpoints of a run that is not interrupted."""


class Interrupted(HeadstartError):
    """The run was asked to stop; it left a checkpoint."""


class Diverged(HeadstartError):
    """A loss or a parameter became NaN or infinite."""


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

    def __post_init__(self):
        for name in ("steps", "seeds", "evaluations", "episodes"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.first_seed >= 0, "first_seed", self.first_seed, "at least 0")


@dataclasses.dataclass
class Progress:
    """What a watcher is told after every piece of a run."""

    env_steps: int
    total_steps: int
    returns: np.ndarray | None
    """Evaluation return of each seed, once there is one."""
    steps_per_second: float
    """Env-steps of one seed a second, compilation left out."""


Watch = Callable[[Progress], None]


def train(config: Config, out: str | Path, watch: Watch | None = None) -> TeamPolicy:
    """Train a team and leave a run directory at `out`; returns the team. Refuses a directory that holds anything."""
    directory = RunDir(out)
    session = _Session(_with_teachers(config), directory)
    directory.create(session.about)
    for i, guide in enumerate(session.config.guidance):
        if isinstance(guide.teacher, TeamPolicy):
            guide.teacher.save(directory.path / f"teacher-{i}")
    return session.go(watch)


def _with_teachers(config: Config) -> Config:
    """The configuration with teachers given by path loaded."""
    loaded = lambda g: dataclasses.replace(g, teacher=load(g.teacher)) if isinstance(g.teacher, str | Path) else g
    return dataclasses.replace(config, guidance=tuple(loaded(guide) for guide in config.guidance))


def resume(out: str | Path, watch: Watch | None = None) -> TeamPolicy:
    """Go on with a run from its last checkpoint; a finished one is just loaded."""
    directory = RunDir(out)
    about = directory.about()
    if about.get("finished"):
        return load(out)
    return _Session(_config_of(about, directory), directory).go(watch, about.get("timing"))


def score(team: TeamPolicy, env: Env, episodes: int) -> np.ndarray:
    """[S]: every seed's mean return of fresh greedy episodes in `env`; HeadstartError where the team does not fit it."""
    if env.spec.roles != team.spec.roles:
        raise HeadstartError(f"the team was trained for {_sizes(team.spec)} and this environment has {_sizes(env.spec)}")
    run = jax.jit(jax.vmap(evaluate(env, team.learner, episodes)))
    keys = jax.vmap(lambda seed: jr.fold_in(jr.key(2), seed))(jnp.asarray(team.seeds))
    return np.asarray(team_mean(run(team.params, keys)["return"]).mean(-1))


def _sizes(spec: TeamSpec) -> str:
    return ", ".join(f"{r.agents} × {name} observing {r.obs_size} numbers" for name, r in spec.roles.items())


def _config_of(about: dict[str, Any], directory: RunDir) -> Config:
    try:
        saved = about["config"]
        guides = []
        for i, guide in enumerate(saved["guidance"]):
            part = registry.decode("guidance", guide)
            if guide.get("teacher"):
                part = dataclasses.replace(part, teacher=load(directory.path / f"teacher-{i}"))
            guides.append(part)
        scalars = {f.name: saved[f.name] for f in dataclasses.fields(Config) if f.type in (int, "int")}
        for name, value in scalars.items():
            require(isinstance(value, int), f"{name} in {directory.path / 'run.json'}", value, "a whole number")
        env, learner = registry.decode("env", saved["env"]), registry.decode("learner", saved["learner"])
    except (KeyError, TypeError, AttributeError) as error:
        raise HeadstartError(f"{directory.path / 'run.json'} is damaged ({error!r})") from None
    return Config(env, learner, tuple(guides), **scalars)


class _Session:
    """One process's part of a run: its compiled programs and its place in the run."""

    def __init__(self, config: Config, directory: RunDir):
        use_compilation_cache()
        self.config, self.directory = config, directory
        spec = config.env.spec
        self.learner = config.learner.make(spec)
        guides = [guide.make(spec, self.learner) for guide in config.guidance]
        self.trainer = make_trainer(config.env, self.learner, chain(*guides) if guides else Guidance(), config.steps)
        self.seeds = config.first_seed + np.arange(config.seeds)
        self.about = self._describe(spec)
        self.compile_s = self.run_s = 0.0

    def _describe(self, spec) -> dict[str, Any]:
        config, trainer = self.config, self.trainer
        saved = {f.name: getattr(config, f.name) for f in dataclasses.fields(Config)}
        saved["env"], saved["learner"] = registry.encode("env", config.env), registry.encode("learner", config.learner)
        saved["guidance"] = [
            registry.encode("guidance", g) | {"teacher": isinstance(g.teacher, TeamPolicy)} for g in config.guidance
        ]
        reports = {type(g).__name__: g.report(spec, self.learner) for g in config.guidance if isinstance(g, WarmStart)}
        return {
            "config": saved,
            "seeds": self.seeds.tolist(),
            "spec": encode_spec(spec),
            "env_steps": trainer.updates * trainer.steps_per_update,
            "learning_starts": trainer.warmup_updates * trainer.steps_per_update,
            "warm_start": reports,
            "teachers": [_price(g.teacher) for g in config.guidance if isinstance(g.teacher, TeamPolicy)],
            "versions": {"headstart": __version__, "jax": jax.__version__, "python": platform.python_version()},
            "device": jax.devices()[0].device_kind,
            "finished": False,
        }

    def go(self, watch: Watch | None = None, spent: dict[str, float] | None = None) -> TeamPolicy:
        """Run to the end, from the last checkpoint where there is one."""
        spent = spent or {}
        keys = jax.vmap(lambda seed: jr.fold_in(jr.key(0), seed))(jnp.asarray(self.seeds))
        start = jax.vmap(lambda key, seed: _start(self.trainer, key, seed))
        shape = jax.eval_shape(start, keys, jnp.asarray(self.seeds))
        advance = self._compiled(_advance(self.trainer), shape, 0, 0, donate=0)
        score = self._compiled(_score(self.config, self.learner), shape["state"].params, keys, 0)
        saved = self.directory.load_checkpoint(shape)
        done, loop, note = saved or (0, self._compiled(start, keys, jnp.asarray(self.seeds))(keys, jnp.asarray(self.seeds)), {})
        self.run_s, before = float(note.get("run_s", 0)), float(note.get("compile_s", spent.get("compile_s", 0)))
        self.directory.forget_after(done if saved else -1)
        self.compile_s += before
        with _signals() as stop:
            loop = self._advance_all(done, loop, advance, lambda p, i: score(p, keys, i), watch, stop, fresh=saved is None)
        steps = self.about["env_steps"] + sum(teacher["env_steps"] for teacher in self.about["teachers"])
        config, params, seeds = self.config, loop["state"].params, tuple(self.seeds.tolist())
        team = TeamPolicy(config.env.spec, config.learner, params, seeds, config.env, steps)
        team.save(self.directory.path)
        timing = {"run_s": round(self.run_s, 3), "compile_s": round(self.compile_s, 3)}
        self.directory.write_about(self.about | {"finished": True, "timing": timing})
        self.directory.drop_checkpoints()
        return team

    def _compiled(self, function: Callable, *args: Any, donate: int | None = None) -> Callable:
        start = time.perf_counter()
        jitted = jax.jit(function, donate_argnums=() if donate is None else donate)
        program = jitted.lower(*(jnp.asarray(x) if isinstance(x, int) else x for x in args)).compile()
        self.compile_s += time.perf_counter() - start
        return program

    def _advance_all(self, done, loop, advance, score, watch, stop, fresh: bool):
        trainer, config = self.trainer, self.config
        points = np.unique(np.linspace(0, trainer.updates, config.evaluations + 1).round().astype(int))
        counted_from = int(points[points <= done][-1])
        returns, piece, saved_at, spent = None, 1, time.perf_counter(), 0.0
        if fresh:
            returns = self._row(0, 0, loop, score(loop["state"].params, jnp.asarray(0)))
        first_update = done
        while done < trainer.updates:
            following = int(points[points > done][0])
            until = min(done + piece, following)
            start = time.perf_counter()
            loop = advance(loop, jnp.asarray(done), jnp.asarray(until))
            broken = np.asarray(loop["broken"])
            took = time.perf_counter() - start
            spent, self.run_s = spent + took, self.run_s + took
            piece = max(1, int((until - done) * min(2.0, PIECE_SECONDS / max(took, 1e-9))))
            done = until
            if (broken >= 0).any():
                raise Diverged(_diverged(broken, self.seeds, self.directory))
            if done == following:
                start = time.perf_counter()
                returns = self._row(counted_from, done, loop, score(loop["state"].params, jnp.asarray(done)))
                loop, counted_from = {**loop, "sums": jax.tree.map(jnp.zeros_like, loop["sums"])}, done
                self.run_s += time.perf_counter() - start
            if watch:
                per_second = (done - first_update) * trainer.steps_per_update / max(spent, 1e-9)
                watch(
                    Progress(done * trainer.steps_per_update, trainer.updates * trainer.steps_per_update, returns, per_second)
                )
            due = done == following and time.perf_counter() - saved_at > CHECKPOINT_SECONDS
            if due or stop.is_set():
                self._checkpoint(done, loop)
                saved_at = time.perf_counter()
            if stop.is_set() and done < trainer.updates:
                raise Interrupted(
                    f"stopped after {done} of {trainer.updates} updates; go on with: headstart resume {self.directory.path}"
                )
        return loop

    def _checkpoint(self, done: int, loop: PyTree) -> None:
        note = {"run_s": str(self.run_s), "compile_s": str(self.compile_s)}
        self.directory.save_checkpoint(done, loop, note)

    def _row(self, counted_from: int, done: int, loop: PyTree, scores: Metrics) -> np.ndarray:
        """Write a row a seed of what happened since the last one; returns the evaluation returns [S]."""
        sums, columns = loop["sums"], {name: np.asarray(x) for name, x in scores.items()}
        learned = max(done - max(counted_from, self.trainer.warmup_updates), 0)
        ended = np.asarray(sums["episodes"]["count"])
        with np.errstate(invalid="ignore", divide="ignore"):
            columns["train_return"] = np.asarray(team_mean(sums["episodes"]["returns"])) / ended
            columns |= {name: np.asarray(x) / np.float32(learned) for name, x in sums["learning"].items()}
            columns |= {name: np.asarray(x) / np.float32(done - counted_from) for name, x in sums["guidance"].items()}
        plain = lambda x: repr(float(x)) if np.isfinite(x) else ""
        self.directory.append(
            [
                {"seed": int(seed), "env_steps": done * self.trainer.steps_per_update, "updates": done}
                | {name: plain(x[i]) for name, x in columns.items()}
                for i, seed in enumerate(self.seeds)
            ]
        )
        return columns["eval_return"]


def _price(teacher: TeamPolicy) -> dict[str, Any]:
    """A teacher as a stage of a report: what it took to train it."""
    env = registry.encode("env", teacher.env)["name"] if teacher.env is not None else ""
    return {"name": "teacher", "env": env, "env_steps": teacher.env_steps, "run_s": None, "compile_s": None}


def _start(trainer, key: Array, seed: Array) -> PyTree:
    """What a run carries along: the training state, sums of metrics since the last row, and where it broke (-1: nowhere)."""
    state = trainer.init(key, seed)
    sums = jax.eval_shape(trainer.update, state, jnp.asarray(0))[1]
    return {
        "state": state,
        "sums": jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums),
        "broken": jnp.asarray(-1),
    }


def _advance(trainer) -> Callable[[PyTree, Array, Array], PyTree]:
    def one(loop, index):
        state, metrics = trainer.update(loop["state"], index)
        floats = [x for x in jax.tree.leaves((state.params, metrics)) if jnp.issubdtype(x.dtype, jnp.floating)]
        fine = jnp.stack([jnp.isfinite(x).all() for x in floats]).all()
        broken = jnp.where((loop["broken"] < 0) & ~fine, index, loop["broken"])
        return {"state": state, "sums": jax.tree.map(jnp.add, loop["sums"], metrics), "broken": broken}

    seeds = jax.vmap(one, in_axes=(0, None))
    return lambda loop, start, stop: jax.lax.fori_loop(start, stop, lambda i, loop: seeds(loop, i), loop)


def _score(config: Config, learner) -> Callable[[PyTree, Array, Array], Metrics]:
    run = evaluate(config.env, learner, config.episodes)

    def one(params, key, index):
        out = run(params, jr.fold_in(jr.fold_in(key, 1), index))
        roles = {f"eval_return/{role}": x.mean() for role, x in out["return"].items()} if len(out["return"]) > 1 else {}
        return {"eval_return": team_mean(out["return"]).mean(), "eval_length": out["length"].mean(), **roles}

    return jax.vmap(one, in_axes=(0, 0, None))


def _diverged(broken: np.ndarray, seeds: np.ndarray, directory: RunDir) -> str:
    where = ", ".join(f"seed {seed} at update {at}" for seed, at in zip(seeds, broken, strict=True) if at >= 0)
    kept = (
        f"the last good checkpoint is in {directory.checkpoints}" if directory.has_checkpoint() else "no checkpoint was due yet"
    )
    return f"a loss or parameter became NaN or infinite: {where}; {kept}; try a lower learning rate"


class _signals:
    """Ctrl-C and SIGTERM ask the run to stop after the current piece; a second Ctrl-C stops at once."""

    def __enter__(self) -> threading.Event:
        self.stop, self.old = threading.Event(), {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.old[number] = signal.signal(number, self._ask)
        return self.stop

    def _ask(self, number: int, frame: Any) -> None:
        if self.stop.is_set():
            raise KeyboardInterrupt
        self.stop.set()

    def __exit__(self, *error: Any) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)


def use_compilation_cache() -> None:
    """Keep compiled programs between processes, unless the user has set JAX's cache up already."""
    if jax.config.values.get("jax_compilation_cache_dir") is None:
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "headstart" / "jax"))
