"""Mixed values and recurrent Q-learning: losses against plain NumPy loops, monotonicity, the game that VDN cannot solve."""

import dataclasses
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import loop, one_role, played, shown, small
from test_qlearning import ROLES, SPEC, losses_by_loops, random_batch

from headstart import registry
from headstart.core.guidance import NONE, Clock
from headstart.core.trainer import make_trainer
from headstart.core.types import Discrete
from headstart.learners.mixers import mixer, states_of
from headstart.learners.qlearning import QLearning

SIZE, T, H = 6, 5, 4
SHARED = {"none": False, "sum": True, "monotone": False}
"""Whether the agents of a role share a network, for each mixing."""

# ------------------------------------------------------------------ losses, against loops


def config_of(mixing) -> QLearning:
    settings = {"hidden": (3, 5, H), "mixing_units": 3, "hypernet_units": 5}
    settings["reward_over"] = "living" if mixing == "monotone" else "all"
    return QLearning(mixing=mixing, shared=SHARED[mixing], core="gru", train_every=40, gamma=0.9, loss="mse", **settings)


def sequences(rng):
    """Random steps with all flags, as a batch of single ones and as sequences [B T ..] with carries that they began with."""
    flat = random_batch(rng, SIZE * T)
    batch = jax.tree.map(lambda x: x.reshape(SIZE, T, *x.shape[1:]), flat)
    carry = {name: jnp.asarray(rng.normal(size=(SIZE, role.agents, H)), jnp.float32) for name, role in ROLES.items()}
    return flat, dataclasses.replace(batch, extras={"carry": {"q": carry}})


@functools.cache
def made(mixing):
    """(learner, parameters, targets), all of them random, the biases as well."""
    learner = config_of(mixing).make(SPEC)
    wild = lambda key: jax.tree.map(lambda x: x + 0.4 * jr.normal(jr.fold_in(key, x.size), x.shape), learner.init(key))
    return learner, jax.jit(wild)(jr.key(0)), jax.jit(wild)(jr.key(1))


def plain(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def relu(x):
    return np.maximum(x, 0)


def layers(x, mlp):
    """[I] -> [O] through an MLP with ReLU, or through a single layer."""
    *inner, last = getattr(mlp, "layers", [mlp])
    for layer in inner:
        x = relu(x @ layer.weight + layer.bias)
    return x @ last.weight + last.bias


def remembering(core, carry, x):
    """One step of an encoder, a GRU and a head: [H], [I] -> [H], [U]."""
    x, sigmoid, size = relu(layers(x, core.body)), lambda z: 1 / (1 + np.exp(-z)), len(carry)
    new = x @ core.memory.inputs.weight + core.memory.inputs.bias
    old = carry @ core.memory.hidden.weight + core.memory.hidden.bias
    reset, update = sigmoid(new[:size] + old[:size]), sigmoid(new[size : 2 * size] + old[size : 2 * size])
    carry = (1 - update) * np.tanh(new[2 * size :] + reset * old[2 * size :]) + update * carry
    return carry, carry @ core.head.weight + core.head.bias


def along(params, shared, batch):
    """Values at `obs` and at `next_obs`, each {role: [B·T A U]}: one sequence, one agent and one step after the other."""
    batch, nets, now, ahead = plain(batch), plain(params["q"]), {}, {}
    for name, role in ROLES.items():
        now[name], ahead[name] = np.zeros((2, SIZE, T, role.agents, role.actions.size))
        for b, a in np.ndindex(SIZE, role.agents):
            core = nets[name].net if shared else jax.tree.map(lambda x, a=a: x[a], nets[name].net)
            carry = batch.extras["carry"]["q"][name][b, a]
            for t in range(T):
                carry = np.zeros(H) if batch.first[b, t] else carry
                carry, now[name][b, t, a] = remembering(core, carry, batch.obs[name][b, t, a])
                _, ahead[name][b, t, a] = remembering(core, carry, batch.next_obs[name][b, t, a])
    flat = lambda out: {name: x.reshape(SIZE * T, *x.shape[2:]) for name, x in out.items()}
    return flat(now), flat(ahead)


def seen_by_all(obs, alive):
    """[B·T Z]: every agent's observation, roles by name, zeros for the dead."""
    rows = [np.where(np.asarray(alive[name])[..., None], obs[name], 0.0) for name in sorted(ROLES)]
    return np.concatenate([x.reshape(len(x), -1) for x in rows], -1).astype(np.float64)


def monotone(params, states):
    """(item, values of all agents) -> their QMIX value, agent by agent and unit by unit."""
    nets = plain(params["mixer"])
    team = nets["talker"].net.team

    def mix(b, values):
        state = states[b]
        rows = np.concatenate([layers(state, nets[name].net.weights).reshape(-1, 3) for name in ROLES])
        hidden = state @ team.bias.weight + team.bias.bias
        for value, row in zip(values, rows, strict=True):
            hidden = hidden + value * np.abs(row)
        hidden = np.where(hidden > 0, hidden, np.exp(hidden) - 1)
        return hidden @ np.abs(layers(state, team.last)) + layers(state, team.value)[0]

    return mix


@functools.cache
def objective(mixing):
    """(params, target, batch) -> {role: [A]}."""
    learner = made(mixing)[0]
    return jax.jit(lambda *given: learner.objective(*given, jr.key(0))[0]["q"])


@pytest.mark.parametrize("mixing", SHARED)
def test_losses_of_sequences_against_loops(mixing):
    """With restarts inside sequences, truncations, deaths, masks, two roles, two heads, and the target's own unroll."""
    _, params, target = made(mixing)
    flat, batch = sequences(np.random.default_rng(1))
    q, q_next = along(params, SHARED[mixing], batch)
    _, value_next = along(target, SHARED[mixing], batch)
    mixes = ()
    if mixing == "monotone":
        now, then = seen_by_all(flat.obs, flat.alive), seen_by_all(flat.next_obs, flat.next_alive)
        mixes = monotone(params, now), monotone(target, then)
    got = objective(mixing)(params, target, batch)
    want = losses_by_loops(config_of(mixing), q, q_next, value_next, flat, *mixes)
    for role in ROLES:
        np.testing.assert_allclose(got[role], want[role], rtol=1e-5, err_msg=role)


@pytest.mark.parametrize("mixing", ["sum", "monotone"])  # a value alone may learn what the dead see is worth
def test_a_dead_agents_observations_change_no_loss(mixing):
    """Bitwise: neither what it sees while dead, nor what it sees next, nor what an agent sees once it has ended."""
    _, params, target = made(mixing)
    _, batch = sequences(np.random.default_rng(3))
    spoil = lambda obs, alive: {name: jnp.where(alive[name][..., None], x, 9.0 - x) for name, x in obs.items()}
    # Only agents that stay dead to the end of their sequence: one that lives again remembers what it saw.
    yet = lambda x: jnp.flip(jax.lax.cummax(jnp.flip(x, 1).astype(jnp.int32), axis=1), 1) > 0
    living = {name: yet(x) for name, x in batch.alive.items()}
    noisy = dataclasses.replace(batch, obs=spoil(batch.obs, living), next_obs=spoil(batch.next_obs, batch.next_alive))
    assert any((noisy.obs[name] != batch.obs[name]).any() for name in ROLES)
    one, two = (objective(mixing)(params, target, x) for x in (batch, noisy))
    assert jax.tree.all(jax.tree.map(np.array_equal, one, two))


def test_agents_in_another_order_get_their_values_in_that_order():
    """With one network for all agents of a role; the team's loss stays the same."""
    learner, params, target = made("sum")
    _, batch = sequences(np.random.default_rng(5))
    order = {"talker": [1, 0], "mover": [2, 0, 1]}
    moved = {}
    for field in ("obs", "next_obs", "action", "reward", "alive", "next_available", "agent_terminated"):
        moved[field] = {name: x[:, :, order[name]] for name, x in getattr(batch, field).items()}
    carry = {name: x[:, order[name]] for name, x in batch.extras["carry"]["q"].items()}
    other = dataclasses.replace(batch, **moved, extras={"carry": {"q": carry}})
    (_, here), (_, there) = (learner.unroll(params, x) for x in (batch, other))
    for name in ROLES:
        np.testing.assert_allclose(there[name], here[name][:, :, order[name]], rtol=1e-5, atol=1e-6)
    one, two = (objective("sum")(params, target, x) for x in (batch, other))
    for name in ROLES:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5)


# ------------------------------------------------------------------ the monotone mixer


def test_more_of_an_agents_value_is_never_less_for_the_team():
    """By finite differences, over random networks, states and values; some differences are large."""
    spec = SPEC._replace(state_size=7)
    agents, qmix = sum(role.agents for role in ROLES.values()), mixer("monotone", SPEC._replace(state_size=7), 4, 6)
    assert set(qmix.init(jr.key(0))) == set(spec.roles)

    @jax.jit
    @jax.vmap
    def gains(key):
        a, b, c, d = jr.split(key, 4)
        nets = jax.tree.map(lambda x: x + jr.normal(d, x.shape), qmix.init(a))
        values, state = 3 * jr.normal(b, (agents,)), jr.normal(c, (7,))
        up = jax.vmap(lambda one: qmix.mix(nets, values + 0.1 * one, state))(jnp.eye(agents))
        return up - qmix.mix(nets, values, state), jnp.abs(qmix.mix(nets, values, state))

    gained, size = gains(jr.split(jr.key(1), 500))
    assert (np.asarray(gained) >= -1e-6 * np.asarray(size)[:, None]).all() and (gained > 0.1).mean() > 0.1


def test_the_state_is_the_environments_if_it_has_one():
    batch = random_batch(np.random.default_rng(0))
    state = jnp.ones((40, 3))
    own = dataclasses.replace(batch, state=state, next_state=2 * state)
    now, then = states_of(SPEC._replace(state_size=3), own)
    assert (now == 1).all() and (then == 2).all()
    now, then = states_of(SPEC, own)
    np.testing.assert_array_equal(now, seen_by_all(batch.obs, batch.alive).astype(np.float32))
    np.testing.assert_array_equal(then, seen_by_all(batch.next_obs, batch.next_alive).astype(np.float32))


def test_mixers_stay_with_the_run():
    """A team leaves without its mixer, and only a mixer that reads states makes memory keep them."""
    learner, params, _ = made("monotone")
    assert set(params) == {"q", "mixer"} and learner.policy_networks == ("q",)
    assert set(made("sum")[1]) == {"q"}
    for mixing, size in (("monotone", 3), ("sum", 0)):
        trainer = make_trainer(TwoSteps(), small(QLearning(mixing=mixing)).make(TwoSteps().spec), NONE, 800)
        memory = jax.eval_shape(trainer.init, jr.key(0), jnp.asarray(0)).memory
        assert memory.state.shape == memory.next_state.shape == (800, size)


# ------------------------------------------------------------------ known games


@dataclass(frozen=True)
class TwoSteps:
    """The two-step game of the QMIX paper (§5): the first agent's first choice decides which matrix pays at the second step.

    All pay 7 in the first one, and 0, 1, 1, 8 in the other. The best return is 8, and needs both agents' choices together.
    """

    @property
    def spec(self):
        return one_role(2, 5, Discrete((2,)), 2, state=3)

    def _show(self, state, reward=0.0, over=False):
        where = jax.nn.one_hot(state, 3)
        obs = jnp.concatenate([jnp.broadcast_to(where, (2, 3)), jnp.eye(2)], -1)
        step = shown({"agent": obs}, {"agent": jnp.full(2, reward)}, terminated=over)
        return dataclasses.replace(step, state=where, final_state=where)

    def reset(self, key):
        return jnp.zeros((), jnp.int32), self._show(jnp.zeros((), jnp.int32))

    def step(self, state, action, key):
        a, b = action["agent"]
        paid = jnp.where(state == 2, a @ jnp.array([[0.0, 1.0], [1.0, 8.0]]) @ b, 7.0)
        over = state > 0
        after = jnp.where(over, state, 1 + (a[1] > 0.5))
        return after, self._show(after, jnp.where(over, paid, 0.0), over)


@pytest.mark.parametrize("mixing,best", [("monotone", 8.0), ("sum", 7.0)])
def test_the_two_step_game(mixing, best):
    """Every choice at random, as in the paper; a sum cannot tell that 8 is worth the risk of 0."""
    config = QLearning(mixing=mixing, shared=True, loss="mse", epsilon_end=1.0, mixing_units=8)
    config = small(config, hidden=(32,), lr=5e-3, gamma=0.99)
    made = loop(TwoSteps(), config, 600)
    state = made.train((0, 1))["state"]
    assert (played(TwoSteps(), made.learner, state.params)["agent"] == best).all()


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize("steps", [0, 64])
def test_exploration_by_env_steps(steps):
    """`act` is told the share of `exploration_steps` that the run has made, warm-up included; else the run's progress."""
    config = small(QLearning(exploration_steps=steps), num_envs=2, train_every=8, warmup=16, gradient_steps=1, hidden=(2,))
    told = lambda params, carry, step, key, progress: (carry, {"agent": jnp.full((2, 2, 2), progress)})
    learner = config.make(TwoSteps().spec)._replace(act=told)
    trainer = make_trainer(TwoSteps(), learner, NONE, 48)
    run = lambda state: jax.lax.fori_loop(0, 6, lambda i, state: trainer.update(state, i)[0], state)
    memory = jax.jit(lambda key: run(trainer.init(key, jnp.asarray(0))))(jr.key(0)).memory
    want = np.arange(6) * 8 / 64 if steps else [0, 0, 0, 1 / 3, 2 / 3, 1]
    np.testing.assert_allclose(memory.action["agent"].reshape(6, -1), np.repeat(want, 32).reshape(6, -1), rtol=1e-6)
    epsilon = [float(jnp.asarray(learner.pace(Clock(jnp.asarray(i), jnp.asarray(0.5))))) for i in (0, 8, 100)]
    assert epsilon == ([0, 1, 12.5] if steps else [0.5] * 3)


def test_rmsprop_is_that_of_pymarl():
    """torch.optim.RMSprop: v ← 0.99·v + 0.01·g², θ ← θ − lr·g / (√v + 1e-5)."""
    learner = QLearning(optimizer="rmsprop", lr=0.1, hidden=()).make(SPEC)
    params, rng = learner.init(jr.key(0)), np.random.default_rng(0)
    state, second, step = learner.optimizer.init(params), 0.0, jax.jit(learner.optimizer.update)
    for _ in range(3):
        grads = jax.tree.map(lambda x: jnp.asarray(0.1 * rng.normal(size=x.shape), jnp.float32), params)
        updates, state = step(grads, state, params)
        got, g = (np.asarray(tree["q"]["mover"].net.layers[0].weight) for tree in (updates, grads))
        second = 0.99 * second + 0.01 * g**2
        np.testing.assert_allclose(got, -0.1 * g / (np.sqrt(second) + 1e-5), rtol=1e-4)


def test_the_preset_has_pymarls_numbers():
    """In sequences: 5,000 kept, 32 in a batch, 32 before learning, and as many gradient steps as new ones."""
    config = registry.preset("learner", "qmix")
    learner = config.make(SPEC)
    assert (learner.memory.capacity, learner.track_every, learner.rollout) == (5000, 200, 32)
    plan = jax.eval_shape(learner.memory.plan, jr.key(0), 32)
    assert plan.shape == (learner.num_envs, 32)
    assert -(-learner.warmup // (learner.rollout * learner.num_envs)) * learner.num_envs == 32
