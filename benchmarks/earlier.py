"""This checkout beside an earlier one, in turns A B A B: stepping of host environments, and MADDPG's training.

    git worktree add /tmp/before COMMIT
    python -m benchmarks.earlier stepping /tmp/before
    python -m benchmarks.earlier maddpg /tmp/before

Each side is a process that works on request, so that imports, starts and compilations are never timed. The ratio of every
round, and their median, are printed: above 1 this checkout is faster.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

STEPPING = """
import sys, time
import numpy as np
from headstart.envs.host.pool import Pool
from headstart.envs.pettingzoo import PettingZoo

lanes, workers, steps = 8, 2, 400
env = PettingZoo("mpe2.simple_spread_v3")
pool = Pool(env.opener, env.settings, env.spec, lanes, workers)
size = sum(role.agents * role.actions.size for role in env.spec.roles.values())
rng, seeds = np.random.default_rng(0), np.arange(lanes)
actions = rng.normal(size=(100, lanes, size)).astype(np.float32)
pool.reset(seeds)
def work():
    for step in range(steps):
        pool.step(actions[step % 100], seeds + step, True)
    return lanes * steps
"""
MADDPG = """
import time
import jax, jax.numpy as jnp, jax.random as jr
from headstart.core.guidance import Guidance
from headstart.core.trainer import make_trainer
from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG
from headstart.training import programs

env, config, updates = Spread(3, semantics="openai"), DDPG(warmup=1000, capacity=100_000), 30
trainer = make_trainer(env, config.make(env.spec), Guidance(), 10**7)
begin = jax.jit(jax.vmap(lambda seed: programs.begin(trainer, jr.key(0), seed)))
advance = jax.jit(programs.advance(trainer), donate_argnums=0)
now = {"loop": advance(begin(jnp.arange(1)), 0, trainer.warmup_updates, trainer.data), "at": trainer.warmup_updates}
def work():
    now["loop"] = jax.block_until_ready(advance(now["loop"], now["at"], now["at"] + updates, trainer.data))
    now["at"] += updates
    return updates * trainer.steps_per_update
"""
ON_REQUEST = """
import sys, time
for line in sys.stdin:
    start = time.perf_counter()
    done = work()
    print(done / (time.perf_counter() - start), flush=True)
"""
TASKS = {"stepping": STEPPING, "maddpg": MADDPG}
"""Code that defines `work() -> env-steps`, for both checkouts."""


class Side:
    """A checkout's process."""

    def __init__(self, checkout: Path, task: str):
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(checkout), os.environ.get("PYTHONPATH", "")])}
        command = [sys.executable, "-P", "-c", TASKS[task] + ON_REQUEST]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)

    def rate(self) -> float:
        """Env-steps a second in one round."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print("go", file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End the process and its workers."""
        self.process.communicate()


def main() -> None:
    """Time both sides in turns and print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.earlier", description="Two checkouts in turns.")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("before", type=Path, help="the earlier checkout")
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    now, before = Side(Path(__file__).parent.parent, asked.task), Side(asked.before.resolve(), asked.task)
    try:
        for side in (now, before):
            side.rate()  # programs are compiled, and caches fill
        ratios = []
        for _ in range(asked.rounds):
            first, second = now.rate(), before.rate()
            ratios.append(first / second)
            print(f"before {second:7.0f} env-steps/s, now {first:7.0f}, ratio {ratios[-1]:.3f}", flush=True)
        print(f"median of {len(ratios)} ratios: {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")
    finally:
        now.close()
        before.close()


if __name__ == "__main__":
    main()
