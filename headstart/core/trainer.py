"""THE training loop: collect, let the guidance observe, learn. There is no other.

    update:   rollout = T joint steps of E environments, acted by guidance.behave ∘ learner.act
              rollout = guidance.observe(rollout); params = guidance.tie(params)
              items   = learner.prepare(rollout), its rewards from guidance.reward if on-policy → memory
              G times:  batch, its rewards from guidance.reward if replayed
                → grads of Σ guidance.objective(learner.objective(batch)) → guidance.grads → optimiser·rate → learner.track

Everything is written for one seed and vmapped over seeds. The index of the update is the same for all seeds and stays
outside the `vmap`. Warm-up, memory, schedules and the number of a gradient step follow from it, so that no branch on them
computes both sides.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, PyTree

from headstart.core.env import Env, vectorise
from headstart.core.guidance import Clock, Guidance, has
from headstart.core.learner import Learner
from headstart.core.ops import chosen_where
from headstart.core.types import Metrics, TimeStep, TrainState, Transition


class Trainer(NamedTuple):
    """A run's pure functions for one seed; `vmap` them over seeds with the update's index left unmapped."""

    init: Callable[..., TrainState]
    """key, number of the seed -> state. `params`: parameters to begin with, without the guidance's `start`. `drawn`: what
    `draw` gives for the key, in place of drawing it again."""
    draw: Callable[[Array], PyTree]
    """key -> the learner's new parameters, before any guidance starts them."""
    update: Callable[..., tuple[TrainState, Metrics]]
    """state, index of the update -> state, metrics: `episodes` (of the episodes that ended: sums of returns and of events,
    and their count), `learning`, `guidance`.

    A third argument replaces `data`, so that a compiled program can take it as an argument, unmapped.
    """
    update_at: Callable[..., tuple[TrainState, Metrics]]
    """state, clock, data -> state, metrics: `update`, told the time by a clock instead of an index."""
    steps_per_update: int
    updates: int
    warmup_updates: int
    data: PyTree = ()
    """Arrays that all seeds read: see `Guidance.data`."""


def make_trainer(env: Env, learner: Learner, guidance: Guidance, steps: int, fresh_at: int = 0) -> Trainer:
    """Close the loop over environment, learner and guidance for at least `steps` env-steps (whole updates).

    `fresh_at`: index of the update before which optimiser and guidance are fresh and the memory empty; another warm-up begins
    there.
    """
    envs = vectorise(env, learner.num_envs)
    per_update = learner.rollout * learner.num_envs
    updates = max(1, -(-steps // per_update))
    filling = -(-learner.warmup // per_update)
    begin, warmup = (min(start + filling, updates - 1) for start in (0, fresh_at))

    def clock_at(index):
        return Clock(index, jnp.clip((index - begin) / max(updates - 1 - begin, 1), 0.0, 1.0), fresh_at)

    def env_step(loop, key, params, g, clock):
        env_state, now, carry, guide_carry, first, totals = loop
        act_key, guide_key, env_key = jr.split(key, 3)
        carry, action = learner.act(params, carry, now, act_key, learner.pace(clock))
        guide_carry, action = guidance.behave(g, guide_carry, guide_key, now, action, clock)
        env_state, new = envs.step(env_state, action, env_key)
        ended = new.terminated | new.truncated
        carry = chosen_where(ended, learner.start(learner.num_envs), carry)
        guide_carry = chosen_where(ended, guidance.carry(learner.num_envs), guide_carry)
        totals = jax.tree.map(jnp.add, totals, {"returns": new.reward, "events": new.events})
        none = jax.tree.map(jnp.zeros_like, totals)
        done = {"count": ended.sum(), **jax.tree.map(lambda x: x.sum(0), chosen_where(ended, totals, none))}
        loop = (env_state, new, carry, guide_carry, ended, chosen_where(ended, none, totals))
        return loop, (transition(now, action, new, first), done)

    def collect(loop, params, g, key, clock):
        body = lambda loop, k: env_step(loop, k, params, g, clock)
        loop, (rollout, done) = jax.lax.scan(body, loop, jr.split(key, learner.rollout))
        return loop, rollout, jax.tree.map(lambda x: x.sum(0), done)

    def collected(ts: TrainState, key, clock):
        """The state, the rollout and the sums over its ended episodes after T joint steps."""
        loop = (ts.env, ts.step, ts.carry, ts.guide_carry, ts.first, {"returns": ts.returns, "events": ts.events})
        loop, rollout, done = collect(loop, ts.params, ts.guidance, key, clock)
        env_state, step, carry, guide_carry, first, totals = loop
        ts = dataclasses.replace(ts, env=env_state, step=step, carry=carry, guide_carry=guide_carry, first=first, **totals)
        return ts, rollout, done

    def experience(g, params, carry, rollout, key, clock, data):
        """Guidance's state, params, items and metrics after guidance and learner process a rollout that began with `carry`."""
        g, rollout, metrics = guidance.observe(g, params, key, rollout, clock, data)
        params = guidance.tie(g, params)
        if not learner.memory.replays:
            rollout = dataclasses.replace(rollout, reward=guidance.reward(g, rollout))
        params, items = learner.prepare(params, carry, rollout)
        return g, params, items, metrics

    def gradient_step(learned, batch, key, step, g, rate):
        params, target, opt, moved = learned
        g = moved if has(guidance, "grads") else g
        if learner.memory.replays:
            batch = dataclasses.replace(batch, reward=guidance.reward(g, batch))

        def objective(params):
            terms, metrics = learner.objective(params, target, batch, key)
            terms = guidance.objective(g, params, batch, terms)
            losses = {f"{name}_loss": sum(x.sum() for x in term.values()) for name, term in terms.items()}
            return sum(losses.values()), losses | metrics

        grads, metrics = jax.grad(objective, has_aux=True)(params)
        g, grads = guidance.grads(g, params, grads)
        updates, opt = learner.optimizer.update(grads, opt, params)
        updates = jax.tree.map(lambda x: x * rate, updates)
        params = optax.apply_updates(params, updates)
        moved = g if has(guidance, "grads") else moved
        return (params, tracked(params, target, step), opt, moved), metrics

    def tracked(params, target, step):
        new = learner.track(params, target)
        if learner.track_every == 1:
            return new
        due = step % learner.track_every == 0
        return jax.tree.map(lambda n, o: jnp.where(due, n, o), new, target)  # cheaper than a branch: it is one copy

    def learn(learned, memory, size, index, g, plan_key, learn_key, rate):
        plan = learner.memory.plan(plan_key, size)
        count = plan.shape[0]
        steps = (index - warmup) * count + 1 + jnp.arange(count)  # the run's gradient steps, numbered from 1

        def body(learned, now):
            items, key, step = now
            return gradient_step(learned, jax.tree.map(lambda ring: ring[items], memory), key, step, g, rate)

        learned, metrics = jax.lax.scan(body, learned, (plan, jr.split(learn_key, count), steps))
        return learned, jax.tree.map(lambda x: x.mean(0), metrics)

    def update(ts: TrainState, index: Array, data: PyTree = guidance.data):
        return update_at(ts, clock_at(index), data)

    def update_at(ts: TrainState, clock: Clock, data: PyTree):
        key, collect_key, plan_key, learn_key, guide_key = jr.split(ts.key, 5)
        index, carry = clock.index, ts.carry
        ts, rollout, done = collected(ts, collect_key, clock)
        g, params, items, guide_metrics = experience(ts.guidance, ts.params, carry, rollout, guide_key, clock, data)
        memory, size = learner.memory.add(ts.memory, items, clock.age)
        # The guidance's state goes through the gradient steps only if they change it: it may be large.
        learned = (params, ts.target, ts.opt, g if has(guidance, "grads") else ())
        args = (learned, memory, size, index, g, plan_key, learn_key, learner.rate(clock.progress))
        (params, target, opt, moved), metrics = _after(warmup, index, learn, args)
        g = moved if has(guidance, "grads") else g
        ts = dataclasses.replace(ts, params=params, target=target, opt=opt, memory=memory, guidance=g, key=key)
        return ts, {"episodes": done, "learning": metrics, "guidance": guide_metrics}

    def draw(key):
        return first_parameters(learner, key)

    def init(key, seed, params=None, drawn=None):
        _, guide_key, env_key, next_key = jr.split(key, 4)
        g = guidance.init(guide_key, seed)
        if params is None:
            params, _ = guidance.start(g, draw(key) if drawn is None else drawn)
        env_state, step = envs.reset(env_key)
        ts = TrainState(
            params=params,
            target=jax.tree.map(jnp.copy, params),
            opt=learner.optimizer.init(params),
            memory=(),
            guidance=g,
            env=env_state,
            step=step,
            carry=learner.start(learner.num_envs),
            guide_carry=guidance.carry(learner.num_envs),
            first=jnp.ones(learner.num_envs, bool),
            returns=jax.tree.map(jnp.zeros_like, step.reward),
            events=jax.tree.map(jnp.zeros_like, step.events),
            key=next_key,
        )
        ts = jax.tree.map(_strong, ts)
        items = jax.eval_shape(lambda: first_items(ts))
        return dataclasses.replace(ts, memory=learner.memory.init(items, updates - fresh_at))

    def first_items(ts: TrainState):
        clock = clock_at(jnp.asarray(0))
        _, rollout, _ = collected(ts, ts.key, clock)
        return experience(ts.guidance, ts.params, ts.carry, rollout, ts.key, clock, guidance.data)[2]

    # Traced once for all that call them (shapes, the start, the loop); `inline` leaves no trace of that in a program.
    collect, experience, init, update = (jax.jit(part, inline=True) for part in (collect, experience, init, update))
    return Trainer(init, draw, update, update_at, per_update, updates, warmup, guidance.data)


def first_parameters(learner: Learner, key: Array) -> PyTree:
    """The parameters that a run with this key begins with, before any guidance starts them."""
    return learner.init(jr.split(key, 4)[0])


def _strong(x: Array) -> Array:
    """`x` without JAX's weak type, which an update would take from it: the update would be traced again for its own result."""
    return jnp.asarray(x, x.dtype) if getattr(x, "weak_type", False) else x


def _after(warmup: int, index: Array, learn: Callable, args: tuple) -> tuple[PyTree, Metrics]:
    """`learn(*args)` once the warm-up is over; before, the same parameters and metrics of 0."""
    if warmup == 0:
        return learn(*args)
    learn = jax.jit(learn, inline=True)  # traced once for both, as in `make_trainer`
    _, shape = jax.eval_shape(learn, *args)
    idle = lambda *args: (args[0], jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape))
    return jax.lax.cond(index >= warmup, learn, idle, *args)


def transition(now: TimeStep, action: dict[str, Array], new: TimeStep, first: Array) -> Transition:
    """The `Transition` from `now` by `action` to `new`."""
    return Transition(
        obs=now.obs,
        action=action,
        reward=new.reward,
        terminated=new.terminated,
        truncated=new.truncated,
        next_obs=new.final_obs,
        state=now.state,
        next_state=new.final_state,
        alive=now.alive,
        available=now.available,
        next_available=new.final_available,
        agent_terminated=new.agent_terminated,
        first=first,
        extras={},
    )
