"""Whole episodes of a team that no longer learns: what evaluation, replays and recordings are made of.

    episodes(env, actor, keep)(keys, key) -> state and time step of the resets, what `keep` chose of every env-step

Environments do not restart here: there is one episode a reset key, and what follows its end is marked as no longer running.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, PyTree

from headstart.core.actions import greedy, legal
from headstart.core.env import Env
from headstart.core.learner import Learner, Params
from headstart.core.types import Metrics, TimeStep


class Actor(NamedTuple):
    """Something that plays."""

    start: Callable[[int], PyTree]
    """number of episodes -> carry at their start; () for an actor without memory."""
    act: Callable[[PyTree, TimeStep, Array], tuple[PyTree, dict[str, Array]]]
    """carry, step [E ..], key -> carry, action {role: [E A U]}."""


class Moment(NamedTuple):
    """One env-step of E episodes; every leaf is [E ..]."""

    state: PyTree
    """The environments' states before the step."""
    step: TimeStep
    """What the team acted on."""
    action: dict[str, Array]
    new_state: PyTree
    """The environments' states after the step."""
    new: TimeStep
    """What came of it: reward, events, ends, the next observations."""
    running: Bool[Array, " E"]
    """True up to and including the step that ends an episode; what is kept of later steps means nothing."""


Keep = Callable[[Moment], PyTree]
"""What to keep of a moment, [E ..]; nothing else of an episode takes memory."""


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
        # The number after those that `split` gives to the steps: keys of the environments do not depend on who acts.
        act_keys = jr.split(jr.fold_in(key, horizon), horizon)
        loop = (*first, actor.start(count), jnp.ones(count, bool))
        return first, jax.lax.scan(body, loop, (jr.split(key, horizon), act_keys))[1]

    return run


def actor_of(env: Env, learner: Learner, params: Params, sample: bool = False) -> Actor:
    """A team's greedy actions, or with `sample` those of its learner at the end of training.

    Sampled actions are what the learner's own `act` does at progress 1: draws from the policy of one that learns a
    distribution (PPO), the least exploration of the others (ε-greedy, Gumbel noise, Gaussian noise).
    """
    roles = env.spec.roles

    def best(carry, step, key):
        carry, logits = learner.policy(params, carry, step.obs)
        masks = step.available or dict.fromkeys(logits)
        return carry, {r: greedy(roles[r].actions, legal(x, masks[r])) for r, x in logits.items()}

    def sampled(carry, step, key):
        return learner.act(params, carry, step, key, jnp.ones(()))

    return Actor(learner.start, sampled if sample else best)


def evaluate(env: Env, learner: Learner, count: int, sample: bool = False) -> Callable[[Params, Array], Metrics]:
    """`(params, key) -> {"return": {role: [count A]}, "length": [count], "events": {name: [count]}}` of fresh episodes.

    A return is the plain sum of an agent's rewards up to the first end of its episode: neither discounted nor divided by
    the number of agents or steps. Events are counted over the same steps. Actions are greedy, or sampled (`actor_of`).
    """

    def scores(now: Moment) -> dict[str, Any]:
        return {
            "return": {role: jnp.where(now.running[:, None], x, 0.0) for role, x in now.new.reward.items()},
            "length": now.running,
            "events": {name: jnp.where(now.running, x, 0.0) for name, x in now.new.events.items()},
        }

    def run(params, key):
        reset_key, key = jr.split(key)
        _, kept = episodes(env, actor_of(env, learner, params, sample), scores)(jr.split(reset_key, count), key)
        return jax.tree.map(lambda x: x.sum(0), kept)

    return run


def team_mean(per_agent: dict[str, Array]) -> Array:
    """The team's value of something each agent has, {role: [.. A]} -> [..]: the mean over ALL its agents.

    For a reward that everyone shares, this is that reward. Nothing else is ever averaged over agents.
    """
    return jnp.concatenate(list(per_agent.values()), -1).mean(-1)
