"""Recurrent networks: an item of memory is a sequence, one environment's rollout or a part of it.

A carry is {network: {role: [E A H]}}, or () if the networks are feed-forward. A sequence begins with the carry that its
environment had when it was collected (Kapturowski et al. 2019, "Recurrent Experience Replay in Distributed Reinforcement
Learning", stored state), and starts again at every episode that begins inside it.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from headstart.core.checks import require
from headstart.core.learner import check_replay, replaying, without_state
from headstart.core.memory import uniform
from headstart.core.networks import RoleNet
from headstart.core.ops import Cell, unroll
from headstart.core.types import TeamSpec, Transition
from headstart.learners.bodies import cell_of

Outputs = dict[str, Array]


def check_sequences(config: Any) -> None:
    """`check_replay`, and for recurrent networks: a hidden layer, and sequences that are longer than one step."""
    check_replay(config)
    if config.core == "gru":
        require(len(config.hidden) > 0, "learner.hidden", config.hidden, "at least one size with recurrent networks")
        least = 2 * config.num_envs
        must = f"at least 2 · num_envs ({least}) with recurrent networks: a sequence has train_every / num_envs env-steps"
        require(config.train_every >= least, "learner.train_every", config.train_every, must)


def collecting(config: Any, spec: TeamSpec, network: str, state: bool = False) -> dict[str, Any]:
    """The `Learner` fields for collecting, keeping and drawing: of single steps, or of sequences if `config.core` is "gru".

    `network` is the one with a carry, if recurrent; `state`: whether memory keeps global states.
    """
    if config.core == "mlp":
        return replaying(config, state)
    kept = (lambda rollout: rollout) if state else without_state
    length = config.train_every // config.num_envs
    return replaying(config) | {
        "memory": uniform(-(-config.capacity // length), config.batch, config.gradient_steps),
        "prepare": lambda params, carry, rollout: (params, sequences(kept(rollout), carry)),
        "start": lambda num_envs: {network: fresh(spec, config.hidden[-1], num_envs)},
    }


def fresh(spec: TeamSpec, size: int, num_envs: int) -> Outputs:
    """{role: [E A H]}: one network's carry as an episode begins."""
    return {name: jnp.zeros((num_envs, role.agents, size)) for name, role in spec.roles.items()}


def sequences(rollout: Transition, carry: PyTree) -> Transition:
    """A rollout [T E ..] as items [E T ..], each with the carry that it began with in `extras`."""
    items = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rollout)
    return dataclasses.replace(items, extras=items.extras | {"carry": carry})


def chunks(rollout: Transition, carry: PyTree, carries: PyTree, steps: int) -> Transition:
    """A rollout [T E ..] as items [N steps ..], N = E·T/steps, those of one environment in a row.

    The carry before an item's first step is `carry` [E ..] at the rollout's start; later it is one of `carries` [T E ..], those
    after each step. They are stored numbers, so that no gradient passes an item's start (truncated back-propagation through
    time, Williams and Peng 1990).
    """
    items, count = sequences(rollout, carry), rollout.first.size // steps
    if count == len(items.first):
        return items

    def starts(begin, after):
        x = jnp.concatenate([begin[None], after[steps - 1 : -1 : steps]])
        return jnp.swapaxes(x, 0, 1).reshape(count, *x.shape[2:])

    own = {name: x for name, x in items.extras.items() if name != "carry"}
    cut = jax.tree.map(lambda x: x.reshape(count, steps, *x.shape[2:]), dataclasses.replace(items, extras=own))
    return dataclasses.replace(cut, extras=cut.extras | {"carry": jax.tree.map(starts, carry, carries)})


def forward(nets: dict[str, RoleNet], carry: PyTree, obs: Outputs) -> tuple[PyTree, Outputs]:
    """{role: RoleNet}, carry {role: [*n A H]} or (), obs {role: [*n A O]} -> carry, outputs {role: [*n A U]}."""
    if not carry:
        return carry, {name: nets[name](x) for name, x in obs.items()}
    return cell_of(nets)(carry, obs)


def policy(network: str, params: PyTree, carry: PyTree, obs: Outputs) -> tuple[PyTree, Outputs]:
    """`Learner.policy` of a learner whose policy is one network."""
    after, out = forward(params[network], carry[network] if carry else (), obs)
    return ({network: after} if carry else ()), out


def along(network: str, params: PyTree, batch: Transition, spec: TeamSpec) -> tuple[PyTree, Outputs]:
    """`Learner.unroll` of the same: a batch of sequences [B T ..] is read along T, one of single steps at once."""
    if "carry" not in batch.extras:
        return (), forward(params[network], (), batch.obs)[1]
    size = jax.tree.leaves(batch.extras["carry"][network])[0].shape[-1]
    begin = fresh(spec, size, batch.first.shape[0])
    carries, out = in_time(cell_of(params[network]), network, batch.obs, batch, begin)
    return {network: carries}, out


def in_time(cell: Cell, network: str, inputs: PyTree, batch: Transition, begin: PyTree) -> tuple[PyTree, Any]:
    """carries and outputs [B T ..] of a network's cell on the inputs [B T ..] of a batch of sequences.

    `begin` is its carry as an episode begins.
    """
    swap = partial(jax.tree.map, lambda x: jnp.swapaxes(x, 0, 1))  # time comes first
    _, carries, out = unroll(cell, batch.extras["carry"][network], swap(inputs), batch.first.T, begin)
    return swap(carries), swap(out)
