"""Stable-Baselines3's PPO on Walker2d, for `benchmarks.walker2d`; run by a Python that has it.

A line of its input asks for so many updates. As soon as they are done it answers with the processor seconds that the process
has taken since it began.
"""

import sys
import time

import torch

from benchmarks.sb3_ppo import TASKS, their_learner


def main() -> None:
    """One seed, whose environments step one after another (DummyVecEnv), on one thread: networks are too small to share."""
    torch.set_num_threads(1)
    task = TASKS["walker2d"]
    model, _ = their_learner(task, seed=0)
    for line in sys.stdin:
        model.learn(int(line) * task.per_update, reset_num_timesteps=False)
        print(f"answer: {time.process_time()}", flush=True)


if __name__ == "__main__":
    main()
