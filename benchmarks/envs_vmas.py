"""Steps of VMAS's simple_spread with random actions, for `benchmarks.envs`; run by a Python that has VMAS.

A line of its input has the number of environments and of steps of each. It answers when they are done.
"""

import sys
from typing import Any

import torch
import vmas  # pyright: ignore[reportMissingImports]

HORIZON = 25


def main() -> None:
    """Environments are made when their number is first asked for, and then kept."""
    made: dict[int, Any] = {}
    for line in sys.stdin:
        count, steps = map(int, line.split())
        if count not in made:
            made[count] = vmas.make_env(
                "simple_spread", num_envs=count, device="cpu", continuous_actions=False, n_agents=3, max_steps=HORIZON, seed=0
            )
        print(f"answer: {_stepped(made[count], count, steps)}", flush=True)


def _stepped(env: Any, count: int, steps: int) -> float:
    """The sum of all observations and rewards of so many steps."""
    total = torch.zeros(())
    env.reset()
    for step in range(steps):
        obs, rewards, _, _ = env.step([torch.randint(5, (count, 1)) for _ in env.agents])
        total += sum(x.sum() for x in (*obs, *rewards))
        if (step + 1) % HORIZON == 0:  # where all episodes end
            env.reset()
    return float(total)


if __name__ == "__main__":
    with torch.no_grad():
        main()
