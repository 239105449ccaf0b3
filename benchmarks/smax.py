"""Raw stepping of battles beside JaxMARL's SMAX: random legal orders, every battle restarting by itself.

Both get the same protocol: a jitted scan over env-steps that draws a legal order for every ally, steps, and adds the
observations and rewards to the carry, so that nothing can be optimised away.
"""

import importlib.util
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr

from benchmarks.common import Options, Program, alternate, row, spread_of
from headstart.core.env import vectorise
from headstart.envs.battle.smax import SMAX
from headstart.envs.jaxmarl import JaxMARL, _made

ENVS = 64
MAPS = ("5m_vs_6m", "3s5z")


def main(options: Options) -> None:
    """Both maps in 64 environments, the libraries in turns."""
    steps = 100 if options.quick else 1000
    for name in MAPS:
        ours = Program(_scanned(*_ours(name), steps), ENVS * steps)
        settings = {"num_envs": ENVS}
        if importlib.util.find_spec("jaxmarl") is None:
            alternate([ours], options.repeats)
            row(f"smax-{name}", ours.rate, None, "JaxMARL: not installed", "env-steps/s", **settings, **spread_of(ours))
            continue
        fewer = steps // 4
        theirs = Program(_scanned(*_theirs(name), fewer), ENVS * fewer)
        alternate([ours, theirs], options.repeats)
        settings |= spread_of(ours) | {"peer_speed": spread_of(theirs)}
        row(f"smax-{name}", ours.rate, theirs.rate, "JaxMARL", "env-steps/s", (ours, theirs), **settings)


def _scanned(reset: Callable, step: Callable, steps: int) -> Callable:
    """`reset(key) -> state, legal [E A U]`; `step(state, order [E A], key) -> state, legal, numbers to add up`."""

    def body(loop, key):
        state, legal, total = loop
        order_key, key = jr.split(key)
        order = jnp.where(legal, jr.uniform(order_key, legal.shape), -1.0).argmax(-1)
        state, legal, shown = step(state, order, key)
        return (state, legal, jax.tree.map(jnp.add, total, shown)), None

    @jax.jit
    def run(key):
        reset_key, key = jr.split(key)
        state, legal = reset(reset_key)
        shapes = jax.eval_shape(step, state, jnp.zeros(legal.shape[:-1], int), key)[2]
        total = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.scan(body, (state, legal, total), jr.split(key, steps))[0]

    return lambda: jax.block_until_ready(run(jr.key(0)))


def _ours(name: str) -> tuple[Callable, Callable]:
    envs = vectorise(SMAX(name), ENVS)

    def legal(now):
        return now.available["ally"]

    def reset(key):
        state, now = envs.reset(key)
        return state, legal(now)

    def step(state, order, key):
        state, now = envs.step(state, {"ally": jax.nn.one_hot(order, envs.spec.roles["ally"].actions.size)}, key)
        return state, legal(now), (now.obs, now.reward)

    return reset, step


def _theirs(name: str) -> tuple[Callable, Callable]:
    env = _made(JaxMARL("HeuristicEnemySMAX", {"scenario": name})).env

    def legal(state):
        masks = jax.vmap(env.get_avail_actions)(state)
        return jnp.stack([masks[agent] for agent in env.agents], 1) > 0

    def reset(key):
        _, state = jax.vmap(env.reset)(jr.split(key, ENVS))
        return state, legal(state)

    def step(state, order, key):
        each = dict(zip(env.agents, order.T, strict=True))
        obs, state, reward, _, _ = jax.vmap(env.step)(jr.split(key, ENVS), state, each)
        return state, legal(state), (obs, reward)

    return reset, step
