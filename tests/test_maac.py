"""MAAC: losses, gradients and the optimiser against plain NumPy, one agent and one sample at a time; whom agents attend to."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from oracles import heads, items, of_agent, perceptron, random_params, random_transitions, softmax
from probes import Choice, fresh, loop, same, small
from test_runs import identical, stopper

from headstart.core import actions
from headstart.core.checks import HeadstartError
from headstart.core.networks import RoleNet
from headstart.core.types import Continuous, Discrete, Field, RoleSpec, TeamSpec
from headstart.envs.particle.spread import Spread
from headstart.experiments import attention
from headstart.learners.maac import MAAC
from headstart.learners.normaliser import moments
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.training import run, session
from headstart.views.transplant import transplant

BANK = RoleSpec(2, (Field("place", 1, 3),), Discrete((4,)))
COLLECTOR = RoleSpec(3, (Field("word", 1, 2),), Discrete((2, 3)))
TEAMS = {"one role": TeamSpec({"bank": BANK}, 5, 0), "two roles": TeamSpec({"bank": BANK, "collector": COLLECTOR}, 5, 0)}
SETTINGS = {
    "hidden": (5,), "embedding": 6, "heads": 2, "activation": "tanh", "gamma": 0.9, "reward_scale": 2.0, "batch": 12,
    "logit_penalty": 0.3, "score_penalty": 0.2,
}  # fmt: skip
TINY = {"num_envs": 4, "train_every": 4, "batch": 8, "warmup": 8, "capacity": 40, "gradient_steps": 2}
TINY |= {"hidden": (8,), "embedding": 8, "heads": 2}


@pytest.fixture
def greedy_samples(monkeypatch):
    """What is sampled is the likeliest action."""
    monkeypatch.setattr(actions, "sample", lambda space, key, logits: actions.greedy(space, logits))


def drawn(learner, seed):
    """Random parameters; variances are positive."""
    params = random_params(learner, seed)
    for team in params.get("stats", {}).values():
        for what, x in team.net.items():
            team.net[what] = dataclasses.replace(x, variance=jnp.abs(x.variance) + 0.1)
    return params


# ------------------------------------------------------------------ the oracle


class Loops:
    """The objective in double precision. A `who` is (role, number of the agent)."""

    def __init__(self, spec, shared, target, batch, after_death=True):
        self.shared, self.after_death = shared, after_death
        self.spec, self.target, self.batch = spec, target, jax.tree.map(np.asarray, batch)
        self.everybody = [(name, a) for name, role in sorted(spec.roles.items()) for a in range(role.agents)]

    def normal(self, params, who, what, x):
        if "stats" not in params:
            return x
        stats = params["stats"][who[0]].net[what]
        return (x - np.asarray(stats.mean, np.float64)) / np.sqrt(np.asarray(stats.variance, np.float64) + 1e-5)

    def row(self, values, b, who):
        return values[who[0]][b, who[1]].astype(np.float64)

    def policy(self, params, stats, who, obs, available):
        """The actor's outputs; probabilities and their logarithms, of legal options."""
        team = params["actor"][who[0]]
        out = perceptron(team, who[1], team.net.layers, "tanh")(self.normal(stats, who, "obs", obs))
        space = self.spec.roles[who[0]].actions
        legal = np.where(available, out, -np.inf)
        policy = np.concatenate([softmax(x) for x in heads(space, legal)])
        return out, policy, np.log(np.where(policy > 0, policy, 1.0))

    def likeliest(self, who, policy):
        space = self.spec.roles[who[0]].actions
        return np.concatenate([np.eye(len(x))[x.argmax()] for x in heads(space, policy)])

    def even(self, who):
        """A mixture of all options."""
        return np.concatenate([np.ones(n) / n for n in self.spec.roles[who[0]].actions.heads])

    def values(self, params, stats, me, obs, action, alive):
        """Values of my actions, my mean squared score summed over heads, and {head: {other: weight}}."""
        judge = lambda who: params["critic"][who[0]]
        layer = lambda who, x: (of_agent(judge(who), who[1], x.weight), of_agent(judge(who), who[1], x.bias))
        encode = lambda who, x, way: np.tanh(x @ way[0] + way[1])
        seen = {who: self.normal(stats, who, "obs", obs[who]) * alive[who] for who in self.everybody}
        done = {who: self.normal(stats, who, "action", action[who]) for who in self.everybody}
        team = params["attention"][min(self.spec.roles)].net
        query, key, value, bias = (
            np.asarray(x, np.float64) for x in (team.query, team.key, team.value.weight, team.value.bias)
        )
        own = encode(me, seen[me], layer(me, judge(me).net.sees))
        others = [who for who in self.everybody if who != me and alive[who]]
        said = {who: encode(who, np.r_[seen[who], done[who]], layer(who, judge(who).net.does)) for who in others}
        size, attended, squares, weights = SETTINGS["embedding"] // SETTINGS["heads"], [], 0.0, {}
        for h in range(SETTINGS["heads"]):
            part = slice(h * size, (h + 1) * size)
            scores = {who: (own @ query[:, part]) @ (said[who] @ key[:, part]) for who in others}
            total, sums = sum(np.exp(score / np.sqrt(size)) for score in scores.values()), np.zeros(size)
            weights[h] = {who: np.exp(score / np.sqrt(size)) / total for who, score in scores.items()}
            for who, weight in weights[h].items():
                y = said[who] @ value[:, part] + bias[part]
                sums += weight * np.where(y > 0, y, 0.01 * y)
            squares += sum(score**2 for score in scores.values()) / max(len(scores), 1)
            attended.append(sums)
        net = perceptron(judge(me), me[1], judge(me).net.head.layers, "tanh")
        return net(np.r_[own, *attended]), squares, weights

    def losses(self, params, frozen):
        """{term: {role: [A]}}, with everything behind a stop_gradient by `frozen` parameters."""
        batch, scale = self.batch, SETTINGS["reward_scale"]
        out = {term: {name: np.zeros(role.agents) for name, role in self.spec.roles.items()} for term in ("actor", "critic")}
        dead_later = batch.agent_terminated or {name: np.zeros_like(x) for name, x in batch.alive.items()}
        counts = {name: x | dead_later[name] if self.after_death else x for name, x in batch.alive.items()}
        for b in range(len(batch.terminated)):
            # What the dead show and do is nothing: zeros.
            alive = {who: self.row(batch.alive, b, who) > 0 for who in self.everybody}
            later = {who: alive[who] and not self.row(dead_later, b, who) for who in self.everybody}
            legal = lambda given, who, b=b: True if given is None else given[who[0]][b, who[1]]
            now = {who: self.row(batch.obs, b, who) * alive[who] for who in self.everybody}
            done = {who: self.row(batch.action, b, who) * alive[who] for who in self.everybody}
            then = {who: self.row(batch.next_obs, b, who) * later[who] for who in self.everybody}
            following, next_log, choice = {}, {}, {}
            for who in self.everybody:
                _, policy, log = self.policy(self.target, frozen, who, then[who], legal(batch.next_available, who))
                following[who] = self.likeliest(who, policy) if later[who] else self.even(who)
                next_log[who] = log @ following[who] if later[who] else 0.0  # the dead have no entropy
                choice[who] = self.likeliest(who, self.policy(frozen, frozen, who, now[who], legal(batch.available, who))[1])
            reached = {who: x * later[who] for who, x in following.items()}
            for me in self.everybody:
                role, a = me
                if not counts[role][b, a]:
                    continue
                acting, valued = batch.alive[role][:, a].sum(), counts[role][:, a].sum()
                among = self.spec.roles[role].agents if self.shared else 1
                y = self.row(batch.reward, b, me)
                if not (batch.terminated[b] or (self.row(dead_later, b, me) and not self.after_death)):
                    next_q = self.values(self.target, frozen, me, then, reached, later)[0] @ following[me]
                    y += SETTINGS["gamma"] * (next_q - next_log[me] / scale)
                values, squares, _ = self.values(params, params, me, now, done, alive)
                error = (values @ (done[me] if alive[me] else self.even(me)) - y) ** 2 + SETTINGS["score_penalty"] * squares
                out["critic"][role][a] += error / valued / among
                if not alive[me]:
                    continue
                drawn = {who: x * alive[who] for who, x in choice.items()}
                judged, _, _ = self.values(frozen, frozen, me, now, drawn, alive)
                logits, _, log = self.policy(params, params, me, now[me], legal(batch.available, me))
                _, before, log_before = self.policy(frozen, frozen, me, now[me], legal(batch.available, me))
                advantage = judged @ choice[me] - judged @ before
                cost = (log @ choice[me]) * ((log_before @ choice[me]) / scale - advantage)
                out["actor"][role][a] += (cost + SETTINGS["logit_penalty"] * np.mean(logits**2)) / acting / among
        return out


def total(losses):
    return sum(x.sum() for roles in losses.values() for x in roles.values())


@pytest.mark.parametrize("team,settings,given", [
    ("one role", {"normalize": False}, {"masked": False, "deaths": False}),
    ("two roles", {}, {}),
    ("two roles", {"shared": True, "after_death": False}, {}),
], ids=["one role", "two roles", "two roles shared"])  # fmt: skip
def test_losses_and_gradients_against_loops(team, settings, given, greedy_samples):
    """Gradients along one random direction of each array, against central differences of the loops."""
    spec, config = TEAMS[team], MAAC(**SETTINGS, **settings)
    learner = config.make(spec)
    params, target = drawn(learner, 1), drawn(learner, 2)
    batch = random_transitions(spec, 3, 1, SETTINGS["batch"], **given)
    batch = items(learner, params, (), batch)

    def loss(params):
        terms, _ = learner.objective(params, target, batch, jr.key(3))
        return total(terms), terms

    grads, terms = jax.jit(jax.grad(loss, has_aux=True))(params)
    loops = Loops(spec, config.shared, target, batch, config.after_death)
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    for term, roles in loops.losses(exact, exact).items():
        for name, want in roles.items():
            np.testing.assert_allclose(terms[term][name], want, rtol=1e-5, atol=1e-5, err_msg=f"{term} of {name}")
    if "stats" in grads:  # nothing moves them but `prepare`
        assert not any(np.any(x) for x in jax.tree.leaves(grads.pop("stats")))
    rng, h = np.random.default_rng(0), 1e-6
    for path, slope in jax.tree_util.tree_leaves_with_path(grads):
        way = rng.normal(size=slope.shape)
        change = lambda by, path=path, way=way: jax.tree_util.tree_map_with_path(
            lambda p, x: x + by * way if p == path else x, exact
        )
        want = (total(loops.losses(change(h), exact)) - total(loops.losses(change(-h), exact))) / (2 * h)
        got = (np.asarray(slope, np.float64) * way).sum()
        size = 1 + np.abs(np.asarray(slope) * way).sum()
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * size, err_msg=jax.tree_util.keystr(path))
        assert np.abs(slope).max() > 1e-4, jax.tree_util.keystr(path)


def test_an_optimiser_step_against_adam_by_hand():
    """The attention's gradient is a mean over agents; critics are clipped as one, actors each; weights decay before Adam."""
    spec = TEAMS["two roles"]
    config = MAAC(**SETTINGS | {"critic_clip": 0.5, "clip": 0.1}, weight_decay=0.3, actor_lr=0.01, critic_lr=0.02)
    learner = config.make(spec)
    params = drawn(learner, 1)
    slopes = [drawn(learner, 4), jax.tree.map(lambda x: 0.01 * x, drawn(learner, 5))]

    @jax.jit
    def stepped(params):
        opt = learner.optimizer.init(params)
        for slope in slopes:
            change, opt = learner.optimizer.update(slope, opt, params)
        return change

    got = stepped(params)
    assert not any(np.any(x) for x in jax.tree.leaves(got["stats"]))
    exact = lambda tree: [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
    norm = lambda leaves: np.sqrt(sum((x * x).sum() for x in leaves))

    def adam(grads, lr):
        first, second = np.zeros_like(grads[0]), np.zeros_like(grads[0])
        for grad in grads:
            first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
        n = len(grads)
        return -lr * first / (1 - 0.9**n) / (np.sqrt(second / (1 - 0.999**n)) + 1e-8)

    given = {"critic": [], "attention": []}
    for slope in slopes:
        critic, team = exact(slope["critic"]), [x / 5 for x in exact(slope["attention"])]  # 5 agents
        limit = min(1.0, 5 * 0.5 / norm(critic + team))
        given["critic"].append([limit * x for x in critic])
        given["attention"].append([limit * x for x in team])
    for network, each in given.items():
        decayed = [[g + 0.3 * w for g, w in zip(grads, exact(params[network]), strict=True)] for grads in each]
        for x, *grads in zip(exact(got[network]), *decayed, strict=True):
            np.testing.assert_allclose(x, adam(grads, 0.02), rtol=1e-4, atol=1e-7)
    for name, role in spec.roles.items():
        for a in range(role.agents):
            own = [[x[a] for x in exact(slope["actor"][name])] for slope in slopes]
            clipped = [[min(1.0, 0.1 / norm(grads)) * x for x in grads] for grads in own]
            for x, *grads in zip(exact(got["actor"][name]), *clipped, strict=True):
                np.testing.assert_allclose(x[a], adam(grads, 0.01), rtol=1e-4, atol=1e-7)


# ------------------------------------------------------------------ attention


def rows(spec, size, seed, batch=4):
    """{role: [batch A size]} of Gaussian numbers."""
    draw = lambda i, role: jr.normal(jr.fold_in(jr.key(seed), i), (batch, role.agents, size(role)))
    return {name: draw(i, role) for i, (name, role) in enumerate(spec.roles.items())}


@functools.cache
def judged(shared=True):
    """A learner of two roles, its parameters, observations and one-hot actions."""
    spec = TEAMS["two roles"]
    learner = MAAC(**SETTINGS, shared=shared).make(spec)
    noise = rows(spec, lambda role: role.actions.size, 2)
    done = {name: actions.greedy(spec.roles[name].actions, x) for name, x in noise.items()}
    return learner, drawn(learner, 1), rows(spec, lambda role: role.obs_size, 1), done


def test_an_agent_attends_to_the_living_others():
    learner, params, obs, done = judged(shared=False)
    assert learner.attention.vertices["bank"] == ("bank_0", "bank_1", "collector_0", "collector_1", "collector_2")
    alive = {"bank": jnp.ones((4, 2), bool), "collector": jnp.array([[True, False, True]] * 4)}
    weights = learner.attention.weights(params, obs, done, alive)
    whole = np.concatenate([weights["bank"], weights["collector"]], 1)
    loops = Loops(TEAMS["two roles"], False, None, {})
    there = dict(zip(loops.everybody, [True, True, True, False, True], strict=True))
    for b in range(4):
        by_agent = lambda x, b=b: {who: np.asarray(x[who[0]][b, who[1]], np.float64) for who in loops.everybody}
        for i, me in enumerate(loops.everybody):
            if not there[me]:  # nobody asks whom the dead attend to
                continue
            *_, want = loops.values(params, params, me, by_agent(obs), by_agent(done), there)
            for j, who in enumerate(loops.everybody):
                mean = np.mean([of_head.get(who, 0.0) for of_head in want.values()])
                np.testing.assert_allclose(whole[b, i, j], mean, atol=1e-6)
    np.testing.assert_allclose(whole.sum(-1), 1, atol=1e-6)
    assert not whole[:, range(5), range(5)].any() and not whole[:, :, 3].any()
    nobody = learner.attention.weights(params, obs, done, {name: x & False for name, x in alive.items()})
    assert not any(np.any(x) for x in jax.tree.leaves(nobody))


def test_agents_in_another_order_have_their_values_in_that_order():
    learner, params, obs, done = judged()
    order, value = np.array([2, 0, 1]), learner.value(params, obs, done)
    turned = lambda x: x | {"collector": x["collector"][:, order]}
    got = learner.value(params, turned(obs), turned(done))
    np.testing.assert_allclose(got["collector"], value["collector"][:, order], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["bank"], value["bank"], rtol=1e-5, atol=1e-6)
    assert np.ptp(value["collector"], 1).min() > 1e-3


@pytest.mark.parametrize("after_death", [True, False])
def test_what_the_dead_see_and_do_changes_neither_losses_nor_gradients_nor_statistics_bitwise(after_death):
    """Not even if it is not a number; nor does what they are paid, unless it counts."""
    spec, params = TEAMS["two roles"], judged()[1]
    learner = MAAC(**SETTINGS, shared=True, after_death=after_death).make(spec)
    batch = random_transitions(spec, 3, 1, SETTINGS["batch"])
    spoil = lambda values, alive: {
        name: jnp.where(alive[name].reshape(*alive[name].shape, *(1,) * (x.ndim - alive[name].ndim)), x, jnp.nan)
        for name, x in values.items()
    }

    @jax.jit
    def learned(batch):
        moved, flat = learner.prepare(params, (), batch)
        terms = lambda params: learner.objective(params, params, flat, jr.key(0))[0]
        return terms(moved), jax.grad(lambda params: total(terms(params)))(moved), moved["stats"]

    spoilt = dataclasses.replace(
        batch,
        obs=spoil(batch.obs, batch.alive),
        action=spoil(batch.action, batch.alive),
        reward={n: x if after_death else jnp.where(batch.alive[n], x, 1e3) for n, x in batch.reward.items()},
        next_obs=spoil(batch.next_obs, batch.next_alive),
    )
    clean = learned(batch)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(clean))
    assert same(clean, learned(spoilt))
    assert not same(clean, learned(dataclasses.replace(batch, obs={name: -x for name, x in batch.obs.items()})))


def test_a_team_of_one_attends_to_nobody():
    spec = Choice().spec
    learner = small(MAAC()).make(spec)
    params = drawn(learner, 1)
    obs, done = {"agent": jnp.ones((3, 1, 1))}, {"agent": jnp.ones((3, 1, 2)) / 2}
    value = learner.value(params, obs, done)
    assert learner.attention is None and np.isfinite(value["agent"]).all()
    others = params | {"attention": jax.tree.map(lambda x: 2 * x, params["attention"])}
    assert same(value, learner.value(others, obs, done))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: MAAC(heads=3), r"learner.embedding must be a multiple of learner.heads \(3\), not 128$"),
    (lambda: MAAC(num_envs=7), "learner.train_every must be a multiple of num_envs"),
    (lambda: MAAC().make(TeamSpec({"mover": BANK._replace(actions=Continuous(2))}, 5)), "needs discrete actions, .*use maddpg"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(HeadstartError, match=message):
        make()


# ------------------------------------------------------------------ statistics


def test_statistics_that_grow_piece_by_piece_are_those_of_the_whole():
    x, mask = jr.normal(jr.key(0), (6, 5, 3)) * 3 + 1, jr.bernoulli(jr.key(1), 0.6, (6, 5))
    mask, now = mask.at[2].set(False), moments(3)
    assert same(now.moved(x[2], mask[2]), now)  # nothing seen, nothing moved
    for piece in range(6):
        now = now.moved(x[piece], mask[piece])
    seen = np.asarray(x, np.float64)[np.asarray(mask)]
    np.testing.assert_allclose(now.mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(now.variance, seen.var(0), rtol=1e-5)
    assert (now.count == mask.sum()).all()
    np.testing.assert_allclose(now(x[0]), (np.asarray(x[0]) - seen.mean(0)) / np.sqrt(seen.var(0) + 1e-5), rtol=1e-4, atol=1e-5)


def test_statistics_go_to_a_team_that_sees_as_much_whole_or_not_at_all():
    """A count without its means would keep new ones from moving."""
    seen = RoleNet({"obs": moments(3).moved(jr.normal(jr.key(0), (9, 3)), jnp.ones(9, bool))}, True)
    for size, expected in ((3, seen), (4, RoleNet({"obs": moments(4)}, True))):
        got, _ = transplant(RoleNet({"obs": moments(size)}, True), seen, np.arange(2), "stats")
        assert same(got, expected)


@pytest.mark.slow
def test_a_team_keeps_its_statistics_and_a_report_shows_whom_it_attends_to(tmp_path, monkeypatch):
    env, config = Spread(3, horizon=4), MAAC(**TINY)
    made = loop(env, config, 6)
    state, _ = made.run((0, 1))
    stats, size = state.params["stats"]["agent"].net, env.spec.roles["agent"].obs_size
    for lane in range(2):
        seen = np.asarray(state.memory.obs["agent"][lane], np.float64).reshape(-1, size)
        np.testing.assert_allclose(stats["obs"].mean[lane], seen.mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(stats["obs"].variance[lane], seen.var(0), rtol=1e-4, atol=1e-6)
    assert same(state.target["stats"], state.params["stats"])
    team = TeamPolicy(env.spec, config, state.params, (0, 1), env)
    team.save(tmp_path / "team")
    again = load(tmp_path / "team")
    assert same(again.params, team.params) and set(again.params) >= {"actor", "stats"}
    assert same(team.adapt(Spread(5).spec).params["stats"], team.params["stats"])
    monkeypatch.setattr(attention, "EPISODES", 1)
    table = attention.attention_of(TeamPolicy(env.spec, config, fresh(config, env.spec, 1), (0,), env), 0)
    weights = np.array(table["weights"])
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert table["agents"] == table["vertices"] and not np.diag(weights).any()


@pytest.mark.slow
@pytest.mark.usefixtures("sessions_once")
def test_interrupted_and_resumed_equals_uninterrupted_bitwise(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)
    config = run.Config(Spread(2, horizon=4), MAAC(**TINY), (), 40, 2, evaluations=2, episodes=2)
    run.train(config, tmp_path / "whole")
    with pytest.raises(session.Interrupted):
        run.train(config, tmp_path / "cut", stopper(5))
    run.resume(tmp_path / "cut")
    identical(tmp_path / "cut", tmp_path / "whole")
