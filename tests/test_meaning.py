"""What actions mean: names in the spec, translations by name, labels of teachers, and a teacher's worth before training."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import same, small
from situations.identity import Says, says

import headstart as hs
from benchmarks import semantics
from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.guidance import Clock, chain
from headstart.core.spec import Continuous, Discrete, Field, RoleSpec, TeamSpec, decode_spec, encode_spec
from headstart.core.types import Transition
from headstart.envs.host.openers import pettingzoo_team
from headstart.envs.host.team import HostTeam
from headstart.envs.pettingzoo import to_pettingzoo
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.learners.qlearning import QLearning
from headstart.teams.experts import expert_of
from headstart.teams.fit import fit_teacher
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.training import config as configs
from headstart.training import run, worth
from headstart.views.central import TEAM, view, view_of
from headstart.views.meaning import translation

MPE2, OPENAI = ("stay", "left", "right", "down", "up"), ("stay", "right", "left", "up", "down")
SWAP = [0, 2, 1, 4, 3]
PARTICLES = {
    name: env for name, env in registry.presets("env").items() if type(env).__module__.startswith("headstart.envs.particle.")
}
DDPG8, PPO8, GRU8, VDN8 = (
    small(config, hidden=(8,)) for config in (DDPG(), PPO(), PPO(core="gru"), QLearning(mixing="sum", shared=False))
)


def role(actions, agents: int = 1) -> RoleSpec:
    return RoleSpec(agents, (Field("numbers", 1, 4),), actions)


def named(*options) -> Discrete:
    return Discrete(tuple(map(len, options)), options=options)


def team(env, config=DDPG8, seeds=(0, 1)) -> TeamPolicy:
    """An untrained team whose logits are far apart."""
    params = jax.vmap(config.make(env.spec).init)(jr.split(jr.key(77), len(seeds)))
    params = jax.tree.map(lambda x: 3 * x + 0.1 * jr.normal(jr.key(5), x.shape), params)
    return TeamPolicy(env.spec, config, params, tuple(seeds), env)


def logits(some, obs, params=None, learner=None) -> dict[str, np.ndarray]:
    """{role: [E A U]} of the first seed."""
    learner = learner or some.learner
    given = some.place(0) if params is None else params
    return {k: np.asarray(x) for k, x in learner.policy(given, learner.start(4), obs)[1].items()}


def seen(spec: TeamSpec) -> dict[str, jax.Array]:
    return {name: jr.normal(jr.key(8), (4, r.agents, r.obs_size)) for name, r in spec.roles.items()}


# ------------------------------------------------------------------ names in the spec


def semantics_of(env):
    return [dataclasses.replace(env, semantics=kind) for kind in ("openai", "mpe2")] if hasattr(env, "semantics") else [env]


@pytest.mark.parametrize("name", PARTICLES)
def test_a_moves_name_is_where_it_pushes(name):
    """Two steps of one option beside two steps of `stay`, from one state, with everybody's same move."""
    where = {"right": (1.0, 0.0), "left": (-1.0, 0.0), "up": (0.0, 1.0), "down": (0.0, -1.0), "stay": (0.0, 0.0)}
    for env in semantics_of(PARTICLES[name]):
        start, _ = env.reset(jr.key(3))
        pushed = {}
        for word in where:
            actions = {}
            for part, spec in env.spec.roles.items():
                options = spec.actions.options[0] if spec.actions.options else ()
                heads = [np.eye(n)[options.index(word) if i == 0 and options else 0] for i, n in enumerate(spec.actions.heads)]
                actions[part] = jnp.tile(jnp.asarray(np.concatenate(heads), jnp.float32), (spec.agents, 1))
            state = start
            for _ in range(2):
                state, _ = env.step(state, actions, jr.key(4))
            pushed[word] = np.asarray(state.velocity)
        movers = sum(spec.agents for spec in env.spec.roles.values() if spec.actions.options)
        for word, direction in where.items():
            gained = (pushed[word] - pushed["stay"])[:movers].mean(0)
            assert np.sign(np.round(gained, 3)).tolist() == list(direction), (env, word, gained)


def test_both_semantics_differ_in_their_specs_and_nothing_else_differs():
    assert hs.Spread(semantics="openai").spec != hs.Spread().spec
    assert hs.Spread(semantics="openai").spec.roles["agent"].actions == named(OPENAI)
    assert hs.Spread().spec.roles["agent"].actions == named(MPE2)
    assert hs.Spread(control="force").spec.roles["agent"].actions == Continuous(2, names=("right", "up"))
    assert hs.Reference().spec.roles["agent"].actions == Discrete((5, 10), options=(MPE2, ()))


SPACES = [
    named(("a", "b"), ("c", "d", "e")),
    Discrete((2, 3), (1, 0), (("a", "b"), ())),
    Discrete((4,)),
    Continuous(2, (-2.0, 0.0), (2.0, 1.0), ("x", "-y"), ("N", "m")),
    Continuous(3),
]


@pytest.mark.parametrize("space", SPACES)
def test_names_survive_their_json(space):
    spec = TeamSpec({"agent": role(space)}, 5)
    assert decode_spec(json.loads(json.dumps(encode_spec(spec)))) == spec


def test_json_without_names_is_read_and_written_as_before():
    spec = TeamSpec({"agent": role(Discrete((2, 3), (1, 0)))}, 5)
    assert encode_spec(spec)["roles"]["agent"]["actions"] == {"discrete": [2, 3], "start": [1, 0]}
    spec = TeamSpec({"agent": role(Continuous(1, (0.0,), (2.0,)))}, 5)
    assert encode_spec(spec)["roles"]["agent"]["actions"] == {"continuous": 1, "low": [0.0], "high": [2.0]}


@pytest.mark.parametrize(
    "space", [Discrete((2,), options=(("a",),)), Discrete((2,), options=(("a", "a"),)), Discrete((2, 2), options=(("a", "b"),)),
              Continuous(2, names=("x",)), Continuous(2, names=("x", "-x")), Continuous(2, units=("N",))]
)  # fmt: skip
def test_impossible_names_are_refused(space):
    with pytest.raises(ValueError, match="role agent"):
        decode_spec(encode_spec(TeamSpec({"agent": role(space)}, 5)))
    with pytest.raises(HeadstartError, match="role agent"):
        translation(role(space), role(space), "agent")


# ------------------------------------------------------------------ translations


def words_of(space: Discrete) -> list[str]:
    """Every number of an action vector in words: its head's names, or the head's number and the option's."""
    return [word for i, n in enumerate(space.heads) for word in (space.options[i] or [f"{n}:{k}" for k in range(n)])]


@pytest.mark.parametrize(
    "theirs,ours",
    [
        (named(OPENAI), named(MPE2)),
        (named(("a", "b", "c")), named(("c", "a", "b"))),
        (named(("a", "b"), OPENAI), named(MPE2, ("b", "a"))),
        (Discrete((5, 10), options=(OPENAI, ())), Discrete((5, 10), options=(MPE2, ()))),
        (Discrete((10, 5), options=((), OPENAI)), Discrete((5, 10), options=(MPE2, ()))),
        (named(OPENAI, OPENAI), named(MPE2, MPE2)),
    ],
)
def test_options_are_found_by_their_names(theirs, ours):
    vector = np.random.default_rng(0).normal(size=(3, theirs.size)).astype(np.float32)
    found = translation(role(theirs), role(ours), "agent")
    got = np.asarray(found(jnp.asarray(vector)))
    names = words_of(theirs)
    for i, word in enumerate(words_of(ours)):
        places = [k for k, other in enumerate(names) if other == word]
        nth = words_of(ours)[:i].count(word)
        np.testing.assert_array_equal(got[:, i], vector[:, places[nth]])
    assert not found.same and "→" in found.words
    mask = jnp.asarray(vector > 0)
    np.testing.assert_array_equal(found(found.back(mask).astype(jnp.float32)), mask)


def test_unknown_names_and_equal_ones_leave_a_vector_as_it_is():
    x = jnp.ones((2, 5))
    for theirs, ours in ((Discrete((5,)), named(MPE2)), (named(MPE2), Discrete((5,))), (named(MPE2), named(MPE2))):
        found = translation(role(theirs), role(ours), "agent")
        assert found.same and found(x) is x


@pytest.mark.parametrize(
    "theirs,ours",
    [
        (Continuous(2, names=("x", "y")), Continuous(2, names=("y", "x"))),
        (Continuous(2, names=("x", "y")), Continuous(2, names=("-x", "y"))),
        (Continuous(2, (-2.0, 0.0), (2.0, 4.0), ("x", "y")), Continuous(2, (0.0, -4.0), (8.0, 4.0), ("y", "-x"))),
        (Continuous(1, names=("x",), units=("N",)), Continuous(1, (-0.5,), (0.5,), ("x",), ("N",))),
    ],
)
def test_numbers_keep_their_size_in_the_environments_units(theirs, ours):
    """In units: number x of theirs is the number x of ours, clipped to what ours can express."""
    vector = np.random.default_rng(1).uniform(-1, 1, (6, theirs.size)).astype(np.float32)
    got = np.asarray(translation(role(theirs), role(ours), "agent")(jnp.asarray(vector)))

    def units(space, row):
        low, high = space.low or (-1.0,) * space.size, space.high or (1.0,) * space.size
        values = [a + (x + 1) / 2 * (b - a) for x, a, b in zip(row, low, high, strict=True)]
        return {n.removeprefix("-"): (-v if n.startswith("-") else v) for n, v in zip(space.names, values, strict=True)}

    for given, out in zip(vector, got, strict=True):
        wanted, here = units(theirs, given), units(ours, out)
        least, most = units(ours, [-1.0] * ours.size), units(ours, [1.0] * ours.size)
        for name, value in wanted.items():
            ends = sorted((least[name], most[name]))
            assert here[name] == pytest.approx(np.clip(value, *ends), abs=1e-5)


@pytest.mark.parametrize(
    "theirs,ours,says",
    [
        (named(("a", "b")), named(("a", "c")), "other names"),
        (Discrete((2,)), Discrete((3,)), "same action heads"),
        (Discrete((2, 3)), Discrete((3, 2)), "same action heads"),
        (Discrete((2,)), Continuous(2), "same action heads"),
        (Continuous(1, names=("x",)), Continuous(1, names=("y",)), "other names"),
        (Continuous(1, names=("x",), units=("N",)), Continuous(1, names=("x",), units=("m",)), "in N there and in m here"),
        (Continuous(1, (-2.0,), (2.0,)), Continuous(1), "no name to be translated by"),
        (Continuous(1, (0.0,), (np.inf,), ("x",)), Continuous(1, names=("x",)), "no finite bounds"),
    ],
)
def test_what_cannot_mean_the_same_is_refused(theirs, ours, says):
    with pytest.raises(HeadstartError, match=says) as caught:
        translation(role(theirs), role(ours), "agent")
    assert "\n" not in str(caught.value) and "agent" in str(caught.value)


# ------------------------------------------------------------------ teachers, fitted teams, warm starts

OLD, NEW = hs.Spread(agents=2, horizon=5, semantics="openai"), hs.Spread(agents=2, horizon=5)


def test_a_teacher_of_other_semantics_says_the_same_by_name(capsys):
    guru = team(OLD)
    obs = seen(NEW.spec)
    as_it_is, here = (fit_teacher(guru, env.spec, (), "nearest") for env in (OLD, NEW))
    want = np.asarray(as_it_is.policy(as_it_is.params(0), (), obs)[1]["agent"])
    got = np.asarray(here.policy(here.params(0), (), obs)[1]["agent"])
    np.testing.assert_array_equal(got, want[..., SWAP])
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and "stay, right, left, up, down → stay, left, right, down, up" in told[0]


def test_a_fitted_team_acts_by_name_however_often_it_is_fitted(capsys):
    guru, obs = team(OLD), seen(NEW.spec)
    want = logits(guru, obs)["agent"]
    np.testing.assert_array_equal(logits(guru.adapt(NEW), obs)["agent"], want[..., SWAP])
    assert capsys.readouterr().err.count("translated by name") == 1
    np.testing.assert_array_equal(logits(guru.adapt(NEW).adapt(OLD), obs)["agent"], want)
    nameless = NEW.spec._replace(roles={"agent": NEW.spec.roles["agent"]._replace(actions=Discrete((5,)))})
    np.testing.assert_array_equal(logits(guru.adapt(nameless).adapt(NEW), obs)["agent"], want[..., SWAP])
    assert guru.fits(NEW.spec) and not team(NEW).fits(hs.Tag().spec)
    mine = guru.act({"agent_0": np.asarray(obs["agent"][0, 0])})[0]["agent_0"]
    theirs = guru.adapt(NEW).act({"agent_0": np.asarray(obs["agent"][0, 0])})[0]["agent_0"]
    assert OPENAI[mine] == MPE2[theirs]


@pytest.mark.slow
@pytest.mark.parametrize("config", [DDPG8, PPO8, GRU8, VDN8], ids=["ddpg", "ppo", "gru", "vdn"])
def test_a_warm_start_acts_as_its_teacher_by_name(config):
    guru, obs = team(OLD, config), seen(NEW.spec)
    learner = config.make(NEW.spec)
    guide = hs.WarmStart(guru).make(NEW.spec, learner)
    params, rows = guide.start(guide.init(jr.key(0), jnp.asarray(0)), learner.init(jr.key(1)))
    assert {what for _, what, _ in rows} == {"loaded"}
    np.testing.assert_allclose(
        logits(None, obs, params, learner)["agent"], logits(guru, obs)["agent"][..., SWAP], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("critic", ["joint", "local"])
def test_a_copied_critic_judges_moves_by_name(critic):
    config = dataclasses.replace(DDPG8, critic=critic)
    guru, obs = team(OLD, config), seen(NEW.spec)
    learner = config.make(NEW.spec)
    guide = hs.WarmStart(guru, networks=("actor", "critic")).make(NEW.spec, learner)
    params, _ = guide.start(guide.init(jr.key(0), jnp.asarray(0)), learner.init(jr.key(1)))
    move = jax.nn.one_hot(jr.randint(jr.key(2), (4, 2), 0, 5), 5)
    want = guru.learner.value(guru.place(0), obs, {"agent": move})["agent"]
    got = learner.value(params, obs, {"agent": move[..., SWAP]})["agent"]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_mirrored_numbers_are_copied_with_their_signs_and_other_bounds_are_refused():
    spec = lambda *space: TeamSpec({"agent": role(Continuous(*space), 2)}, 5)
    there = spec(2, (), (), ("x", "y"))
    config = small(PPO(), hidden=(8,))
    params = jax.vmap(config.make(there).init)(jr.split(jr.key(3), 1))
    guru = TeamPolicy(there, config, jax.tree.map(lambda x: x + 0.3, params), (0,))
    here = spec(2, (), (), ("-y", "x"))
    learner, obs = config.make(here), seen(here)
    guide = hs.WarmStart(guru).make(here, learner)
    params, _ = guide.start(guide.init(jr.key(0), jnp.asarray(0)), learner.init(jr.key(1)))
    x, y = np.moveaxis(logits(guru, obs)["agent"], -1, 0)
    np.testing.assert_allclose(logits(None, obs, params, learner)["agent"], np.stack([-y, x], -1), rtol=1e-5, atol=1e-6)
    wide = spec(2, (-2.0, -2.0), (2.0, 2.0), ("x", "y"))
    with pytest.raises(HeadstartError, match="cannot be copied"):
        hs.WarmStart(guru).make(wide, config.make(wide))
    np.testing.assert_allclose(logits(guru.adapt(wide), obs)["agent"], logits(guru, obs)["agent"] / 2, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ evaluation in every scenario

PAIRS = {
    "spread": hs.Spread(agents=2, horizon=6),
    "navigation": registry.preset("env", "navigation"),
    "tag": hs.Tag(horizon=6),
    "adversary": hs.Adversary(horizon=6),
    "reference": hs.Reference(horizon=6),
    "speaker-listener": hs.SpeakerListener(horizon=6),
}


def in_words_of(guru: TeamPolicy, env) -> TeamPolicy:
    """The same team with the numbers of its actors' last layers put in the order of `env`, by hand."""
    params = jax.tree.map(lambda x: x, guru.params)
    for name, part in params["actor"].items():
        space = guru.spec.roles[name].actions
        if not (space.options and space.options[0]):
            continue
        order = [*SWAP, *range(5, space.size)]
        last = part.net.layers[-1]
        swapped = dataclasses.replace(last, weight=last.weight[..., order], bias=last.bias[..., order])
        net = dataclasses.replace(part.net, layers=[*part.net.layers[:-1], swapped])
        params["actor"][name] = dataclasses.replace(part, net=net)
    return TeamPolicy(env.spec, guru.config, params, guru.seeds, env)


@pytest.mark.parametrize("name", ["spread", *(pytest.param(n, marks=pytest.mark.slow) for n in PAIRS if n != "spread")])
def test_a_score_in_the_other_semantics_is_that_of_the_same_moves(name, capsys):
    mine, other = (dataclasses.replace(PAIRS[name], semantics=kind) for kind in ("openai", "mpe2"))
    guru = team(mine)
    got = run.score(guru, other, 8)
    assert "translated by name" in capsys.readouterr().err
    np.testing.assert_allclose(got, run.score(in_words_of(guru, other), other, 8), rtol=1e-4)
    assert capsys.readouterr().err == ""
    as_before = dataclasses.replace(in_words_of(guru, other), params=guru.params)
    assert not np.allclose(got, run.score(as_before, other, 8), rtol=1e-3), "its moves make no difference"


@pytest.mark.slow
def test_what_a_team_has_learned_is_worth_as_much_in_the_other_semantics():
    """`python -m benchmarks.semantics` prints the same for every scenario."""
    found = semantics.across("spread", semantics.scenarios()["spread"], steps=10_000, seeds=2, episodes=40)
    untrained, home, there, by_place = (found[what].mean() for what in ("untrained", "home", "there", "by place"))
    assert home > untrained + 5 and abs(there - home) < 0.25 * (home - untrained) and by_place < untrained


def test_a_score_of_other_actions_is_refused_by_what_they_are():
    with pytest.raises(HeadstartError, match=r"2 continuous numbers.*discrete heads \(5,\).*same action heads"):
        run.score(team(hs.Spread(agents=2, control="force"), PPO8), NEW, 4)
    assert not team(hs.Spread(agents=2, control="force"), PPO8).fits(NEW.spec)


@pytest.mark.slow
def test_sampled_actions_are_translated_too():
    guru = team(OLD, PPO8)
    learner, there = guru.learner_in(NEW.spec), guru.learner
    _, step = jax.vmap(NEW.reset)(jr.split(jr.key(0), 4))
    legal = jnp.asarray(np.random.default_rng(2).random((4, 2, 5)) < 0.6).at[..., 0].set(True)
    step = dataclasses.replace(step, available={"agent": legal})
    back = dataclasses.replace(step, available={"agent": legal[..., SWAP]})
    got = learner.act(guru.place(0), (), step, jr.key(3), jnp.ones(()))[1]["agent"]
    want = there.act(guru.place(0), (), back, jr.key(3), jnp.ones(()))[1]["agent"]
    np.testing.assert_array_equal(got, want[..., SWAP])
    assert not (np.asarray(got) * ~np.asarray(legal)).any()


# ------------------------------------------------------------------ central controllers


@pytest.mark.parametrize("kind", ["heads", "joint", "one_at_a_time"])
def test_a_controller_of_other_semantics_moves_the_team_the_same_way(kind, capsys):
    there, here = view(OLD.spec, kind), view_of(NEW.spec, view(OLD.spec, kind).spec)
    assert here is not None and here.actions == kind
    config = small(DDPG(), hidden=(8,))
    params = jax.vmap(config.make(there.spec).init)(jr.split(jr.key(3), 1))
    guru = TeamPolicy(there.spec, config, jax.tree.map(lambda x: 3 * x, params), (0,), hs.centralized(OLD, kind))
    expert, obs = expert_of(guru, NEW.spec), seen(NEW.spec)
    assert "translated by name" in capsys.readouterr().err
    _, got = expert.step(guru.place(0), (), obs, None)
    space = there.spec.roles[TEAM].actions
    choice = hs.core.actions.greedy(space, guru.learner.policy(guru.place(0), (), there.observe(obs))[1][TEAM])
    want = there.act({TEAM: choice})["agent"]
    np.testing.assert_array_equal(got["agent"], want[..., SWAP])
    np.testing.assert_array_equal(got["agent"].sum(-1), 1)


def test_a_peer_of_other_semantics_is_an_expert_by_name(capsys):
    guru, obs = team(OLD), seen(NEW.spec)
    _, got = expert_of(guru, NEW.spec).step(guru.place(0), (), obs, None)
    assert "translated by name" in capsys.readouterr().err
    _, want = expert_of(guru, OLD.spec).step(guru.place(0), (), obs, None)
    np.testing.assert_array_equal(got["agent"], want["agent"][..., SWAP])
    assert capsys.readouterr().err == ""


def test_who_does_nothing_does_it_by_name():
    """A controller that moves the first agent leaves the second at `stop`, wherever that stands."""
    spec = TeamSpec({"agent": role(named(("up", "down", "stop")), 2)}, 5)
    moves = view(spec, "one_at_a_time").act({TEAM: jnp.eye(6)[None, :1]})["agent"]
    np.testing.assert_array_equal(moves[0], [[1, 0, 0], [0, 0, 1]])


def test_views_name_their_options():
    assert view(NEW.spec, "heads").spec.roles[TEAM].actions == named(MPE2, MPE2)
    (joint,) = view(NEW.spec, "joint").spec.roles[TEAM].actions.options
    assert joint[:6] == ("stay stay", "stay left", "stay right", "stay down", "stay up", "left stay")
    (one,) = view(NEW.spec, "one_at_a_time").spec.roles[TEAM].actions.options
    assert one[5:7] == ("agent_1 stay", "agent_1 left")
    force = view(hs.Spread(agents=2, control="force").spec).spec.roles[TEAM].actions
    assert force == Continuous(4, names=("agent_0 right", "agent_0 up", "agent_1 right", "agent_1 up"))


# ------------------------------------------------------------------ files of earlier versions


def test_a_team_saved_without_names_gets_those_of_its_environment(tmp_path):
    guru = team(OLD)
    guru.save(tmp_path / "old")
    path = tmp_path / "old" / "policy.json"
    saved = json.loads(path.read_text())
    del saved["spec"]["roles"]["agent"]["actions"]["options"]
    path.write_text(json.dumps(saved))
    again = load(tmp_path / "old", accept_changed=True)
    assert again.spec == guru.spec and same(again.params, guru.params)


# ------------------------------------------------------------------ other libraries' environments


def test_mpe2_is_known_by_its_moves_and_they_push_where_they_say():
    host = pettingzoo_team("mpe2.simple_spread_v3", {"max_cycles": 5}, 0)
    assert host.spec.roles["agent"].actions == named(MPE2)
    pushes = {"left": (-1, 0), "right": (1, 0), "down": (0, -1), "up": (0, 1), "stay": (0, 0)}
    for k, word in enumerate(MPE2):
        host.reset(3)
        host.step(np.tile(np.eye(5, dtype=np.float32)[k], 3))
        velocity = host.env.unwrapped.world.agents[0].state.p_vel
        assert np.sign(np.round(velocity, 2)).tolist() == list(pushes[word])
    continuous = pettingzoo_team("mpe2.simple_tag_v3", {"continuous_actions": True}, 0)
    assert continuous.spec.roles["agent"].actions == Continuous(5, (0.0,) * 5, (1.0,) * 5, MPE2)
    speaker = pettingzoo_team("mpe2.simple_speaker_listener_v4", {}, 0).spec.roles
    assert {name.partition("_")[0]: role.actions for name, role in speaker.items()} == {
        "speaker": Discrete((3,)),
        "listener": named(MPE2),
    }


def test_names_go_out_to_pettingzoo_and_come_back():
    for env in (hs.Spread(2, semantics="openai"), hs.Reference(), hs.Spread(2, control="force")):
        assert HostTeam(to_pettingzoo(env)).spec.roles["agent"].actions == env.spec.roles["agent"].actions


class Speaks:
    """An environment that says what its actions mean in one of the ways of other libraries."""

    possible_agents, max_cycles = ("a_0",), 3

    def __init__(self, **ways):
        self.__dict__ |= ways

    def observation_space(self, agent):
        from gymnasium.spaces import Box

        return Box(0, 1, (2,))

    def action_space(self, agent):
        from gymnasium.spaces import Discrete

        return Discrete(2)


def test_other_ways_to_say_what_actions_mean():
    import enum

    acts = lambda **ways: HostTeam(Speaks(**ways)).spec.roles["a"].actions
    assert acts() == Discrete((2,))
    assert acts(get_action_meanings=lambda: ["NOOP", "FIRE"]) == named(("NOOP", "FIRE"))
    assert acts(get_action_meanings=lambda: ["NOOP"]) == Discrete((2,))
    assert acts(actions=enum.IntEnum("Actions", {"left": 0, "right": 1})) == named(("left", "right"))
    assert acts(action_meanings=lambda agent: [[agent, "b"]]) == named(("a_0", "b"))
    assert acts(action_meanings=lambda agent: (agent, "b")) == named(("a_0", "b"))
    with pytest.raises(HeadstartError, match="action_meanings of Speaks"):
        acts(action_meanings=lambda agent: [["one"]])


@pytest.mark.slow
def test_jaxmarls_moves_push_where_they_say():
    from headstart.envs.jaxmarl import JaxMARL

    env = JaxMARL("MPE_simple_spread_v3", horizon=5)
    assert env.spec.roles["agent"].actions == named(MPE2)
    state, _ = env.reset(jr.key(0))
    pushes = {"left": (-1, 0), "right": (1, 0), "down": (0, -1), "up": (0, 1), "stay": (0, 0)}
    for k, word in enumerate(MPE2):
        after, _ = env.step(state, {"agent": jnp.tile(jnp.eye(5)[k], (3, 1))}, jr.key(1))
        gained = np.asarray(after.theirs.p_vel)[:3].mean(0)
        assert np.sign(np.round(gained, 2)).tolist() == list(pushes[word])
    units = JaxMARL("HeuristicEnemySMAX", horizon=5)
    assert units.spec.roles["ally"].actions.options[0][:7] == ("up", "right", "down", "left", "stop", "attack 0", "attack 1")
    state, _ = units.reset(jr.key(0))
    place = lambda state: np.asarray(state.theirs.state.unit_positions)[:5].mean(0)
    pushes |= {"stop": (0, 0)}
    for k, word in enumerate(("up", "right", "down", "left", "stop")):
        after, _ = units.step(state, {"ally": jnp.tile(jnp.eye(10)[k], (5, 1))}, jr.key(1))
        assert np.sign(np.round(place(after) - place(state), 2)).tolist() == list(pushes[word]), word
    speaks = JaxMARL("MPE_simple_speaker_listener_v4", horizon=5).spec.roles
    assert {name.partition("_")[0]: role.actions for name, role in speaks.items()} == {
        "speaker": Discrete((3,)),
        "listener": named(MPE2),
    }


# ------------------------------------------------------------------ labels


TWO = {
    "lambdas": (lambda obs: says(1, obs), lambda obs: says(3, obs)),
    "partials": (functools.partial(says, 1), functools.partial(says, 3)),
    "objects": (Says(1), Says(3)),
}


@pytest.mark.parametrize("kind", TWO)
def test_two_functions_teach_each_its_own(kind):
    """Their labels have one name; either guide finds its own, and the objective is that of both."""
    learner = DDPG8.make(NEW.spec)
    params, obs = learner.init(jr.key(3)), jr.normal(jr.key(8), (2, 4, 2, NEW.spec.roles["agent"].obs_size))
    none = jnp.zeros((2, 4)) > 0
    rollout = Transition(
        {"agent": obs}, {"agent": obs[..., :5]}, {"agent": obs[..., 0]}, none, none, {"agent": obs}, obs[..., 0],
        obs[..., 0], {"agent": obs[..., 0] < 9}, None, None, none, {},
    )  # fmt: skip
    nothing = {"actor": {"agent": jnp.zeros(2)}}

    def term(*functions):
        guides = [hs.Distill(hs.Scripted(f, NEW.spec), alpha=0.5, schedule="constant") for f in functions]
        guidance = chain(*(guide.make(NEW.spec, learner) for guide in guides))
        g = guidance.init(jr.key(0), jnp.asarray(0))
        clock = Clock(jnp.asarray(0), jnp.zeros(()))
        g, labelled, _ = guidance.observe(g, params, jr.key(1), rollout, clock, guidance.data)
        assert len(labelled.extras) == len(functions)
        batch = jax.tree.map(lambda x: x.reshape(8, *x.shape[2:]), labelled)
        return sum(term["agent"] for term in guidance.objective(g, params, batch, nothing).values())

    one, other = TWO[kind]
    np.testing.assert_allclose(term(one, other), 0.5 * term(one) + term(other), rtol=1e-5)
    assert not np.allclose(term(one), term(other))


def test_a_run_of_two_functions_gets_both_back_or_none(tmp_path):
    guides = tuple(hs.Distill(hs.Scripted(f, NEW.spec)) for f in TWO["lambdas"])
    config = configs.Config(NEW, DDPG8, guides)
    saved = configs.encode(config)
    saved["guidance"] = [guide | {"teacher": False, "scripted": True} for guide in saved["guidance"]]
    again = configs.restore({"config": saved}, tmp_path, [guide.teacher for guide in guides])
    assert [guide.teacher for guide in again.guidance] == [guide.teacher for guide in guides]
    with pytest.raises(HeadstartError, match="2 Python functions, not 1"):
        configs.restore({"config": saved}, tmp_path, guides[0].teacher)


# ------------------------------------------------------------------ a teacher's worth


def seeker(obs):
    """Moves along the longer axis to the nearest landmark, in mpe2's order."""
    x = obs["agent"]
    gaps = x[..., 4:8].reshape(*x.shape[:-1], 2, 2)
    near = (gaps**2).sum(-1).argmin(-1)
    gap = jnp.take_along_axis(gaps, near[..., None, None], -2)[..., 0, :]
    across = jnp.abs(gap[..., 0]) > jnp.abs(gap[..., 1])
    choice = jnp.where(across, jnp.where(gap[..., 0] < 0, 1, 2), jnp.where(gap[..., 1] < 0, 3, 4))
    return {"agent": 4.0 * jax.nn.one_hot(choice, 5)}


def appraised(*guides):
    env = hs.Spread(agents=2, horizon=20, reward="any")
    config = configs.Config(env, DDPG8, guides, seeds=2)
    keys = jax.vmap(lambda seed: jr.fold_in(jr.key(0), seed))(jnp.arange(2))
    return worth.appraise(config, DDPG8.make(env.spec), keys, jnp.arange(2), 16)


def test_a_teacher_is_measured_beside_random_actions_and_the_untrained_team(capsys):
    """The same function under the names of the wrong order flees, and is warned of."""
    right, wrong = hs.Spread(2, horizon=20), hs.Spread(2, horizon=20, semantics="openai")
    good, bad = appraised(hs.Distill(hs.Scripted(seeker, right.spec)), hs.Distill(hs.Scripted(seeker, wrong.spec)))
    assert good["better"] and not bad["better"]
    for who in ("random", "student"):
        assert good[who] == bad[who] and min(good["teacher"]) > max(good[who])
    assert max(bad["teacher"]) < min(good["teacher"]) and good["episodes"] == 16 and len(good["teacher"]) == 2
    capsys.readouterr()
    worth.warn([good, bad])
    worth.warn([bad | {"teacher": bad["student"]}])
    worse, level = capsys.readouterr().err.splitlines()
    assert "guidance 1 (Distill) is worse in" in worse and "is worse in this environment than random actions:" in level
    assert all("random actions have" in line for line in worth.in_words([good, bad]))


def test_a_leader_is_measured_in_the_role_that_it_is_to_lead(capsys):
    """As if that role had the name of its own; a role that goes into two is refused, aloud if a measure was asked for."""
    alone, tag = team(hs.Tag(1, policy="random", horizon=5)), hs.Tag(3, policy="random", horizon=5)

    def measured(name, into, asked=None):
        env = hs.regrouped(tag, "adversary", {name: [0], "rest": [1, 2]})
        guide = hs.WarmStart(alone, roles=("adversary",) * len(into), into=into)
        config = configs.Config(env, DDPG8, (guide,), worth=asked)
        return worth.appraise(config, DDPG8.make(env.spec), jr.split(jr.key(0), 1), jnp.arange(1), 16)

    (named,), (led,) = measured("adversary", ("adversary",)), measured("leader", ("leader",))
    assert led.pop("roles") == ["leader"] and named.pop("roles") == ["adversary"]
    assert led == named and led["teacher"] != led["student"]
    critic = hs.WarmStart(alone, networks=("critic",), roles=("adversary",))  # what is copied does not act
    config = configs.Config(tag, DDPG8, (critic,))
    assert worth.appraise(config, DDPG8.make(tag.spec), jr.split(jr.key(0), 1), jnp.arange(1), 16) == []
    assert measured("leader", ("leader", "rest")) == [] and capsys.readouterr().err == ""
    assert measured("leader", ("leader", "rest"), 16) == []
    told = capsys.readouterr().err
    assert told.endswith("cannot be measured before training: its role 'adversary' goes into several roles\n")


def test_guidance_without_a_teacher_that_can_play_is_not_measured():
    config = configs.Config(NEW, DDPG8, (hs.Distill(),))
    assert worth.appraise(config, DDPG8.make(NEW.spec), jr.split(jr.key(0), 1), jnp.arange(1), 4) == []


@pytest.mark.slow
def test_worth_is_kept_and_drawn_and_changes_no_bit_of_the_training(tmp_path, capsys):
    guide = hs.Distill(hs.Scripted(seeker, hs.Spread(2, horizon=20).spec), loss="ce")
    env = hs.Spread(agents=2, horizon=20)
    train = lambda name, count: hs.train(
        env, DDPG8, tmp_path / name, guidance=guide, steps=400, seeds=2, evaluations=2, episodes=4, worth=count
    )
    plain, measured = train("plain", 0), train("measured", 8)
    told = capsys.readouterr()
    assert told.out.startswith("measured: before training, the teacher has a return of") and told.err == ""
    assert same(plain.params, measured.params)
    assert (tmp_path / "plain" / "metrics.csv").read_bytes() == (tmp_path / "measured" / "metrics.csv").read_bytes()
    saved = {name: json.loads((tmp_path / name / "run.json").read_text()) for name in ("plain", "measured")}
    assert "worth" not in saved["plain"] and saved["measured"]["env_steps"] == saved["plain"]["env_steps"]
    (found,) = saved["measured"]["worth"]
    assert found["better"] and found["name"] == "Distill" and found["episodes"] == 8
    from headstart.experiments.report import report_runs
    from headstart.report.figures import learning_curves

    made = report_runs([tmp_path / "measured"], tmp_path / "report")
    (kept,) = made["arms"]["measured"]["worth"]
    assert kept["teacher"]["iqm"] == pytest.approx(np.mean(found["teacher"]), rel=1e-5)
    levels = [shape.y0 for shape in learning_curves(made).layout.shapes]
    assert kept["teacher"]["iqm"] in levels


@pytest.mark.slow
def test_recordings_tell_their_return_before_training_and_in_the_report(tmp_path, capsys):
    env = hs.Spread(agents=2, horizon=20)
    demos = hs.record(hs.Scripted(seeker, env.spec), env, episodes=20, actions=True, progress=False)
    capsys.readouterr()
    for count in (0, None):
        hs.train(
            env,
            "imitator",
            tmp_path / str(count),
            guidance=hs.Clone(demos),
            steps=2_000,
            evaluations=2,
            episodes=4,
            worth=count,
        )
    assert capsys.readouterr().out.startswith(f"None: before training, the demonstrations have {demos.told()}")
    none, told = (json.loads((tmp_path / str(count) / "run.json").read_text()) for count in (0, None))
    (found,) = told["worth"]
    assert "worth" not in none and found["recorded"] and found["teacher"] == [pytest.approx(demos.means["return"], rel=1e-5)]
    from headstart.experiments.report import report_runs
    from headstart.report.figures import learning_curves

    made = report_runs([tmp_path / "None"], tmp_path / "report")
    assert found["teacher"][0] in [pytest.approx(shape.y0, rel=1e-5) for shape in learning_curves(made).layout.shapes]
