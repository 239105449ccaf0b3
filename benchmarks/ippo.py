"""IPPO on simple_spread: 16 environments × 128 steps, 4 epochs × 4 minibatches, 2×64, as `headstart train` runs it.

JaxMARL's own training script is the peer where a checkout is given. It is run unmodified; the packages it imports for
configuration files and for logging are replaced by empty ones, so that nothing is sent anywhere.
"""

import importlib.util
import sys
import types
from pathlib import Path

import jax
import jax.random as jr

from benchmarks.common import Options, Program, alternate, row, spread_of, training
from headstart.envs.particle.spread import Spread
from headstart.learners.ppo import PPO

SCRIPT = "baselines/IPPO/ippo_ff_mpe.py"
THEIRS = {
    "LR": 2.5e-4,
    "NUM_ENVS": 16,
    "NUM_STEPS": 128,
    "UPDATE_EPOCHS": 4,
    "NUM_MINIBATCHES": 4,
    "GAMMA": 0.99,
    "GAE_LAMBDA": 0.95,
    "CLIP_EPS": 0.2,
    "ENT_COEF": 0.01,
    "VF_COEF": 0.5,
    "MAX_GRAD_NORM": 0.5,
    "ACTIVATION": "tanh",
    "ENV_NAME": "MPE_simple_spread_v3",
    "ENV_KWARGS": {},
    "ANNEAL_LR": True,
}


def main(options: Options) -> None:
    """One row: env-steps/s of one seed."""
    learner = PPO(num_envs=16, rollout=128, epochs=4, minibatches=4, hidden=(64, 64), activation="tanh", shared=True)
    updates = 5 if options.quick else 40
    ours, _ = training(Spread(), learner, updates)
    theirs, name = _jaxmarl(options.jaxmarl, updates)
    alternate([ours, theirs] if theirs else [ours], options.repeats)
    settings = {
        "num_envs": 16,
        "rollout": 128,
        "epochs": 4,
        "minibatches": 4,
        "hidden": learner.hidden,
        **spread_of(ours),
    }
    if theirs:
        settings["peer_speed"] = spread_of(theirs)
    row("ippo", ours.rate, theirs.rate if theirs else None, name, "env-steps/s", **settings)


def _jaxmarl(checkout: str | None, updates: int) -> tuple[Program | None, str]:
    missing = [name for name in ("jaxmarl", "flax", "distrax") if importlib.util.find_spec(name) is None]
    if missing:
        return None, f"JaxMARL: not installed ({', '.join(missing)})"
    if checkout is None:
        return None, "JaxMARL: pass --jaxmarl CHECKOUT, its training scripts are not in its package"
    make_train = _script(Path(checkout) / SCRIPT)
    steps = updates * THEIRS["NUM_ENVS"] * THEIRS["NUM_STEPS"]
    train = jax.jit(make_train(THEIRS | {"TOTAL_TIMESTEPS": steps}))
    return Program(lambda: jax.block_until_ready(train(jr.PRNGKey(0))), steps), "JaxMARL"


def _script(path: Path):
    """`make_train` of the script at `path`."""
    silent = {"wandb": ["log", "init"], "hydra": ["main"], "omegaconf": ["OmegaConf"]}
    for name, members in silent.items():
        if importlib.util.find_spec(name) is None or name == "wandb":
            stub = types.ModuleType(name)
            for member in members:
                setattr(stub, member, lambda *args, **kwargs: lambda function: function)
            sys.modules[name] = stub
    spec = importlib.util.spec_from_file_location("jaxmarl_ippo", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_train
