"""Raw stepping of MuJoCo's walkers beside EnvPool's and Gymnasium's: random actions, every episode restarting by itself.

Ours steps as it does in a run: a jitted scan that draws the actions, with the physics' state among its arrays. EnvPool steps as
many environments in its own threads, and Gymnasium steps one environment (its v4, which has the physics of v3).
"""

import importlib.util
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from benchmarks.common import Options, Program, alternate, row, spread_of
from headstart.core.env import vectorise
from headstart.envs.mujoco.env import MuJoCo

ENVS = 32
TASKS = {"Walker2d": 1000, "Humanoid": 400}
"""{task: steps of each environment that are timed}."""


def main(options: Options) -> None:
    """Both tasks in 32 environments, the libraries in turns."""
    if importlib.util.find_spec("mujoco") is None:
        return
    for task, steps in TASKS.items():
        steps //= 10 if options.quick else 1
        ours = Program(stepping(f"{task}-v3", steps, ENVS), ENVS * steps)
        alone = _gymnasium(f"{task}-v4", 4 * steps)
        peers = {"EnvPool, v3": _envpool(f"{task}-v3", steps), "Gymnasium, v4, one environment": alone}
        alternate([ours, *(peer for peer in peers.values() if peer)], options.repeats)
        for name, peer in peers.items():
            told = f"mujoco-{task.lower()}-{name.split(',')[0].lower()}"
            settings = {"num_envs": ENVS, **spread_of(ours)}
            if peer is None:
                row(told, ours.rate, None, f"{name}: not installed", "env-steps/s", **settings)
            else:
                row(told, ours.rate, peer.rate, name, "env-steps/s", (ours, peer), **settings, peer_speed=spread_of(peer))


def stepping(id: str, steps: int, num_envs: int) -> Callable:
    """A function that takes so many random env-steps in each of `num_envs` environments."""
    envs = vectorise(MuJoCo(id), num_envs)
    size = envs.spec.roles["agent"].actions.size

    def body(loop, key):
        state, total = loop
        action = {"agent": jr.uniform(key, (num_envs, 1, size), minval=-1, maxval=1)}
        state, now = envs.step(state, action, key)
        return (state, jax.tree.map(jnp.add, total, (now.obs, now.reward))), None

    @jax.jit
    def run(key):
        state, now = envs.reset(key)
        return jax.lax.scan(body, (state, (now.obs, now.reward)), jr.split(key, steps))[0]

    return lambda: jax.block_until_ready(run(jr.key(0)))


def _envpool(id: str, steps: int) -> Program | None:
    if importlib.util.find_spec("envpool") is None:
        return None
    import envpool  # pyright: ignore[reportMissingImports]

    envs, rng = envpool.make(id, env_type="gymnasium", num_envs=ENVS, seed=0), np.random.default_rng(0)
    high, size = envs.action_space.high[0], envs.action_space.shape[0]

    def run():
        envs.reset()
        for _ in range(steps):
            envs.step(rng.uniform(-high, high, (ENVS, size)))

    return Program(run, ENVS * steps)


def _gymnasium(id: str, steps: int) -> Program | None:
    if importlib.util.find_spec("imageio") is None:  # which Gymnasium's MuJoCo environments import
        return None
    import gymnasium

    env, rng = gymnasium.make(id), np.random.default_rng(0)
    high, size = env.action_space.high[0], env.action_space.shape[0]  # pyright: ignore

    def run():
        env.reset(seed=0)
        for _ in range(steps):
            _, _, terminated, truncated, _ = env.step(rng.uniform(-high, high, size))
            if terminated or truncated:
                env.reset()

    return Program(run, steps)
