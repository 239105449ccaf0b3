"""Whole episodes of a team that no longer learns, for evaluation, replays and recordings.

    episodes(env, actor, keep)(keys, key) -> state and time step of the resets, the output of `keep` for every env-step

Environments do not restart here. Each reset key gives one episode, and the steps after its end are marked as not running.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, PyTree

from headstart.core.actions import greedy, legal
from headstart.core.env import Env
from headstart.core.learner import Learner
from headstart.core.types import Metrics, TimeStep


class Actor(NamedTuple):
    """A policy that plays episodes."""

    start: Callable[[int], PyTree]
    """number of episodes -> carry at their start; () for an actor without memory."""
    act: Callable[[PyTree, TimeStep, Array], tuple[PyTree, dict[str, Array]]]
    """carry, step [E ..], key -> carry, action {role: [E A U]}."""


class Moment(NamedTuple):
    """One env-step of E episodes; every leaf is [E ..]."""

    state: PyTree
    """The environments' states before the step."""
    step: TimeStep
    """The time step that the team acted on."""
    action: dict[str, Array]
    new_state: PyTree
    """The environments' states after the step."""
    new: TimeStep
    """The result: reward, events, ends, the next observations."""
    running: Bool[Array, " E"]
    """True up to and including the step that ends an episode; ignore the values kept from later steps."""


Keep = Callable[[Moment], PyTree]
"""Selects the values [E ..] to keep of a moment; nothing else of an episode takes memory."""


def episodes(env: Env, actor: Actor, keep: Keep) -> Callable[[Array, Array], tuple[tuple[PyTree, TimeStep], PyTree]]:
    """`(keys [E], key) -> (state, step) [E ..] of the resets, kept [T E ..]`: one episode a reset key, T the horizon."""
    reset, steps, horizon = jax.vmap(env.reset), jax.vmap(env.step), env.spec.horizon

    def body(loop, keys):
        state, step, carry, running = loop
        step_key, act_key = keys
        carry, action = actor.act(carry, step, act_key)
        new_state, new = steps(state, action, jr.split(step_key, running.shape[0]))
        kept = keep(Moment(state, step, action, new_state, new, running))
        return (new_state, new, carry, running & ~(new.terminated | new.truncated)), kept

    def run(keys, key):
        count = keys.shape[0]
        first = reset(keys)
        # Folds in a number that `split` does not use, so the environments' keys do not depend on the actor.
        act_keys = jr.split(jr.fold_in(key, horizon), horizon)
        loop = (*first, actor.start(count), jnp.ones(count, bool))
        return first, jax.lax.scan(body, loop, (jr.split(key, horizon), act_keys))[1]

    return run


def actor_of(env: Env, learner: Learner, params: PyTree, sample: bool = False) -> Actor:
    """A team's greedy actions, or with `sample` those of its learner at the end of training.

    Sampled actions are those of the learner's own `act` at progress 1: draws from the policy if the learner learns a
    distribution (PPO), else its least exploration (ε-greedy, Gumbel noise, Gaussian noise).
    """
    if not sample:
        return greedy_actor(env, learner, params)

    def sampled(carry, step, key):
        return learner.act(params, carry, step, key, jnp.ones(()))

    return Actor(learner.start, sampled)


def greedy_actor(env: Env, policy: Any, params: PyTree) -> Actor:
    """The greedy legal actions of a learner, or of anything else with its `start` and `policy`."""
    roles = env.spec.roles

    def act(carry, step, key):
        carry, logits = policy.policy(params, carry, step.obs)
        masks = step.available or dict.fromkeys(logits)
        return carry, {r: greedy(roles[r].actions, legal(x, masks[r])) for r, x in logits.items()}

    return Actor(policy.start, act)


def evaluate(env: Env, learner: Learner, count: int, sample: bool = False) -> Callable[[PyTree, Array], Metrics]:
    """`(params, key) -> {"return": {role: [count A]}, "length": [count], "events": {name: [count]}}` of fresh episodes.

    A return is the plain sum of an agent's rewards up to the first end of its episode: neither discounted nor divided by
    the number of agents or steps. Events are counted over the same steps. Actions are greedy, or sampled (`actor_of`). An
    environment that says how many may be open `at_once` is evaluated in rounds of no more than that.
    """

    def scores(now: Moment) -> dict[str, Any]:
        return {
            "return": {role: jnp.where(now.running[:, None], x, 0.0) for role, x in now.new.reward.items()},
            "length": now.running,
            "events": {name: jnp.where(now.running, x, 0.0) for name, x in now.new.events.items()},
        }

    def run(params, key):
        reset_key, key = jr.split(key)
        play = episodes(env, actor_of(env, learner, params, sample), scores)
        total = lambda keys, key: jax.tree.map(lambda x: x.sum(0), play(keys, key)[1])
        keys = jr.split(reset_key, count)
        rounds = -(-count // most) if (most := getattr(env, "at_once", 0)) else 1
        if rounds <= 1:
            return total(keys, key)
        each = -(-count // rounds)
        keys = keys[jnp.arange(rounds * each) % count].reshape(rounds, each)  # the last round is filled up, and cut below
        found = jax.lax.map(lambda given: total(*given), (keys, jr.split(key, rounds)))
        return jax.tree.map(lambda x: x.reshape(rounds * each, *x.shape[2:])[:count], found)

    return run


def team_mean(per_agent: dict[str, Array]) -> Array:
    """The team's value of a per-agent quantity, {role: [.. A]} -> [..]: the mean over ALL its agents.

    The mean of a shared reward is that reward. Nothing else is ever averaged over agents.
    """
    return jnp.concatenate(list(per_agent.values()), -1).mean(-1)
