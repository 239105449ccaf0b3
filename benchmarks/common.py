"""What every benchmark shares: a row, and timing of programs that take turns.

Programs that are compared run alternately, several times each, and their medians are quoted: a machine that slows down for
a while then slows all of them. Compilation is never part of a timing; it is reported in a row's settings.
"""

import contextlib
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from headstart.core.env import Env
from headstart.core.guidance import Guidance, GuidanceConfig, chain
from headstart.core.learner import LearnerConfig
from headstart.core.trainer import Trainer, make_trainer
from headstart.training import lanes, programs


@dataclasses.dataclass(frozen=True)
class Options:
    """What `python -m benchmarks` was asked for."""

    quick: bool = False
    """Fewer repeats of shorter programs: shows that everything runs, its numbers are rough."""
    jaxmarl: str | None = None
    """A checkout of JaxMARL, whose training scripts are not part of its package."""
    imitation: str | None = None
    """A Python that has the package imitation."""
    sb3: str | None = None
    """A Python that has Stable-Baselines3, with Gymnasium's MuJoCo environments."""
    benchmarl: str | None = None
    """A Python that has BenchMARL, with VMAS."""
    vmas: str | None = None
    """A Python that has VMAS."""
    lacking: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """{peer: why it could not be made}, of those that were asked for."""

    @property
    def repeats(self) -> int:
        """How often each program is timed."""
        return 3 if self.quick else 7

    def without(self, peer: str, title: str, what: str = "PYTHON") -> str:
        """What stands in a row in the place of a peer that is not there."""
        given = "it failed" if getattr(self, peer) else f"pass --{peer} {what} or --peers DIR"
        return f"{title}: {self.lacking.get(peer, given)}"


@dataclasses.dataclass
class Program:
    """Something to time: `run()` blocks until its `work` (env-steps, updates, ..) is done."""

    run: Callable[[], Any]
    work: float
    compile_s: float = 0.0
    """Seconds of tracing and compiling; where not given, those of the first call less those of a later one."""
    seconds: list[float] = dataclasses.field(default_factory=list)

    @property
    def rate(self) -> float:
        """Work a second, median of all timings."""
        return self.work / statistics.median(self.seconds)


LONGEST = 12.0
"""Seconds after which no further turn begins, once there were three: what bounds the time of all benchmarks together."""


def alternate(programs: list[Program], repeats: int, longest: float = LONGEST) -> None:
    """Warm every program up, then time them in turn, `repeats` times each, or three times if that takes too long."""
    for program in programs:
        first, second = _seconds(program.run), _seconds(program.run)
        program.compile_s = program.compile_s or max(first - second, 0.0)
    began = time.perf_counter()
    for turn in range(repeats):
        if turn >= 3 and time.perf_counter() - began > longest:
            break
        for program in programs:
            program.seconds.append(_seconds(program.run))


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


ROWS: list[dict[str, Any]] = []
"""All rows of this process so far."""


def row(
    name: str,
    ours: float,
    peer: float | None,
    peer_name: str,
    unit: str,
    between: tuple[Program, Program | None] | None = None,
    turns: Sequence[float] = (),
    **settings: Any,
) -> dict[str, Any]:
    """Print one JSON line: `ratio` is ours / peer, so above 1 is better for speeds and below 1 for times.

    `spread` has the smallest and the largest number of a turn: of the ratio, by the turns of the two programs `between` which
    it stands, or of ours if there is no peer, by `turns`.
    """
    ratio = None if peer is None else _rounded(ours / peer)
    spread = _spread(ratio, *between, is_speed(unit)) if between and ratio else None
    spread = [_rounded(min(turns)), _rounded(max(turns))] if turns else spread
    settings |= {"cores": os.cpu_count(), "jax": jax.__version__, "device": jax.devices()[0].platform}
    line = {
        "name": name,
        "ours": _rounded(ours),
        "peer": None if peer is None else _rounded(peer),
        "peer_name": peer_name,
        "unit": unit,
        "ratio": ratio,
        "spread": spread,
        "settings": settings | {"python": platform.python_version()},
    }
    print(json.dumps(line), flush=True)
    ROWS.append(line)
    return line


def is_speed(unit: str) -> bool:
    """Whether more of it is better: env-steps/s, but not ms/update."""
    return unit.endswith("/s")


def _spread(ratio: float, ours: Program, peer: Program | None, speed: bool) -> list[float] | None:
    """The smallest and the largest ratio of one turn; the medians over all turns give `ratio`, in units of its own."""
    if peer is None:
        return None
    taken = [a / b for a, b in zip(ours.seconds, peer.seconds, strict=True)]
    usual = statistics.median(ours.seconds) / statistics.median(peer.seconds)
    ratios = [ratio * (usual / x if speed else x / usual) for x in taken]
    return [_rounded(min(ratios)), _rounded(max(ratios))]


def _rounded(x: float) -> float:
    return float(f"{x:.4g}")


def spread_of(program: Program) -> dict[str, float]:
    """Settings that say how steady a timing was: fastest and slowest rate, and the compile time."""
    return {
        "best": _rounded(program.work / min(program.seconds)),
        "worst": _rounded(program.work / max(program.seconds)),
        "compile_s": round(program.compile_s, 2),
    }


ANSWER = "answer: "
"""How a line of `elsewhere` begins that answers; libraries print lines of their own."""


@contextlib.contextmanager
def elsewhere(python: str, module: str, title: str) -> Iterator[Callable[[str], str]]:
    """A module of the benchmarks in a process of another Python, which answers each line that it is told with one line."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [Path(python).absolute(), "-m", f"benchmarks.{module}"]
    with subprocess.Popen(command, cwd=Path(__file__).parent.parent, **pipes) as process:
        tell, answer = process.stdin, process.stdout
        assert tell is not None and answer is not None

        def ask(line: str) -> str:
            print(line, file=tell, flush=True)
            for said in answer:
                if said.startswith(ANSWER):
                    return said.removeprefix(ANSWER)
            raise RuntimeError(f"{title} has ended: see its error above")

        yield ask
        tell.close()


def answer(python: str | None, module: str, *args: str) -> Any:
    """What a module of the benchmarks prints last, as JSON, when another Python runs it to its end.

    None without that Python; None, and the last line of the error on stderr, if it failed.
    """
    if not python:
        return None
    script = Path(__file__).with_name(f"{module}.py")
    done = subprocess.run([python, str(script), *args], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        print(said.splitlines()[-1], file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def training(
    env: Env,
    learner: LearnerConfig,
    updates: int,
    seeds: int = 1,
    guides: tuple[GuidanceConfig, ...] = (),
    one_call: bool = False,
) -> tuple[Program, Trainer]:
    """`updates` updates of the very program that `headstart train` runs, past the warm-up; its work is one seed's env-steps.

    `one_call`: all seeds mapped in one call, as they run on a GPU.
    """
    made = learner.make(env.spec)
    guidance = chain(*(guide.make(env.spec, made) for guide in guides))
    trainer = make_trainer(env, made, guidance, steps=10**9)
    keys, numbers = jr.split(jr.key(0), seeds), jnp.arange(seeds)
    start = jax.vmap(lambda key, seed: programs.begin(trainer, key, seed))
    zero = jnp.asarray(0)
    began = time.perf_counter()
    shape = jax.eval_shape(start, keys, numbers)
    made_so = {"donate": 0, "one_call": one_call}
    advance = lanes.compile_program(programs.advance(trainer), shape, zero, zero, trainer.data, mapped=1, **made_so)
    compile_s = time.perf_counter() - began
    # The ring is as large as in a run, and filled by the warm-up as in a run, so gathers are as costly as there.
    loop = lanes.compile_program(start, keys, numbers, mapped=2, one_call=one_call)(keys, numbers)
    now = [advance(loop, zero, jnp.asarray(trainer.warmup_updates), trainer.data), trainer.warmup_updates]

    def run():
        until = now[1] + updates
        now[:] = advance(now[0], jnp.asarray(now[1]), jnp.asarray(until), trainer.data), until
        jax.block_until_ready(now[0].trees)

    return Program(run, updates * trainer.steps_per_update, compile_s), trainer


def gradient(env: Env, config: LearnerConfig, objective: Callable | None = None) -> Program:
    """The gradient of a learner's objective on a batch, or of another form of it; its work is one gradient."""
    learner = config.make(env.spec)
    objective = objective or learner.objective
    params = jax.jit(learner.init)(jr.key(0))
    trainer = make_trainer(env, learner, Guidance(), 1)
    memory = jax.eval_shape(lambda: trainer.init(jr.key(0), jnp.asarray(0))).memory
    size = jax.eval_shape(learner.memory.plan, jr.key(0), 1).shape[-1]
    draw = lambda x: jnp.zeros((size, *x.shape[1:]), x.dtype) + (0.3 if x.dtype == jnp.float32 else x.dtype == bool)
    batch = jax.tree.map(draw, memory)

    def total(params, batch, key):
        terms, _ = objective(params, params, batch, key)
        return sum(x.sum() for term in terms.values() for x in term.values())

    compiled = jax.jit(jax.grad(total))
    return Program(lambda: jax.block_until_ready(compiled(params, batch, jr.key(1))), 1)
