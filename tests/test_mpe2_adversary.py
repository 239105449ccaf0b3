"""Physical deception against the package mpe2, state for state."""

import functools

import numpy as np
import pytest
from parity import Twins, places, put

from headstart.envs.particle.adversary import Adversary, AdversaryState

pytest.importorskip("mpe2")

each_size = pytest.mark.parametrize("agents", [2, 3])


def place(world, state: AdversaryState) -> None:
    put(world, state.position, state.velocity, state.landmarks)
    for agent in world.agents:
        agent.goal_a = world.landmarks[int(np.argmax(state.goal))]


def read(world) -> AdversaryState:
    goal = [float(landmark is world.agents[0].goal_a) for landmark in world.landmarks]
    return AdversaryState(*places(world), np.array(goal, np.float32), np.int32(0))


@functools.cache
def twins(agents: int) -> Twins:
    from mpe2 import simple_adversary_v3

    make = lambda: simple_adversary_v3.parallel_env(N=agents, max_cycles=25, continuous_actions=False)
    return Twins(make, Adversary(agents=agents, semantics="mpe2"), place, read)


@each_size
def test_single_steps_from_random_states(agents):
    """Nothing collides here, so crowded states have no contacts."""
    seen = twins(agents).single_steps(agents)
    assert not seen.contact.any()
    # Each landmark is the goal of some state.
    goals, landmarks = seen.obs["agent"][:, 0, :2], seen.obs["agent"][:, 0, 2 : 2 + 2 * agents].reshape(-1, agents, 2)
    assert (goals[:, None] == landmarks).all(-1).any(0).all()


@each_size
def test_rollouts(agents):
    twins(agents).rollouts(10 + agents)


@each_size
def test_a_free_rollout_needs_no_help(agents):
    """Nothing is stiff where nothing touches: 25 random steps stay equal with no correction, through each other."""
    rng, pair = np.random.default_rng(agents), twins(agents)
    position = rng.uniform(-0.2, 0.2, (agents + 1, 2)).astype(np.float32)
    landmarks = rng.uniform(-1, 1, (agents, 2)).astype(np.float32)
    goal = np.eye(agents, dtype=np.float32)[1]
    state = AdversaryState(position, np.zeros_like(position), landmarks, goal, np.int32(0))
    pair.follow(state, pair.choices(rng, 25))
