"""Predator and prey against the package mpe2, state for state."""

import functools

import numpy as np
import pytest
from parity import Twins, places, put

from headstart.envs.particle.tag import Tag, TagState

pytest.importorskip("mpe2")

each_size = pytest.mark.parametrize("adversaries,prey,obstacles", [(3, 1, 2), (1, 1, 2), (3, 3, 2), (2, 2, 0), (3, 1, 3)])


@functools.cache
def twins(adversaries: int, prey: int, obstacles: int, slow: bool = False) -> Twins:
    """`slow`: the first stage of mpe2's curriculum, in which speed and acceleration of the prey are halved."""
    from mpe2 import simple_tag_v3

    size = {"num_adversaries": adversaries, "num_good": prey, "num_obstacles": obstacles}
    speed = {"prey_speed": 0.65, "scale_acceleration": True} if slow else {}
    return Twins(
        lambda: simple_tag_v3.parallel_env(**size, max_cycles=25, continuous_actions=False, curriculum=slow),
        Tag(adversaries, prey, obstacles, semantics="mpe2", **speed),
        place=lambda world, state: put(world, state.position, state.velocity, state.obstacles),
        read=lambda world: TagState(*places(world), np.int32(0)),
    )


@each_size
def test_single_steps_from_random_states(adversaries, prey, obstacles):
    seen = twins(adversaries, prey, obstacles).single_steps(10 * adversaries + prey)
    crowded = seen.contact[::2]
    assert crowded.mean() > (0.1 if adversaries + prey == 2 else 0.5)
    hunted, escaped = seen.reward["adversary"], seen.reward["agent"]
    # Catches, several at once where that can be, and every piece of the fine for leaving the arena.
    assert (hunted >= 10).any() and (adversaries * prey == 1 or (hunted >= 20).any())
    assert ((escaped < 0) & (escaped > -1)).any() and ((escaped < -1) & (escaped > -2)).any() and (escaped <= -10).any()


@each_size
def test_rollouts(adversaries, prey, obstacles):
    assert twins(adversaries, prey, obstacles).rollouts(20 + adversaries + prey).contact.any()


def test_far_outside_the_fine_is_capped():
    """Placed beyond |x| = 1 + ln(10)/2 = 2.15, where 10 an axis is the most a prey pays."""
    state = TagState(
        np.array([[0, 0], [3, 0.5], [-2.5, 2.2], [2.14, 0.95]], np.float32),
        np.zeros((4, 2), np.float32),
        np.array([[0.5, 0.5]], np.float32),
        np.int32(0),
    )
    twins(1, 3, 1).follow(state, {"adversary": np.zeros((3, 1, 1), int), "agent": np.full((3, 3, 1), 2)})


@pytest.mark.slow
def test_a_slow_prey():
    assert twins(3, 2, 2, slow=True).single_steps(5).contact.any()
    twins(3, 2, 2, slow=True).rollouts(6)


def test_a_free_rollout_needs_no_help():
    """Full thrust for 25 steps, apart from each other: speeds reach their caps (1 and 1.3), states and rewards stay equal."""
    position = np.array([[-0.9, 0.9], [0.9, 0.9], [-0.9, -0.9], [0.9, -0.9]], np.float32)
    state = TagState(position, np.zeros((4, 2), np.float32), np.zeros((1, 2), np.float32), np.int32(0))
    moves = np.tile(np.array([[1], [2], [3], [4]]), (25, 1, 1))
    moves[:, 3] = 2
    twins(3, 1, 1).follow(state, {"adversary": moves[:, :3], "agent": moves[:, 3:]})
