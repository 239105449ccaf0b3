"""An expert of Stable-Baselines3 teaches a team of one: its files need neither JAX nor headstart, and the student needs it only
to learn. A student that imitates it (DAgger) and one that learns from rewards beside it (KnowRU) stand beside one without.

pip install 'headstart[sb3]'
python -m examples.sb3_teacher
"""

from pathlib import Path

import headstart as hs
from examples.with_and_without import students, tell

ENV = hs.Gymnasium("CartPole-v1")
STUDENT = hs.PPO(num_envs=8, rollout=32, lr=2e-3, gamma=0.98, lam=0.8)
IMITATOR = hs.Imitator(hidden=(64, 64), num_envs=8, warmup=256, train_every=64, gradient_steps=64, batch=128)


def expert(path: Path, steps: int) -> float:
    """Train an expert with Stable-Baselines3 and save it at a path; returns its mean return."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)  # the network is small
    settings = {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "gamma": 0.98, "gae_lambda": 0.8, "seed": 0, "device": "cpu"}
    envs = make_vec_env("CartPole-v1", n_envs=8, seed=0)
    model = PPO("MlpPolicy", envs, learning_rate=lambda left: 1e-3 * left, clip_range=lambda left: 0.2 * left, **settings)
    model.learn(steps)
    model.save(path)
    return float(evaluate_policy(model, envs, n_eval_episodes=10)[0])


def main(out: str = "runs/sb3", expert_steps: int = 32_000, steps: int = 4_096, episodes: int = 10, **settings):
    """Train the expert and the three students; prints and returns {name: mean return at the end}."""
    path = Path(out) / "expert.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"expert": expert(path, expert_steps)}
    teacher = hs.load_teacher(path, ENV.spec, trust=True)  # the file is our own
    settings |= {"steps": steps, "episodes": episodes}
    return tell(found | students(ENV, teacher, STUDENT, IMITATOR, path.parent, **settings))


if __name__ == "__main__":
    main()
