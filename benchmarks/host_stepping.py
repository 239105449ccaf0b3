"""Stepping `pettingzoo:mpe2.simple_spread_v3` in worker processes: this checkout beside an earlier one, in turns A B A B.

    git worktree add /tmp/before COMMIT
    python -m benchmarks.host_stepping /tmp/before

Each side is a process that keeps its workers and steps on request, so that imports and starts are never timed. The ratio of
every round, and their median, are printed: above 1 this checkout is faster.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

SIDE = """
import sys, time
import numpy as np
from headstart.envs.host.pool import Pool
from headstart.envs.pettingzoo import PettingZoo

lanes, workers, steps = map(int, sys.argv[1:])
env = PettingZoo("mpe2.simple_spread_v3")
pool = Pool(env.opener, env.settings, env.spec, lanes, workers)
size = sum(role.agents * role.actions.size for role in env.spec.roles.values())
rng, seeds = np.random.default_rng(0), np.arange(lanes)
actions = rng.normal(size=(100, lanes, size)).astype(np.float32)
pool.reset(seeds)
for line in sys.stdin:
    start = time.perf_counter()
    for step in range(steps):
        pool.step(actions[step % 100], seeds + step, True)
    print(time.perf_counter() - start, flush=True)
"""


class Side:
    """A checkout's process."""

    def __init__(self, checkout: Path, *sizes: int):
        env = os.environ | {"PYTHONPATH": str(checkout), "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-P", "-c", SIDE, *map(str, sizes)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)

    def seconds(self) -> float:
        """The time of one round."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print("go", file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End the process and its workers."""
        self.process.communicate()


def main() -> None:
    """Time both sides in turns and print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host_stepping", description="Two checkouts in turns.")
    parser.add_argument("before", type=Path, help="the earlier checkout")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400, help="steps of all environments in a round")
    parser.add_argument("--environments", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    sizes = (asked.environments, asked.workers, asked.steps)
    now, before = Side(Path(__file__).parent.parent, *sizes), Side(asked.before.resolve(), *sizes)
    try:
        for side in (now, before):
            side.seconds()  # caches fill
        ratios = []
        for _ in range(asked.rounds):
            first, second = now.seconds(), before.seconds()
            ratios.append(second / first)
            rates = [asked.steps * asked.environments / seconds for seconds in (second, first)]
            print(f"before {rates[0]:7.0f} env-steps/s, now {rates[1]:7.0f}, ratio {ratios[-1]:.3f}", flush=True)
        print(f"median of {len(ratios)} ratios: {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")
    finally:
        now.close()
        before.close()


if __name__ == "__main__":
    main()
