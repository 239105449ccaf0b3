"""PPO beside Stable-Baselines3's PPO at equal settings: greedy returns along training on CartPole-v1 and on Walker2d-v4.

Stable-Baselines3 needs torch, so each side has a Python of its own:

    python3 -m venv sb3 && sb3/bin/pip install torch stable-baselines3 'gymnasium[mujoco]'
    sb3/bin/python -m benchmarks.sb3_ppo benchmarks/data/sb3_ppo_cartpole.json    # theirs: written once, and kept
    python -m benchmarks.sb3_ppo cartpole                                         # ours: trained, and printed beside it

and the same with `walker2d`, whose physics is that of Walker2d-v3. By `-m` alone: a file would take `benchmarks/mujoco.py` for
the package of that name. `python -m benchmarks walker2d` compares speeds.

What had to be looked at for the two to be asked the same:

learning rate       constant in CartPole, and falling linearly to 0 at the last update in Walker2d; Adam's eps is 1e-5 in both
value loss          theirs is vf_coef·(V − R)², ours value·½·(V − R)²: `value` is twice their `vf_coef`
advantages          normalised in each minibatch by both (theirs divides by n − 1, ours by n: 0.2 % at 256)
networks            an actor and a value function apart, orthogonal with gains √2, and 0.01 and 1 for the last layers
deviations          of a continuous action exp(−½) at the beginning, a parameter of each number; theirs begins at 1 by default
end of the clock    bootstrapped by both: theirs adds γ·V(last observation) to the reward, which is the same
minibatches         every epoch shuffles the rollout's env-steps into equal parts
value clipping      theirs has it off by default, ours has none
observations        in Walker2d less their running mean, divided by their running deviation, clipped at 10 (VecNormalize,
                    whose normalisation of rewards is off); those of a test have the statistics of training
gradient clipping   theirs clips actor and value function together, ours each on its own. In CartPole both limits are too high
                    to act. In Walker2d both are ½, and Adam divides by what is left of a gradient's size

What is not the same in Walker2d:

means of actions    ours are squashed to [−1, 1] by tanh, theirs have no bounds; both clip an action as it is sent
statistics          theirs move with every env-step, ours after every rollout
"""

import dataclasses
import functools
import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Task:
    """What both sides are asked: greedy returns at some points along training, of several seeds."""

    id: str
    """Gymnasium's."""
    name: str
    """headstart's."""
    settings: dict[str, Any]
    updates: int
    points: int
    seeds: int
    episodes: int = 20

    @property
    def per_update(self) -> int:
        """Env-steps of an update."""
        return self.settings["num_envs"] * self.settings["rollout"]

    @property
    def env_steps(self) -> list[int]:
        """Env-steps after which greedy episodes are played."""
        return [(i + 1) * (self.updates // self.points) * self.per_update for i in range(self.points)]

    @property
    def about(self) -> dict[str, Any]:
        """All that returns depend on, apart from versions."""
        return self.settings | {"updates": self.updates, "episodes": self.episodes, "seeds": self.seeds}


TASKS = {
    "cartpole": Task("CartPole-v1", "gymnasium:CartPole-v1", {
        "num_envs": 8, "rollout": 128, "epochs": 4, "minibatches": 4, "hidden": [64, 64], "lr": 1e-3, "gamma": 0.99,
        "lam": 0.95, "clip": 0.2, "entropy": 0.01, "vf_coef": 0.5, "max_grad_norm": 1e6,
    }, updates=48, points=4, seeds=8),
    "walker2d": Task("Walker2d-v4", "mujoco:Walker2d-v4", {
        "num_envs": 8, "rollout": 256, "epochs": 10, "minibatches": 32, "hidden": [64, 64, 64], "lr": 3e-4, "anneal": True,
        "gamma": 0.99, "lam": 0.95, "clip": 0.2, "entropy": 0.0, "vf_coef": 0.25, "max_grad_norm": 0.5, "obs_norm": True,
        "log_std": -0.5,
    }, updates=120, points=8, seeds=3),
}  # fmt: skip
AT_ONCE = 2
"""Seeds of theirs that train at once, with one thread each."""


def data(task: str) -> Path:
    """Where what is kept of theirs lies."""
    return Path(__file__).parent / "data" / f"sb3_ppo_{task}.json"


def their_learner(task: Task, seed: int) -> tuple[Any, Any]:
    """Their learner, and the environment in which it is tested; needs nothing of headstart, as all of theirs."""
    import stable_baselines3
    import torch
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    s = task.settings
    envs, tested = make_vec_env(task.id, s["num_envs"], seed=seed), make_vec_env(task.id, 1, seed=1000 + seed)
    if s.get("obs_norm"):
        envs = VecNormalize(envs, norm_reward=False)
        tested = VecNormalize(tested, training=False, norm_reward=False)
        tested.obs_rms = envs.obs_rms  # one object, which moves as the learner trains
    networks: dict[str, Any] = {"net_arch": {"pi": s["hidden"], "vf": s["hidden"]}, "activation_fn": torch.nn.Tanh}
    model = stable_baselines3.PPO(
        "MlpPolicy",
        envs,
        learning_rate=s["lr"],
        n_steps=s["rollout"],
        batch_size=task.per_update // s["minibatches"],
        n_epochs=s["epochs"],
        gamma=s["gamma"],
        gae_lambda=s["lam"],
        clip_range=s["clip"],
        ent_coef=s["entropy"],
        vf_coef=s["vf_coef"],
        max_grad_norm=s["max_grad_norm"],
        policy_kwargs=networks | ({"log_std_init": s["log_std"]} if "log_std" in s else {}),
        seed=seed,
        device="cpu",
    )
    if s.get("anneal"):  # from their own progress, which begins anew with every call of `learn`, it would be another line
        done = lambda: (model.num_timesteps / task.per_update - 1) / (task.updates - 1)
        model.lr_schedule = lambda left: s["lr"] * max(1 - done(), 0.0)
    return model, tested


def their_returns(task: Task, seed: int) -> list[float]:
    """[points] greedy returns of one seed."""
    import torch
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)
    (model, tested), row = their_learner(task, seed), []
    for _ in range(task.points):
        model.learn(task.updates // task.points * task.per_update, reset_num_timesteps=False)
        row.append(round(float(evaluate_policy(model, tested, task.episodes, deterministic=True)[0]), 2))
        print(f"seed {seed}: {row}", flush=True)
    return row


def theirs(name: str, path: Path) -> None:
    """Train with Stable-Baselines3 and write {"returns": [S, points], ..}."""
    import gymnasium
    import stable_baselines3
    import torch

    task = TASKS[name]
    with multiprocessing.get_context("spawn").Pool(AT_ONCE) as pool:
        returns = pool.map(functools.partial(their_returns, task), range(task.seeds), chunksize=1)
    versions = {m.__name__: m.__version__ for m in (stable_baselines3, torch, gymnasium)}
    about = {"command": f"python -m benchmarks.sb3_ppo benchmarks/data/{data(name).name}", "versions": versions}
    about |= {"settings": task.about, "env_steps": task.env_steps, "returns": returns}
    path.parent.mkdir(exist_ok=True)
    path.write_text("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in about.items()) + "\n}\n")


def our_learner(task: Task) -> Any:
    """The same settings as headstart names them."""
    import headstart

    s = {"anneal": False} | {name: x for name, x in task.settings.items() if name not in ("vf_coef", "log_std")}
    return headstart.PPO(**s | {"value": 2 * task.settings["vf_coef"], "hidden": tuple(s["hidden"]), "activation": "tanh"})


def ours(task: Task, seeds: int = 0, count: int = 0) -> list[list[float]]:
    """[S, points] the same by headstart; with a `count`, up to that many points, and of as many `seeds` as are given."""
    import csv
    import tempfile

    import headstart

    reached, seeds = task.env_steps[: count or task.points], seeds or task.seeds
    with tempfile.TemporaryDirectory() as scratch:
        settings = {"steps": reached[-1], "evaluations": len(reached), "episodes": task.episodes, "seeds": seeds}
        headstart.train(task.name, our_learner(task), f"{scratch}/run", **settings, progress=False)
        with open(f"{scratch}/run/metrics.csv") as file:
            read = {(int(row["seed"]), int(row["env_steps"])): float(row["eval_return"]) for row in csv.DictReader(file)}
    return [[round(read[seed, point], 2) for point in reached] for seed in range(seeds)]


def compare(name: str) -> None:
    """Train ours and print it beside what is kept of theirs."""
    from headstart.report.stats import interval, versus

    task = TASKS[name]
    if not data(name).exists():
        sys.exit(f"nothing is kept of theirs yet: PYTHON -m benchmarks.sb3_ppo benchmarks/data/{data(name).name}")
    kept, mine = json.loads(data(name).read_text())["returns"], ours(task)
    print("interquartile mean of greedy returns, with 95 % intervals over seeds")
    print(f"{'env-steps':>10}  {'headstart':>26}  {'Stable-Baselines3':>26}  {'difference':>26}")
    every = lambda rows: [*zip(*rows, strict=True), [sum(row) / len(row) for row in rows]]
    for at, a, b in zip([*task.env_steps, "their mean"], every(mine), every(kept), strict=True):
        cells = [f"{x['iqm']:.1f} [{x['low']:.1f}, {x['high']:.1f}]" for x in (interval(a), interval(b), versus(a, b))]
        print(f"{at:>10}  {cells[0]:>26}  {cells[1]:>26}  {cells[2]:>26}")
    print(json.dumps({"headstart": mine}))


def main() -> None:
    """Theirs where a path to write to is given, else ours beside what is kept of theirs."""
    asked = sys.argv[1] if len(sys.argv) > 1 else "cartpole"
    name = Path(asked).stem.removeprefix("sb3_ppo_")
    if name not in TASKS:
        sys.exit(f"no task '{name}'; there are: {', '.join(TASKS)}")
    theirs(name, Path(asked)) if asked.endswith(".json") else compare(name)


if __name__ == "__main__":
    main()
