"""An update of MADDPG with agnn critics beside its own matrix products, and its growth from 3 to 24 agents.

An update is the gradient of the objective on simple_spread: N critics, a vertex for each of N agents, networks of default
sizes. `agnn-floor` has a batch of 1024, and the other rows one of 256. `agnn-growth` compares exponents: time grows with the
number of agents to this power; its goal, for ours, is 2. What counts as products, at the shapes and in the layout that the
critics have (numbers first, batch last):

    linear layers   embedding; inputs and reduction of each round; reduction of the pooling; the head. Forward on the next
                    observations with the target; forward and backward to weights and inputs on the taken actions; forward
                    and backward to the own action on the actors' actions. The actors as in `benchmarks.floor`.
    attention       the weighted sums Σ_j w_ij·m_j in the same passes, and their products backward to w and to m

It leaves out everything else: the scores vᵀtanh(q_i + k_j), softmax, layer norms, activations, biases, residuals, Gumbel
noise and losses. The backward products are those of JAX's derivative of the chain of products.
"""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from benchmarks.common import Options, Program, alternate, gradient, row, spread_of
from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG

TEAMS = (3, 6, 12, 24)
SMALL_BATCH = 256
"""For the growth: 24 critics of 24² pairs take seconds on a batch of 1024."""
GOAL, GROWTH_GOAL = 1.6, 2.0


def main(options: Options) -> None:
    """A row beside the products at 3 agents, one for each size of team, and one for the exponent of the growth."""
    ours, products = _pair(DDPG(critic="agnn", warmup=0), TEAMS[0])
    alternate([ours, products], options.repeats)
    _row("agnn-floor", ours, products, agents=TEAMS[0], batch=DDPG().batch, goal=GOAL)
    teams = TEAMS[:2] if options.quick else TEAMS
    pairs = [_pair(DDPG(critic="agnn", warmup=0, batch=SMALL_BATCH), agents) for agents in teams]
    alternate([program for pair in pairs for program in pair], min(options.repeats, 5))
    for agents, (ours, products) in zip(teams, pairs, strict=True):
        _row(f"agnn-{agents}-agents", ours, products, agents=agents, batch=SMALL_BATCH)
    exponents = [math.log(first.rate / last.rate) / math.log(teams[-1] / teams[0])
                 for first, last in zip(pairs[0], pairs[-1], strict=True)]  # fmt: skip
    row("agnn-growth", *exponents, "its matrix products alone", f"log(time ratio) / log({teams[-1]}/{teams[0]})",
        agents=teams, batch=SMALL_BATCH, goal=GROWTH_GOAL)  # fmt: skip


def _row(name: str, ours: Program, products: Program, **settings) -> None:
    times = [1e3 / program.rate for program in (ours, products)]
    row(name, *times, "its matrix products alone", "ms/gradient", (ours, products), **settings, **spread_of(ours))


def _pair(config: DDPG, agents: int) -> tuple[Program, Program]:
    """The gradient of the objective, and its products."""
    return gradient(Spread(agents, semantics="openai"), config), _products(config, agents)


def _weights(key: Array, agents: int, *shapes: tuple[int, int]) -> list[Array]:
    return [jr.normal(jr.fold_in(key, i), (agents, *shape)) / shape[0] ** 0.5 for i, shape in enumerate(shapes)]


def _through(weights: list[Array], x: Array) -> Array:
    """[A I n] -> [A O n]: one layer after another."""
    for w in weights:
        x = jnp.matmul(jnp.swapaxes(w, 1, 2), x)
    return x


def _linear(weights: list[Array], x: Array) -> Array:
    """The layers of a graph, [A I V B] -> [A O V B]."""
    return _through(weights, x.reshape(*x.shape[:2], -1)).reshape(len(x), -1, *x.shape[2:])


def _summed(attention: Array, x: Array) -> Array:
    """Σ_j w_ij·m_j of each head: [A H M V B], [A E V B] -> [A H·E M B]."""
    out = jnp.einsum("ahmvb,aevb->aehmb", attention, x)
    return out.reshape(len(x), -1, *out.shape[3:])


def _critic(weights: dict, attention: dict, x: Array) -> Array:
    """The products of one pass of all critics: inputs of vertices [A I V B] -> [A 1 B]."""
    return _rest(weights, attention, _linear(weights["embed"], x))


def _rest(weights: dict, attention: dict, x: Array) -> Array:
    """Those after the embedding: [A E V B] -> [A 1 B]."""
    size = weights["pool"][0].shape[-1]
    for inputs, reduce, weighted in zip(weights["inputs"], weights["reduce"], attention["rounds"], strict=True):
        made = _linear([inputs], x)
        # Queries and keys meet in tanh, not in a product: they are added, so that their layers' backward products remain.
        used = made[:, -size:] + made[:, -2 * size : -size] + made[:, :size]
        x = _linear([reduce], _summed(weighted, used))
    x = _linear(weights["pool"], _summed(attention["pool"], x))
    return _through(weights["head"], x[:, :, 0])


def _products(config: DDPG, agents: int) -> Program:
    role = Spread(agents, semantics="openai").spec.roles["agent"]
    size, heads, batch, moves = config.embedding, config.heads, config.batch, role.actions.size
    keys = jr.split(jr.key(0), 8)
    hidden = (*config.hidden,)
    actor = _weights(keys[0], agents, *zip((role.obs_size, *hidden), (*hidden, moves), strict=True))
    critic = {
        "embed": _weights(keys[1], agents, (role.obs_size + moves, size)),
        "inputs": _weights(keys[2], agents, *[(size, (heads + 2) * size)] * config.blocks),
        "reduce": _weights(keys[3], agents, *[(heads * size, size)] * config.blocks),
        "pool": _weights(keys[4], agents, (heads * size, size)),
        "head": _weights(keys[5], agents, *zip((size, *hidden), (*hidden, 1), strict=True)),
    }
    among = lambda attending: jnp.full((agents, heads, attending, agents, batch), 1 / agents)
    attention = {"rounds": [among(agents)] * config.blocks, "pool": among(1)}
    obs = jr.normal(keys[6], (agents, role.obs_size, batch))
    joint = jr.normal(keys[7], (agents, role.obs_size + moves, agents, batch))

    def update(actor, critic, attention, obs, joint):
        acted = _through(actor, obs)  # the target's pass differs in its weights only
        targets = _critic(jax.tree.map(lambda w: 0.99 * w, critic), attention, joint)
        taken, back = jax.vjp(_critic, critic, attention, joint)
        to_critic, to_attention, _ = back(taken + targets)
        mine, back_to_actor = jax.vjp(lambda actor: _through(actor, 0.99 * obs), actor)
        rows = critic["embed"][0][:, -moves:]
        change = jnp.matmul(jnp.swapaxes(rows, 1, 2), mine + acted)  # of the judged agent's own vertex

        def judged(change, attention):
            x = _linear(critic["embed"], joint)
            own = jnp.eye(agents)[:, None, :, None]
            return _rest(critic, attention, x + own * change[:, :, None])

        own, back = jax.vjp(judged, change, attention)
        to_change, to_own_attention = back(own)
        return to_critic, to_attention, to_own_attention, back_to_actor(jnp.matmul(rows, to_change))

    compiled = jax.jit(update)
    return Program(lambda: jax.block_until_ready(compiled(actor, critic, attention, obs, joint)), 1)
