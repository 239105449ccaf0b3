"""MAAC's critic as a setting of DDPG and PPO: values against plain loops, where gradients go, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import random_params
from probes import loop, same
from test_maac import SETTINGS, TEAMS, Loops, rows

from headstart.core.checks import HeadstartError
from headstart.envs.particle.spread import Spread
from headstart.learners.bodies import mlp_body
from headstart.learners.critics import critic
from headstart.learners.ddpg import DDPG
from headstart.learners.graphs import Graphs
from headstart.learners.ppo import PPO

SPEC = TEAMS["two roles"]
ATTENTION = {"critic": "attention", "embedding": SETTINGS["embedding"], "heads": SETTINGS["heads"]}


def judge(config, acts):
    """A critic and random parameters of its networks."""
    made = critic("attention", SPEC, lambda role: mlp_body((), "tanh"), Graphs(config, (5,), "tanh"), config.shared, acts)
    params = random_params(config.make(SPEC), 1)
    return made, {name: params[name] for name in made.networks}


def of(values, b, loops):
    """{(role, number of the agent): its row} of one sample."""
    return {who: np.asarray(values[who[0]][b, who[1]], np.float64) for who in loops.everybody}


@pytest.mark.parametrize("shared", [False, True])
def test_values_of_actions_against_loops(shared):
    made, params = judge(DDPG(**ATTENTION, activation="tanh", shared=shared), acts=True)
    obs = rows(SPEC, lambda role: role.obs_size, 1)
    done, fresh = (jax.tree.map(jnp.tanh, rows(SPEC, lambda role: role.actions.size, seed)) for seed in (2, 3))
    alive = {"bank": jnp.ones((4, 2), bool), "collector": jnp.array([[True, False, True]] * 4)}
    q, (taken, own) = made.q(params, obs, done, alive), made.q_own(params, obs, done, fresh, alive)
    loops = Loops(SPEC, shared, None, {})
    there = dict(zip(loops.everybody, [True, True, True, False, True], strict=True))
    for b in range(4):
        for me in filter(there.get, loops.everybody):
            values, *_ = loops.values(params, params, me, of(obs, b, loops), of(done, b, loops), there)
            for got, chosen in ((q, done), (taken, done), (own, fresh)):
                np.testing.assert_allclose(got[me[0]][me[1], b], values @ of(chosen, b, loops)[me], rtol=1e-5, atol=1e-5)


def test_an_actors_objective_reaches_its_own_action_alone():
    made, params = judge(DDPG(**ATTENTION), acts=True)
    obs, done = rows(SPEC, lambda role: role.obs_size, 1), rows(SPEC, lambda role: role.actions.size, 2)
    own = lambda params, fresh: made.q_own(params, obs, done, fresh, None)[1]["collector"][1].sum()
    critics, fresh = jax.grad(own, (0, 1))(params, done)
    assert not any(np.any(x) for x in jax.tree.leaves(critics))
    assert jnp.abs(fresh["collector"][:, 1]).min() > 1e-4
    assert not np.any(fresh["bank"]) and not np.any(fresh["collector"][:, [0, 2]])


def test_values_of_states_against_loops():
    made, params = judge(PPO(**ATTENTION, activation="tanh"), acts=False)
    obs = rows(SPEC, lambda role: role.obs_size, 1)
    carry, value = made.v(params)((), (obs, None))
    loops, nothing = Loops(SPEC, True, None, {}), {name: jnp.zeros((4, role.agents, 0)) for name, role in SPEC.roles.items()}
    assert carry == ()
    for b in range(4):
        for me in loops.everybody:
            everybody = dict.fromkeys(loops.everybody, True)
            want, *_ = loops.values(params, params, me, of(obs, b, loops), of(nothing, b, loops), everybody)
            np.testing.assert_allclose(value[me[0]][b, me[1]], want[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [
    DDPG(**ATTENTION, hidden=(4,), warmup=0, batch=4, capacity=8, num_envs=4, train_every=4),
    PPO(**ATTENTION, hidden=(4,), num_envs=4, rollout=4, epochs=1, minibatches=1),
], ids=["ddpg", "ppo"])  # fmt: skip
def test_every_part_of_the_critic_learns(config):
    """Encoders, values and attention move; so do DDPG's target networks."""
    made = loop(Spread(3), config, 2)  # with one other agent, queries and keys learn nothing
    first = made.start((0,))
    last, _ = made.run((0,))
    tree = lambda state: {network: state.params[network] for network in ("critic", "attention")}
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), tree(first), tree(last))
    assert all(x > 0 for x in jax.tree.leaves(moved)), moved
    if isinstance(config, DDPG):
        assert not same(first.target["attention"], last.target["attention"])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: DDPG(critic="attention", embedding=6, heads=4), "a multiple of learner.heads"),
    (lambda: PPO(critic="attention", core="gru"), "joint or local with recurrent networks"),
    (lambda: DDPG(critic="attention", reduce_critic=("agent=4",)), "empty with the critic attention"),
    (lambda: DDPG(critic="attention").make(Spread(2, control="force").spec), "'agent' are continuous: choose another"),
], ids=["heads", "gru", "reduced", "continuous"])  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(HeadstartError, match=message):
        make()


def test_without_actions_any_team_may_choose_it():
    env = Spread(2, control="force")
    assert PPO(critic="attention").make(env.spec).attention.vertices["agent"] == ("agent_0", "agent_1")
