"""GAIL and cloning of one agent in CartPole beside the package imitation: levels at equal env-steps, and speed.

Both learn from the same recorded episodes, with the same settings and networks. The rows have the speeds; the bare numbers have
the returns at the end, with intervals over seeds. What had to be looked at:

    discriminator       observation and action, 64 · 64 tanh, Adam at 1e-3, no gradient penalty (imitation has none)
    reward              −log(1 − D) on both sides (`softplus`), which favours survival: CartPole's episodes have no fixed length
    rounds              imitation trains its discriminator after the learner, headstart before it
    PPO                 as in `benchmarks.sb3_ppo`

imitation does not go with today's versions of what headstart uses, so it has a Python of its own: `--imitation PYTHON`. Its
seeds run one after another, on one thread; headstart's rate is that of one seed as well.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import headstart as hs
from benchmarks.common import Options, alternate, answer, row, spread_of, training
from headstart.report.build import read_curve
from headstart.report.stats import interval, versus

PEERS = ("imitation",)
SETTINGS: dict[str, Any] = {
    "num_envs": 32, "rollout": 64, "epochs": 4, "minibatches": 8, "lr": 1e-3, "gamma": 0.99, "lam": 0.95, "clip": 0.2,
    "entropy": 0.01, "value": 1.0, "max_grad_norm": 1e6, "steps": 16, "batch": 256, "updates": 24, "points": 4, "episodes": 20,
    "cloning": 512, "seeds": 5,
}  # fmt: skip
PPO = ("num_envs", "rollout", "epochs", "minibatches", "lr", "gamma", "lam", "clip", "entropy", "value", "max_grad_norm")
EXPERT_STEPS, RECORDED = 49_152, 32


def main(options: Options) -> None:
    """Two rows of speeds, whose settings have the levels: greedy returns at the end, and theirs subtracted from ours."""
    s = SETTINGS | ({"updates": 8, "cloning": 128, "seeds": 2, "points": 2} if options.quick else {})
    learner = hs.PPO(anneal=False, hidden=(64, 64), **{name: s[name] for name in PPO})
    cloner = hs.Imitator(hidden=(64, 64), activation="tanh", lr=s["lr"], warmup=0, train_every=32, gradient_steps=32)
    with tempfile.TemporaryDirectory() as scratch:
        expert = hs.train("gymnasium", learner, f"{scratch}/expert", steps=EXPERT_STEPS, episodes=4, progress=False)
        demos = hs.record(expert, episodes=RECORDED, actions=True)
        gail = hs.Gail(demos, 1.0, False, "softplus", "obs-action", penalty=0.0, steps=s["steps"], batch=s["batch"])
        clone = hs.Clone(demos, batch=s["batch"])
        file = Path(scratch) / "demos.npz"
        np.savez(file, obs=demos.obs["agent"], actions=demos.actions["agent"], lengths=demos.lengths)
        peer = answer(options.imitation, "gail_imitation", str(file), json.dumps(s))
        steps = s["updates"] * s["num_envs"] * s["rollout"]
        levels = {"gail": _returns(learner, gail, steps, s), "clone": _returns(cloner, clone, s["cloning"], s)}
        gail_program, _ = training(demos.env, learner, s["updates"], guides=(gail,))
        clone_program, _ = training(demos.env, cloner, s["cloning"] // cloner.gradient_steps, guides=(clone,))
        clone_program.work = s["cloning"]
        alternate([gail_program, clone_program], options.repeats)
    told = {"expert": round(float(demos.returns["agent"].mean()), 1), "episodes": len(demos), "seeds": s["seeds"]}
    for name, program, unit in (("gail", gail_program, "env-steps/s"), ("clone", clone_program, "gradient steps/s")):
        level = {"returns": _told(interval(levels[name]))}
        if peer:
            last = np.asarray(peer[name]["returns"]).reshape(s["seeds"], -1)[:, -1]
            level |= {"peer_returns": _told(interval(last)), "difference": _told(versus(levels[name], last))}
        said = "imitation" if peer else options.without("imitation", "imitation")
        row(
            f"{name}-cartpole",
            program.rate,
            peer[name]["rate"] if peer else None,
            said,
            unit,
            **level,
            **told,
            **spread_of(program),
        )


def _returns(learner: Any, guide: Any, steps: int, s: dict) -> np.ndarray:
    """[S] greedy returns at the end of a run."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = {"evaluations": s["points"], "episodes": s["episodes"], "seeds": s["seeds"], "progress": False}
        hs.train("gymnasium", learner, f"{scratch}/run", steps=steps, guidance=[guide], **settings)
        return read_curve(Path(scratch) / "run").returns[:, -1]


def _told(found: dict[str, Any]) -> str:
    return f"{found['iqm']:.1f} [{found['low']:.1f}, {found['high']:.1f}]"
