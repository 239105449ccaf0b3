"""PPO: advantages, losses and gradients against plain NumPy, feed-forward and recurrent, one agent and one step at a time.

`full` is a recurrent one with all else that PPO offers: layer norms, values in units of their deviation, which PopArt keeps, a
clipped Huber loss of values, and gradients that stop where a sequence begins.
"""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from oracles import close, heads, items, of_agent, perceptron, random_params, random_transitions, softmax

from headstart.core.types import Continuous, Discrete, Field, RoleSpec, TeamSpec
from headstart.learners.ppo import PPO
from headstart.report import stats

ROLES = {
    "caller": RoleSpec(2, (Field("word", 1, 3),), Discrete((2, 3))),
    "mover": RoleSpec(3, (Field("place", 1, 4),), Continuous(2)),
}
SPEC = TeamSpec(ROLES, 5, 0)
"""Roles that differ in everything."""
STEPS, ENVS, HIDDEN, CHUNK = 6, 8, 4, 3
SETTINGS = {
    "hidden": (HIDDEN,), "num_envs": ENVS, "rollout": STEPS, "minibatches": 2, "gamma": 0.9, "lam": 0.7, "clip": 0.2,
    "entropy": 0.3, "value": 0.7,
}  # fmt: skip
GAMMA, LAM, CLIP = (SETTINGS[name] for name in ("gamma", "lam", "clip"))
DELTA, VALUE_CLIP, BETA = 0.4, 0.3, 0.8
CORES: dict[str, dict] = {
    "mlp": {"after_death": False}, "gru": {"core": "gru"},
    "full": {
        "core": "gru", "chunk": CHUNK, "layer_norm": True, "value_norm": "popart", "value_beta": BETA, "value_loss": "huber",
        "huber_delta": DELTA, "value_clip": VALUE_CLIP,
    },
}  # fmt: skip
SEEN = {"mean": 0.4, "variance": 2.0, "count": 10.0}
"""Statistics of the values before the rollout."""
KINDS = [("mlp", True), ("mlp", False), pytest.param("gru", True, marks=pytest.mark.slow), ("gru", False)]
KINDS += [pytest.param("full", True, marks=pytest.mark.slow), ("full", False)]
each_kind = pytest.mark.parametrize("core,shared", KINDS)


@pytest.mark.parametrize("shared", [True, False])
def test_values_of_mappo_see_everybody(shared):
    """V_i is a network of all agents' observations side by side, role by role; a shared one has an output for each agent."""
    learner = PPO(critic="joint", shared=shared, **SETTINGS).make(SPEC)
    params, obs = random_params(learner, 1), random_transitions(SPEC, 3, 16).obs
    got, joint = learner.value(params, obs, {}), np.concatenate([np.asarray(obs[r]).reshape(16, -1) for r in ROLES], -1)
    for name, agent in everybody():
        team = params["critic"][name]
        net = team.net.body if shared else jax.tree.map(lambda x, a=agent: x[a], team.net).body
        first, last = ((np.asarray(layer.weight, float), np.asarray(layer.bias, float)) for layer in net.layers)
        values = np.tanh(joint @ first[0] + first[1]) @ last[0] + last[1]
        np.testing.assert_allclose(got[name][:, agent], values[:, agent if shared else 0], rtol=1e-4, atol=1e-5)


def everybody():
    return [(name, a) for name, role in ROLES.items() for a in range(role.agents)]


@functools.cache
def case(core, shared, plain=False):
    """A learner, parameters before and during the update, a rollout, the carry it began with, and some of its items."""
    learner = PPO(shared=shared, **SETTINGS, **CORES[core]).make(SPEC)
    before, wander = random_params(learner, 1), random_params(learner, 9, 0.3)
    for team in before.get("stats", {}).values():
        for name, number in SEEN.items():
            object.__setattr__(team.net, name, jnp.full_like(getattr(team.net, name), number))
    now = jax.tree.map(lambda x, y: x + y, before, wander)
    rollout = random_transitions(SPEC, 3, STEPS, ENVS, masked=not plain, deaths=not plain)
    rng = np.random.default_rng(4)
    carry = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), learner.start(ENVS))
    made = jax.jit(functools.partial(items, learner))(before, carry, rollout)
    count = len(made.first)
    chosen = np.sort(rng.permutation(count)[: 3 * count // 4])
    return learner, before, now, rollout, carry, made, chosen


def steps_of(core, chosen):
    """[(time, environment)] that items are made of: single steps, or whole sequences."""
    if core == "mlp":
        return [divmod(int(i), ENVS) for i in chosen]
    length = CHUNK if core == "full" else STEPS
    begun = [divmod(int(i), STEPS // length) for i in chosen]
    return [(k * length + t, e) for e, k in begun for t in range(length)]


# ------------------------------------------------------------------ the oracle


def logistic(x):
    return 1 / (1 + np.exp(-x))


def network(core, team, a):
    """One agent's network: (memory, observation) -> memory, output."""
    if core == "mlp":
        net = perceptron(team, a, team.net.body.layers, "tanh")
        return lambda h, x: (h, net(x))
    mine = lambda layer: (of_agent(team, a, layer.weight), of_agent(team, a, layer.bias))
    full, body = core == "full", team.net.body
    (we, be), (wo, bo) = mine(body.layers[0] if full else body), mine(team.net.head)
    norms = [*body.norms, *team.net.norms] if full else [None] * 3
    normed = lambda i, x: (
        x if norms[i] is None else layer_norm(x, *(of_agent(team, a, y) for y in (norms[i].scale, norms[i].shift)))
    )
    (wi, bi), (wh, bh) = mine(team.net.memory.inputs), mine(team.net.memory.hidden)

    def step(h, x):
        r, z, n = np.split(normed(1, np.maximum(normed(0, x) @ we + be, 0)) @ wi + bi, 3)
        hr, hz, hn = np.split(h @ wh + bh, 3)
        z = logistic(z + hz)
        h = (1 - z) * np.tanh(n + logistic(r + hr) * hn) + z * h
        return h, normed(2, h) @ wo + bo

    return step


def layer_norm(x, scale, shift):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * scale + shift


def unrolled(core, kind, name, a, team, rollout, carry, stored=None):
    """([T E U] outputs, [T E H] memory after each step) of one agent, from zeros where an episode begins.

    `stored` [T E H]: the memory before the update, from which each sequence but a rollout's first begins.
    """
    step = network(core, team, a)
    ys = np.empty((STEPS, ENVS, ROLES[name].actions.size if kind == "actor" else 1))
    hs = np.zeros((STEPS, ENVS, HIDDEN))
    for e in range(ENVS):
        h = np.zeros(HIDDEN) if core == "mlp" else np.asarray(carry[kind][name][e, a], np.float64)
        for t in range(STEPS):
            if core == "full" and stored is not None and t and t % CHUNK == 0:
                h = stored[t - 1, e]
            h = np.zeros(HIDDEN) if rollout.first[t, e] else h
            shown = kind == "actor" or rollout.alive[name][t, e, a]  # value functions read zeros of the dead
            h, ys[t, e] = step(h, shown * rollout.obs[name][t, e, a].astype(np.float64))
            hs[t, e] = h
    return ys, hs


def advantages(core, before, rollout, carry):
    """{(role, agent): ([T E] advantages, [T E] values)} by the sum of eq. 16 of Schulman et al. 2016, term by term.

    A_t = Σ_l (γλ)^l δ_{t+l}, until the episode ends or is cut, or nothing counts for the agent at the next step. Where nothing
    counts after a death, it ends with the agent, whose next value is 0.
    """
    out, after = {}, counts_after_death(core)
    for name, a in everybody():
        team = before["critic"][name]
        values, memory = unrolled(core, "critic", name, a, team, rollout, carry)
        deviation, mean = (np.sqrt(SEEN["variance"] + 1e-5), SEEN["mean"]) if core == "full" else (1.0, 0.0)
        values, critic = deviation * values[..., 0] + mean, network(core, team, a)
        error, last = np.empty((STEPS, ENVS)), np.empty((STEPS, ENVS), bool)
        for t, e in np.ndindex(STEPS, ENVS):
            own_end = rollout.agent_terminated is not None and rollout.agent_terminated[name][t, e, a]
            lives = rollout.alive[name][t, e, a] and not own_end
            ahead = deviation * critic(memory[t, e], lives * rollout.next_obs[name][t, e, a].astype(np.float64))[1][0] + mean
            ahead = 0.0 if rollout.terminated[t, e] or (own_end and not after) else ahead
            error[t, e] = rollout.reward[name][t, e, a] + GAMMA * ahead - values[t, e]
            missing = t + 1 == STEPS or not counts(core, rollout, name, a)[t + 1, e]
            last[t, e] = rollout.terminated[t, e] or rollout.truncated[t, e] or missing or (own_end and not after)
        total = np.zeros((STEPS, ENVS))
        for t, e in np.ndindex(STEPS, ENVS):
            for later in range(t, STEPS):
                total[t, e] += (GAMMA * LAM) ** (later - t) * error[later, e]
                if last[later, e]:
                    break
        out[name, a] = total, values
    return out


def counts(core, rollout, name, a):
    """[T E]: whether what the agent is paid there counts: while it lives, and after it has died unless the core says no."""
    alive, gone = rollout.alive[name][..., a], rollout.agent_terminated
    return alive if gone is None or not counts_after_death(core) else alive | gone[name][..., a]


def counts_after_death(core):
    return CORES[core].get("after_death", True)


def scales(core, shared, rollout, gained):
    """{(role, agent): (deviation, mean)} of all targets that count, the earlier ones weighed by β; (1, 0) for plain values."""
    if core != "full":
        return dict.fromkeys(gained, (1.0, 0.0))
    out, weight = {}, BETA * SEEN["count"]
    for name, a in gained:
        pool = [(name, i) for i in range(ROLES[name].agents)] if shared else [(name, a)]
        x = np.concatenate([sum(gained[who])[counts(core, rollout, *who)] for who in pool])
        mean = (weight * SEEN["mean"] + x.sum()) / (weight + len(x))
        square = (weight * (SEEN["variance"] + SEEN["mean"] ** 2) + (x**2).sum()) / (weight + len(x))
        out[name, a] = np.sqrt(square - mean**2 + 1e-5), mean
    return out


def value_loss(core, value, target, before):
    """½e², or the larger Huber loss of the value and of one that is within ε of that before the update."""
    if core != "full":
        return 0.5 * (value - target) ** 2
    huber = lambda e: 0.5 * e**2 if abs(e) <= DELTA else DELTA * (abs(e) - 0.5 * DELTA)
    return max(huber(x - target) for x in (value, min(max(value, before - VALUE_CLIP), before + VALUE_CLIP)))


def judged(name, team, a, out, action, mask):
    """log π(action) and the entropy."""
    space = ROLES[name].actions
    if isinstance(space, Continuous):
        log_std = of_agent(team, a, team.net.log_std)
        z = (action - np.tanh(out)) / np.exp(log_std)
        entropy = np.sum(0.5 * np.log(2 * np.pi * np.e) + log_std)
        return np.sum(-0.5 * z * z - log_std - 0.5 * np.log(2 * np.pi)), entropy
    log_prob = entropy = 0.0
    masked = out if mask is None else np.where(mask, out, -np.inf)
    for part, done in zip(heads(space, masked), heads(space, action), strict=True):
        p = softmax(part)
        log_prob += np.log(p[done.argmax()])
        entropy -= sum(x * np.log(x) for x in p if x > 0)
    return log_prob, entropy


def judgements(core, name, a, team, rollout, carry, stored=None):
    """[T E 2]: log π(a|o) and the entropy of one agent at every step."""
    ys, _ = unrolled(core, "actor", name, a, team, rollout, carry, stored)
    out = np.empty((STEPS, ENVS, 2))
    for t, e in np.ndindex(STEPS, ENVS):
        mask = None if rollout.available is None else rollout.available[name][t, e, a]
        out[t, e] = judged(name, team, a, ys[t, e], rollout.action[name][t, e, a], mask)
    return out


def losses(core, shared, before, rollout, carry, chosen):
    """A function (params, network, role) -> [A] losses over the chosen items, and how often each case of the clip occurs.

    Actor (Schulman et al. 2017, eqs. 7 and 9): −min(ρA, clip(ρ, 1−ε, 1+ε)A) − c_H·H. Critic: c_V·`value_loss`.
    """
    there = {(name, a): [(t, e) for t, e in steps_of(core, chosen) if rollout.alive[name][t, e, a]] for name, a in everybody()}
    valued = {who: [where for where in steps_of(core, chosen) if counts(core, rollout, *who)[where]] for who in everybody()}
    gained = advantages(core, before, rollout, carry)
    was = {(name, a): judgements(core, name, a, before["actor"][name], rollout, carry) for name, a in everybody()}
    scale, stored = scales(core, shared, rollout, gained), {}
    for kind, (name, a) in itertools.product(("actor", "critic"), everybody()):
        stored[kind, name, a] = unrolled(core, kind, name, a, before[kind][name], rollout, carry)[1]
    scaled, cases = {}, set()
    for name, a in everybody():
        pool = [(name, i) for i in range(ROLES[name].agents)] if shared else [(name, a)]
        sample = np.array([gained[who][0][where] for who in pool for where in there[who]])
        scaled[name, a] = (gained[name, a][0] - sample.mean()) / (sample.std() + 1e-8)

    def actor(name, a, team, where, now):
        (log_prob, entropy), advantage = now[where], scaled[name, a][where]
        ratio = np.exp(log_prob - was[name, a][where][0])
        side = "above" if ratio > 1 + CLIP else "below" if ratio < 1 - CLIP else "inside"
        cases.add((type(ROLES[name].actions), bool(advantage > 0), side))
        surrogate = min(ratio * advantage, min(max(ratio, 1 - CLIP), 1 + CLIP) * advantage)
        return -surrogate - SETTINGS["entropy"] * entropy

    def critic(name, a, team, where, now):
        (advantage, value), (deviation, mean) = (x[where] for x in gained[name, a]), scale[name, a]
        units = lambda x: (x - mean) / deviation
        return SETTINGS["value"] * value_loss(core, now[where][0], units(advantage + value), units(value))

    def at(params, kind, name):
        team, out = params[kind][name], []
        for a in range(ROLES[name].agents):
            if kind == "actor":
                now = judgements(core, name, a, team, rollout, carry, stored[kind, name, a])
            else:
                now, _ = unrolled(core, kind, name, a, team, rollout, carry, stored[kind, name, a])
            loss, counted = {"actor": (actor, there), "critic": (critic, valued)}[kind]
            each = [loss(name, a, team, where, now) for where in counted[name, a]]
            out.append(sum(each) / len(each) / (ROLES[name].agents if shared else 1))
        return np.array(out)

    return at, cases


@each_kind
def test_advantages_returns_and_log_probabilities_against_loops(core, shared):
    _, before, _, rollout, carry, made, _ = case(core, shared)
    rollout = jax.tree.map(np.asarray, rollout)
    # Items are [T·E ..] or sequences, [E T ..] if they are whole rollouts.
    by_env = lambda x: np.swapaxes(np.reshape(x, (ENVS, STEPS, -1)), 0, 1)
    ordered = lambda x: np.asarray(x).reshape(STEPS, ENVS, -1) if core == "mlp" else by_env(x)
    gained = advantages(core, before, rollout, carry)
    scale = scales(core, shared, rollout, gained)
    for name, a in everybody():
        advantage, value = gained[name, a]
        said = judgements(core, name, a, before["actor"][name], rollout, carry)[..., 0]
        target, own = ((x - scale[name, a][1]) / scale[name, a][0] for x in (advantage + value, value))
        wanted = {"advantage": advantage, "value_target": target, "log_prob": said} | ({"value": own} if core == "full" else {})
        for what, want in wanted.items():
            got, counted = ordered(made.extras[what][name])[..., a], counts(core, rollout, name, a)
            np.testing.assert_allclose(got[counted], want[counted], rtol=1e-4, atol=1e-5, err_msg=f"{what} of {name} {a}")


def descended(learner):
    """(params, batch) -> terms and gradients of their sum, as the trainer takes them."""

    def loss(params, batch):
        terms, _ = learner.objective(params, params, batch, jr.key(3))
        return sum(x.sum() for roles in terms.values() for x in roles.values()), terms

    def run(params, batch):
        grads, terms = jax.grad(loss, has_aux=True)(params, batch)
        return terms, grads

    return jax.jit(run)


def compare(core, shared, plain=False):
    learner, before, now, rollout, carry, made, chosen = case(core, shared, plain)
    terms, grads = descended(learner)(now, jax.tree.map(lambda x: x[chosen], made))
    at, _ = losses(core, shared, before, jax.tree.map(np.asarray, rollout), carry, chosen)
    assert set(terms) == {"actor", "critic"} and all(set(roles) == set(ROLES) for roles in terms.values())
    rng, h = np.random.default_rng(5), 1e-6
    for kind, name in itertools.product(("actor", "critic"), ROLES):
        want = at(now, kind, name)
        np.testing.assert_allclose(terms[kind][name], want, rtol=1e-4, atol=1e-5, err_msg=f"{kind} of {name}")
        # Central differences, along random directions of all that one agent (or all of a role, where they share) has.
        for a in range(1 if shared else ROLES[name].agents):
            way = direction(rng, now[kind][name], None if shared else a)
            pairs = zip(jax.tree.leaves(grads[kind][name]), jax.tree.leaves(way), strict=True)
            slope = sum((np.asarray(g, np.float64) * w).sum() for g, w in pairs)
            there, back = (at(shifted(now, kind, name, way, by), kind, name).sum() for by in (h, -h))
            close(slope, (there - back) / (2 * h), f"slope of {kind}/{name} {a}")


def direction(rng, team, agent):
    """A random direction of a role's network, of one agent's part of it where `agent` is given."""
    mine = lambda x: 1 if agent is None else (np.arange(len(x)) == agent).reshape(-1, *(1 for _ in x.shape[1:]))
    return jax.tree.map(lambda x: rng.normal(size=x.shape) * mine(x), team)


def shifted(params, kind, name, way, by):
    """The parameters with one role's network moved along `way`, in double precision."""
    team = jax.tree.map(lambda x, w: np.asarray(x, np.float64) + by * w, params[kind][name], way)
    return {**params, kind: {**params[kind], name: team}}


@each_kind
def test_losses_and_gradients_against_loops(core, shared):
    compare(core, shared)


def test_without_masks_deaths_and_ends_of_single_agents():
    compare("mlp", True, plain=True)


@each_kind
def test_the_rollout_has_everything_in_it(core, shared):
    """Both sides of the clip for gains and for losses, in both kinds of action; every kind of end, deaths, masks."""
    _, before, now, rollout, carry, _, chosen = case(core, shared)
    rollout = jax.tree.map(np.asarray, rollout)
    at, cases = losses(core, shared, before, rollout, carry, chosen)
    for name in ROLES:
        at(now, "actor", name)
    assert cases == set(itertools.product((Discrete, Continuous), (True, False), ("above", "below", "inside")))
    for name, role in ROLES.items():
        alive, alone = rollout.alive[name], rollout.agent_terminated[name] & ~rollout.terminated[..., None]
        for what in (rollout.terminated[:-1, :, None], rollout.truncated[:-1, :, None], alone[:-1]):
            assert (what & alive[:-1]).any((0, 1)).all(), name
        ended = (rollout.terminated | rollout.truncated)[:-1, :, None] | rollout.agent_terminated[name][:-1]
        assert (alive[:-1] & ~alive[1:] & ~ended).any(), "some agent is away at the next step though nothing ended"
        if isinstance(role.actions, Discrete):
            assert not rollout.available[name].all()
    assert rollout.first[1:].any() and not rollout.first[0].all() and rollout.first[0].any()


# ------------------------------------------------------------------ beside another implementation


def test_walker2d_is_compared_at_the_settings_of_the_paper_that_it_is_for():
    from benchmarks import sb3_ppo
    from headstart.papers.master_slave import task

    assert sb3_ppo.our_learner(sb3_ppo.TASKS["walker2d"]) == task.ppo(task.PLANS["laptop"])


def test_what_is_kept_of_stable_baselines3_was_asked_as_we_ask():
    from benchmarks import sb3_ppo

    kept = {name: sb3_ppo.data(name) for name in sb3_ppo.TASKS if sb3_ppo.data(name).exists()}
    assert "cartpole" in kept
    for name, path in kept.items():
        found, task = json.loads(path.read_text()), sb3_ppo.TASKS[name]
        assert found["settings"] == task.about and found["env_steps"] == task.env_steps
        assert np.array(found["returns"]).shape == (task.seeds, task.points)


@pytest.mark.slow
def test_returns_on_cartpole_are_those_of_stable_baselines3():
    """Equal settings, greedy returns of three seeds after 12,288 and 24,576 env-steps beside eight of theirs, kept as data.

    An untrained policy earns about 10, the best 500, and both are at about 400 here.
    """
    from benchmarks import sb3_ppo

    kept, task = json.loads(sb3_ppo.data("cartpole").read_text()), sb3_ppo.TASKS["cartpole"]
    theirs, ours = np.mean(np.array(kept["returns"])[:, :2], 1), np.mean(sb3_ppo.ours(task, seeds=3, count=2), 1)
    apart = stats.versus(ours, theirs, confidence=0.99)
    assert apart["low"] <= 0 <= apart["high"], (ours, theirs)
    assert stats.interval(theirs)["low"] > 250, "far above what a policy that has not learned earns"
