"""Q-learning: targets, double Q and summed values against plain NumPy loops, copies to targets, exploration, known games."""

import dataclasses
import functools
import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import Choice, Mixed, Values, loop, one_role, played, same, shown, small
from test_runs import stop_at

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.types import Discrete, Field, RoleSpec, TeamSpec, Transition
from headstart.envs.particle.spread import Spread
from headstart.learners.qlearning import QLearning
from headstart.teams.saved import load
from headstart.training import run, session

SEEDS = (0, 1)
ROLES = {
    "talker": RoleSpec(2, (Field("word", 1, 3),), Discrete((2, 3))),
    "mover": RoleSpec(3, (Field("place", 1, 4),), Discrete((4,))),
}
SPEC = TeamSpec(ROLES, 5, 0)
"""Two roles that differ in everything."""

# ------------------------------------------------------------------ the loss, against loops


def networks(params, shared):
    """{(role, agent): values} by plain NumPy: [O] -> [U]."""

    def one(layers):
        def values(x):
            for w, b in layers[:-1]:
                x = np.maximum(x @ w + b, 0)
            return x @ layers[-1][0] + layers[-1][1]

        return values

    out = {}
    for name, role in ROLES.items():
        layers = [(np.asarray(x.weight, np.float64), np.asarray(x.bias, np.float64)) for x in params["q"][name].net.layers]
        for a in range(role.agents):
            out[name, a] = one(layers if shared else [(w[a], b[a]) for w, b in layers])
    return out


def heads(space: Discrete, x):
    return np.split(x, np.cumsum(space.heads)[:-1])


def one_hots(space: Discrete, choices):
    return np.concatenate([np.eye(n)[c] for n, c in zip(space.heads, choices, strict=True)])


def random_batch(rng, size=40, masked=True, deaths=True) -> Transition:
    """Every flag is sometimes true; each head has something legal; with `deaths` nobody lives in the first item."""

    def legal(space):
        return one_hots(space, [rng.integers(n) for n in space.heads]).astype(bool) | (rng.random(space.size) < 0.5)

    def each(make, dtype=np.float32):
        rows = {name: [[make(role) for _ in range(role.agents)] for _ in range(size)] for name, role in ROLES.items()}
        return {name: jnp.asarray(np.array(x, dtype)) for name, x in rows.items()}

    flag = lambda p: jnp.asarray(rng.random(size) < p)
    terminated = flag(0.3)
    alive = each(lambda role: not deaths or rng.random() < 0.6, bool)
    return Transition(
        obs=each(lambda role: rng.normal(size=role.obs_size)),
        action=each(lambda role: one_hots(role.actions, [rng.integers(n) for n in role.actions.heads])),
        reward=each(lambda role: 2 * rng.normal()),
        terminated=terminated,
        truncated=flag(0.3) & ~terminated,
        next_obs=each(lambda role: rng.normal(size=role.obs_size)),
        state=jnp.zeros((size, 0)),
        next_state=jnp.zeros((size, 0)),
        alive={name: x & (jnp.arange(size)[:, None] > 0) for name, x in alive.items()} if deaths else alive,
        available=None,
        next_available=each(lambda role: legal(role.actions), bool) if masked else None,
        first=flag(0.1),
        extras={},
        agent_terminated=each(lambda role: rng.random() < 0.2, bool) if deaths else None,
    )


def by_loops(config: QLearning, params, target, batch: Transition):
    """{role: [A]} losses of feed-forward networks, one agent, one head and one item after the other."""
    obs, next_obs = (jax.tree.map(np.asarray, x) for x in (batch.obs, batch.next_obs))

    def values(params, obs):
        nets = networks(params, config.shared)
        each = lambda name: [[nets[name, a](x) for a, x in enumerate(row)] for row in obs[name]]
        return {name: np.array(each(name)) for name in ROLES}

    return losses_by_loops(config, values(params, obs), values(params, next_obs), values(target, next_obs), batch)


def losses_by_loops(config: QLearning, q, q_next, value_next, batch: Transition, mix=None, mix_next=None):
    """The same from the values of choices, {role: [B A U]}: those of the network, now and next, and the target's.

    `mix` and `mix_next`: number of an item, the agents' values with 0 for the dead -> the team's; the sum if None.
    """
    error = {
        "mse": lambda d: d * d,
        "huber": lambda d: 0.5 * d * d if abs(d) <= 1 else abs(d) - 0.5,
    }[config.loss]
    mix, mix_next = (given or (lambda b, values: sum(values)) for given in (mix, mix_next))
    batch = jax.tree.map(np.asarray, batch)
    size, everybody = len(batch.terminated), sum(role.agents for role in ROLES.values())
    own, count, team, teams = {}, {}, 0.0, 0
    for b in range(size):
        all_taken, all_next, reward, living = [], [], 0.0, 0
        for name, role in ROLES.items():
            for a in range(role.agents):
                alive = batch.alive[name][b, a]
                gone = batch.agent_terminated is not None and batch.agent_terminated[name][b, a]
                even = np.concatenate([np.ones(n) / n for n in role.actions.heads])  # what the dead do has no effect
                taken, value = q[name][b, a] @ (batch.action[name][b, a] if alive else even), value_next[name][b, a]
                score = q_next[name][b, a] if config.double else value
                masks = np.ones(value.size, bool) if batch.next_available is None else batch.next_available[name][b, a]
                following = 0.0
                for v, s, m in zip(*(heads(role.actions, x) for x in (value, score, masks)), strict=True):
                    legal = [i for i in range(len(m)) if m[i]]
                    following += v[max(legal, key=lambda i: s[i])] if alive and not gone else v.mean()
                all_taken.append(taken if alive else 0.0)
                all_next.append(following if alive and not gone else 0.0)
                living += alive
                counts = alive or (gone and config.after_death)
                reward += batch.reward[name][b, a] if alive or (counts and config.reward_over == "all") else 0.0
                if counts:
                    over = batch.terminated[b] or (gone and not config.after_death)
                    y = batch.reward[name][b, a] + (0.0 if over else config.gamma * following)
                    own[name, a] = own.get((name, a), 0.0) + error(taken - y)
                    count[name, a] = count.get((name, a), 0) + 1
        if living:
            following = 0.0 if batch.terminated[b] else mix_next(b, all_next)
            reward /= everybody if config.reward_over == "all" else living
            team, teams = team + error(mix(b, all_taken) - reward - config.gamma * following), teams + 1
    if config.mixing != "none":
        return {name: np.full(role.agents, team / teams / everybody) for name, role in ROLES.items()}
    share = lambda role: role.agents if config.shared else 1
    return {
        name: np.array([own[name, a] / count[name, a] for a in range(role.agents)]) / share(role)
        for name, role in ROLES.items()
    }


@functools.cache
def two_networks(shared):
    """Parameters and a target that differ."""
    learner = QLearning(shared=shared, hidden=(8,)).make(SPEC)
    wild = lambda key: jax.tree.map(lambda x: x + 0.3 * jr.normal(jr.key(7), x.shape), learner.init(key))
    return jax.jit(wild)(jr.key(0)), jax.jit(wild)(jr.key(1))


def total(config):
    """(params, target, batch) -> the sum of all terms, which the trainer descends, and the terms."""
    learner = config.make(SPEC)

    def loss(params, target, batch):
        terms, _ = learner.objective(params, target, batch, jr.key(0))
        assert set(terms) == {"q"}
        return sum(x.sum() for x in terms["q"].values()), terms["q"]

    return loss


def terms_of(config, batch):
    params, target = two_networks(config.shared)
    return jax.jit(total(config))(params, target, batch)[1], by_loops(config, params, target, batch)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("mixing", ["none", "sum"])
def test_losses_against_loops(mixing, shared, double):
    config = QLearning(mixing=mixing, shared=shared, double=double, hidden=(8,), gamma=0.9)
    for batch in (random_batch(np.random.default_rng(1)), random_batch(np.random.default_rng(2), masked=False, deaths=False)):
        for loss, after_death in (("huber", True), ("mse", False)):
            got, want = terms_of(dataclasses.replace(config, loss=loss, after_death=after_death), batch)
            assert set(got) == set(want)
            for role in want:
                np.testing.assert_allclose(got[role], want[role], rtol=1e-5, err_msg=f"{role} {loss}")


def test_the_settings_make_the_difference():
    """What the loops are asked to tell apart does differ on this batch."""
    batch = random_batch(np.random.default_rng(1))
    plain = QLearning(hidden=(8,), gamma=0.9)
    others = {"double": False}, {"mixing": "sum"}, {"loss": "mse"}, {"after_death": False}
    variants = [plain, *(dataclasses.replace(plain, **x) for x in others)]
    losses = [sum(float(x.sum()) for x in terms_of(config, batch)[0].values()) for config in variants]
    assert min(abs(a - b) for a, b in itertools.combinations(losses, 2)) > 1e-3


@pytest.mark.parametrize("mixing", ["none", "sum"])
def test_only_the_taken_values_are_descended(mixing):
    """The gradient is that of the squared error to targets held fixed: none goes through the next observation."""
    config = QLearning(mixing=mixing, hidden=(8,), loss="mse")
    (params, target), batch = two_networks(False), random_batch(np.random.default_rng(4))
    loss = lambda params, target, obs: total(config)(params, target, dataclasses.replace(batch, next_obs=obs))[0]
    grads, *none = jax.jit(jax.grad(loss, (0, 1, 2)))(params, target, batch.next_obs)
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(none))
    # Central differences in one direction, small enough for no next choice of this batch to change.
    way = jax.tree.map(lambda x: np.random.default_rng(x.size).normal(size=x.shape), params)
    moved = lambda h: jax.tree.map(lambda p, w: np.asarray(p, np.float64) + h * w, params, way)
    at = lambda h: sum(x.sum() for x in by_loops(config, moved(h), target, batch).values())
    slope = sum((np.asarray(g) * w).sum() for g, w in zip(*map(jax.tree.leaves, (grads, way)), strict=True))
    np.testing.assert_allclose(slope, (at(1e-6) - at(-1e-6)) / 2e-6, rtol=1e-4)


def test_clipping_decay_and_adam_against_loops():
    """Each agent alone: its gradient scaled to norm 1, plus decay·θ, into Adam."""
    config = QLearning(hidden=(8,), lr=0.01, clip=1.0, weight_decay=0.1)
    learner, params = config.make(SPEC), two_networks(False)[0]
    update = jax.jit(learner.optimizer.update)
    state, rng = learner.optimizer.init(params), np.random.default_rng(0)
    net = lambda tree: [np.asarray(x, np.float64) for x in jax.tree.leaves(tree["q"]["mover"].net)]
    mine = [[x[a] for x in net(params)] for a in range(3)]
    m = [[np.zeros_like(x) for x in xs] for xs in mine]
    v = [[np.zeros_like(x) for x in xs] for xs in mine]
    for t in range(1, 4):
        scale = 10.0 ** (2 - t)
        grads = jax.tree.map(lambda x, scale=scale: np.float32(scale * rng.normal(size=x.shape)), params)
        flat = net(grads)
        updates, state = update(grads, state, params)
        params = jax.tree.map(lambda p, u: np.asarray(p + u), params, updates)
        for a in range(3):
            own = [x[a] for x in flat]
            norm = np.sqrt(sum((x * x).sum() for x in own))
            for i, g in enumerate(own):
                g = g * min(1.0, 1.0 / norm) + 0.1 * mine[a][i]
                m[a][i] = 0.9 * m[a][i] + 0.1 * g
                v[a][i] = 0.999 * v[a][i] + 0.001 * g * g
                mine[a][i] = mine[a][i] - 0.01 * (m[a][i] / (1 - 0.9**t)) / (np.sqrt(v[a][i] / (1 - 0.999**t)) + 1e-8)
    for a in range(3):
        for got, want in zip(net(params), mine[a], strict=True):
            np.testing.assert_allclose(got[a], want, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------ targets


FAST = {"num_envs": 4, "train_every": 4, "batch": 8, "warmup": 12, "capacity": 200, "hidden": (8,)}


def made_for(updates, **settings):
    return loop(Choice(), small(QLearning(), **FAST, **settings), updates)


def params_and_targets(updates, **settings):
    """[(params, target)] at the start and after every update; the first three only fill memory."""
    made = made_for(updates, **settings)
    state, out = made.start((0, 1)), []
    out.append((state.params, state.target))
    for index in range(updates):
        state, _ = made.update(state, jnp.asarray(index))
        out.append((state.params, state.target))
    return out


def test_hard_copies_happen_exactly_every_few_gradient_steps():
    """One gradient step an update, a copy every fourth: the target is the network after steps 0, 4, 8, .. of learning."""
    idle, seen = 3, params_and_targets(12, gradient_steps=1, tau=0.0, target_every=4)
    for update, (params, target) in enumerate(seen):
        steps = max(update - idle, 0)
        copied, _ = seen[idle + 4 * (steps // 4)]
        assert same(target, copied), update
        assert same(target, params) == (steps % 4 == 0), update


@pytest.mark.slow
def test_copies_fall_within_updates_as_well():
    """Two gradient steps an update, a copy every third: after steps 3 (within the second update) and 6 (its end), .."""
    settings = {"gradient_steps": 2, "tau": 0.0, "target_every": 3}
    idle, seen = 3, params_and_targets(12, **settings)
    changed = [update for update in range(1, 13) if not same(seen[update - 1][1], seen[update][1])]
    assert changed == [idle + -(-step // 2) for step in (3, 6, 9, 12, 15, 18)]
    equal = [update for update in range(13) if same(*seen[update])]
    assert equal == [0, 1, 2, 3, idle + 3, idle + 6, idle + 9]
    # Nor does it matter where a run is cut into chunks: here after gradient step 4.
    made = made_for(12, **settings)
    seeds = jax.vmap(made.trainer.update, in_axes=(0, None))
    advance = jax.jit(lambda state, a, b: jax.lax.fori_loop(a, b, lambda i, state: seeds(state, i)[0], state))
    whole, halves = advance(made.start(SEEDS), 0, 12), advance(advance(made.start(SEEDS), 0, idle + 2), idle + 2, 12)
    assert same(whole, halves) and same(whole.target, whole.params)
    cut = advance(made.start(SEEDS), 0, idle + 5)
    assert not same(cut.target, cut.params)
    for got, want in zip(*map(jax.tree.leaves, (cut.target, seen[idle + 5][1])), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_soft_targets_follow_at_every_gradient_step():
    seen = params_and_targets(6, gradient_steps=1, tau=0.25, target_every=3)
    for (_, before), (params, after) in itertools.pairwise(seen[3:]):
        for old, new, got in zip(*map(jax.tree.leaves, (before, params, after)), strict=True):
            np.testing.assert_allclose(got, 0.75 * np.asarray(old) + 0.25 * np.asarray(new), rtol=1e-5, atol=1e-7)
            assert not np.array_equal(old, got)


@pytest.mark.slow
def test_a_resumed_run_copies_at_the_same_steps(tmp_path, monkeypatch):
    """Interrupted between two copies, it equals an uninterrupted run bitwise."""
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)
    learner = small(QLearning(), **FAST, gradient_steps=1, tau=0.0, target_every=7)
    config = run.Config(Spread(2, horizon=5), learner, steps=160, seeds=2, evaluations=2, episodes=2)  # 37 gradient steps
    run.train(config, tmp_path / "whole")

    with pytest.raises(session.Interrupted):
        run.train(config, tmp_path / "cut", stop_at(52))  # 10 gradient steps
    run.resume(tmp_path / "cut")
    read = lambda name: (tmp_path / name / "policy.safetensors").read_bytes()
    assert read("cut") == read("whole")
    assert load(tmp_path / "cut").learner.policy_networks == ("q",)


# ------------------------------------------------------------------ exploration


@functools.cache
def actor(config):
    """(obs {role: [E A O]}, available, progress) -> {role: [E A U]} exploring actions, and the values behind them."""
    learner, (params, _) = config.make(SPEC), two_networks(False)

    def act(obs, available, progress):
        step = jax.vmap(lambda obs, available: shown(obs, available=available))(obs, available)
        return learner.act(params, (), step, jr.key(0), progress)[1], learner.policy(params, (), obs)[1]

    fast = jax.jit(act)
    return lambda *args: jax.tree.map(np.asarray, fast(*args))


def constant(size: int):
    """The same observation {role: [E A O]} in every environment."""
    one = {name: jr.normal(jr.key(4), (1, role.agents, role.obs_size)) for name, role in ROLES.items()}
    return {name: jnp.broadcast_to(x, (size, *x.shape[1:])) for name, x in one.items()}


@pytest.mark.parametrize("progress,epsilon", [(0.0, 0.9), (0.1, 0.7), (0.2, 0.5), (0.4, 0.1), (0.7, 0.1), (1.0, 0.1)])
def test_epsilon_falls_in_a_straight_line(progress, epsilon):
    """A head of n choices is not greedy in a share ε·(1 − 1/n) of the cases, and heads and agents explore independently."""
    size = 20_000
    config = QLearning(hidden=(8,), epsilon=0.9, epsilon_end=0.1, exploration_share=0.4)
    action, q = actor(config)(constant(size), None, jnp.asarray(progress))
    other = []  # [E] of every head of every agent
    for name, role in ROLES.items():
        for a in range(role.agents):
            choices = heads(role.actions, action[name][:, a].T), heads(role.actions, q[name][0, a])
            for n, picked, values in zip(role.actions.heads, *choices, strict=True):
                assert (picked.sum(0) == 1).all()
                wrong = picked.argmax(0) != values.argmax()
                p = epsilon * (1 - 1 / n)
                assert abs(wrong.mean() - p) < 4.5 * np.sqrt(p * (1 - p) / size)
                rest = [picked[i].mean() for i in range(n) if i != values.argmax()]
                np.testing.assert_allclose(rest, p / (n - 1), atol=4.5 * np.sqrt(p / size))
                other.append(wrong)
    correlation = np.corrcoef(np.array(other, float))
    assert np.abs(correlation - np.eye(len(other))).max() < 4.5 / np.sqrt(size)


def test_noisy_values_are_boltzmann_exploration():
    """Choices by values plus noise·Gumbel follow softmax(Q/noise) at every progress."""
    size, config = 20_000, QLearning(hidden=(8,), exploration="noise", noise=0.7)
    for progress in (0.0, 1.0):
        action, q = actor(config)(constant(size), None, jnp.asarray(progress))
        for name, role in ROLES.items():
            for a in range(role.agents):
                for picked, values in zip(
                    heads(role.actions, action[name][:, a].T), heads(role.actions, q[name][0, a]), strict=True
                ):
                    p = np.exp(values / 0.7) / np.exp(values / 0.7).sum()
                    np.testing.assert_allclose(picked.mean(1), p, atol=4.5 * np.sqrt(0.25 / size))


@pytest.mark.parametrize(
    "settings", [{}, {"exploration": "noise", "noise": 1e3}, {"epsilon": 0.0}], ids=["epsilon", "noise", "greedy"]
)
def test_exploration_is_never_illegal(settings):
    """Every head has one to all of its choices legal; without exploration the best of them is taken, found by brute force."""
    rng, size = np.random.default_rng(0), 2_000
    available, obs = {}, {}
    for name, role in ROLES.items():
        mask = rng.random((size, role.agents, role.actions.size)) < 0.4
        for e, a in np.ndindex(size, role.agents):
            mask[e, a] |= one_hots(role.actions, [rng.integers(n) for n in role.actions.heads]).astype(bool)
        available[name] = jnp.asarray(mask)
        obs[name] = jnp.asarray(rng.normal(size=(size, role.agents, role.obs_size)), jnp.float32)
    action, q = actor(QLearning(hidden=(8,), **settings))(obs, available, jnp.asarray(0.0))
    for name, role in ROLES.items():
        mask = np.asarray(available[name])
        assert not (action[name] * ~mask).any() and (action[name].sum(-1) == len(role.actions.heads)).all()
        if not settings:  # ε is 1: every legal choice of a head is as likely as any other
            share = np.concatenate(
                [m / m.sum(-1, keepdims=True) for m in np.split(mask, np.cumsum(role.actions.heads)[:-1], -1)], -1
            )
            odds = 4.5 * np.sqrt((share * (1 - share)).sum(0))
            assert (np.abs(action[name].sum(0) - share.sum(0)) < odds).all()
        if settings.get("epsilon") != 0.0:
            continue
        joint = np.array([one_hots(role.actions, c) for c in itertools.product(*map(range, role.actions.heads))])
        for e, a in np.ndindex(200, role.agents):
            legal = [c for c in joint if not (c * ~mask[e, a]).any()]
            best = max(legal, key=lambda c: c @ q[name][e, a])
            assert (action[name][e, a] == best).all()


# ------------------------------------------------------------------ known answers


def table(learner, params, obs):
    """[S A U]: the values of one observation of the team."""
    return np.asarray(jax.vmap(lambda p: learner.policy(p, (), {"agent": obs})[1]["agent"])(params))


def test_values():
    """Constant, observed, and one step away: 1, 1, −1, γ, 1, for either action."""
    config = small(QLearning(), hidden=(32,), lr=5e-3, epsilon_end=1.0, tau=0.0, target_every=10)
    made = loop(Values(), config, 400)
    state, _ = made.run(SEEDS)
    got = np.stack([table(made.learner, state.params, jnp.eye(5)[i][None])[:, 0] for i in range(5)])
    want = np.broadcast_to(Values.answers(config.gamma)[:, None, None], got.shape)
    np.testing.assert_allclose(got, want, atol=0.05)


@dataclass(frozen=True)
class Gift:
    """A gift costs the giver 0.4 and earns its mate 1: the team's reward is 0.3 a gift, the giver's own is less by giving."""

    def _show(self, **rest):
        return shown({"agent": jnp.ones((2, 1))}, **rest)

    @property
    def spec(self):
        return one_role(2, 1, Discrete((2,)), 1)

    def reset(self, key):
        return jnp.zeros(()), self._show()

    def step(self, state, action, key):
        gives = action["agent"][:, 1]
        return state, self._show(reward={"agent": gives[::-1] - 0.4 * gives}, terminated=True)


@pytest.mark.slow
def test_summed_values_serve_the_team_and_own_values_oneself():
    """The payoff is additive, so VDN's Q_tot is the payoff itself; independent learners keep their gifts."""
    config = small(QLearning(mixing="sum"), epsilon_end=1.0)
    made = loop(Gift(), config, 250)
    state, _ = made.run(SEEDS)
    q = table(made.learner, state.params, jnp.ones((2, 1)))  # [S A 2]
    total = q[:, 0, :, None] + q[:, 1, None, :]
    np.testing.assert_allclose(total, np.broadcast_to([[0.0, 0.3], [0.3, 0.6]], total.shape), atol=0.02)
    np.testing.assert_allclose(played(Gift(), made.learner, state.params)["agent"], 0.6, atol=1e-5)
    selfish = loop(Gift(), dataclasses.replace(config, mixing="none"), 250)
    state, _ = selfish.run(SEEDS)
    np.testing.assert_array_equal(played(Gift(), selfish.learner, state.params)["agent"], 0.0)
    gained = table(selfish.learner, state.params, jnp.ones((2, 1)))
    np.testing.assert_allclose(gained[..., 1] - gained[..., 0], -0.4, atol=0.1)


@dataclass(frozen=True)
class Dials:
    """One agent, three dials of 2, 3 and 4 settings, and one number for each setting: the reward is their sum."""

    @property
    def spec(self):
        return one_role(1, 1, Discrete((2, 3, 4)), 1)

    PAYS = (0.3, -0.2, -0.5, 0.4, 0.1, 0.0, -0.3, 0.2, 0.6)

    def reset(self, key):
        return jnp.zeros(()), shown({"agent": jnp.ones((1, 1))})

    def step(self, state, action, key):
        reward = action["agent"] @ jnp.asarray(self.PAYS)
        return state, shown({"agent": jnp.ones((1, 1))}, {"agent": reward}, terminated=True)


def test_heads_that_add_up():
    """A reward that is a sum over heads is learned head by head, and the best joint choice is each head's best."""
    made = loop(Dials(), small(QLearning(), epsilon_end=1.0), 250)
    state, _ = made.run(SEEDS)
    q = table(made.learner, state.params, jnp.ones((1, 1)))[:, 0]
    pays, space = np.array(Dials.PAYS), Discrete((2, 3, 4))
    joint = np.array([one_hots(space, c) for c in itertools.product(*map(range, space.heads))])
    np.testing.assert_allclose(q @ joint.T, np.broadcast_to(pays @ joint.T, (2, 24)), atol=0.05)
    best = sum(x.max() for x in heads(space, pays))
    np.testing.assert_allclose(played(Dials(), made.learner, state.params)["agent"][:, 0], best, atol=1e-5)


@dataclass(frozen=True)
class Talkers:
    """The talkers of `Mixed` and a listener that should point at the option it observes, of four."""

    inner = Mixed()

    @property
    def spec(self):
        listener = RoleSpec(1, (Field("target", 1, 4),), Discrete((4,)))
        return TeamSpec({"talker": self.inner.spec.roles["talker"], "listener": listener}, 1, 10)

    def _show(self, state, **rest):
        return shown({"talker": state[0], "listener": state[1]}, **rest)

    def reset(self, key):
        a, b = jr.split(key)
        state = jax.nn.one_hot(jr.randint(a, (2,), 0, 3), 3), jax.nn.one_hot(jr.randint(b, (1,), 0, 4), 4)
        return state, self._show(state)

    def step(self, state, action, key):
        talk = action["talker"]
        said = 0.5 * talk[:, 1] + 0.5 * (talk[:, 2:] * state[0]).sum(-1)
        pointed = (action["listener"] * state[1]).sum(-1)
        return state, self._show(state, reward={"talker": said, "listener": pointed}, terminated=True)


@pytest.mark.slow
def test_two_roles_and_two_heads():
    """A mean of three rewards, of two roles, says what each of five heads should do."""
    made = loop(Talkers(), small(QLearning(mixing="sum"), hidden=(32,)), 300)
    state, _ = made.run(SEEDS)
    returns = played(Talkers(), made.learner, state.params)
    assert (returns["talker"] == 1).all() and (returns["listener"] == 1).all(), returns


# ------------------------------------------------------------------ what is asked for


def test_continuous_actions_are_refused_in_one_line():
    with pytest.raises(HeadstartError, match=r"discrete actions.*'mover'") as caught:
        QLearning().make(Mixed().spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"gamma": 1.1}, {"tau": -0.1}, {"tau": 1.5}, {"target_every": 0}, {"epsilon": 1.5}, {"epsilon_end": -0.1},
        {"exploration_share": 0.0}, {"lr": 0.0}, {"clip": 0.0}, {"weight_decay": -1.0}, {"noise": float("nan")},
        {"exploration_steps": -1}, {"mixing_units": 0}, {"hypernet_units": 0},
        {"batch": 0}, {"capacity": 0}, {"warmup": -1}, {"gradient_steps": 0}, {"num_envs": 0}, {"hidden": (0,)},
        {"train_every": 12, "num_envs": 8},
    ],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused_in_one_line(settings):
    with pytest.raises(HeadstartError, match=f"^learner.{next(iter(settings))} must be") as caught:
        QLearning(**settings)
    assert "\n" not in str(caught.value)


def test_names_that_mean_the_same_stand_together():
    lines = dict(registry.described("learner"))
    assert "Deep Q-learning" in lines["dqn, iql"] and lines["vdn"] == "as dqn, with mixing=sum"


def test_parameters_are_one_network_of_values():
    for shared in (False, True):
        learner = QLearning(shared=shared, hidden=(8,)).make(Spread(3).spec)
        params = learner.init(jr.key(0))
        assert set(params) == {"q"} and params["q"]["agent"].shared == shared
        assert learner.policy_networks == ("q",) and learner.start(4) == ()
        weight = params["q"]["agent"].net.layers[0].weight
        assert weight.shape[:-2] == (() if shared else (3,))
        assert shared or not np.array_equal(weight[0], weight[1])
