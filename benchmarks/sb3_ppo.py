"""PPO beside Stable-Baselines3's PPO: greedy returns on CartPole-v1 along 49,152 env-steps, at equal settings.

Stable-Baselines3 needs torch, so each side has a Python of its own:

    python3 -m venv sb3 && sb3/bin/pip install torch stable-baselines3
    sb3/bin/python benchmarks/sb3_ppo.py benchmarks/data/sb3_ppo_cartpole.json    # theirs: written once, and kept
    python -m benchmarks.sb3_ppo                                                  # ours: trained, and printed beside it

What had to be looked at for the two to be asked the same:

learning rate       constant on both sides (`anneal=False`); Adam with eps 1e-5 is the default of both
value loss          theirs is vf_coef·(V − R)², ours value·½·(V − R)²: `value` is twice their `vf_coef`
gradient clipping   theirs clips actor and value function together, ours each on its own: both limits are too high to act
advantages          normalised in each minibatch by both (theirs divides by n − 1, ours by n: 0.2 % at 256)
networks            an actor and a value function apart, orthogonal with gains √2, and 0.01 and 1 for the last layers
end of the clock    bootstrapped by both: theirs adds γ·V(last observation) to the reward, which is the same
minibatches         every epoch shuffles the rollout's 1,024 steps into 4 parts of 256
value clipping      theirs has it off by default, ours has none
"""

import json
import sys
from pathlib import Path

DATA = Path(__file__).parent / "data" / "sb3_ppo_cartpole.json"
SETTINGS = {
    "num_envs": 8, "rollout": 128, "epochs": 4, "minibatches": 4, "hidden": [64, 64], "lr": 1e-3, "gamma": 0.99,
    "lam": 0.95, "clip": 0.2, "entropy": 0.01, "vf_coef": 0.5, "max_grad_norm": 1e6,
}  # fmt: skip
UPDATES, POINTS, EPISODES, SEEDS = 48, 4, 20, 8


def theirs(path: Path) -> None:
    """Train with Stable-Baselines3 and write {"returns": [S, points], ..}; needs nothing of headstart."""
    import gymnasium
    import stable_baselines3
    import torch
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)
    s, returns = SETTINGS, []
    for seed in range(SEEDS):
        envs, fresh = make_vec_env("CartPole-v1", s["num_envs"], seed=seed), make_vec_env("CartPole-v1", 1, seed=1000 + seed)
        model = stable_baselines3.PPO(
            "MlpPolicy",
            envs,
            learning_rate=s["lr"],
            n_steps=s["rollout"],
            batch_size=s["num_envs"] * s["rollout"] // s["minibatches"],
            n_epochs=s["epochs"],
            gamma=s["gamma"],
            gae_lambda=s["lam"],
            clip_range=s["clip"],
            ent_coef=s["entropy"],
            vf_coef=s["vf_coef"],
            max_grad_norm=s["max_grad_norm"],
            policy_kwargs={"net_arch": {"pi": s["hidden"], "vf": s["hidden"]}, "activation_fn": torch.nn.Tanh},
            seed=seed,
            device="cpu",
        )
        row = []
        for _ in range(POINTS):
            model.learn(UPDATES // POINTS * s["num_envs"] * s["rollout"], reset_num_timesteps=False)
            row.append(float(evaluate_policy(model, fresh, EPISODES, deterministic=True)[0]))
        print(f"seed {seed}: {row}", flush=True)
        returns.append(row)
    about = {
        "command": "python benchmarks/sb3_ppo.py benchmarks/data/sb3_ppo_cartpole.json",
        "versions": {m.__name__: m.__version__ for m in (stable_baselines3, torch, gymnasium)},
        "settings": s | {"updates": UPDATES, "episodes": EPISODES, "seeds": SEEDS},
        "env_steps": points(),
    }
    path.parent.mkdir(exist_ok=True)
    body = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in (about | {"returns": returns}).items())
    path.write_text("{\n" + body + "\n}\n")


def points() -> list[int]:
    """Env-steps after which greedy episodes are played."""
    per_update = SETTINGS["num_envs"] * SETTINGS["rollout"]
    return [(i + 1) * UPDATES // POINTS * per_update for i in range(POINTS)]


def ours(seeds: int = SEEDS, count: int = POINTS) -> list[list[float]]:
    """[S, points] the same by headstart, up to the first `count` points."""
    import csv
    import tempfile

    import headstart

    s = dict(SETTINGS)
    learner = headstart.PPO(anneal=False, value=2 * s.pop("vf_coef"), hidden=tuple(s.pop("hidden")), activation="tanh", **s)
    reached = points()[:count]
    with tempfile.TemporaryDirectory() as scratch:
        settings = {"steps": reached[-1], "evaluations": count, "episodes": EPISODES, "seeds": seeds, "progress": False}
        headstart.train("gymnasium", learner, f"{scratch}/run", **settings)
        with open(f"{scratch}/run/metrics.csv") as file:
            read = {(int(row["seed"]), int(row["env_steps"])): float(row["eval_return"]) for row in csv.DictReader(file)}
    return [[round(read[seed, point], 2) for point in reached] for seed in range(seeds)]


def main() -> None:
    """Theirs where a path to write to is given, else ours beside what is kept of theirs."""
    if len(sys.argv) > 1:
        return theirs(Path(sys.argv[1]))
    from headstart.report.stats import interval, versus

    kept = json.loads(DATA.read_text())["returns"]
    mine = ours()
    print("interquartile mean of greedy returns, with 95 % intervals over seeds")
    print(f"{'env-steps':>10}  {'headstart':>22}  {'Stable-Baselines3':>22}  {'difference':>24}")
    every = lambda rows: [*zip(*rows, strict=True), [sum(row) / len(row) for row in rows]]
    for name, a, b in zip([*points(), "their mean"], every(mine), every(kept), strict=True):
        cells = [f"{x['iqm']:.1f} [{x['low']:.1f}, {x['high']:.1f}]" for x in (interval(a), interval(b), versus(a, b))]
        print(f"{name:>10}  {cells[0]:>22}  {cells[1]:>22}  {cells[2]:>24}")
    print(json.dumps({"headstart": mine}))


if __name__ == "__main__":
    main()
