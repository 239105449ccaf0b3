"""What counts after an agent's death, for every learner: what it is paid, if `after_death` says so, but nothing it does."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from oracles import items, random_params, random_transitions
from probes import same
from test_maac import SETTINGS, TEAMS, drawn

from headstart.learners.ddpg import DDPG
from headstart.learners.maac import MAAC
from headstart.learners.ppo import PPO
from headstart.learners.qlearning import QLearning

SPEC = TEAMS["two roles"]
CRITICS = {"joint": {}, "local": {}, "agp": {"embedding": 4}, "attention": {"embedding": 4, "heads": 2}}
LEARNERS = {
    "iql": QLearning(hidden=(6,)),
    "vdn": QLearning(hidden=(6,), mixing="sum"),
    "maac": MAAC(**SETTINGS),
    **{f"ddpg-{kind}": DDPG(critic=kind, hidden=(6,), **more) for kind, more in CRITICS.items()},
    **{f"ppo-{kind}": PPO(critic=kind, hidden=(6,), num_envs=4, rollout=6, **more) for kind, more in CRITICS.items()},
}
SEEN = sorted(LEARNERS.keys() - {"iql"})
"""Whose value functions are shown zeros of the dead. One of its own, as IQL has it, may learn what they see."""


def spoilt(values, where):
    """{role: [T E A ..]} with other numbers where {role: [T E A]} is true."""
    over = lambda mask, x: mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))
    return {name: jnp.where(over(where[name], x), 0.3 - 2 * x, x) for name, x in values.items()}


def losses_of(name, after_death):
    """A function of a rollout: the learner's losses, with the same random numbers for all."""
    learner = dataclasses.replace(LEARNERS[name], after_death=after_death).make(SPEC)
    params = drawn(learner, 1) if name == "maac" else random_params(learner, 1)
    return jax.jit(lambda rollout: learner.objective(params, params, items(learner, params, (), rollout), jr.key(0))[0])


@pytest.mark.parametrize("after_death", [True, False])
@pytest.mark.parametrize("name", SEEN)
def test_what_the_dead_see_and_do_counts_for_nobody(name, after_death):
    losses, rollout = losses_of(name, after_death), random_transitions(SPEC, 3, 6, 4)
    dead, gone = ({role: ~x for role, x in alive.items()} for alive in (rollout.alive, rollout.next_alive))
    other = dataclasses.replace(
        rollout,
        obs=spoilt(rollout.obs, dead),
        action=spoilt(rollout.action, dead),
        next_obs=spoilt(rollout.next_obs, gone),
    )
    assert same(losses(rollout), losses(other))
    living = jax.tree.map(jnp.ones_like, dead)
    assert not same(*(losses(dataclasses.replace(each, alive=living)) for each in (rollout, other)))


@pytest.mark.parametrize("after_death", [True, False])
@pytest.mark.parametrize("name", LEARNERS)
def test_what_the_dead_are_paid_counts_if_it_is_to(name, after_death):
    """And nothing that is paid to agents that are away without having died, cut off alone or not yet there."""
    losses, rollout = losses_of(name, after_death), random_transitions(SPEC, 3, 6, 4)
    died = {role: ~alive & rollout.agent_terminated[role] for role, alive in rollout.alive.items()}
    away = {role: ~alive & ~rollout.agent_terminated[role] for role, alive in rollout.alive.items()}
    assert all(x.any() for x in (*died.values(), *away.values()))
    paid = lambda where: losses(dataclasses.replace(rollout, reward=spoilt(rollout.reward, where)))
    assert same(losses(rollout), paid(away))
    assert same(losses(rollout), paid(died)) == (not after_death)
