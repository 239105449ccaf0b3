"""MADDPG and independent DDPG: losses and their gradients against plain NumPy, one agent and one sample at a time."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from oracles import Slopes, close, heads, items, perceptron, random_params, random_transitions, softmax

from headstart.core import actions
from headstart.core.types import Continuous, Discrete, Field, RoleSpec, TeamSpec
from headstart.learners.bodies import mlp_body
from headstart.learners.critics import critic
from headstart.learners.critics.base import joint_fields
from headstart.learners.ddpg import DDPG
from headstart.learners.graphs import Graphs, GraphSettings

ROLES = {
    "caller": RoleSpec(2, (Field("word", 1, 3),), Discrete((2, 3))),
    "mover": RoleSpec(3, (Field("place", 1, 4),), Continuous(2)),
    "pointer": RoleSpec(2, (Field("sign", 1, 2),), Discrete((4,))),
}
SPEC = TeamSpec(ROLES, 5, 0)
"""Roles that differ in everything. Their names are in alphabetical order, which is that of a dict behind `jax.jit`."""
SETTINGS = {"hidden": (6,), "gamma": 0.9, "logit_penalty": 0.3, "temperature": 0.7, "batch": 16}


@pytest.fixture(autouse=True)
def _samples_without_noise(monkeypatch):
    """A Gumbel-softmax sample is the softmax at its temperature: what is random of it is tested with the samples."""

    def still(space, key, logits, temperature=1.0):
        return actions.over_heads(lambda block: jax.nn.softmax(block, -1), space, logits / temperature)

    monkeypatch.setattr(actions, "gumbel_softmax", still)


def two_networks(critic, shared, after_death=True):
    """A learner, parameters and a target that differ; nothing is near zero."""
    learner = DDPG(critic=critic, shared=shared, after_death=after_death, **SETTINGS).make(SPEC)
    return learner, random_params(learner, 1), random_params(learner, 2)


# ------------------------------------------------------------------ the oracle


def nets(params, network):
    """{(role, agent): Net}"""
    return {
        (name, a): perceptron(team, a, team.net.layers, "relu")
        for name, team in params[network].items()
        for a in range(ROLES[name].agents)
    }


def sample(space, out, available, temperature):
    """What the actor does, and a function from d/d(action) to d/d(its output)."""
    if isinstance(space, Continuous):
        mean = np.tanh(out)
        return mean, lambda slope: slope * (1 - mean * mean)
    if available is not None:
        out = np.where(available, out, -np.inf)
    parts = [softmax(x / temperature) for x in heads(space, out)]

    def back(slope):
        pairs = zip(parts, heads(space, slope), strict=True)
        return np.concatenate([p * (s - p @ s) / temperature for p, s in pairs])

    return np.concatenate(parts), back


def everybody():
    return [(name, a) for name, role in ROLES.items() for a in range(role.agents)]


def by_loops(critic, shared, params, target, batch, frozen=None, after_death=True):
    """({network: {role: [A]}} losses, slopes of their sum).

    Critic (Lowe et al. 2017, eq. 6): (Q_i(x, a) − y_i)², y_i = r_i + γ·Q'_i(x', a'_1 .. a'_N) with a'_j = μ'_j(o'_j).
    Actor (eq. 5): −Q_i(x, a_1 .. μ_i(o_i) .. a_N) of `frozen` critics, with the batch's actions of all others. What critics
    are shown of the dead is zeros.
    """
    batch = jax.tree.map(np.asarray, batch)
    dead_later = batch.agent_terminated or {name: np.zeros_like(x) for name, x in batch.alive.items()}
    now = {name: x * batch.alive[name][..., None] for name, x in batch.obs.items()}
    later = {name: x * (batch.alive[name] & ~dead_later[name])[..., None] for name, x in batch.next_obs.items()}
    gamma, penalty, temperature = (SETTINGS[k] for k in ("gamma", "logit_penalty", "temperature"))
    actor, q, frozen_q = nets(params, "actor"), nets(params, "critic"), nets(frozen or params, "critic")
    next_actor, next_q = nets(target, "actor"), nets(target, "critic")
    losses = {n: {name: np.zeros(role.agents) for name, role in ROLES.items()} for n in ("actor", "critic")}
    slopes = Slopes()

    def seen(b, obs, action, me):
        """What the critic of `me` is shown of sample b, given everybody's action, and where `me`'s action lies in it."""
        if critic == "local":
            mine = obs[me[0]][b, me[1]]
            return np.concatenate([mine, action[me]]), len(mine)
        watched = [obs[name][b, a] for name, a in everybody()]
        before = everybody()[: everybody().index(me)]
        at = sum(len(x) for x in watched) + sum(ROLES[name].actions.size for name, _ in before)
        return np.concatenate([*watched, *(action[who] for who in everybody())]), at

    def mask(given, b, who):
        return None if given is None else given[who[0]][b, who[1]]

    following = [{} for _ in batch.terminated]
    for b, who in itertools.product(range(len(batch.terminated)), everybody()):
        out = next_actor[who](batch.next_obs[who[0]][b, who[1]])
        act, _ = sample(ROLES[who[0]].actions, out, mask(batch.next_available, b, who), temperature)
        following[b][who] = act * (batch.alive[who[0]][b, who[1]] and not dead_later[who[0]][b, who[1]])

    for me in everybody():
        name, a = me
        space = ROLES[name].actions
        alive = [b for b in range(len(batch.terminated)) if batch.alive[name][b, a]]
        dead = [b for b in range(len(batch.terminated)) if dead_later[name][b, a] and b not in alive]
        valued = alive + dead if after_death else alive
        among = ROLES[name].agents if shared else 1
        done = lambda b: {(n, i): batch.action[n][b, i] * np.float64(batch.alive[n][b, i]) for n, i in everybody()}
        for b in valued:
            weight = 1 / len(valued) / among
            y = batch.reward[name][b, a]
            if not (batch.terminated[b] or (dead_later[name][b, a] and not after_death)):
                y = y + gamma * next_q[me](seen(b, later, following[b], me)[0])[0]
            trace = q[me].trace(seen(b, now, done(b), me)[0])
            losses["critic"][name][a] += weight * (trace[-1][0] - y) ** 2
            slopes.add(("critic", *me), q[me].back(trace, np.array([2 * (trace[-1][0] - y)]))[1], weight)

        for b in alive:
            weight = 1 / len(alive) / among
            outs = actor[me].trace(batch.obs[name][b, a])
            mine, back = sample(space, outs[-1], mask(batch.available, b, me), temperature)
            joint, at = seen(b, now, done(b) | {me: mine}, me)
            trace = frozen_q[me].trace(joint)
            out = np.tanh(outs[-1]) if isinstance(space, Continuous) else outs[-1]
            losses["actor"][name][a] += weight * (penalty * np.mean(out**2) - trace[-1][0])
            onward = frozen_q[me].back(trace, np.array([-1.0]))[0][at : at + space.size]
            flatter = 2 * penalty * out / space.size * (1 - out**2 if isinstance(space, Continuous) else 1)
            slopes.add(("actor", *me), actor[me].back(outs, back(onward) + flatter)[1], weight)
    return losses, slopes


def descended(learner):
    """(params, target, batch) -> terms and gradients of their sum, as the trainer takes them."""

    def loss(params, target, batch):
        terms, _ = learner.objective(params, target, batch, jr.key(3))
        return sum(x.sum() for roles in terms.values() for x in roles.values()), terms

    def run(params, target, batch):
        grads, terms = jax.grad(loss, has_aux=True)(params, target, batch)
        return terms, grads

    return jax.jit(run)


def compare(critic, shared, batch, after_death=True):
    learner, params, target = two_networks(critic, shared, after_death)
    batch = items(learner, params, (), jax.tree.map(lambda x: x[None], batch))  # a rollout of one step
    terms, grads = descended(learner)(params, target, batch)
    want, slopes = by_loops(critic, shared, params, target, batch, after_death=after_death)
    assert set(terms) == {"actor", "critic"}
    for network, roles in want.items():
        assert set(terms[network]) == set(roles)
        for name, losses in roles.items():
            np.testing.assert_allclose(terms[network][name], losses, rtol=1e-4, err_msg=f"{network} of {name}")
            team = grads[network][name]
            for what, got, slope in slopes.like(team, team.net.layers, network, name, ROLES[name].agents):
                close(got, slope, what)


@pytest.mark.parametrize("critic", ["joint", "local"])
@pytest.mark.parametrize("shared", [False, True])
def test_losses_and_gradients_against_loops(critic, shared):
    """What counts after a death is told apart by half of the cases."""
    compare(critic, shared, random_transitions(SPEC, 1, 16, soft=True), after_death=shared == (critic == "joint"))


def test_without_masks_deaths_and_ends_of_single_agents():
    compare("joint", False, random_transitions(SPEC, 2, 16, masked=False, deaths=False))


def test_the_batch_has_everything_in_it():
    """Else the loops would agree with anything: samples that end either way, deaths, agents that end alone, masks."""
    batch = jax.tree.map(np.asarray, random_transitions(SPEC, 1, 16, soft=True))
    for name, role in ROLES.items():
        alone = batch.agent_terminated[name] & ~batch.terminated[:, None]
        for what in (batch.terminated[:, None], batch.truncated[:, None], alone):
            assert (what & batch.alive[name]).any() and (~what & batch.alive[name]).any(), name
        assert (~batch.alive[name]).any(0).all() and batch.alive[name].any(0).all()
        if isinstance(role.actions, Discrete):
            assert not batch.available[name].all() and not batch.next_available[name].all()


def test_the_loops_slopes_are_those_of_their_losses():
    """Central differences along one random direction of each agent's actor and of each one's critic."""
    _, params, target = two_networks("joint", False)
    batch, rng, h = random_transitions(SPEC, 1, 4, deaths=False, soft=True), np.random.default_rng(0), 1e-6
    losses = lambda params, frozen: by_loops("joint", False, params, target, batch, frozen)
    _, slopes = losses(params, params)
    for network, (name, a) in itertools.product(("actor", "critic"), everybody()):
        ways = [[rng.normal(size=x.shape) for x in pair] for pair in slopes.sums[network, name, a]]

        def moved(by, network=network, name=name, a=a, ways=ways):
            """Only the agent's own loss may feel it: the actors' losses see frozen critics."""
            out = jax.tree.map(lambda x: np.array(x, np.float64), params)
            for layer, (w, b) in zip(out[network][name].net.layers, ways, strict=True):
                layer.weight[a] += by * w
                layer.bias[a] += by * b
            losses_then, _ = by_loops("joint", False, out, target, batch, frozen=params)
            return sum(x.sum() for roles in losses_then.values() for x in roles.values())

        flat = zip(slopes.sums[network, name, a], ways, strict=True)
        want = sum((g * w).sum() for gs, ws in flat for g, w in zip(gs, ws, strict=True))
        np.testing.assert_allclose((moved(h) - moved(-h)) / (2 * h), want, rtol=1e-4, atol=1e-6)


def test_the_noise_of_samples_is_drawn_from_the_key_apart_for_each_role_and_time(monkeypatch):
    """Actions now and actions next do not share their noise, or the actor would be judged by its own luck."""
    drawn = []

    def kept(space, key, logits, temperature=1.0):
        drawn.append(jr.key_data(key))
        assert temperature == SETTINGS["temperature"]
        return jax.nn.softmax(logits, -1)

    monkeypatch.setattr(actions, "gumbel_softmax", kept)
    learner, params, target = two_networks("local", True)
    batch = items(learner, params, (), jax.tree.map(lambda x: x[None], random_transitions(SPEC, 1, 2)))

    @jax.jit
    def keys(key):
        """Nothing but the keys is computed."""
        drawn.clear()
        learner.objective(params, target, batch, key)
        return jnp.stack(drawn)

    used = np.concatenate([keys(jr.key(number)) for number in (0, 1)])
    assert len(used) == 2 * 2 * 2, "two keys, two discrete roles, now and next"
    assert len(np.unique(used, axis=0)) == len(used)


def test_the_joint_input_has_one_order():
    """Dicts in any order, inside a transformation or outside, mean the same: roles come by name."""
    spec = TeamSpec(
        {"z": RoleSpec(1, (Field("a", 1, 2),), Discrete((2,))), "b": RoleSpec(2, (Field("c", 1, 3),), Discrete((4,)))}, 1
    )
    valued = critic("joint", spec, lambda role: mlp_body((8,), "relu"), Graphs(GraphSettings(), (8,), "relu"), False, acts=True)
    nets = valued.init(lambda i: jr.key(i))
    draw = lambda seed, size: {r: jr.normal(jr.key(seed), (5, s.agents, size(s))) for r, s in spec.roles.items()}
    obs, action, fresh = draw(0, lambda s: s.obs_size), draw(1, lambda s: s.actions.size), draw(2, lambda s: s.actions.size)
    turned = lambda tree: dict(reversed(tree.items()))
    want = jax.jit(valued.q_own)(nets, obs, action, fresh)
    for args in ((nets, obs, action, fresh), ({"critic": turned(nets["critic"])}, *map(turned, (obs, action, fresh)))):
        got = valued.q_own(*args)
        for a, b in zip(got, want, strict=True):
            for role in spec.roles:
                np.testing.assert_allclose(a[role], b[role], rtol=2e-5, atol=1e-6)
    assert [f.name for f in joint_fields(spec, True)] == ["b_0/c", "b_1/c", "z_0/a", "b_0/action", "b_1/action", "z_0/action"]
