"""Agents of one role as several: the same game, step for step, and roles that may differ in everything."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import loop, same, small

import headstart as hs
from headstart import registry
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.env import vectorise

GROUPS = {"leader": (1,), "novices": (2, 0)}
TINY = {"num_envs": 4, "train_every": 4, "rollout": 4, "batch": 8, "warmup": 8, "capacity": 64, "hidden": (8,)}


def test_it_is_the_same_game():
    """Every agent observes and earns what it does ungrouped, if it does the same."""
    plain, env = hs.Tag(), hs.regrouped(hs.Tag(), "adversary", GROUPS)
    assert env.spec.names["novices"] == ("adversary_2", "adversary_0")
    inside, outside = vectorise(plain, 6), vectorise(env, 6)
    key, order = jr.key(3), [1, 2, 0]
    states, shown = jax.jit(inside.reset)(key)
    others, seen = jax.jit(outside.reset)(key)
    step, step_grouped = jax.jit(inside.step), jax.jit(outside.step)
    for k in jr.split(jr.key(0), 30):  # over the end of an episode
        action = {r: jax.nn.softmax(jr.normal(k, (6, s.agents, 5))) for r, s in plain.spec.roles.items()}
        mine = {"leader": action["adversary"][:, [1]], "novices": action["adversary"][:, [2, 0]], "agent": action["agent"]}
        states, shown = step(states, action, k)
        others, seen = step_grouped(others, mine, k)
        for name in ("obs", "final_obs", "reward", "alive"):
            parts = jnp.concatenate([getattr(seen, name)[r] for r in ("leader", "novices")], 1)
            np.testing.assert_array_equal(parts, getattr(shown, name)["adversary"][:, np.array(order)])
            np.testing.assert_array_equal(getattr(seen, name)["agent"], getattr(shown, name)["agent"])
    assert same(states, others)


@pytest.mark.parametrize("name", ["maddpg", pytest.param("mappo", marks=pytest.mark.slow)])
def test_a_group_learns_as_a_role_of_its_own(name):
    env, config = hs.regrouped(hs.Tag(), "adversary", GROUPS), small(registry.preset("learner", name), **TINY)
    made = loop(env, config, 3)
    before = made.start((0,))
    state, metrics = made.run((0,), state=before)
    assert set(state.params["actor"]) == {"leader", "novices", "agent"}
    for role in state.params["actor"]:
        assert not same(before.params["actor"][role], state.params["actor"][role])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))


@pytest.mark.slow
def test_a_team_of_the_groups_warm_starts_from_a_leader_alone():
    """A leader that was trained against one prey goes into the role `leader`, and the novices start afresh."""
    alone = hs.Tag(adversaries=1)
    config = small(hs.DDPG(), **TINY)
    donor = jax.vmap(config.make(alone.spec).init)(jr.split(jr.key(5), 2))
    teacher = hs.TeamPolicy(alone.spec, config, donor, (0, 1), alone)
    env = hs.regrouped(hs.Tag(), "adversary", GROUPS)
    guide = hs.WarmStart(teacher, roles=("adversary",), into=("leader",))
    warm, fresh = loop(env, config, 2, (guide,)).start((1,)), loop(env, config, 2).start((1,))
    assert same(warm.params["actor"]["novices"], fresh.params["actor"]["novices"])
    given = teacher.seed(1)["actor"]["adversary"].net
    got = warm.params["actor"]["leader"].net
    np.testing.assert_array_equal(got.layers[1].weight[0], given.layers[1].weight)
    own = {f.name: f for f in alone.spec.roles["adversary"].obs}
    first = next(iter(own.values())).width  # the first field is the same for both
    np.testing.assert_array_equal(got.layers[0].weight[0][:, :first], given.layers[0].weight[:, :first])


@pytest.mark.parametrize(
    "role,groups,says",
    [
        ("adversary", {"leader": (0,), "rest": (1,)}, "each of the agents 0 to 2"),
        ("adversary", {"leader": (0, 1), "rest": (1, 2)}, "each of the agents 0 to 2"),
        ("adversary", {"agent": (0,), "rest": (1, 2)}, "a role 'agent', which"),
        ("chaser", {"a": (0,)}, "unknown role 'chaser'"),
        ("adversary", {"leader": 0, "rest": (1, 2)}, r"group 'leader' must be a list of numbers: \[0\], not 0"),
        ("adversary", {"leader": "0", "rest": (1, 2)}, r"group 'leader' must be a list of numbers such as \[0, 1\], not '0'"),
        ("adversary", {"leader": ["a"], "rest": (1, 2)}, r"group 'leader' must be a list of numbers such as"),
        ("adversary", (("leader", [0]), ("rest", [1, 2])), r'groups must be a dict such as {"leader": \[0\]'),
        ("adversary", ["leader=0", "rest=1,2"], "groups must be a dict such as"),
    ],
)
def test_what_does_not_divide_a_role_is_refused(as_users, role, groups, says):
    with pytest.raises(HeadstartError, match=says) as caught:
        hs.regrouped(hs.Tag(), role, groups)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_groups_are_flags_and_survive_the_run(tmp_path, capsys):
    small = ["--learner.num_envs", "4", "--learner.rollout", "8", "--steps", "64", "--evaluations", "2", "--episodes", "4"]
    groups = ["--env.groups", "leader=1", "rest=0,2", "--env.env.horizon", "8"]
    out = str(tmp_path / "run")
    cli.main(["train", "regrouped:tag", "--learner", "ippo", *groups, *small, "--out", out])
    team = hs.load(out)
    assert team.spec.names["rest"] == ("adversary_0", "adversary_2") and team.env.env.horizon == 8
    cli.main(["evaluate", out, "--episodes", "4"])
    assert "over 1 seed," in capsys.readouterr().out
