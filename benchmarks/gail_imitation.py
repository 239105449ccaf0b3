"""GAIL and cloning of the package imitation, for `benchmarks.gail`; run by a Python that has it.

`PYTHON gail_imitation.py DEMOS.npz SETTINGS` takes `benchmarks.gail.SETTINGS` as JSON text. Its last line is JSON, with
env-steps and gradient steps a second: {"gail": {"returns": [S, points], "rate": ..}, "clone": {"returns": [S], "rate": ..}}.
"""

import json
import statistics
import sys
import tempfile
import time

import numpy as np
import torch
from imitation.algorithms import bc
from imitation.algorithms.adversarial.gail import GAIL
from imitation.data import types
from imitation.rewards.reward_nets import BasicRewardNet
from imitation.util import logger
from imitation.util.util import make_vec_env
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.policies import ActorCriticPolicy

NETWORKS = {"net_arch": [64, 64], "activation_fn": torch.nn.Tanh}


def main(path: str, s: dict) -> None:
    """Clone, and train with GAIL, for every seed."""
    torch.set_num_threads(1)
    demos = _trajectories(path)
    cloned = [_clone(demos, s, seed) for seed in range(s["seeds"])]
    with tempfile.TemporaryDirectory() as scratch:
        quiet = logger.configure(scratch, ())
        trained = [_gail(demos, s, seed, scratch, quiet) for seed in range(s["seeds"])]
    told = {
        name: {"returns": [found for found, _ in runs], "rate": statistics.median(rate for _, rate in runs)}
        for name, runs in (("gail", trained), ("clone", cloned))
    }
    print("\n" + json.dumps(told))


def _trajectories(path: str) -> list:
    """Recorded episodes. The observation after the last action is not kept, and neither method reads it."""
    with np.load(path, allow_pickle=False) as file:
        obs, actions, lengths = file["obs"][:, :, 0], file["actions"][:, :, 0].argmax(-1), file["lengths"]
    made = zip(obs, actions, lengths, strict=True)
    return [types.Trajectory(np.concatenate([o[:n], o[n - 1 : n]]), a[:n], None, terminal=True) for o, a, n in made]


def _gail(demos: list, s: dict, seed: int, scratch: str, quiet) -> tuple[list[float], float]:
    """Greedy returns at every point, and env-steps a second without the evaluations."""
    rng = np.random.default_rng(seed)
    envs, fresh = make_vec_env("CartPole-v1", rng=rng, n_envs=s["num_envs"]), make_vec_env("CartPole-v1", rng=rng, n_envs=1)
    learner = PPO(
        "MlpPolicy", envs, learning_rate=s["lr"], n_steps=s["rollout"], n_epochs=s["epochs"], gamma=s["gamma"],
        batch_size=s["num_envs"] * s["rollout"] // s["minibatches"], gae_lambda=s["lam"], clip_range=s["clip"],
        ent_coef=s["entropy"], vf_coef=s["value"] / 2, max_grad_norm=s["max_grad_norm"], policy_kwargs=NETWORKS, seed=seed,
        device="cpu",
    )  # fmt: skip
    net = BasicRewardNet(envs.observation_space, envs.action_space, hid_sizes=(64, 64), activation=torch.nn.Tanh)
    trainer = GAIL(
        demonstrations=demos, demo_batch_size=s["batch"], gen_replay_buffer_capacity=s["num_envs"] * s["rollout"],
        n_disc_updates_per_round=s["steps"], venv=envs, gen_algo=learner, reward_net=net, allow_variable_horizon=True,
        log_dir=scratch, custom_logger=quiet,
    )  # fmt: skip
    returns, took, steps = [], 0.0, s["updates"] // s["points"] * s["num_envs"] * s["rollout"]
    for _ in range(s["points"]):
        start = time.perf_counter()
        trainer.train(steps)
        took += time.perf_counter() - start
        returns.append(float(evaluate_policy(learner, fresh, s["episodes"], deterministic=True)[0]))
    return returns, s["points"] * steps / took


def _clone(demos: list, s: dict, seed: int) -> tuple[float, float]:
    """The greedy return of a cloned policy, and gradient steps a second."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    fresh = make_vec_env("CartPole-v1", rng=rng, n_envs=1)
    spaces = {"observation_space": fresh.observation_space, "action_space": fresh.action_space}
    policy = ActorCriticPolicy(**spaces, lr_schedule=lambda _: s["lr"], **NETWORKS)
    trainer = bc.BC(
        **spaces, rng=rng, policy=policy, demonstrations=demos, batch_size=s["batch"], ent_weight=0.0, device="cpu",
        optimizer_kwargs={"lr": s["lr"]},
    )  # fmt: skip
    start = time.perf_counter()
    trainer.train(n_batches=s["cloning"], progress_bar=False)
    rate = s["cloning"] / (time.perf_counter() - start)
    return float(evaluate_policy(policy, fresh, s["episodes"], deterministic=True)[0]), rate


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
