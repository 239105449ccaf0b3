"""THE training loop: collect, learn, let the guidance learn. There is no other.

    update:   rollout = T joint steps of E environments, acted by guidance.behave ∘ learner.act
              items   = learner.prepare(guidance.relabel(rollout)) → memory
              G times:  grads of Σ guidance.objective(learner.objective(batch)) → guidance.grads → optimiser·rate
                → guidance.tie → learner.track
              guidance.update(rollout)

Everything is written for one seed and vmapped over seeds. The index of the update is the same for all seeds and stays
outside the `vmap`: warm-up, memory, schedules and the number of a gradient step count from it, so none of them costs a
computed-both-ways branch.
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
from headstart.core.guidance import Guidance
from headstart.core.learner import Learner
from headstart.core.ops import chosen_where
from headstart.core.types import Metrics, TimeStep, TrainState, Transition


class Trainer(NamedTuple):
    """A run's pure functions for one seed; `vmap` them over seeds with the update's index left unmapped."""

    init: Callable[[Array, Array], TrainState]
    """key, number of the seed -> state."""
    update: Callable[[TrainState, Array], tuple[TrainState, Metrics]]
    """state, index of the update -> state, metrics: `episodes` (those that ended: sums of their returns and events, and their
    count), `learning`, `guidance`."""
    steps_per_update: int
    updates: int
    warmup_updates: int


def make_trainer(env: Env, learner: Learner, guidance: Guidance, steps: int) -> Trainer:
    """Close the loop over environment, learner and guidance for at least `steps` env-steps (whole updates)."""
    envs = vectorise(env, learner.num_envs)
    per_update = learner.rollout * learner.num_envs
    updates = max(1, -(-steps // per_update))
    warmup = min(-(-learner.warmup // per_update), updates - 1)

    def progress_at(index):
        return jnp.clip((index - warmup) / max(updates - 1 - warmup, 1), 0.0, 1.0)

    def env_step(loop, key, params, g, progress):
        env_state, now, carry, first, totals = loop
        act_key, guide_key, env_key = jr.split(key, 3)
        carry, action = learner.act(params, carry, now, act_key, progress)
        action = guidance.behave(g, guide_key, now, action)
        env_state, new = envs.step(env_state, action, env_key)
        ended = new.terminated | new.truncated
        carry = chosen_where(ended, learner.start(learner.num_envs), carry)
        totals = jax.tree.map(jnp.add, totals, {"returns": new.reward, "events": new.events})
        none = jax.tree.map(jnp.zeros_like, totals)
        done = {"count": ended.sum(), **jax.tree.map(lambda x: x.sum(0), chosen_where(ended, totals, none))}
        loop = (env_state, new, carry, ended, chosen_where(ended, none, totals))
        return loop, (transition(now, action, new, first), done)

    def collect(ts: TrainState, key, progress):
        loop = (ts.env, ts.step, ts.carry, ts.first, {"returns": ts.returns, "events": ts.events})
        body = lambda loop, k: env_step(loop, k, ts.params, ts.guidance, progress)
        loop, (rollout, done) = jax.lax.scan(body, loop, jr.split(key, learner.rollout))
        env_state, step, carry, first, totals = loop
        ts = dataclasses.replace(ts, env=env_state, step=step, carry=carry, first=first, **totals)
        return ts, rollout, jax.tree.map(lambda x: x.sum(0), done)

    def gradient_step(learned, batch, key, step, g, rate):
        params, target, opt = learned

        def objective(params):
            terms, metrics = learner.objective(params, target, batch, key)
            terms = guidance.objective(g, params, batch, terms)
            losses = {f"{name}_loss": sum(x.sum() for x in term.values()) for name, term in terms.items()}
            return sum(losses.values()), losses | metrics

        grads, metrics = jax.grad(objective, has_aux=True)(params)
        grads = guidance.grads(g, params, grads)
        updates, opt = learner.optimizer.update(grads, opt, params)
        updates = jax.tree.map(lambda x: x * rate, updates)
        params = guidance.tie(g, optax.apply_updates(params, updates))
        return (params, tracked(params, target, step), opt), metrics

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

    def update(ts: TrainState, index: Array):
        key, collect_key, plan_key, learn_key, guide_key = jr.split(ts.key, 5)
        start_carry = ts.carry
        ts, rollout, done = collect(ts, collect_key, progress_at(index))
        items = learner.prepare(ts.params, start_carry, guidance.relabel(ts.guidance, rollout))
        memory, size = learner.memory.add(ts.memory, items, index)
        learned = (ts.params, ts.target, ts.opt)
        rate = learner.rate(progress_at(index))
        args = (learned, memory, size, index, ts.guidance, plan_key, learn_key, rate)
        (params, target, opt), metrics = _after(warmup, index, learn, args)
        g, guide_metrics = guidance.update(ts.guidance, guide_key, rollout, progress_at(index + 1))
        ts = dataclasses.replace(ts, params=params, target=target, opt=opt, memory=memory, guidance=g, key=key)
        return ts, {"episodes": done, "learning": metrics, "guidance": guide_metrics}

    def init(key, seed):
        params_key, guide_key, env_key, key = jr.split(key, 4)
        g = guidance.init(guide_key, seed)
        params = guidance.start(g, learner.init(params_key))
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
            first=jnp.ones(learner.num_envs, bool),
            returns=jax.tree.map(jnp.zeros_like, step.reward),
            events=jax.tree.map(jnp.zeros_like, step.events),
            key=key,
        )
        items = jax.eval_shape(lambda: first_items(ts))
        return dataclasses.replace(ts, memory=learner.memory.init(items, updates))

    def first_items(ts: TrainState):
        _, rollout, _ = collect(ts, ts.key, jnp.zeros(()))
        return learner.prepare(ts.params, ts.carry, guidance.relabel(ts.guidance, rollout))

    return Trainer(init, update, per_update, updates, warmup)


def _after(warmup: int, index: Array, learn: Callable, args: tuple) -> tuple[PyTree, Metrics]:
    """`learn(*args)` once the warm-up is over; before, the same parameters and metrics of 0."""
    if warmup == 0:
        return learn(*args)
    _, shape = jax.eval_shape(learn, *args)
    idle = lambda *args: (args[0], jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape))
    return jax.lax.cond(index >= warmup, learn, idle, *args)


def transition(now: TimeStep, action: dict[str, Array], new: TimeStep, first: Array) -> Transition:
    """What is remembered of the step from `now` by `action` to `new`."""
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
