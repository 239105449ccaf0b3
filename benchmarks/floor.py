"""The time of one MADDPG update against the time of its matrix products alone: how far from the hardware's floor we are.

What counts as the floor: every matrix product of one update on simple_spread (3 agents, observations of 18 numbers, 5
moves, 2×64, batch 1024), at the shapes and in the agent-first layout in which a batched product is contiguous:

    acting      actor forward on the 100 environments
    targets     target actor and target critic forward on the next observations
    critic      forward, and backward to its weights
    actor       actor forward; one's own action through its rows of the critic's first layer, whose other product is the
                critic's; the critic's further layers forward and back to the action; backward to the actor's weights

It leaves out everything else of an update: stepping the environments, drawing and gathering the batch, biases,
activations, losses, Gumbel noise, clipping, Adam and target tracking. Backward products to an observation are in neither.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from benchmarks.common import Options, Program, alternate, row, spread_of, training
from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG


def main(options: Options) -> None:
    """One row: ms of an update, and of its matrix products."""
    env, learner = Spread(semantics="openai"), DDPG()
    role = env.spec.roles["agent"]
    updates = 50 if options.quick else 300
    ours, trainer = training(env, learner, updates)
    actor = (role.obs_size, *learner.hidden, role.actions.size)
    critic = (role.agents * (role.obs_size + role.actions.size), *learner.hidden, 1)
    run = _products(role.agents, learner.batch, learner.num_envs, actor, critic, updates)
    floor = Program(run, updates)
    alternate([ours, floor], options.repeats)
    flops = _flops(role.agents, learner.batch, learner.num_envs, actor, critic)
    row(
        "maddpg-floor",
        1e3 * trainer.steps_per_update / ours.rate,
        1e3 / floor.rate,
        "its matrix products alone",
        "ms/update",
        (ours, floor),
        batch=learner.batch,
        agents=role.agents,
        hidden=learner.hidden,
        mflop=round(flops / 1e6),
        floor_gflop_per_s=round(flops * floor.rate / 1e9, 1),
        updates_per_s=spread_of(floor),
        compile_s=round(ours.compile_s, 2),
    )


def _flops(agents: int, batch: int, envs: int, actor: tuple, critic: tuple) -> float:
    """Floating-point operations of the products below."""
    size = lambda sizes: sum(i * o for i, o in pairwise(sizes))
    inner = lambda sizes: size(sizes[1:])  # backward to the hidden layers, not to the input
    own = 2 * actor[-1] * critic[1]
    times = batch * (3 * size(actor) + inner(actor) + 3 * size(critic) + 3 * inner(critic) + own) + envs * size(actor)
    return 2.0 * agents * times


def _weights(key: Array, agents: int, sizes: tuple) -> list[Array]:
    shapes = pairwise(sizes)
    return [jr.normal(jr.fold_in(key, i), (agents, n, m)) / n**0.5 for i, (n, m) in enumerate(shapes)]


def _forward(weights: list[Array], x: Array) -> list[Array]:
    """Inputs of all layers and the output, [A B _]."""
    layers = [x]
    for w in weights:
        layers.append(layers[-1] @ w)
    return layers


def _to_inputs(weights: list[Array], last: Array) -> list[Array]:
    """Backward products from the output, nearest to the input first: of the inputs of all `weights`."""
    layers = [last]
    for w in reversed(weights):
        layers.insert(0, layers[0] @ jnp.swapaxes(w, 1, 2))
    return layers


def _to_weights(inputs: list[Array], outputs: list[Array]) -> list[Array]:
    return [jnp.swapaxes(x, 1, 2) @ y for x, y in zip(inputs, outputs, strict=True)]


def _products(agents: int, batch: int, envs: int, actor: tuple, critic: tuple, updates: int):
    keys = jr.split(jr.key(0), 7)
    sizes = {"actor": actor, "critic": critic, "target_actor": actor, "target_critic": critic}
    weights = {name: _weights(key, agents, s) for key, (name, s) in zip(keys[3:], sizes.items(), strict=True)}
    seen, obs = jr.normal(keys[0], (agents, envs, actor[0])), jr.normal(keys[1], (2, agents, batch, actor[0]))
    joint = jr.normal(keys[2], (2, agents, batch, critic[0]))

    def one(weights, obs, joint, seen):
        pi, q = weights["actor"], weights["critic"]
        acted = _forward(pi, seen)[-1]
        next_action = _forward(weights["target_actor"], obs[0])[-1]
        next_q = _forward(weights["target_critic"], joint[0])[-1]
        of_batch = _forward(q, joint[1])
        q_grads = _to_weights(of_batch[:-1], _to_inputs(q[1:], of_batch[-1]))
        own, rows = _forward(pi, obs[1]), q[0][:, -actor[-1] :]
        replaced = _forward(q[1:], of_batch[1] + own[-1] @ rows)
        to_action = _to_inputs(q[1:], replaced[-1])[0] @ jnp.swapaxes(rows, 1, 2)
        pi_grads = _to_weights(own[:-1], _to_inputs(pi[1:], to_action))
        # Each pass depends on all products of the last one, or the compiler would drop them or move them out of the loop.
        # The steps are too small to change a weight.
        total = acted.sum() + next_action.sum() + next_q.sum()
        grads = {"actor": pi_grads, "critic": q_grads, "target_actor": pi_grads, "target_critic": q_grads}
        return jax.tree.map(lambda w, g: w + 1e-20 * (g + total), weights, grads)

    @jax.jit
    def run(weights, obs, joint, seen):
        return jax.lax.fori_loop(0, updates, lambda _, now: one(now, obs, joint, seen), weights)

    return lambda: jax.block_until_ready(run(weights, obs, joint, seen))
