"""Graph networks: attention against plain loops, any number of vertices, masks, gradients, and all of a team's weights at
another size."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import probes
import pytest

import headstart as hs
from headstart.core.attention import graph
from headstart.core.checks import HeadstartError
from headstart.core.types import Field
from headstart.envs.particle.tag import Tag
from headstart.envs.regrouped import regrouped
from headstart.experiments import attention
from headstart.experiments.report import report_runs
from headstart.guidance.warm_start import WarmStart
from headstart.learners.bodies import mlp_body
from headstart.learners.critics import critic
from headstart.learners.ddpg import DDPG
from headstart.learners.graphs import Graphs, GraphSettings, groups
from headstart.learners.ppo import PPO
from headstart.teams.policy import TeamPolicy

SMALL = {"hidden": (8,), "embedding": 6, "heads": 2, "blocks": 2}


def leader_among(adversaries=3, **settings):
    """Tag with one leader."""
    env = Tag(adversaries, policy="random", **settings)
    return regrouped(env, "adversary", {"leader": [0], "adversary": range(1, adversaries)})


def noise(tree, seed=0, scale=0.5):
    """The tree with Gaussian numbers in place of its own."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jr.split(jr.key(seed), len(leaves))
    return jax.tree.unflatten(structure, [scale * jr.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)])


def by_role(spec, sizes, batch=4, seed=0):
    """{role: [batch A size]} of Gaussian numbers."""
    draw = lambda i, role, size: jr.normal(jr.fold_in(jr.key(seed), i), (batch, role.agents, size))
    return {name: draw(i, role, sizes(role)) for i, (name, role) in enumerate(spec.roles.items())}


def team(env, **settings):
    """Critic, networks with random parameters, observations, actions."""
    learner = DDPG(**{"critic": "agnn", **SMALL, **settings})
    spec = env.spec
    made = critic(
        learner.critic,
        spec,
        lambda role: mlp_body((8,), "relu"),
        Graphs(learner, learner.hidden, "relu"),
        learner.shared,
        acts=True,
    )
    nets = noise(made.init(lambda i: jr.key(i)))
    return made, nets, by_role(spec, lambda r: r.obs_size), by_role(spec, lambda r: r.actions.size, seed=1)


def norm(x, layer):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * np.asarray(layer.scale) + np.asarray(layer.shift)


def leaky(x):
    return np.where(x > 0, x, 0.01 * x)


def attend(heads, queries, keys, memory, there):
    """One attending vertex: queries [E H], keys [V E], memory [V E] -> [E], by loops."""
    out = []
    for h in range(queries.shape[1]):
        scores = [
            np.dot(heads.score, np.tanh(queries[:, h] + key)) if t else -np.inf for key, t in zip(keys, there, strict=True)
        ]
        weights = np.exp(np.array(scores) - max(scores))
        weights /= weights.sum()
        out.append(sum(w * m for w, m in zip(weights, memory, strict=True)))
    joined = np.stack(out, 1).reshape(-1)  # [E H], numbers first
    return joined, weights


def reduced(heads, summed):
    return leaky(summed) @ np.asarray(heads.reduce.weight) + np.asarray(heads.reduce.bias)


def looped(net, x, there):
    """A `Graph` by loops over vertices: x [V E] -> [E]."""
    x = norm(x, net.norm)
    for block in net.blocks:
        size = x.shape[1]
        made = x @ np.asarray(block.inputs.weight) + np.asarray(block.inputs.bias)
        queries = made[:, : -2 * size].reshape(len(x), size, -1)
        keys, memory = made[:, -2 * size : -size], made[:, -size:]
        moved = [reduced(block.heads, attend(block.heads, q, keys, memory, there)[0]) for q in queries]
        x = norm(leaky(x + np.stack(moved)), block.norm)
    summed, weights = attend(net.pool.heads, np.asarray(net.pool.query), x, x, there)
    return reduced(net.pool.heads, summed), weights


@pytest.mark.parametrize("blocks", [0, 2], ids=["agp", "agnn"])
def test_a_graph_equals_loops_over_its_vertices(blocks):
    net = noise(graph(jr.key(0), 6, 2, blocks))
    x, there = jr.normal(jr.key(1), (3, 4, 6)), jnp.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 1]], bool)
    got, weights = net(x, there)
    for i in range(3):
        want, last = looped(net, np.asarray(x[i], float), np.asarray(there[i]))
        np.testing.assert_allclose(got[i], want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(weights[-1][i, -1, 0], last, atol=1e-6)
    assert len(weights) == blocks + 1


@pytest.mark.parametrize("vertices", [1, 2, 7])
def test_a_graph_takes_any_number_of_vertices_in_any_order(vertices):
    net = noise(graph(jr.key(0), 6, 2, 2))
    x = jr.normal(jr.key(1), (5, vertices, 6))
    mixed = x[:, jr.permutation(jr.key(2), vertices)]
    np.testing.assert_allclose(net(mixed)[0], net(x)[0], atol=1e-5)
    assert not np.allclose(net(x[:, ::-1] ** 2)[0], net(x)[0], atol=1e-3)


def test_with_one_vertex_the_query_learns_nothing_and_all_else_does():
    """A softmax over a single score is always 1: a leader alone cannot teach a query."""
    net = noise(graph(jr.key(0), 6, 2, 1))
    slope = lambda x: jax.grad(lambda net: (net(x)[0] ** 2).sum())(net)
    largest = lambda x: {jax.tree_util.keystr(path): float(jnp.abs(g).max()) for path, g in jax.tree.leaves_with_path(slope(x))}
    one, two = largest(jr.normal(jr.key(1), (5, 1, 6))), largest(jr.normal(jr.key(1), (5, 2, 6)))
    idle = {name for name, size in one.items() if size == 0}
    assert idle == {".blocks[0].heads.score", ".pool.query", ".pool.heads.score"}
    assert all(size > 1e-4 for size in two.values()), two


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", ["agp", "agnn"])
def test_the_own_part_of_a_graph_critic_is_the_agents_own(kind, shared):
    env = leader_among(prey=2)
    made, nets, obs, action = team(env, critic=kind, shared=shared, nodes=("prey",))
    fresh = by_role(env.spec, lambda r: r.actions.size, seed=2)
    taken, own = made.q_own(nets, obs, action, fresh, None)
    for name, role in env.spec.roles.items():
        np.testing.assert_allclose(taken[name], made.q(nets, obs, action, None)[name], atol=1e-6)
        for a in range(role.agents):
            other = action | {name: action[name].at[:, a].set(fresh[name][:, a])}
            np.testing.assert_allclose(made.q(nets, obs, other, None)[name][a], own[name][a], atol=1e-5)
    assert not np.allclose(taken["adversary"][0], taken["adversary"][1], atol=1e-3)  # the mark tells agents apart
    slope = jax.grad(lambda fresh: made.q_own(nets, obs, action, fresh, None)[1]["leader"].sum())(fresh)
    assert jnp.abs(slope["leader"]).max() > 1e-4 and jnp.abs(slope["adversary"]).max() == 0


def test_a_dead_agents_numbers_change_nothing_bitwise():
    env = leader_among()
    made, nets, obs, action = team(env, nodes=("prey",))
    alive = {"leader": jnp.ones((4, 1), bool), "adversary": jnp.array([[1, 0]] * 4, bool)}
    spoilt = lambda x: x | {"adversary": x["adversary"].at[:, 1].set(jnp.nan)}
    for f in (
        lambda obs, action: made.q(nets, obs, action, alive),
        lambda obs, action: made.q_own(nets, obs, action, action, alive)[1],
    ):
        for role, at in (("leader", 0), ("adversary", 0)):
            np.testing.assert_array_equal(f(obs, action)[role][at], f(spoilt(obs), spoilt(action))[role][at])
    living = made.q(nets, obs, action, None)["leader"]
    assert not np.allclose(living, made.q(nets, obs, action, alive)["leader"], atol=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_a_critic_says_whom_it_attends_to(shared):
    """The mean over heads of the pooling weights that its own networks have; a dead agent weighs nothing."""
    env = leader_among(prey=2)
    made, nets, obs, action = team(env, nodes=("prey",), shared=shared)
    alive = {"leader": jnp.ones((4, 1), bool), "adversary": jnp.array([[1, 0]] * 4, bool)}
    assert made.attention.vertices["leader"] == ("adversary_1", "adversary_2", "adversary_0", "prey 0", "prey 1")
    weights = made.attention.weights(nets, obs, action, None)
    assert {name: x.shape for name, x in weights.items()} == {"leader": (4, 1, 5), "adversary": (4, 2, 5)}
    mine = nets["critic"]["adversary"].net
    net = mine if shared else jax.tree.map(lambda x: x[1], mine)
    both = jnp.concatenate([jnp.concatenate([obs[r], action[r]], -1) for r in ("adversary", "leader")], -2)
    fields = env.spec.roles["adversary"].obs
    start = sum(f.width for f in fields[: [f.name for f in fields].index("prey")])
    follows = sum(f.width for f in fields[: [f.name for f in fields].index("prey_velocities")])
    prey = [jnp.concatenate([obs["adversary"][:, 1, at + 2 * i : at + 2 * i + 2] for at in (start, follows)], -1)
            for i in range(2)]  # fmt: skip
    vertices = jnp.concatenate([net.agents[0](both), net.entities["prey"](jnp.stack(prey, 1))], 1)
    _, rounds = net.attend(vertices, jnp.array([0.0, 1, 0, 0, 0]))
    np.testing.assert_allclose(weights["adversary"][:, 1], rounds[-1].mean(1)[:, 0], atol=1e-6)
    bereft = made.attention.weights(nets, obs, action, alive)["leader"]
    np.testing.assert_allclose(bereft.sum(-1), 1, atol=1e-6)
    assert jnp.abs(bereft[..., 1]).max() == 0 and bereft[..., 0].min() > 0


def test_an_entity_that_is_not_there_has_no_weight():
    fields = (Field("velocity", 1, 2, own=True), Field("prey", 2, 2), Field("prey_velocities", 2, 2, follows="prey"))
    assert {name: len(group) for name, group in groups(fields).items()} == {"prey": 2}
    body = Graphs(GraphSettings(embedding=6, blocks=1), (8,), "relu").actor("agnn")
    one = noise(body(jr.key(0), tuple(f if f.own else f._replace(count=1) for f in fields), 3))
    two = dataclasses.replace(one, fields=fields)
    x = jr.normal(jr.key(1), (5, 6))  # velocity, prey, its velocity
    padded = jnp.concatenate([x[:, :4], jnp.zeros((5, 2)), x[:, 4:], jnp.zeros((5, 2))], -1)
    out, weights = two.attend(padded)
    np.testing.assert_allclose(out, one(x), atol=1e-6)
    assert weights[-1][..., -1].max() == 0


@pytest.mark.parametrize("learner", [
    DDPG(critic="agnn", actor="agp", nodes=("prey",), **SMALL), PPO(critic="agp", actor="agnn", **SMALL),
    PPO(core="gru", actor="agp", **SMALL),
], ids=["ddpg", "ppo", "ppo-gru"])  # fmt: skip
def test_every_weight_fits_a_team_of_another_size(learner):
    """3 adversaries, 1 prey and 2 obstacles teach 4, 2 and 0: only rows of the critic's inputs are adapted, by field."""
    small, large = Tag(policy="random"), Tag(4, 2, 0, policy="random")
    made = learner.make(small.spec)
    donor = TeamPolicy(small.spec, learner, jax.tree.map(lambda x: x[None], made.init(jr.key(1))), (0,), small)
    networks = ("actor",) if learner.critic == "local" else ("actor", "critic")
    student = learner.make(large.spec)
    _, rows = WarmStart(donor, networks=networks).make(large.spec, student).start(made.init(jr.key(1)), student.init(jr.key(2)))
    weights = {name: happened for name, happened, _ in rows if happened != "paired by place"}
    changed = {name: happened for name, happened in weights.items() if happened != "loaded"}
    assert set(changed.values()) <= {"adapted"} and all("critic/adversary.agents[0].weight" in name for name in changed), (
        changed
    )
    assert any(name.startswith("actor/") for name in weights)


def test_leaders_actions_survive_the_transplant_bitwise():
    """Behind an adapter that is the identity, the leader's trunk acts as the leader did."""
    alone, among = Tag(1, policy="random"), leader_among()
    plain = DDPG(hidden=(8, 8), warmup=0)
    params = plain.make(alone.spec).init(jr.key(3))
    leader = TeamPolicy(alone.spec, plain, jax.tree.map(lambda x: x[None], params), (0,), alone)
    size = alone.spec.roles["adversary"].obs_size
    student = dataclasses.replace(plain, reduce_actor=(f"leader={size}",)).make(among.spec)
    guide = WarmStart(leader, roles=("adversary",), into=("leader",), at="trunk").make(among.spec, student)
    got, rows = guide.start(params, student.init(jr.key(4)))
    outcome = {name: happened for name, happened, _ in rows}
    assert (
        outcome["actor/leader.embed.weight"] == "re-initialised" and outcome["actor/leader.trunk.layers[0].weight"] == "loaded"
    )
    net = got["actor"]["leader"].net
    adapter = dataclasses.replace(net.embed, weight=jnp.eye(size)[None], bias=jnp.zeros((1, size)))
    x = jr.normal(jr.key(5), (64, 1, size))
    mine = dataclasses.replace(got["actor"]["leader"], net=dataclasses.replace(net, embed=adapter))
    np.testing.assert_array_equal(mine(x), params["actor"]["adversary"](x))
    novice = student.init(jr.key(4))["actor"]["adversary"]
    np.testing.assert_array_equal(got["actor"]["adversary"].net.layers[0].weight, novice.net.layers[0].weight)


@pytest.mark.parametrize(("settings", "guide", "message"), [
    ({"critic": "agnn"}, {"networks": ("critic",)}, "nothing of the teacher's critic of 'adversary' fits"),
    ({}, {"at": "trunk"}, "guidance.at names 'trunk', no part of"),
    ({"reduce_actor": ("captain=12",)}, {}, "unknown role 'captain'"),
    ({"reduce_actor": ("leader",)}, {}, "learner.reduce_actor must be like"),
    ({"reduce_actor": ("leader=12", "leader=13")}, {}, "names 'leader' twice"),
    ({"reduce_actor": ("leader=13",)}, {"at": "trunk"}, "does not fit actor/leader.trunk"),
    ({"reduce_actor": ("leader=12",), "hidden": (9,)}, {}, "--guidance.at trunk"),
    ({"critic": "agp", "nodes": ("preys",)}, {}, "did you mean prey"),
])  # fmt: skip
def test_a_leader_that_does_not_fit_is_refused(settings, guide, message):
    alone, among, plain = Tag(1, policy="random"), leader_among(), DDPG(hidden=(8,), warmup=0)
    leader = TeamPolicy(alone.spec, plain, jax.tree.map(lambda x: x[None], plain.make(alone.spec).init(jr.key(3))), (0,), alone)
    with pytest.raises(HeadstartError, match=message):
        student = dataclasses.replace(plain, **settings).make(among.spec)
        jax.eval_shape(student.init, jr.key(0))
        WarmStart(leader, roles=("adversary",), into=("leader",), **guide).make(among.spec, student)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: DDPG(nodes=("prey",)), "learner.nodes must be empty with the critic joint"),
    (lambda: DDPG(critic="agp", reduce_critic=("leader=17",)), "learner.reduce_critic must be empty"),
    (lambda: PPO(core="gru", critic="agnn"), "learner.critic must be joint or local with recurrent"),
    (lambda: DDPG(actor="agnn").make(probes.Values().spec).init(jr.key(0)), "an observation of .* has none"),
])  # fmt: skip
def test_settings_that_do_not_fit_each_other_are_refused(make, message):
    with pytest.raises(HeadstartError, match=message):
        make()


def test_a_graph_team_trains_and_is_read_back_and_reported(tmp_path, monkeypatch):
    learner = DDPG(
        critic="agnn", actor="agp", warmup=20, batch=8, train_every=20, num_envs=4, capacity=200, **SMALL | {"blocks": 1}
    )
    team = hs.train(leader_among(), learner, tmp_path / "run", steps=40, evaluations=1, episodes=1)
    again = hs.load(tmp_path / "run")
    assert again.config == learner
    jax.tree.map(np.testing.assert_array_equal, team.params, again.params)
    start = learner.make(team.spec).init(jr.fold_in(jr.key(0), 0))
    assert jax.tree.structure(start) == jax.tree.structure(team.seed(0))
    monkeypatch.setattr(attention, "EPISODES", 1)
    reported = report_runs([tmp_path / "run"], tmp_path / "run")["arms"]["run"]["attention"]
    assert reported["agents"] == reported["vertices"] == ["adversary_1", "adversary_2", "adversary_0"]
    np.testing.assert_allclose(reported["weights"], one_episode(team), atol=1e-4)


def one_episode(team):
    """The mean weights of the first episode that `attention_of` plays, step by step."""
    env, params = team.env, team.seed(0)
    reset_key, key = jr.split(jr.fold_in(jr.key(2), 0))
    state, step = env.reset(jr.split(reset_key, 1)[0])
    go, rows = jax.jit(env.step), []
    look = jax.jit(lambda obs, action: team.learner.attention.weights(params, obs, action, None))
    for step_key in jr.split(key, env.spec.horizon):
        logits = team.learner.policy(params, (), step.obs)[1]
        action = {role: jax.nn.one_hot(x.argmax(-1), x.shape[-1]) for role, x in logits.items()}
        weights = look(step.obs, action)
        rows.append(np.concatenate([weights["adversary"], weights["leader"]]))
        state, step = go(state, action, jr.split(step_key, 1)[0])
    return np.mean(rows, 0)
