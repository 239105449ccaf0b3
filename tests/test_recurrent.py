"""What recurrent PPO of the field has beside PPO's core: value losses, normalised values, layer norms, truncated sequences."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from oracles import random_params, random_transitions
from probes import Choice, Values, fresh, same, small, whole
from test_ppo import SPEC

from headstart.core.checks import HeadstartError
from headstart.core.networks import role_net
from headstart.core.types import Field
from headstart.envs.particle.spread import Spread
from headstart.guidance.warm_start import WarmStart
from headstart.learners.bodies import CoreBody
from headstart.learners.critics import critic
from headstart.learners.graphs import Graphs
from headstart.learners.ppo import PPO
from headstart.learners.values import fresh_stats, learn_scale, outputs_for, value_loss, values_of
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.views.adapt import adapt
from headstart.views.transplant import transplant

# ------------------------------------------------------------------ value losses


@pytest.mark.parametrize("clip", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_value_losses_against_loops(kind, clip):
    rng, delta = np.random.default_rng(0), 0.5
    value, target, before = rng.normal(size=(3, 200)).astype(np.float32)
    before = value + 0.4 * before
    own = PPO(value_loss=kind, huber_delta=delta, value_clip=clip)

    def loss(error):
        linear = kind == "huber" and abs(error) > delta
        return delta * (abs(error) - 0.5 * delta) if linear else 0.5 * error**2

    want, clipped = [], 0
    for v, y, old in zip(value, target, before, strict=True):
        near = min(max(v, old - clip), old + clip)
        clipped += loss(near - y) > loss(v - y)
        want.append(max(loss(v - y), loss(near - y)) if clip else loss(v - y))
    value, target, before = map(jnp.asarray, (value, target, before))
    got = value_loss(own, value, target, before if clip else None)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert not clip or 20 < clipped < 180


# ------------------------------------------------------------------ normalised values


def targets(seed, spec=SPEC, shape=(6, 4)):
    """Targets and who lives: one agent is never there, and the agents' rewards are of other sizes."""
    rng, values, alive = np.random.default_rng(seed), {}, {}
    for name, role in spec.roles.items():
        size = (*shape, role.agents)
        values[name] = jnp.asarray(50 + rng.normal(size=size) * np.arange(1, role.agents + 1), jnp.float32)
        alive[name] = jnp.asarray(rng.random(size) < 0.7).at[..., -1].set(False)
    return values, alive


@pytest.mark.parametrize("shared", [True, False])
def test_statistics_are_debiased_averages_of_living_agents_targets(shared):
    """Yu et al. 2022: averages of the mean and the mean square of each update, divided by the sum of their weights."""
    beta, own = 0.9, PPO(value_norm="running", value_beta=0.9)
    params = fresh_stats(own, SPEC, shared)
    sums = {}
    for update in range(4):
        values, alive = targets(update)
        alive = {name: x.at[:].set(jnp.arange(x.shape[-1]) < x.shape[-1] - 1) for name, x in alive.items()}
        params = learn_scale(own, params | {"critic": {}}, values, alive)
        for name, x in values.items():
            x = np.asarray(x, np.float64)[..., :-1]
            for who in ["all"] if shared else range(x.shape[-1]):
                seen = x if shared else x[..., who]
                for part, number in (("mean", seen.mean()), ("square", (seen**2).mean()), ("weight", 1.0)):
                    sums[name, who, part] = beta * sums.get((name, who, part), 0.0) + (1 - beta) * number
    for name in SPEC.roles:
        net = params["stats"][name].net
        for who in ["all"] if shared else range(net.mean.shape[0] - 1):
            mean, square = (sums[name, who, part] / sums[name, who, "weight"] for part in ("mean", "square"))
            of = lambda x, who=who: float(x[0] if shared else x[who, 0])
            np.testing.assert_allclose([of(net.mean), of(net.variance)], [mean, square - mean**2], rtol=1e-4)
        if not shared:  # an agent that never lived has seen nothing
            assert (float(net.mean[-1, 0]), float(net.variance[-1, 0])) == (0.0, 1.0)
    out = outputs_for(params, values)
    np.testing.assert_allclose(values_of(params, out)["mover"], values["mover"], rtol=1e-5)
    assert np.abs(out["mover"][..., :-1]).max() < 5


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind,core", [("local", "mlp"), ("local", "gru"), ("joint", "mlp"), ("joint", "gru"), ("agnn", "mlp"),
                                       ("attention", "mlp")])  # fmt: skip
def test_popart_leaves_values_as_they_were(kind, core, shared):
    own, spec = PPO(value_norm="popart", embedding=4, blocks=1), Spread(3).spec
    body = CoreBody(core, (8,), "tanh", 1.0)
    valued = critic(kind, spec, lambda role: body, Graphs(own, (8,), "tanh"), shared, acts=False)
    params = valued.init(jr.key) | fresh_stats(own, spec, shared)
    obs = {"agent": jr.normal(jr.key(1), (5, 3, spec.roles["agent"].obs_size))}
    carry = () if core == "mlp" else {"agent": jr.normal(jr.key(2), (5, 1 if kind == "joint" and shared else 3, 8))}
    judged = lambda params: values_of(params, valued.v(params)(carry, (obs, None))[1])["agent"]
    params = learn_scale(own, params, *targets(0, spec))
    moved = learn_scale(own, params, *targets(1, spec))
    changed = learn_scale(dataclasses.replace(own, value_norm="running"), params, *targets(1, spec))
    before, after = judged(params), judged(moved)
    np.testing.assert_allclose(before, after, rtol=1e-5, atol=1e-5)
    assert not same(moved["critic"], params["critic"]) and same(changed["critic"], params["critic"])
    assert same(changed["stats"], moved["stats"])
    assert np.abs(before - judged(changed)).max() > 0.05 and np.ptp(before) > 0.1


def test_a_critic_keeps_its_statistics_in_files_and_in_warm_starts(tmp_path):
    env, config = Spread(2), small(PPO(), value_norm="popart", hidden=(8,))
    params = jax.vmap(config.make(env.spec).init)(jr.split(jr.key(4), 1))
    values = {"agent": jnp.asarray(np.random.default_rng(0).normal(size=(5, 4, 2)) + 7, jnp.float32)}
    alive = {"agent": jnp.ones((5, 4, 2), bool)}
    params = jax.vmap(lambda params: learn_scale(config, params, values, alive))(params)
    team = TeamPolicy(env.spec, config, params, (0,), env)
    team.save(tmp_path / "team")
    assert same(load(tmp_path / "team").params, params)
    assert set(team.adapt(Spread(4).spec).params) == {"actor"}  # a team that only acts has no critic, and no values

    def warm(networks, student=config):
        learner = student.make(env.spec)
        guide = WarmStart(team, networks).make(env.spec, learner)
        return learner, guide.start(guide.init(jr.key(0), jnp.asarray(0)), learner.init(jr.key(1)))[0]

    learner, got = warm(("actor", "critic", "stats"))
    obs = {"agent": jr.normal(jr.key(2), (3, 2, env.spec.roles["agent"].obs_size))}
    assert same(learner.value(got, obs, None), team.learner.value(team.place(0), obs, None))
    assert same(warm(())[1]["stats"], learner.init(jr.key(1))["stats"])
    with pytest.raises(HeadstartError, match=r"needs its statistics: add stats to guidance.networks$"):
        warm(("actor", "critic"))
    with pytest.raises(HeadstartError, match="the teacher's critic puts out normalised values and the student's does not"):
        warm(("critic",), dataclasses.replace(config, value_norm="none"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["running", "popart"])
def test_values_far_from_0_are_learned_in_units_of_reward(kind):
    """The starts of `Values` pay a hundred times as much, and a state is worth as much."""

    @dataclasses.dataclass(frozen=True)
    class Rich(Values):
        PAYS = tuple(100 * x for x in Values.PAYS)

    config = small(PPO(), value_norm=kind)
    learner = config.make(Rich().spec)
    state = jax.jit(lambda: whole(Rich(), config, 400)[0])()
    got = jax.vmap(lambda params: learner.value(params, {"agent": jnp.eye(5)[:, None]}, None)["agent"][:, 0])(state.params)
    np.testing.assert_allclose(got, [100 * Values.answers(config.gamma)] * 2, atol=10)


# ------------------------------------------------------------------ layer norms


def normed_net(key, fields, core="mlp", outputs=2):
    """A network for a role's agents that normalises its input, with random numbers in all places."""
    body, rng = CoreBody(core, (8, 8), "relu", 0.5, norms=True), np.random.default_rng(key)
    shapes = jax.eval_shape(lambda key: role_net(lambda k: body(k, fields, outputs), key, 2, False), jr.key(0))
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)


FIELDS = (Field("place", 1, 3, own=True), Field("mates", 2, 2))
ELSEWHERE = FIELDS[::-1]
LARGER = (FIELDS[0], Field("mates", 3, 2))


@pytest.mark.parametrize("core", ["mlp", "gru"])
def test_a_normed_network_reads_zeros(core):
    """An agent that is dead, or fields that are filled up, show zeros: they have no deviation to divide by."""
    net, carry = normed_net(0, FIELDS, core), jnp.zeros((2, 8))
    out = jax.jit(lambda net, x: net(() if core == "mlp" else carry, x)[1])
    slopes = jax.jit(jax.grad(lambda net: out(net, jnp.zeros((2, 7))).sum()))(net)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))
    once, ten = (out(net, x * jr.normal(jr.key(1), (2, 7))) for x in (1.0, 10.0))
    np.testing.assert_allclose(once, ten, rtol=1e-3)
    assert np.abs(once).max() > 0.1


def test_a_layer_norm_goes_to_a_team_that_observes_the_same_in_another_order():
    donor, x = normed_net(0, FIELDS), jr.normal(jr.key(1), (2, 7))
    got, table = transplant(normed_net(3, ELSEWHERE), donor, np.arange(2), "actor")
    np.testing.assert_allclose(got((), adapt(x, FIELDS, ELSEWHERE))[1], donor((), x)[1], rtol=1e-5)
    assert {what for name, what, _ in table if "norms[0]" in name or "layers[0].weight" in name} == {"adapted"}


def test_a_layer_norm_of_more_entities_is_refused_or_new():
    """Its mean and deviation would be those of more numbers; a team that is adapted as a whole still reads its own."""
    donor = normed_net(0, FIELDS)
    with pytest.raises(HeadstartError, match=r"^actor normalises all numbers .*guidance.no-resize"):
        transplant(normed_net(3, LARGER), donor, np.arange(2), "actor")
    got, table = transplant(normed_net(3, LARGER), donor, np.arange(2), "actor", resize=False)
    said = {name.removeprefix("actor.body."): what for name, what, _ in table}
    assert said["norms[0].scale"] == said["layers[0].weight"] == "re-initialised" and said["norms[1].scale"] == "loaded"
    assert same(got.net.body.layers[1:], donor.net.body.layers[1:])

    env, config = Spread(2), small(PPO(), layer_norm=True, hidden=(8,))
    team = TeamPolicy(env.spec, config, fresh(config, env.spec, 1), (0,), env)
    grown, larger = team.adapt(Spread(4).spec), Spread(4).spec.roles["agent"].obs
    obs = jr.normal(jr.key(2), (4, sum(field.width for field in larger)))
    seen = adapt(obs, larger, env.spec.roles["agent"].obs)
    logits = grown.learner.policy(grown.place(0), (), {"agent": obs})[1]["agent"]
    np.testing.assert_allclose(logits, team.learner.policy(team.place(0), (), {"agent": seen})[1]["agent"], rtol=1e-5)
    with pytest.raises(HeadstartError, match="normalises all numbers of an observation together"):
        WarmStart(team).make(Spread(4).spec, config.make(Spread(4).spec))


def test_an_encoder_has_the_layers_before_the_last():
    made = jax.jit(lambda key: [CoreBody("gru", hidden, "tanh", 1.0)(key, FIELDS, 2) for hidden in ((5, 8), (4, 5, 8))])
    one, two = made(jr.key(0))
    assert one.body.weight.shape == (7, 5) and one.memory.inputs.weight.shape == (5, 24)
    assert [layer.weight.shape for layer in two.body.layers] == [(7, 4), (4, 5)] and two.memory.inputs.weight.shape == (5, 24)
    assert not any(layer.last for layer in two.body.layers) and two.head.last and two.body.layers[0].reads == FIELDS
    x, carry = jr.normal(jr.key(1), (7,)), jnp.zeros(8)
    encoded = x
    for layer in two.body.layers:
        encoded = np.maximum(encoded @ np.asarray(layer.weight), 0)
    np.testing.assert_allclose(two(carry, x)[0], two.memory(carry, jnp.asarray(encoded)), rtol=1e-5)


def test_gains_are_those_of_the_last_layers():
    learner = PPO(actor_gain=0.5, critic_gain=2.0, hidden=(8,)).make(Spread(2).spec)
    params = jax.jit(learner.init)(jr.key(0))
    for network, gain in (("actor", 0.5), ("critic", 2.0)):
        first, last = (layer.weight for layer in params[network]["agent"].net.body.layers)
        norms = jnp.linalg.svd(last, compute_uv=False), jnp.linalg.svd(first, compute_uv=False)
        np.testing.assert_allclose(norms[0], gain, rtol=1e-4)
        np.testing.assert_allclose(norms[1], 2**0.5, rtol=1e-4)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: PPO(layer_norm=True, actor="agnn"), "learner.layer_norm must be left out with agnn, not True$"),
    (lambda: PPO(chunk=4), r"learner.chunk must be 0 with feed-forward networks \(--learner.core mlp\), not 4$"),
    (lambda: PPO(core="gru", chunk=3), r"learner.chunk must be a divisor of rollout \(128\), not 3$"),
    (lambda: PPO(core="gru", chunk=64, minibatches=3), "learner.minibatches must be a divisor of the 32 items of a rollout"),
    (lambda: PPO(layer_norm=True).make(Choice().spec), "'agent' observes one number, of which layer_norm leaves nothing"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(HeadstartError, match=message):
        make()


# ------------------------------------------------------------------ sequences


def mortal(seed, steps=6, envs=4):
    """A rollout whose dead stay dead until their episode ends."""
    rollout, alive = random_transitions(SPEC, seed, steps, envs), {}
    for name, living in rollout.alive.items():
        lived, rows = jnp.ones_like(living[0]), []
        for t in range(steps):
            lived = living[t] & (lived | rollout.first[t][:, None])
            rows.append(lived)
        alive[name] = jnp.stack(rows)
    return dataclasses.replace(rollout, alive=alive)


def recurrent(chunk, **settings):
    """A recurrent learner, parameters, and the memory that a rollout begins with."""
    made = {"core": "gru", "hidden": (4,), "num_envs": 4, "rollout": 6, "minibatches": 2, "chunk": chunk} | settings
    learner = PPO(**made).make(SPEC)
    params = random_params(learner, 1)
    carry = jax.tree.map(lambda x: jr.normal(jr.key(2), x.shape), learner.start(4))
    return learner, params, carry


@functools.cache
def everything(shared, after_death=True):
    """The same with all settings on, plausible statistics, and its losses, gradients and statistics compiled."""
    more = {
        "after_death": after_death,
        "layer_norm": True,
        "value_norm": "popart",
        "value_clip": 0.2,
        "value_loss": "huber",
        "huber_delta": 0.5,
    }
    learner, params, carry = recurrent(3, shared=shared, **more)
    params |= fresh_stats(PPO(**more), SPEC, shared)

    @jax.jit
    def learned(rollout, carry):
        moved, items = learner.prepare(params, carry, rollout)
        later = jax.tree.map(lambda x: 1.1 * x, moved)  # some way into the update
        loss = lambda params: (lambda terms: (sum(x.sum() for x in jax.tree.leaves(terms)), terms))(
            learner.objective(params, params, items, jr.key(0))[0]
        )
        grads, terms = jax.grad(loss, has_aux=True)(later)
        return terms, grads, moved["stats"]

    return carry, learned


def test_memory_carried_across_sequences_equals_one_long_unroll():
    """Outputs, values and log-probabilities of each step are those of the whole rollout, which a chunk of its length is."""
    (whole, params, carry), rollout = recurrent(0), mortal(0)
    assert rollout.first[1:].any() and not rollout.first[3].all()
    items = lambda steps: jax.jit(recurrent(steps)[0].prepare)(params, carry, rollout)[1]
    by_env = lambda tree: jax.tree.map(lambda x: x.reshape(4, 6, *x.shape[2:]), tree)
    without = lambda items: dataclasses.replace(items, extras={k: v for k, v in items.extras.items() if k != "carry"})
    long, short = items(0), items(2)
    assert same(long, items(6)) and short.first.shape == (12, 2)
    assert same(by_env(without(short)), without(long))
    unrolled = jax.jit(lambda items: by_env(whole.unroll(params, items)))
    for got, want in zip(*(jax.tree.leaves(unrolled(x)) for x in (short, long)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("after_death", [True, False])
@pytest.mark.parametrize("shared", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_what_the_dead_observe_and_do_changes_nothing_bitwise(shared, after_death):
    """Nor what they are paid, if that does not count."""
    (carry, learned), rollout = everything(shared, after_death), mortal(0)
    noise = lambda values, alive, size=1e3: {
        name: jnp.where(alive[name].reshape(*alive[name].shape, *(1,) * (x.ndim - 3)), x, size) for name, x in values.items()
    }
    spoilt = dataclasses.replace(
        rollout,
        obs=noise(rollout.obs, rollout.alive),
        next_obs=noise(rollout.next_obs, rollout.next_alive),
        action=noise(rollout.action, rollout.alive, 0.5),
        reward=rollout.reward if after_death else noise(rollout.reward, rollout.alive),
    )
    assert not all(x.all() for x in rollout.alive.values())
    clean = learned(rollout, carry)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(clean))
    assert same(clean, learned(spoilt, carry))
    living = jax.tree.map(jnp.ones_like, rollout.alive)
    assert not same(*(learned(dataclasses.replace(each, alive=living), carry) for each in (rollout, spoilt)))


def test_agents_in_another_order_have_their_losses_in_that_order():
    (carry, learned), rollout = everything(True), mortal(0)
    order = np.array([2, 0, 1])

    def turned(tree, axis):
        return jax.tree.map(lambda x: jnp.take(x, order, axis), tree)

    each = ("obs", "next_obs", "action", "reward", "alive", "available", "next_available", "agent_terminated")
    moved = {what: dict(getattr(rollout, what)) for what in each}
    for what in each:
        moved[what]["mover"] = turned(moved[what]["mover"], 2)
    carries = {network: roles | {"mover": turned(roles["mover"], 1)} for network, roles in carry.items()}
    want, got = learned(rollout, carry), learned(dataclasses.replace(rollout, **moved), carries)
    for kind in ("actor", "critic"):
        np.testing.assert_allclose(got[0][kind]["mover"], want[0][kind]["mover"][order], rtol=1e-4, atol=1e-6)
        assert np.ptp(want[0][kind]["mover"]) > 1e-3
    for mine, theirs in zip(jax.tree.leaves(got[1:]), jax.tree.leaves(want[1:]), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-5)
