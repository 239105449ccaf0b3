"""A rule of another program is recorded in a file, and teams learn from the file: cloning alone, before PPO, and not at all.

The rule knows which landmark is whose. It writes arrays with NumPy, as any program can, and headstart reads them.

pip install 'headstart[pettingzoo]'
python -m examples.from_a_file
"""

from pathlib import Path

import numpy as np

import headstart as hs
from examples.with_and_without import compared, tell

ENV = hs.Spread(agents=3)
PPO = hs.PPO(num_envs=16, rollout=25, lr=3e-3)


def rule(obs: np.ndarray, agent: int) -> int:
    """Towards the agent's own landmark: 1 left, 2 right, 3 down, 4 up, 0 nowhere."""
    velocity, landmark = obs[:2], obs[4 + 2 * agent : 6 + 2 * agent]
    pull = landmark - 0.5 * velocity
    axis = int(np.abs(pull).argmax())
    return 0 if np.abs(pull[axis]) < 0.05 else 1 + 2 * axis + int(pull[axis] > 0)


def write(path: Path, episodes: int) -> float:
    """Play the rule and write what it saw, did and earned; returns its mean return."""
    env, kept = hs.to_pettingzoo(ENV), {"obs": [], "actions": [], "rewards": []}
    for seed in range(episodes):
        (obs, _), steps = env.reset(seed=seed), []
        while env.agents:
            acts = {name: rule(obs[name], agent) for agent, name in enumerate(obs)}
            after, reward, *_ = env.step(acts)
            steps.append(([*obs.values()], [*acts.values()], [*reward.values()]))
            obs = after
        for name, values in zip(kept, zip(*steps, strict=True), strict=True):
            kept[name].append(np.array(values))
    arrays = {name: np.stack(values) for name, values in kept.items()}  # [M T A O], [M T A], [M T A]
    np.savez(path, **arrays, lengths=np.full(episodes, ENV.spec.horizon))
    return float(arrays["rewards"].sum(1).mean())


def main(out: str = "runs/from-a-file", recorded: int = 200, steps: int = 60_000, **settings):
    """Record the rule, and train three teams; prints and returns the mean returns."""
    Path(out).mkdir(parents=True, exist_ok=True)
    found = {"the rule": write(Path(out) / "rule.npz", recorded)}
    demos = hs.demos_from_npz(Path(out) / "rule.npz", ENV)
    runs = {
        "clones it": (hs.Imitator(num_envs=16, train_every=400, gradient_steps=80), [hs.Clone(demos)]),
        "begins with it": (PPO, [hs.Clone(demos, until=0.3)]),
        "has no recording": (PPO, []),
    }
    return tell(found | compared(ENV, runs, Path(out), steps=steps, **settings))


if __name__ == "__main__":
    main()
