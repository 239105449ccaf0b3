"""What recurrent PPO of the field has beside PPO's core: value losses, normalised values, layer norms, truncated sequences."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import Values, same, small, whole
from test_ppo import SPEC

from headstart.core.checks import HeadstartError
from headstart.envs.particle.spread import Spread
from headstart.guidance.warm_start import WarmStart
from headstart.learners.bodies import core_body
from headstart.learners.critics import critic
from headstart.learners.graphs import Graphs
from headstart.learners.ppo import PPO
from headstart.learners.values import fresh_stats, learn_scale, outputs_for, value_loss, values_of
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load

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
@pytest.mark.parametrize("kind,core", [("local", "mlp"), ("local", "gru"), ("joint", "mlp"), ("joint", "gru"), ("agnn", "mlp")])
def test_popart_leaves_values_as_they_were(kind, core, shared):
    own, spec = PPO(value_norm="popart", embedding=4, blocks=1), Spread(3).spec
    body = core_body(core, (8,), "tanh", 1.0)
    valued = critic(kind, spec, lambda role: body, Graphs(own, (8,), "tanh"), shared, acts=False)
    params = {"critic": valued.init(jr.key)} | fresh_stats(own, spec, shared)
    obs = {"agent": jr.normal(jr.key(1), (5, 3, spec.roles["agent"].obs_size))}
    carry = () if core == "mlp" else {"agent": jr.normal(jr.key(2), (5, 1 if kind == "joint" and shared else 3, 8))}
    judged = lambda params: values_of(params, valued.v(params["critic"], carry, obs, None)[1])["agent"]
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
    state, _ = jax.jit(lambda: whole(Rich(), config, 400))()
    got = jax.vmap(lambda params: learner.value(params, {"agent": jnp.eye(5)[:, None]}, None)["agent"][:, 0])(state.params)
    np.testing.assert_allclose(got, [100 * Values.answers(config.gamma)] * 2, atol=10)
