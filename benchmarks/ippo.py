"""IPPO on simple_spread: 16 environments × 128 steps, 4 epochs × 4 minibatches, 2×64, as `headstart train` runs it.

JaxMARL's own training script is the peer if a checkout is given (see `jaxmarl_scripts`).
"""

from pathlib import Path

from benchmarks import jaxmarl_scripts as scripts
from benchmarks.common import Options, Program, alternate, row, spread_of, training
from headstart.envs.particle.spread import Spread
from headstart.learners.ppo import PPO

PEERS = ("jaxmarl",)
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
    theirs, name = _jaxmarl(options, updates)
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
    row("ippo", ours.rate, theirs.rate if theirs else None, name, "env-steps/s", (ours, theirs), **settings)


def _jaxmarl(options: Options, updates: int) -> tuple[Program | None, str]:
    if why := scripts.missing(options):
        return None, why
    steps = updates * THEIRS["NUM_ENVS"] * THEIRS["NUM_STEPS"]
    train = scripts.script(Path(options.jaxmarl or "") / SCRIPT).make_train(THEIRS | {"TOTAL_TIMESTEPS": steps})
    return scripts.program(train, steps), "JaxMARL's scripts"
