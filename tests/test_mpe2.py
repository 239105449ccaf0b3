"""Cooperative navigation against the package mpe2, state for state."""

import functools

import numpy as np
import pytest
from parity import Twins, places, put

from headstart.envs.particle.spread import Spread, SpreadState

pytest.importorskip("mpe2")

each_size = pytest.mark.parametrize("agents", [3, 5])


@functools.cache
def twins(agents: int) -> Twins:
    from mpe2 import simple_spread_v3

    return Twins(
        lambda: simple_spread_v3.parallel_env(N=agents, max_cycles=25, continuous_actions=False),
        Spread(agents, semantics="mpe2"),
        place=lambda world, state: put(world, state.position, state.velocity, state.landmarks),
        read=lambda world: SpreadState(*places(world), np.int32(0)),
    )


@each_size
def test_single_steps_from_random_states(agents):
    assert twins(agents).single_steps(agents).contact.mean() > 1 / 3


@each_size
def test_rollouts(agents):
    assert twins(agents).rollouts(10 + agents).contact.mean() > 1 / 20


def test_a_free_rollout_needs_no_help():
    """Without contacts nothing is stiff: 25 steps in a row stay equal with no correction in between."""
    rng = np.random.default_rng(3)
    position = np.array([[-0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]], np.float32)
    landmarks = rng.uniform(-1, 1, (3, 2)).astype(np.float32)
    moves = rng.integers(0, 5, (25, 3, 1)) * (np.arange(25) % 5 == 0)[:, None, None]
    twins(3).follow(SpreadState(position, np.zeros((3, 2), np.float32), landmarks, np.int32(0)), {"agent": moves})


@each_size
def test_blocks_of_the_observation_are_in_their_order(agents):
    """Every number of the state is another one."""
    position = np.arange(2 * agents, dtype=np.float32).reshape(agents, 2)
    state = SpreadState(position, 100 + position, 1000 + position, np.int32(0))
    twins(agents).follow(state, {"agent": np.zeros((1, agents, 1), int)})
