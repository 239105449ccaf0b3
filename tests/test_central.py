"""A team seen as one agent, and messages that gradients flow through: against loops over agents, choice by choice."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import Mixed

from headstart import registry
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.types import Continuous, Discrete, Field, RoleSpec, Route, TeamSpec
from headstart.envs.centralized import Centralized, centralized
from headstart.envs.particle.reference import Reference
from headstart.envs.particle.speaker_listener import SpeakerListener
from headstart.envs.particle.spread import Spread
from headstart.views.central import TEAM, view, view_of
from headstart.views.messages import hear, listeners, words

TALKERS = TeamSpec(
    {
        "agent": RoleSpec(3, (Field("velocity", 1, 2), Field("messages", 2, 4), Field("goal", 1, 3)), Discrete((5, 4))),
        "guide": RoleSpec(1, (Field("goal", 1, 2), Field("messages", 3, 4)), Discrete((6,))),
        "scout": RoleSpec(2, (Field("heard", 1, 6),), Discrete((2, 3))),
    },
    10,
    messages=(
        Route("agent", 1, "agent", "messages"),
        Route("agent", 1, "guide", "messages"),
        Route("guide", 0, "scout", "heard"),
    ),
)


def test_the_controller_observes_everything_but_messages():
    seen = view(TALKERS)
    obs = {r: jr.normal(jr.key(i), (7, s.agents, s.obs_size)) for i, (r, s) in enumerate(TALKERS.roles.items())}
    got = seen.observe(obs)[TEAM]
    agents = [np.concatenate([obs["agent"][:, i, :2], obs["agent"][:, i, 10:]], -1) for i in range(3)]
    np.testing.assert_array_equal(got[:, 0], np.concatenate([*agents, obs["guide"][:, 0, :2]], -1))
    assert seen.spec.roles[TEAM].obs_size == got.shape[-1] == 3 * 5 + 2
    names = [field.name for field in seen.spec.roles[TEAM].obs]
    assert names == [f"agent_{i}/{f}" for i in range(3) for f in ("velocity", "goal")] + ["guide_0/goal"]


def choices(spec, action):
    """{role: [A][head] the option chosen, or None for silence}, by loops."""
    out = {}
    for role, about in spec.roles.items():
        cuts = np.cumsum((0, *about.actions.heads))
        rows = [[np.asarray(row[a:b]) for a, b in itertools.pairwise(cuts)] for row in np.asarray(action[role])]
        out[role] = [[int(x.argmax()) if x.any() else None for x in row] for row in rows]
        assert all(x.sum() in (0, 1) for row in rows for x in row)
    return out


PHYSICAL = [5, 5, 5, 2, 3, 2, 3]  # three agents' moves, two scouts' two heads


def meant(flat):
    """What the seven physical choices mean for everybody."""
    a, s = flat[:3], flat[3:]
    return {"agent": [[x, None] for x in a], "guide": [[None]], "scout": [s[:2], s[2:]]}


def test_heads_move_everybody():
    seen, rng = view(TALKERS), np.random.default_rng(0)
    assert seen.spec.roles[TEAM].actions == Discrete(tuple(PHYSICAL))
    for _ in range(20):
        flat = [int(rng.integers(n)) for n in PHYSICAL]
        vector = np.concatenate([np.eye(n, dtype=np.float32)[i] for i, n in zip(flat, PHYSICAL, strict=True)])
        assert choices(TALKERS, seen.act({TEAM: jnp.asarray(vector)[None]})) == meant(flat)


def test_a_joint_choice_is_a_combination():
    small = TALKERS._replace(roles={k: v for k, v in TALKERS.roles.items() if k == "agent"}, messages=TALKERS.messages[:1])
    seen = view(small, "joint")
    assert seen.spec.roles[TEAM].actions == Discrete((125,))
    acted = jax.vmap(lambda v: seen.act({TEAM: v[None]})["agent"])(jnp.eye(125))
    for k, flat in enumerate(itertools.product(range(5), repeat=3)):
        assert choices(small, {"agent": acted[k]})["agent"] == [[x, None] for x in flat]


def test_one_at_a_time_moves_one_head_and_leaves_the_others_idle():
    seen = view(TALKERS, "one_at_a_time")
    assert seen.spec.roles[TEAM].actions == Discrete((sum(PHYSICAL),))
    k = 0
    for head, options in enumerate(PHYSICAL):
        for option in range(options):
            flat = [0] * len(PHYSICAL)
            flat[head] = option
            assert choices(TALKERS, seen.act({TEAM: jnp.eye(sum(PHYSICAL))[k][None]})) == meant(flat)
            k += 1


@pytest.mark.parametrize("actions", ["heads", "joint", "one_at_a_time"])
def test_soft_choices_stay_distributions(actions):
    team = Spread(3).spec
    seen = view(team, actions)
    size = seen.spec.roles[TEAM].actions.size
    logits = jr.normal(jr.key(0), (4, 1, size))
    parts = 3 if actions == "heads" else 1
    soft = jax.nn.softmax(logits.reshape(4, 1, parts, -1), -1).reshape(4, 1, size)
    got = np.asarray(seen.act({TEAM: soft})["agent"])
    np.testing.assert_allclose(got.sum(-1), 1, rtol=1e-5)
    assert got.min() >= 0
    if actions == "joint":
        joint = np.asarray(soft).reshape(4, 5, 5, 5)
        np.testing.assert_allclose(got[:, 1], joint.sum((1, 3)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("actions", ["heads", "joint"])
def test_what_is_legal_for_each_is_legal_together(actions):
    team, rng = Spread(2).spec, np.random.default_rng(0)
    legal = rng.random((6, 2, 5)) < 0.6
    got = np.asarray(view(team, actions).available({"agent": jnp.asarray(legal)})[TEAM])[:, 0]
    for row, mask in zip(legal, got, strict=True):
        want = np.concatenate(row) if actions == "heads" else [row[0][i] and row[1][j] for i in range(5) for j in range(5)]
        assert mask.tolist() == list(want)
    assert view(team, actions).available(None) is None


def test_too_many_joint_actions_are_refused():
    with pytest.raises(HeadstartError, match=r"6 heads have 15,625 joint actions.*heads or one_at_a_time"):
        centralized(Spread(6), "joint")
    with pytest.raises(HeadstartError, match="only be centralised as heads"):
        centralized(Spread(2, control="force"), "joint")
    with pytest.raises(HeadstartError, match="some act by choices"):
        view(TeamSpec({"a": TALKERS.roles["guide"], "b": RoleSpec(1, (), Continuous(2))}, 5))


def test_a_controller_is_known_by_its_spec():
    team = Spread(3).spec
    for actions in ("heads", "joint", "one_at_a_time"):
        assert view_of(team, view(team, actions).spec).actions == actions
    assert view_of(team, Spread(4).spec) is None and view_of(Spread(2).spec, view(team).spec) is None


@pytest.mark.parametrize("inner", [Spread(3), SpeakerListener(), Reference(3, 5), Mixed(), Spread(2, control="force")], ids=str)
def test_a_centralised_environment_is_the_environment(inner):
    """The same key, the same choices: the same rewards, on average over agents, and the same observations side by side."""
    try:
        env = centralized(inner)
    except HeadstartError as error:
        assert "some act by choices" in str(error) and isinstance(inner, Mixed)
        return
    keys = jr.split(jr.key(0), 5)
    state, step = env.reset(keys[0])
    theirs, plain = inner.reset(keys[0])
    size = env.spec.roles[TEAM].actions.size
    for key in keys[1:]:
        np.testing.assert_array_equal(step.obs[TEAM], env.view.observe(plain.obs)[TEAM])
        action = {TEAM: jr.uniform(key, (1, size))}
        state, step = env.step(state, action, key)
        theirs, plain = inner.step(theirs, env.view.act(action), key)
        want = np.mean(np.concatenate([np.asarray(x) for x in plain.reward.values()]))
        np.testing.assert_allclose(step.reward[TEAM], [want], rtol=1e-6)
        assert bool(step.truncated) == bool(plain.truncated)


def test_it_is_named_saved_and_given_flags_as_the_environment_in_it(capsys):
    env = registry.preset("env", "centralized:communication-3")
    assert isinstance(env, Centralized) and env.env == registry.preset("env", "communication-3")
    import json

    assert registry.decode("env", json.loads(json.dumps(registry.encode("env", env)))) == env
    with pytest.raises(SystemExit):
        cli.main(["train", "centralized:tag", "--help"])
    out = capsys.readouterr().out
    assert "--env.env.prey-speed" in out.replace("_", "-") and "--env.actions" in out


# ------------------------------------------------------------------ messages


def test_words_are_the_softmax_of_the_message_head():
    logits = {r: jr.normal(jr.key(i), (6, s.agents, s.actions.size)) for i, (r, s) in enumerate(TALKERS.roles.items())}
    got = words(TALKERS, TALKERS.messages[0], logits)
    raw = np.exp(np.asarray(logits["agent"], float)[..., 5:])
    np.testing.assert_allclose(got, raw / raw.sum(-1, keepdims=True), rtol=1e-5)


def test_everybody_hears_the_others_in_order_and_nothing_else_changes():
    obs = {r: jr.normal(jr.key(i), (2, s.agents, s.obs_size)) for i, (r, s) in enumerate(TALKERS.roles.items())}
    said = {route: jr.normal(jr.fold_in(jr.key(9), i), (2, TALKERS.roles[route.speaker].agents, n)) for i, (route, n) in
            enumerate(zip(TALKERS.messages, (4, 4, 6), strict=True))}  # fmt: skip
    heard = hear(TALKERS, obs, said)
    first, second, third = (np.asarray(x) for x in said.values())
    for i in range(3):
        others = np.concatenate([first[:, j] for j in range(3) if j != i], -1)
        want = np.concatenate([obs["agent"][:, i, :2], others, obs["agent"][:, i, 10:]], -1)
        np.testing.assert_array_equal(heard["agent"][:, i], want)
    want = np.concatenate([obs["guide"][:, 0, :2], second.reshape(2, -1)], -1)
    np.testing.assert_array_equal(heard["guide"][:, 0], want)
    for i in range(2):
        np.testing.assert_array_equal(heard["scout"][:, i], third[:, 0])
    assert [listeners(TALKERS, role) for role in TALKERS.roles] == [2 + 1, 2, 0]


def test_a_field_that_cannot_hold_what_is_said_is_refused():
    odd = TALKERS._replace(messages=(Route("guide", 0, "agent", "messages"),))
    obs = {r: jnp.zeros((s.agents, s.obs_size)) for r, s in odd.roles.items()}
    with pytest.raises(HeadstartError, match="'messages' of role agent has 8 numbers"):
        hear(odd, obs, {odd.messages[0]: jnp.zeros((1, 6))})
