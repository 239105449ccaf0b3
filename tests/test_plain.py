"""Policies as plain NumPy: each operation, and each learner's whole policy, against JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Mixed, drawn, learners, small, takes

from headstart.core.types import Discrete, Field, RoleSpec, TeamSpec
from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.plain.listing import NotPlain
from headstart.plain.trace import Traced
from headstart.teams.inputs import memory_like
from headstart.teams.policy import TeamPolicy

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 3, 4)).astype(np.float32), RNG.normal(size=(2, 4, 3)).astype(np.float32)
ORDER = np.array([[2, 0, 1, 1], [0, 0, 2, 1], [1, 2, 0, 1]], np.int32)


def summed(x, y):
    """A loop with constants, a carry, and a result of each round."""
    return jax.lax.scan(lambda total, row: (total + row * y[0, 0, 0], total.sum()), jnp.zeros(4), x[0])


FUNCTIONS = {
    "numbers": lambda x, y: jnp.tanh(x) + jnp.exp(x) * jax.nn.sigmoid(x) - jax.nn.relu(x) / jnp.sqrt(abs(x)) + x**3,
    "logic": lambda x, y: jnp.where((x > 0) & ~(x > 1) | (x == 0), x, jnp.clip(x, -0.5, 0.5)),
    "stretch": lambda x, y: jnp.broadcast_to(x[:, :1], (2, 3, 4)) - jnp.arange(4.0)[None, None],
    "stretched output": lambda x, y: jnp.broadcast_to(x[:1], (5, 3, 4)),
    "reductions": lambda x, y: [x.sum(1), x.max((0, 2)), x.min(-1), x.mean(), (x > 0).any(1), (x > -9).all(), x.sum(())],
    "norm": lambda x, y: (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5),
    "softmax": lambda x, y: [jax.nn.softmax(x), jax.nn.log_softmax(x, 1)],
    "one choice": lambda x, y: [jax.nn.one_hot(x.argmax(-1), 4), x.argmax(1)],
    "parts": lambda x, y: [
        *jnp.split(x, [1, 3], -1),
        x[1:, ::1, 1:3],
        jnp.concatenate([x, x * 2], 1),
        jnp.stack([x, x], 1),
        jnp.squeeze(x[:1], 0),
    ],
    "padding": lambda x, y: jnp.pad(x, [(0, 0), (1, 0), (0, 2)], constant_values=3.0),
    "x @ W": lambda x, y: x @ y[0],
    "stacks": lambda x, y: [x @ y, jnp.einsum("bij,bjk->kbi", x, y), jnp.einsum("bij,bki->bjk", x, y)],
    "vectors": lambda x, y: [x[0, 0] @ y[0], x[0] @ y[0, :, 0], x[0, 0] @ y[0, :, 0], jnp.einsum("bij,bjk->ik", x, y)],
    "sorting": lambda x, y: [jnp.argsort(x, -1), jnp.take_along_axis(x, jnp.argsort(x, 1)[:, :2], 1), jnp.sort(x, 1)],
    "indices": lambda x, y: [
        x[0, ORDER],
        x[:, jnp.argmax(x[0], 0)],
        jax.vmap(lambda x, i: x[i])(x[0], jnp.argsort(x[0], -1)),
    ],
    "loops": summed,
    "constants alone": lambda x, y: jnp.arange(3.0) * 2,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_are_those_of_jax(name):
    """As inputs, and folded: as parameters of the function."""
    want = jax.tree.leaves(FUNCTIONS[name](jnp.asarray(X), jnp.asarray(Y)))
    as_inputs = Traced(lambda params, x, y: FUNCTIONS[name](x, y), (), X, Y).listing(())
    folded = Traced(lambda params, x: FUNCTIONS[name](*params), (X, Y), X).listing((X, Y))
    assert not folded.steps
    for got in (as_inputs.program()(X, Y), folded.program()(X)):
        for a, b in zip(got, want, strict=True):
            assert np.shape(a) == b.shape and np.asarray(a).dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_nothing_needs_is_left_out_and_what_is_the_same_is_computed_once():
    def function(params, x):
        unused = jnp.exp(x)
        del unused
        return jnp.tanh(x) + jnp.tanh(x)

    assert [name for name, *_ in Traced(function, (), X).listing(()).steps] == ["tanh", "add"]


def endless(params, x):
    return jax.lax.scan(lambda total, _: (total + x, total), x, None, 90_000)


@pytest.mark.parametrize("function", [lambda params, x: jnp.cumsum(x, 0), endless])
def test_what_has_no_counterpart_is_said(function):
    with pytest.raises(NotPlain):
        Traced(function, (), X).listing(())


HEADS = TeamSpec({"agent": RoleSpec(2, (Field("obs", 1, 3),), Discrete((3, 2)))}, 5, 6)
CASES = {name: small(config) for name, config in learners().items()} | {
    "gru": PPO(core="gru", hidden=(8,), obs_norm=True, layer_norm=True),
    "agp": DDPG(actor="agp", embedding=8),
    "agnn": DDPG(actor="agnn", embedding=8, critic="local"),
}


@pytest.mark.parametrize("config", CASES.values(), ids=list(CASES))
def test_every_learners_policy_is_the_same_in_numpy(config):
    """Three steps with memory. A network of too many operations for NumPy is one of JAX."""
    graphs = getattr(config, "actor", "mlp") != "mlp"  # which need entities
    spec = Spread(2).spec if graphs else next(spec for spec in (Mixed().spec, HEADS) if takes(config, spec))
    team = TeamPolicy(spec, config, drawn(config, spec, 2), (0, 1))
    program = team._acting.program(1, team.params)
    listing = team._acting.traced.listing(team.place(1))
    assert (program is None) == (len(listing.steps) > 400)
    memory, want, policy = team.learner.start(1), team.learner.start(1), jax.jit(team.learner.policy)
    for step in range(3):
        rng = np.random.default_rng(step)
        obs = {r: rng.normal(size=(1, s.agents, s.obs_size)).astype(np.float32) for r, s in spec.roles.items()}
        memory, out = team._acting.step(listing.program(), memory_like(team._acting.start, memory), obs)
        want, logits = policy(team.place(1), want, obs)
        for a, b in zip(jax.tree.leaves((memory, out)), jax.tree.leaves((want, logits)), strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


def test_a_policy_without_counterpart_acts_by_jax():
    spec = Spread(2).spec
    config = PPO(hidden=(8,))
    team = TeamPolicy(spec, config, drawn(config, spec, 1), (0,))
    obs = {name: np.random.default_rng(i).normal(size=12) for i, name in enumerate(spec.names["agent"])}
    want = team.act(obs)[0]
    odd = TeamPolicy(spec, config, team.params, (0,))
    seen = lambda params, carry, obs: team.learner.policy(params, carry, {r: jnp.cumsum(x, 1) * 0 + x for r, x in obs.items()})
    odd.__dict__["learner"] = team.learner._replace(policy=seen)
    assert odd.act(obs)[0] == want and odd._acting.programs == {0: None}
