"""Raw stepping of simple_spread (3 agents): random actions, every library restarting its episodes by itself.

Both JAX libraries get the same protocol: a jitted scan over env-steps that draws a random action for each agent of each
environment, steps, and adds every observation and reward to the carry, so that nothing can be optimised away.
"""

import importlib.util
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from benchmarks.common import Options, Program, alternate, row, spread_of
from headstart.envs.base import vectorise
from headstart.envs.particle.spread import Spread

AGENTS, MOVES = 3, 5


def main(options: Options) -> None:
    """Rows at 64, 512 and 4096 environments against JaxMARL, and at 512 against one environment of mpe2."""
    mpe2 = _mpe2(200 if options.quick else 2000)
    best = 0.0
    for num_envs in (64, 512, 4096):
        steps = max(25, (100_000 if options.quick else 1_000_000) // num_envs)
        ours, theirs = Program(_ours(num_envs, steps), num_envs * steps), _jaxmarl(num_envs, max(25, steps // 4))
        present = [ours] + [p for p in (theirs, mpe2 if num_envs == 512 else None) if p]
        alternate(present, options.repeats)
        best = max(best, ours.rate)
        settings = {"agents": AGENTS, "num_envs": num_envs, "semantics": "mpe2", **spread_of(ours)}
        if theirs:
            row(
                f"spread-{num_envs}", ours.rate, theirs.rate, "JaxMARL", "env-steps/s", **settings, peer_speed=spread_of(theirs)
            )
        else:
            row(f"spread-{num_envs}", ours.rate, None, "JaxMARL: not installed", "env-steps/s", **settings)
        if num_envs == 512:
            peer, name = (mpe2.rate, "mpe2, one environment") if mpe2 else (None, "mpe2: not installed")
            row("spread-512-mpe2", ours.rate, peer, name, "env-steps/s", **settings)
    row("spread-best", best, None, "none", "env-steps/s", agents=AGENTS)


def _scanned(reset: Callable, step: Callable, steps: int) -> Callable[[], Array]:
    """`reset(key) -> state, obs`; `step(state, key) -> state, obs, reward`; returns a call that runs `steps` of them."""

    def body(loop, key):
        state, seen, paid = loop
        state, obs, reward = step(state, key)
        return (state, jax.tree.map(jnp.add, seen, obs), jax.tree.map(jnp.add, paid, reward)), None

    @jax.jit
    def run(key):
        reset_key, first_key, key = jr.split(key, 3)
        state, obs = reset(reset_key)
        shapes = jax.eval_shape(step, state, first_key)[2]
        paid = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.scan(body, (state, obs, paid), jr.split(key, steps))[0]

    return lambda: jax.block_until_ready(run(jr.key(0)))


def _ours(num_envs: int, steps: int) -> Callable:
    envs = vectorise(Spread(agents=AGENTS), num_envs)

    def reset(key):
        state, now = envs.reset(key)
        return state, now.obs

    def step(state, key):
        action_key, key = jr.split(key)
        action = jax.nn.one_hot(jr.randint(action_key, (num_envs, AGENTS), 0, MOVES), MOVES)
        state, now = envs.step(state, {"agent": action}, key)
        return state, now.obs, now.reward

    return _scanned(reset, step, steps)


def _jaxmarl(num_envs: int, steps: int) -> Program | None:
    if importlib.util.find_spec("jaxmarl") is None:
        return None
    import jaxmarl

    env = jaxmarl.make("MPE_simple_spread_v3")

    def reset(key):
        obs, state = jax.vmap(env.reset)(jr.split(key, num_envs))
        return state, obs

    def step(state, key):
        action_key, key = jr.split(key)
        moves = jr.randint(action_key, (AGENTS, num_envs), 0, MOVES)
        action = dict(zip(env.agents, moves, strict=True))
        obs, state, reward, _, _ = jax.vmap(env.step)(jr.split(key, num_envs), state, action)
        return state, obs, reward

    return Program(_scanned(reset, step, steps), num_envs * steps)


def _mpe2(steps: int) -> Program | None:
    if importlib.util.find_spec("mpe2") is None:
        return None
    import numpy as np
    from mpe2 import simple_spread_v3

    env, rng = simple_spread_v3.parallel_env(N=AGENTS), np.random.default_rng(0)

    def run():
        env.reset(seed=0)
        for _ in range(steps):
            if not env.agents:
                env.reset()
            env.step({agent: int(rng.integers(MOVES)) for agent in env.agents})

    return Program(run, steps)
