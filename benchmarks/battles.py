"""Recurrent IPPO in training on battles, as `headstart train` runs them, beside JaxMARL's own script at its settings.

128 environments × 128 steps, 4 epochs × 4 minibatches, 128 units. JaxMARL's actor and value function share an encoder and
a GRU; ours have one each, so that an update of ours multiplies 1.7 times as much.
"""

from pathlib import Path

from benchmarks import jaxmarl_scripts as scripts
from benchmarks.common import Options, Program, alternate, row, spread_of, training
from headstart.envs.battle.smax import SMAX
from headstart.learners.ppo import PPO

PEERS = ("jaxmarl",)
MAPS = ("3m", "5m_vs_6m")
SEES = {"see_enemy_actions": True, "walls_cause_death": True, "attack_mode": "closest"}
IPPO = PPO(
    core="gru", hidden=(128, 128), lr=4e-3, num_envs=128, rollout=128, epochs=4, minibatches=4, clip=0.05, value_clip=0.05,
    max_grad_norm=0.25,
)  # fmt: skip
IPPO_THEIRS = {
    "LR": 4e-3, "NUM_ENVS": 128, "NUM_STEPS": 128, "GRU_HIDDEN_DIM": 128, "FC_DIM_SIZE": 128, "UPDATE_EPOCHS": 4,
    "NUM_MINIBATCHES": 4, "GAMMA": 0.99, "GAE_LAMBDA": 0.95, "CLIP_EPS": 0.05, "SCALE_CLIP_EPS": False, "ENT_COEF": 0.01,
    "VF_COEF": 0.5, "MAX_GRAD_NORM": 0.25, "ANNEAL_LR": True, "ENV_KWARGS": SEES, "WANDB_MODE": "disabled", "SEED": 0,
}  # fmt: skip


def main(options: Options) -> None:
    """Both maps: env-steps/s of one seed."""
    updates = 1  # of 16,384 env-steps, which take half a minute
    for name in MAPS:
        ours, _ = training(SMAX(name), IPPO, updates)
        why = scripts.missing(options, "six")  # gymnax, which the script imports, uses it without asking for it
        theirs = None if why else _jaxmarl(Path(options.jaxmarl or ""), name, updates)
        alternate([ours, theirs] if theirs else [ours], options.repeats)
        settings = {"num_envs": 128, "rollout": 128, "epochs": 4, "minibatches": 4, "hidden": IPPO.hidden, **spread_of(ours)}
        settings |= {"peer_speed": spread_of(theirs)} if theirs else {}
        rate = theirs.rate if theirs else None
        row(f"ippo-gru-{name}", ours.rate, rate, why or "JaxMARL's scripts", "env-steps/s", (ours, theirs), **settings)


def _jaxmarl(checkout: Path, name: str, updates: int) -> Program:
    steps = updates * 128 * 128
    made = scripts.script(checkout / "baselines/IPPO/ippo_rnn_smax.py").make_train
    return scripts.program(made(IPPO_THEIRS | {"MAP_NAME": name, "TOTAL_TIMESTEPS": steps}), steps)
