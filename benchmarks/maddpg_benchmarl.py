"""BenchMARL's MADDPG on VMAS's simple_spread, for `benchmarks.maddpg`; run by a Python that has it.

Each line of its input asks for so many iterations, an update each, and is answered as soon as they are done. The first line
has the settings as JSON. BenchMARL's training loop is its own: a callback holds it between two turns.
"""

import json
import os
import sys
import tempfile
from typing import Any

os.environ["TQDM_DISABLE"] = "1"  # no progress bar among the benchmarks' own lines

import torch
from benchmarl.algorithms import MaddpgConfig
from benchmarl.environments import VmasTask
from benchmarl.experiment import Callback, Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig


class Turns(Callback):
    """Answers after as many iterations as were asked for, and waits there for the next line."""

    def __init__(self, left: int):
        super().__init__()
        self.left = left

    def on_train_end(self, training_td: Any, group: str) -> None:
        """One iteration is over: there is one group of agents."""
        self.left -= 1
        if not self.left:
            print("answer: done", flush=True)
            self.left = _asked()


def _asked() -> int:
    """Of the next line; the process ends with its input."""
    line = sys.stdin.readline()
    if not line:
        sys.exit()
    return int(line)


def main() -> None:
    """One seed, without evaluations, logs or checkpoints."""
    s = json.loads(sys.stdin.readline())
    print("answer: ready", flush=True)
    config = ExperimentConfig.get_from_yaml()
    changes = {
        "share_policy_params": False,
        "lr": s["lr"],
        "gamma": s["gamma"],
        "polyak_tau": s["tau"],
        "max_n_frames": None,
        "max_n_iters": 10**9,
        "exploration_anneal_frames": 10**9,
        "off_policy_collected_frames_per_batch": s["train_every"],
        "off_policy_n_envs_per_worker": s["num_envs"],
        "off_policy_n_optimizer_steps": 1,
        "off_policy_train_batch_size": s["batch"],
        "off_policy_memory_size": s["capacity"],
        "off_policy_init_random_frames": s["warmup"],
        "evaluation": False,
        "loggers": [],
        "create_json": False,
    }
    for name, value in changes.items():
        assert hasattr(config, name), name
        setattr(config, name, value)
    algorithm = MaddpgConfig.get_from_yaml()
    algorithm.share_param_critic = False
    model = MlpConfig(num_cells=s["hidden"], layer_class=torch.nn.Linear, activation_class=torch.nn.ReLU)
    task = VmasTask.SIMPLE_SPREAD.get_from_yaml()
    task.config = {"max_steps": 25, "obs_agents": True, "n_agents": s["agents"]}
    with tempfile.TemporaryDirectory() as scratch:
        config.save_folder = scratch
        turns = Turns(_asked())
        Experiment(task, algorithm, model, seed=0, config=config, critic_model_config=model, callbacks=[turns]).run()


if __name__ == "__main__":
    main()
