"""Recurrent teams in training on battles, as `headstart train` runs them, beside JaxMARL's own scripts at their settings.

IPPO: 128 environments × 128 steps, 4 epochs × 4 minibatches, 128 units. JaxMARL's actor and value function share an encoder and
a GRU; ours have one each, so that an update of ours multiplies about 1.6 times as much.
QMIX: 8 environments × 128 steps, two gradient steps of 32 sequences, 64 units; 32 and 64 in the mixer.
"""

from pathlib import Path

from benchmarks import jaxmarl_scripts as scripts
from benchmarks.common import Options, Program, alternate, row, spread_of, training
from headstart.envs.battle.smax import SMAX
from headstart.learners.ppo import PPO
from headstart.learners.qlearning import QLearning

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
QMIX = QLearning(
    mixing="monotone", core="gru", shared=True, hidden=(64,), lr=5e-5, loss="mse", num_envs=8, train_every=1024,
    gradient_steps=2, batch=32, capacity=40_960, warmup=1_024, exploration_steps=50_000,
)  # fmt: skip
QMIX_THEIRS = {
    "NUM_ENVS": 8, "NUM_STEPS": 128, "BUFFER_SIZE": 320, "BUFFER_BATCH_SIZE": 32, "HIDDEN_SIZE": 64, "MIXER_EMBEDDING_DIM": 32,
    "MIXER_HYPERNET_HIDDEN_DIM": 64, "MIXER_INIT_SCALE": 0.001, "EPS_START": 1.0, "EPS_FINISH": 0.05, "EPS_DECAY": 0.1,
    "MAX_GRAD_NORM": 10, "TARGET_UPDATE_INTERVAL": 10, "TAU": 1.0, "NUM_EPOCHS": 2, "LR": 5e-5, "LEARNING_STARTS": 1_024,
    "LR_LINEAR_DECAY": False, "GAMMA": 0.99, "REW_SCALE": 10.0, "ENV_NAME": "HeuristicEnemySMAX", "WANDB_MODE": "disabled",
    "TEST_DURING_TRAINING": False, "TEST_NUM_ENVS": 8,
}  # fmt: skip


def main(options: Options) -> None:
    """Both learners on both maps: env-steps/s of one seed."""
    for name in MAPS:
        of_ippo = {"num_envs": 128, "rollout": 128, "epochs": 4, "minibatches": 4, "hidden": IPPO.hidden}
        _row(options, f"ippo-gru-{name}", name, IPPO, 3 if options.quick else 10, _ippo, of_ippo)
        of_qmix = {"num_envs": 8, "rollout": 128, "gradient_steps": 2, "batch": 32, "hidden": QMIX.hidden}
        _row(options, f"qmix-{name}", name, QMIX, 10 if options.quick else 80, _qmix, of_qmix, "flashbax")


def _row(options, title, name, learner, updates, peer, settings, *packages) -> None:
    ours, _ = training(SMAX(name), learner, updates)
    why = scripts.missing(options.jaxmarl, *packages)
    theirs = None if why else peer(Path(options.jaxmarl), name, updates)
    alternate([ours, theirs] if theirs else [ours], options.repeats)
    settings |= spread_of(ours) | ({"peer_speed": spread_of(theirs)} if theirs else {})
    row(title, ours.rate, theirs.rate if theirs else None, why or "JaxMARL", "env-steps/s", **settings)


def _ippo(checkout: Path, name: str, updates: int) -> Program:
    steps = updates * 128 * 128
    made = scripts.script(checkout / "baselines/IPPO/ippo_rnn_smax.py").make_train
    return scripts.program(made(IPPO_THEIRS | {"MAP_NAME": name, "TOTAL_TIMESTEPS": steps}), steps)


def _qmix(checkout: Path, name: str, updates: int) -> Program:
    steps = updates * 8 * 128
    module = scripts.script(checkout / "baselines/QLearning/qmix_rnn.py")
    config = QMIX_THEIRS | {"MAP_NAME": name, "TOTAL_TIMESTEPS": steps, "ENV_KWARGS": dict(SEES)}
    return scripts.program(module.make_train(config, module.env_from_config(config)[0]), steps)
