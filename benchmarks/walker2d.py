"""PPO on Walker2d beside Stable-Baselines3's PPO, in turns: env-steps a second of training, at the settings of `sb3_ppo`.

Theirs has a Python of its own, `--sb3 PYTHON`, and trains one seed in eight environments that step one after another. Ours
trains one seed, and three in one program. A row also says how fast as many environments step alone, which no learner exceeds,
and what an env-step costs: microseconds of one processor, which other programs on the machine change less than speeds.
"""

import contextlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.common import Options, Program, alternate, elsewhere, row, spread_of, training
from benchmarks.mujoco import stepping
from benchmarks.sb3_ppo import TASKS, our_learner
from headstart.envs.mujoco.env import MuJoCo

PEERS = ("sb3",)
SEEDS = 3
"""Of ours that train in one program."""


def main(options: Options) -> None:
    """A row for one seed, and one for three."""
    if importlib.util.find_spec("mujoco") is None:
        return
    task, updates = TASKS["walker2d"], 1 if options.quick else 5
    envs, steps = task.settings["num_envs"], updates * task.per_update
    ours, alone = [], []
    for seeds in (1, SEEDS):
        program, _ = training(MuJoCo(task.id), our_learner(task), updates, seeds)
        ours.append(Costed(program.run, seeds * steps, time.process_time, program.compile_s))
        alone.append(Costed(stepping(task.id, steps // envs, seeds * envs), seeds * steps, time.process_time))
    with _theirs(options.sb3, updates) as peer:
        alternate([*ours, *alone, *([peer] if peer else [])], options.repeats)
    for seeds, program, raw in zip((1, SEEDS), ours, alone, strict=True):
        told: dict[str, Any] = {"seeds": seeds, "num_envs": envs, **_told(program), "stepping_alone": _told(raw)}
        name = "Stable-Baselines3, one seed" if peer else options.without("sb3", "Stable-Baselines3")
        told |= {"peer_speed": _told(peer)} if peer else {}
        rate, between = peer.rate if peer else None, (program, peer)
        row(f"ppo-walker2d-{seeds}", program.rate, rate, name, "env-steps/s", between, **told)


class Costed(Program):
    """A program whose every call is charged: `used()` are the processor seconds until now."""

    def __init__(self, run: Callable[[], Any], work: float, used: Callable[[], float], compile_s: float = 0.0):
        super().__init__(self._charged, work, compile_s)
        self.of, self.used, self.costs = run, used, []

    def _charged(self) -> None:
        before = self.used()
        self.of()
        self.costs.append(self.used() - before)


def _told(program: Costed) -> dict[str, float]:
    return spread_of(program) | {"cpu_us": round(1e6 * statistics.median(program.costs) / program.work, 1)}


@contextlib.contextmanager
def _theirs(python: str | None, updates: int) -> Iterator[Costed | None]:
    """So many updates of theirs, in a process that waits for its turns; None without a Python that has it."""
    if not python:
        yield None
        return
    used = [0.0]
    with elsewhere(python, "walker2d_sb3", "Stable-Baselines3") as ask:

        def run() -> None:
            used[0] = float(ask(str(updates)))

        yield Costed(run, updates * TASKS["walker2d"].per_update, lambda: used[0])
