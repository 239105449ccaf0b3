"""The small equations, actions, memory, networks and optimisers: each against a plain loop, scipy or optax."""

import re
from collections import deque

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from headstart.core import actions, ops
from headstart.core.memory import latest, uniform
from headstart.core.modules import gru, mlp
from headstart.core.networks import RoleNet, role_net
from headstart.core.optimisers import clip_per_variable, per_team
from headstart.core.types import Discrete, Field
from headstart.learners.bodies import CoreBody, cell_of

RNG = np.random.default_rng(0)
HEADS = Discrete((2, 3))


def f32(*shape):
    return RNG.normal(size=shape).astype(np.float32)


# ------------------------------------------------------------------ returns and targets


def looped_gae(reward, value, next_value, gone, ended, gamma, lam):
    """Every advantage as the plain sum of its own discounted errors up to the end of its episode."""
    out = np.zeros(len(reward))
    for t in range(len(reward)):
        weight = 1.0
        for k in range(t, len(reward)):
            bootstrap = 0.0 if gone[k] else gamma * next_value[k]
            out[t] += weight * (reward[k] + bootstrap - value[k])
            if ended[k]:
                break
            weight *= gamma * lam
    return out


@pytest.mark.parametrize("gamma,lam", [(0.9, 0.8), (1.0, 1.0), (0.5, 0.0)])
def test_gae_against_a_loop(gamma, lam):
    reward, value, after = f32(30, 4), f32(30, 4), f32(30, 4)
    gone = RNG.random((30, 4)) < 0.1
    ended = gone | (RNG.random((30, 4)) < 0.1)
    got = ops.gae(*map(jnp.asarray, (reward, value, after, gone, ended)), gamma, lam)
    for e in range(4):
        wanted = looped_gae(reward[:, e], value[:, e], after[:, e], gone[:, e], ended[:, e], gamma, lam)
        np.testing.assert_allclose(got[:, e], wanted, rtol=1e-4, atol=1e-5)


def test_a_clock_that_ran_out_is_bootstrapped_through_and_a_task_that_ended_is_not():
    one, yes, no = jnp.ones((1, 1)), jnp.ones((1, 1), bool), jnp.zeros((1, 1), bool)
    assert ops.gae(one, 0 * one, 10 * one, no, yes, 0.9, 0.5)[0, 0] == 10.0
    assert ops.gae(one, 0 * one, 10 * one, yes, yes, 0.9, 0.5)[0, 0] == 1.0


def test_td_target_and_its_gradient():
    reward, after, gone = f32(5), f32(5), np.array([0, 1, 0, 1, 0], bool)
    got = ops.td_target(jnp.asarray(reward), jnp.asarray(after), jnp.asarray(gone), 0.9)
    np.testing.assert_allclose(got, [r if g else r + 0.9 * v for r, v, g in zip(reward, after, gone, strict=True)], rtol=1e-6)
    assert not jax.grad(lambda v: ops.td_target(jnp.asarray(reward), v, jnp.asarray(gone), 0.9).sum())(after).any()


def test_masked_mean():
    x, mask = f32(6, 3), RNG.random((6, 3)) < 0.5
    mask[:, 1] = False
    x[~mask] = np.nan  # what is masked may be anything
    wanted = [np.mean([x[i, j] for i in range(6) if mask[i, j]]) if mask[:, j].any() else 0.0 for j in range(3)]
    np.testing.assert_allclose(ops.masked_mean(jnp.asarray(x), jnp.asarray(mask), 0), wanted, rtol=1e-5)
    assert np.isfinite(jax.grad(lambda x: ops.masked_mean(x, jnp.asarray(mask), (0, 1)))(jnp.asarray(x))).all()


def test_polyak_and_schedules():
    new, old = {"a": jnp.array([1.0, 2.0])}, {"a": jnp.array([0.0, 4.0])}
    np.testing.assert_allclose(ops.polyak(new, old, 0.25)["a"], [0.25, 3.5])
    line = ops.linear_schedule(0.5, 0.02)
    got = [float(line(jnp.asarray(p))) for p in (-1.0, 0.0, 0.25, 1.0, 2.0)]
    np.testing.assert_allclose(got, [0.5, 0.5, 0.38, 0.02, 0.02], rtol=1e-6)


def test_chosen_where():
    mask = jnp.array([True, False])
    got = ops.chosen_where(mask, {"x": jnp.ones((2, 3)), "y": jnp.ones(2)}, {"x": jnp.zeros((2, 3)), "y": jnp.zeros(2)})
    assert got["x"].tolist() == [[1] * 3, [0] * 3] and got["y"].tolist() == [1, 0]


# ------------------------------------------------------------------ actions


def heads(x):
    return [x[..., :2], x[..., 2:]]


@pytest.mark.parametrize("soft", [False, True])
def test_samples_have_the_right_frequencies(soft):
    """60 000 draws; the largest Gumbel-softmax option is distributed like the sample."""
    logits = jnp.asarray(f32(5))
    many = jnp.broadcast_to(logits, (60_000, 5))
    draw = actions.gumbel_softmax(HEADS, jr.key(0), many, 0.7) if soft else actions.sample(HEADS, jr.key(0), many)
    for block, own in zip(heads(np.asarray(draw)), heads(np.asarray(logits)), strict=True):
        np.testing.assert_allclose(block.sum(-1), 1, rtol=1e-5)
        if not soft:
            assert set(np.unique(block)) == {0.0, 1.0}
        counts = np.bincount(block.argmax(-1), minlength=block.shape[-1])
        assert scipy.stats.chisquare(counts, 60_000 * scipy.special.softmax(own.astype(float))).pvalue > 1e-4


def test_gumbel_softmax_is_the_softmax_of_noisy_logits_over_the_temperature():
    logits, key = jnp.asarray(f32(7, 5)), jr.key(3)
    noisy = np.asarray(logits + jr.gumbel(key, logits.shape))
    got = actions.gumbel_softmax(HEADS, key, logits, 0.5)
    for block, own in zip(heads(np.asarray(got)), heads(noisy), strict=True):
        np.testing.assert_allclose(block, scipy.special.softmax(own / 0.5, -1), rtol=1e-4)


def test_two_heads_draw_independently():
    draw = np.asarray(actions.sample(HEADS, jr.key(1), jnp.zeros((20_000, 5))))
    table = np.zeros((2, 3))
    np.add.at(table, (draw[:, :2].argmax(-1), draw[:, 2:].argmax(-1)), 1)
    assert scipy.stats.chi2_contingency(table).pvalue > 1e-4


def test_log_prob_entropy_and_divergences_against_scipy():
    a, b = f32(9, 5), f32(9, 5)
    options = np.stack([RNG.integers(0, 2, 9), RNG.integers(0, 3, 9)], -1)
    chosen = np.concatenate([np.eye(2)[options[:, 0]], np.eye(3)[options[:, 1]]], -1).astype("f")
    p, q = ([scipy.special.softmax(x, -1) for x in heads(y)] for y in (a, b))
    log_prob = sum(np.log(x[np.arange(9), options[:, i]]) for i, x in enumerate(p))
    np.testing.assert_allclose(actions.log_prob(HEADS, jnp.asarray(a), jnp.asarray(chosen)), log_prob, rtol=1e-5)
    entropy = sum(scipy.stats.entropy(x, axis=-1) for x in p)
    np.testing.assert_allclose(actions.entropy(HEADS, jnp.asarray(a)), entropy, rtol=1e-5)
    kl = sum(scipy.stats.entropy(x, y, axis=-1) for x, y in zip(p, q, strict=True))
    np.testing.assert_allclose(actions.kl(HEADS, jnp.asarray(a), jnp.asarray(b)), kl, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(actions.cross_entropy(HEADS, jnp.asarray(a), jnp.asarray(b)), kl + entropy, rtol=1e-5)


def test_normal_log_prob_against_scipy():
    mean, log_std, action = f32(4, 3), f32(4, 3), f32(4, 3)
    got = actions.normal_log_prob(*map(jnp.asarray, (mean, log_std, action)))
    np.testing.assert_allclose(got, scipy.stats.norm.logpdf(action, mean, np.exp(log_std)).sum(-1), rtol=1e-4)


def test_what_is_not_legal_has_no_probability_and_a_finite_gradient():
    logits, open_ = jnp.asarray(f32(4, 5)), jnp.asarray(np.array([1, 0, 1, 1, 0], bool)[None].repeat(4, 0))
    closed = actions.legal(logits, open_)
    draws = np.asarray(actions.sample(HEADS, jr.key(0), jnp.broadcast_to(closed[:1], (5000, 5))))
    assert not draws[:, ~np.asarray(open_[0])].any()
    assert not np.asarray(actions.gumbel_softmax(HEADS, jr.key(0), closed))[:, ~np.asarray(open_[0])].any()
    want = scipy.stats.entropy(scipy.special.softmax(np.asarray(logits)[:, 2:4], -1), axis=-1)
    np.testing.assert_allclose(actions.entropy(HEADS, closed), want, rtol=1e-5)
    assert np.isfinite(jax.grad(lambda x: actions.entropy(HEADS, actions.legal(x, open_)).sum())(logits)).all()
    assert actions.legal(logits, None) is logits


# ------------------------------------------------------------------ memory


@pytest.mark.parametrize("capacity", [6, 7, 9, 3, 1])
def test_the_ring_against_a_deque(capacity):
    """Writes of 3 items; the capacity is rounded up to whole writes."""
    memory, updates = uniform(capacity, 4, 2), 9
    room = deque(maxlen=3 * -(-capacity // 3))
    ring = memory.init({"x": jnp.zeros((3, 2))}, updates)
    for update in range(updates):
        items = f32(3, 2)
        ring, size = memory.add(ring, {"x": jnp.asarray(items)}, jnp.asarray(update))
        room.extend(map(tuple, items))
        kept = np.asarray(ring["x"])[: int(size)]
        assert int(size) == len(room) and sorted(map(tuple, kept)) == sorted(room)


def test_a_short_run_needs_no_more_room_than_it_has_updates():
    assert uniform(1_000_000, 4, 1).init(jnp.zeros((5, 2)), 3).shape == (15, 2)


def test_the_latest_plan_visits_every_item_once_an_epoch_in_a_new_order():
    plan = np.asarray(latest(12, 3, 4).plan(jr.key(0), jnp.asarray(12)))
    assert plan.shape == (12, 3)
    epochs = plan.reshape(3, 12)
    assert (np.sort(epochs, -1) == np.arange(12)).all() and not (epochs[0] == epochs[1]).all()


def test_the_uniform_plan_draws_valid_items_equally_often():
    plan = np.asarray(uniform(100, 20_000, 2).plan(jr.key(0), jnp.asarray(10)))
    assert plan.shape == (2, 20_000) and plan.min() == 0 and plan.max() == 9
    assert scipy.stats.chisquare(np.bincount(plan.ravel())).pvalue > 1e-4


def test_a_write_under_vmap_is_no_scatter():
    memory = uniform(64, 4, 1)
    ring, items = jnp.zeros((5, 64, 3)), jnp.ones((5, 8, 3))
    add = jax.vmap(memory.add, in_axes=(0, 0, None), out_axes=(0, None))
    text = jax.jit(add).lower(ring, items, jnp.asarray(3)).compile().as_text()
    operations = set(re.findall(r"= \S+ ([a-z-]+)\(", text))
    assert "dynamic-update-slice" in operations and not operations & {"scatter", "while"}


# ------------------------------------------------------------------ networks


def one_by_one(net, x):
    """[.. A I] through each agent's own network, agent by agent."""
    outs = [jax.tree.map(lambda p, a=a: p[a], net)(x[..., a, :]) for a in range(x.shape[-2])]
    return np.stack(outs, -2)


def test_separate_networks_against_a_loop_over_agents():
    nets = role_net(lambda key: mlp(key, (4, 8, 3)), jr.key(0), 3, False)
    x = jnp.asarray(f32(5, 2, 3, 4))
    wanted = one_by_one(nets.net, x)
    np.testing.assert_allclose(nets(x), wanted, rtol=1e-5, atol=1e-6)
    first = jnp.moveaxis(x, -2, 0)
    np.testing.assert_allclose(nets.agent_first(first), np.moveaxis(wanted, -2, 0), rtol=1e-5, atol=1e-6)
    each = np.asarray(nets.for_each(x[..., 0, :]))
    np.testing.assert_allclose(each[0], wanted[..., 0, :], rtol=1e-5, atol=1e-6)
    assert each.shape == (3, 5, 2, 3) and not np.allclose(each[0], each[1])


def test_a_shared_network_treats_agents_alike():
    net = role_net(lambda key: mlp(key, (4, 8, 3)), jr.key(0), 3, True)
    x = jnp.broadcast_to(jnp.asarray(f32(5, 1, 4)), (5, 3, 4))
    out = np.asarray(net(x))
    np.testing.assert_allclose(out[:, 0], out[:, 2], rtol=1e-6)
    np.testing.assert_allclose(net.for_each(x[:, 0])[0], out[:, 0], rtol=1e-5, atol=1e-6)


def test_separate_and_shared_agree_where_the_parameters_do():
    net = mlp(jr.key(0), (4, 8, 3))
    copies = RoleNet(jax.tree.map(lambda x: jnp.stack([x] * 3), net), False)
    x = jnp.asarray(f32(5, 3, 4))
    np.testing.assert_allclose(copies(x), RoleNet(net, True)(x), rtol=1e-5, atol=1e-6)


def test_gru_against_numpy():
    net, carry, x = gru(jr.key(0), 3, 4), f32(5, 4), f32(5, 3)
    w, u = np.asarray(net.inputs.weight), np.asarray(net.hidden.weight)
    reset, update = (scipy.special.expit((x @ w)[:, s] + (carry @ u)[:, s]) for s in (slice(0, 4), slice(4, 8)))
    fresh = np.tanh((x @ w)[:, 8:] + reset * (carry @ u)[:, 8:])
    np.testing.assert_allclose(
        net(jnp.asarray(carry), jnp.asarray(x)), (1 - update) * fresh + update * carry, rtol=1e-4, atol=1e-5
    )


# ------------------------------------------------------------------ optimisers


def params_of(shared):
    return {"actor": {"a": role_net(lambda k: mlp(k, (2, 3)), jr.key(0), 3, shared)}}


@pytest.mark.parametrize("shared", [False, True])
def test_a_cell_unrolled_at_once_equals_its_steps_one_by_one(shared):
    fields = (Field("seen", 1, 3),)
    core = CoreBody("gru", (5, 4), "relu", 1.0, norms=True)
    nets = {"agent": role_net(lambda key: core(key, fields, 2), jr.key(0), 3, shared)}
    obs, carry = jr.normal(jr.key(1), (6, 2, 3, 3)), jr.normal(jr.key(2), (2, 3, 4))
    first = jr.bernoulli(jr.key(3), 0.4, (6, 2))

    @jax.jit
    def found(carry):
        return ops.unroll(cell_of(nets), {"agent": carry}, {"agent": obs}, first, {"agent": jnp.ones_like(carry)})

    @jax.jit
    def step(carry, x, begins):
        carry = jnp.where(begins[:, None, None], 1.0, carry)
        return nets["agent"](carry, x)

    last, carries, outs = found(carry)
    for t in range(6):
        carry, out = step(carry, obs[t], first[t])
        np.testing.assert_allclose(carries["agent"][t], carry, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(outs["agent"][t], out, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last["agent"], carry, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip", [optax.clip_by_global_norm(0.5), clip_per_variable(0.5)])
def test_per_team_against_optax_on_each_agent_alone(clip):
    rule = optax.chain(clip, optax.adam(0.1))
    whole, params = per_team({"actor": rule}), params_of(False)
    state, alone = whole.init(params), [None] * 3
    for step in range(3):
        grads = jax.tree.map(
            lambda x, s=step: jnp.asarray(10.0 ** np.arange(3).reshape(3, *[1] * (x.ndim - 1)) * (x + s)), params
        )
        updates, state = whole.update(grads, state, params)
        for a in range(3):
            mine = jax.tree.map(lambda x, a=a: x[a], (grads["actor"]["a"].net, params["actor"]["a"].net))
            alone[a] = rule.init(mine[1]) if alone[a] is None else alone[a]
            wanted, alone[a] = rule.update(mine[0], alone[a], mine[1])
            for got, want in zip(jax.tree.leaves(updates), jax.tree.leaves(wanted), strict=True):
                np.testing.assert_allclose(got[a], want, rtol=1e-5, atol=1e-7)
        params = optax.apply_updates(params, updates)


def test_one_agents_gradient_does_not_change_anothers_step():
    whole, params = per_team({"actor": optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(1.0))}), params_of(False)
    grads = jax.tree.map(jnp.ones_like, params)
    loud = jax.tree.map(lambda g: g.at[0].multiply(1e6), grads)
    quiet, noisy = (whole.update(g, whole.init(params), params)[0] for g in (grads, loud))
    for a, b in zip(jax.tree.leaves(quiet), jax.tree.leaves(noisy), strict=True):
        np.testing.assert_array_equal(a[1:], b[1:])


def test_a_shared_network_is_one_agent():
    rule, params = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1)), params_of(True)
    grads, net = jax.tree.map(jnp.ones_like, params), params["actor"]["a"].net
    whole = per_team({"actor": rule})
    got = whole.update(grads, whole.init(params), params)[0]
    want = rule.update(jax.tree.map(jnp.ones_like, net), rule.init(net), net)[0]
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_clip_per_variable():
    """Each array on its own, small ones untouched."""
    grads = {"big": jnp.array([3.0, 4.0]), "small": jnp.array([0.1]), "zero": jnp.zeros(2)}
    got, _ = clip_per_variable(0.5).update(grads, optax.EmptyState())
    np.testing.assert_allclose(got["big"], [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(got["small"], [0.1], rtol=1e-6)
    assert not got["zero"].any()
