"""DAgger of the package imitation, for `benchmarks.dagger`; run by a Python that has it, prints env-steps a second.

One agent in CartPole, 32 environments, networks of the same sizes, one gradient step of 32 samples for every 32 env-steps:
what headstart does for three agents at once.
"""

import json
import sys
import tempfile
import time

import numpy as np
from imitation.algorithms import bc
from imitation.algorithms.dagger import SimpleDAggerTrainer
from imitation.util.util import make_vec_env
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy

ENVS, BATCH = 32, 32


def main(steps: int) -> None:
    """Train for `steps` env-steps."""
    rng = np.random.default_rng(0)
    venv = make_vec_env("CartPole-v1", rng=rng, n_envs=ENVS)
    spaces = {"observation_space": venv.observation_space, "action_space": venv.action_space}
    expert = PPO("MlpPolicy", venv, policy_kwargs={"net_arch": [225, 225]}).policy
    student = ActorCriticPolicy(**spaces, lr_schedule=lambda _: 1e-3, net_arch=[128, 128])
    trainer = bc.BC(**spaces, rng=rng, policy=student, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as scratch:
        dagger = SimpleDAggerTrainer(venv=venv, scratch_dir=scratch, expert_policy=expert, bc_trainer=trainer, rng=rng)
        start = time.perf_counter()
        dagger.train(
            steps,
            rollout_round_min_timesteps=500,
            bc_train_kwargs={"n_batches": 500 // BATCH, "n_epochs": None, "progress_bar": False},
        )
        took = time.perf_counter() - start
    print("\n" + json.dumps({"env_steps_per_second": steps / took}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
