"""Turns of companions: some updates of their training, with the parameters or the momentum that the student shares."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from headstart.core.guidance import Clock, Guidance
from headstart.core.ops import Real
from headstart.core.trainer import Trainer
from headstart.core.types import TrainState
from headstart.guidance.backbone import Paths, Values, mixed, put, take, zeros

Turn = Callable[[TrainState], tuple[TrainState, Any]]
"""A companion's training state -> the state after its turn, and the sums over the episodes that ended in it."""


class Follower(NamedTuple):
    """A companion's state beside its own guidance's: V as its turn began, and what it stepped along last, v_n or s_n."""

    V: Values
    last: Values


def turn_of(trainer: Trainer, clock: Clock, first: Array, updates: int, data: PyTree) -> Turn:
    """The turn of so many updates, the first of which has the number `first`; schedules follow the student's progress."""

    def one(state, i):
        state, metrics = trainer.update_at(state, Clock(first + i, clock.progress), data)
        return state, metrics["episodes"]

    def turn(state):
        state, done = jax.lax.scan(one, state, jnp.arange(updates))
        return state, jax.tree.map(lambda x: x.sum(0), done)

    return turn


def follower(theirs: Paths, shapes: Values, beta: Real | None, literal: bool) -> Guidance:
    """What a companion steps along on shared parameters: v = βV + (1 − β)s, or V itself (`literal`), or s without a β."""

    def grads(g, params, grads):
        own = take(grads, theirs)
        last = own if beta is None else mixed(beta, g.V, own)
        return Follower(g.V, last), put(grads, theirs, g.V if literal else last)

    return Guidance(init=lambda key, seed: Follower(zeros(shapes), zeros(shapes)), grads=grads)


def begun(states: TrainState, theirs: Paths, own: Values, before: Bool[Array, ""]) -> TrainState:
    """Companions [N ..] that have not begun `before` start from the student's values of shared parameters."""

    def started(tree):
        pick = lambda name, x: None if x is None else jnp.where(before, x, own[name][None])
        return put(tree, theirs, {name: pick(name, x) for name, x in take(tree, theirs).items()})

    return dataclasses.replace(states, params=started(states.params), target=started(states.target))


def without(states: TrainState, theirs: Paths) -> TrainState:
    """States without the shared parameters, of which there is one set: the student's."""
    return dataclasses.replace(states, params=put(states.params, theirs, dict.fromkeys(theirs)))


def in_turns(turn: Turn, states: TrainState, theirs: Paths, own: Values) -> tuple[TrainState, Any, Values]:
    """The companions [N ..] train one after another, each from the shared parameters as the one before it left them.

    Returns their states `without` the shared parameters, the sums [N ..] over ended episodes, and the shared parameters.
    """

    def following(shared, state):
        state, done = turn(dataclasses.replace(state, params=put(state.params, theirs, shared)))
        return take(state.params, theirs), (without(state, theirs), done)

    shared, (states, done) = jax.lax.scan(following, own, states)
    return states, done, shared


def side_by_side(turn: Turn, states: TrainState, momentum: Values | None) -> tuple[TrainState, Any, Values]:
    """The companions [N ..] train apart, each with the momentum V of the student, if there is one.

    Returns their states, the sums [N ..] over ended episodes, and what each stepped along last [N ..].
    """
    if momentum is not None:
        each = jax.tree.map(lambda v, x: jnp.broadcast_to(v, x.shape), momentum, states.guidance[1].last)
        states = dataclasses.replace(states, guidance=(states.guidance[0], Follower(each, each)))
    states, done = jax.vmap(turn)(states)
    return states, done, states.guidance[1].last
