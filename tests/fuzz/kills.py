"""SIGKILLs at random moments, and whether what goes on is bitwise what was never killed: python -m fuzz.kills --kills 100

An experiment of a teacher and a student begins, or goes on, in a child that is killed: at a random time, or as soon as a
temporary file shows that something is being written. When a child gets to the end, every stage is compared.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.progress import Progress
from test_runs import identical

from headstart import registry
from headstart.envs.particle.spread import Spread
from headstart.experiments import run as experiments
from headstart.experiments.base import Arm, Experiment, Stage
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.training import programs, session

ENV = Spread(2, horizon=5)
LEARNER = DDPG(hidden=(8,), num_envs=4, train_every=4, batch=16, warmup=40, capacity=400)
STAGES = (
    Stage("teacher", ENV, LEARNER, 2000, evaluations=4),
    Stage("student", ENV, LEARNER, 2000, (Distill("teacher"),), evaluations=4),
)


def _toy(scale: str) -> Experiment:
    return Experiment("toy", "", 2, {"taught": Arm(STAGES)}, (), "taught")


def _work(out: Path) -> None:
    """Begin the experiment, or go on with it, with a checkpoint after every piece."""
    if (out / "experiment.json").exists():
        experiments.resume(out)
    else:
        experiments.reproduce("toy/toy", _toy, "smoke", out)


def _child(out: Path) -> int:
    """The number of a process that works."""
    child = os.fork()
    if child:
        return child
    try:
        _work(out)
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def _writes(out: Path, pid: int) -> bool:
    """Whether a temporary file of the process can be seen."""
    mark = f".{pid}."
    places = [out.parent, out, *out.glob("stages"), *out.glob("stages/*"), *out.glob("stages/*/checkpoints")]
    try:
        return any(entry.name.startswith(".") and mark in entry.name for place in places for entry in os.scandir(place))
    except OSError:  # it has just been renamed
        return True


def _killed(child: int, out: Path, after: float, at_a_write: bool) -> bool:
    """Kill the child after some seconds, or then at its next write; False if it came to its end."""
    due = time.monotonic() + after
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, "a child has failed"
            return False
        if time.monotonic() > due and (not at_a_write or _writes(out, child)):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.0005 if at_a_write else 0.01)


def main() -> None:
    """Kill until the number is reached and the last experiment has ended; exit code 1 if anything differs."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.kills", description="SIGKILLs, and what goes on after them.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    experiments.report_experiment = lambda *args: {}  # the stages are what is compared
    registry.experiments = lambda: {"toy/toy": _toy}
    session.CHECKPOINT_SECONDS, session.PIECE_SECONDS = 0.0, 0.02
    with tempfile.TemporaryDirectory(prefix="headstart-kills-") as name, Progress() as bar:
        place, kills, ends = Path(name), 0, 0
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(place / "cache")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        programs.use_compilation_cache()
        for _ in range(2):  # the second one finds its programs compiled, as all that follow
            start, whole = time.monotonic(), place / f"whole-{_}"
            assert not _killed(_child(whole), whole, 1e9, False)
            usual = time.monotonic() - start
        task = bar.add_task("kills", total=options.kills)
        while kills < options.kills:
            out = place / f"out-{ends}"
            while kills < options.kills and _killed(_child(out), out, dice.uniform(0, usual), dice.random() < 0.5):
                kills += 1
                bar.update(task, completed=kills)
            _work_to_the_end(out)
            for stage in STAGES:
                identical(out / "stages" / stage.name, whole / "stages" / stage.name)
            ends += 1
    print(f"{kills} kills, {ends} experiments: all stages bitwise those of the experiment that was never killed")


def _work_to_the_end(out: Path) -> None:
    assert not _killed(_child(out), out, 1e9, False)


if __name__ == "__main__":
    main()
