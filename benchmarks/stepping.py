"""Raw stepping of every scenario: random actions, every library restarting its episodes by itself.

Both JAX libraries get the same protocol: a jitted scan over env-steps that draws a random action for each agent of each
environment, steps, and adds every observation and reward to the carry, so that nothing can be optimised away.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from benchmarks.common import Options, Program, alternate, row, spread_of
from headstart import registry
from headstart.core.env import Env, vectorise
from headstart.envs.particle.spread import Spread
from headstart.envs.particle.tag import Tag
from headstart.envs.particle.treasure import Treasure

ENVS = 512


class Scenario(NamedTuple):
    """One of our scenarios, and the same in other libraries where they have it."""

    env: Env
    jaxmarl: str = ""
    mpe2: str = ""


SCENARIOS = {
    "tag": Scenario(Tag(obstacles=2), "MPE_simple_tag_v3", "simple_tag_v3"),
    "adversary": Scenario(registry.preset("env", "adversary"), "MPE_simple_adversary_v3", "simple_adversary_v3"),
    "speaker-listener": Scenario(
        registry.preset("env", "speaker-listener"), "MPE_simple_speaker_listener_v4", "simple_speaker_listener_v4"
    ),
    "reference": Scenario(registry.preset("env", "reference"), "MPE_simple_reference_v3", "simple_reference_v3"),
    "navigation-6": Scenario(Spread(agents=6, semantics="openai", observe="cesma", reward="pairs")),
}


def main(options: Options) -> None:
    """Spread at 64, 512 and 4096 environments, then the others at 512, beside JaxMARL's and mpe2's where they have them."""
    best = 0.0
    spread = Scenario(Spread(agents=3), "MPE_simple_spread_v3", "simple_spread_v3")
    for num_envs in (64, ENVS, 4096):
        best = max(best, _rows("spread", spread, num_envs, options))
    row("spread-best", best, None, "none", "env-steps/s", agents=3)
    for name, scenario in SCENARIOS.items():
        _rows(name, scenario, ENVS, options)
    _treasure(options)


def _rows(name: str, scenario: Scenario, num_envs: int, options: Options) -> float:
    steps = max(25, (100_000 if options.quick else 1_000_000) // num_envs)
    ours = Program(stepped(scenario.env, num_envs, steps), num_envs * steps)
    theirs = _jaxmarl(scenario.jaxmarl, num_envs, max(25, steps // 4))
    mpe2 = _mpe2(scenario.mpe2, 200 if options.quick else 2000) if num_envs == ENVS else None
    alternate([p for p in (ours, theirs, mpe2) if p], options.repeats)
    settings = {"num_envs": num_envs, **spread_of(ours)}
    if theirs:
        settings_of_both = settings | {"peer_speed": spread_of(theirs)}
        row(f"{name}-{num_envs}", ours.rate, theirs.rate, "JaxMARL", "env-steps/s", (ours, theirs), **settings_of_both)
    else:
        why = "JaxMARL: not installed" if scenario.jaxmarl else "none"
        row(f"{name}-{num_envs}", ours.rate, None, why, "env-steps/s", **settings)
    if num_envs == ENVS and scenario.mpe2:
        peer, about = (mpe2.rate, "mpe2, one environment") if mpe2 else (None, "mpe2: not installed")
        row(f"{name}-{num_envs}-mpe2", ours.rate, peer, about, "env-steps/s", (ours, mpe2), **settings)
    return ours.rate


def _treasure(options: Options) -> None:
    """Beside a plain Python environment of the same rules, an object an entity, as the method's authors had it."""
    from benchmarks.treasure_python import TreasurePython

    steps = max(25, (50_000 if options.quick else 500_000) // ENVS)
    ours, python = Program(stepped(Treasure(), ENVS, steps), ENVS * steps), TreasurePython(collectors=6, banks=2)
    rng, count = np.random.default_rng(0), 100 if options.quick else 1000

    def run():
        python.reset()
        for _ in range(count):
            python.step(rng.integers(5, size=8).tolist())

    peer = Program(run, count)
    alternate([ours, peer], options.repeats)
    about = "plain Python, one environment"
    row(f"treasure-{ENVS}", ours.rate, peer.rate, about, "env-steps/s", (ours, peer), num_envs=ENVS, **spread_of(ours))


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


def stepped(env: Env, num_envs: int, steps: int) -> Callable:
    """A call that takes so many random env-steps in each of `num_envs` environments."""
    envs = vectorise(env, num_envs)

    def reset(key):
        state, now = envs.reset(key)
        return state, now.obs

    def step(state, key):
        action_key, key = jr.split(key)
        action = {}
        for i, (role, spec) in enumerate(env.spec.roles.items()):
            moves = jr.randint(jr.fold_in(action_key, i), (num_envs, spec.agents), 0, 5)
            # A word is drawn with the move: what matters is that every agent acts at random.
            heads = [jax.nn.one_hot(moves % n, n) for n in spec.actions.heads]
            action[role] = jnp.concatenate(heads, -1)
        state, now = envs.step(state, action, key)
        return state, now.obs, now.reward

    return _scanned(reset, step, steps)


def _jaxmarl(id: str, num_envs: int, steps: int) -> Program | None:
    if not id or importlib.util.find_spec("jaxmarl") is None:
        return None
    import jaxmarl

    env = jaxmarl.make(id)
    choices = {name: int(env.action_space(name).n) for name in env.agents}

    def reset(key):
        obs, state = jax.vmap(env.reset)(jr.split(key, num_envs))
        return state, obs

    def step(state, key):
        action_key, key = jr.split(key)
        moves = jr.randint(action_key, (len(env.agents), num_envs), 0, 5)
        action = {name: m % choices[name] for name, m in zip(env.agents, moves, strict=True)}
        obs, state, reward, _, _ = jax.vmap(env.step)(jr.split(key, num_envs), state, action)
        return state, obs, reward

    return Program(_scanned(reset, step, steps), num_envs * steps)


def _mpe2(module: str, steps: int) -> Program | None:
    if not module or importlib.util.find_spec("mpe2") is None:
        return None
    env, rng = importlib.import_module(f"mpe2.{module}").parallel_env(), np.random.default_rng(0)

    def run():
        env.reset(seed=0)
        for _ in range(steps):
            if not env.agents:
                env.reset()
            env.step({agent: int(rng.integers(env.action_space(agent).n)) for agent in env.agents})

    return Program(run, steps)
