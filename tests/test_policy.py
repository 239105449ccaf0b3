"""A trained team outside its training: acting by names, one role or agent alone, another team's size, files."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from probes import Mixed, drawn, environments

from headstart import registry
from headstart.core.actions import greedy
from headstart.core.checks import HeadstartError
from headstart.core.types import Continuous, Discrete, Field, RoleSpec, TeamSpec
from headstart.envs.host.reading import flat
from headstart.envs.host.spaces import observed
from headstart.envs.particle.spread import Spread
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.storage import files
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.training.run import score
from headstart.views.adapt import adapt, describe_adaptation

SEEDS = (4, 7)


def fresh(spec, config=None, env=None) -> TeamPolicy:
    config = config or DDPG(hidden=(16,))
    return TeamPolicy(spec, config, drawn(config, spec, len(SEEDS)), SEEDS, env)


def seen_by(spec, key=0):
    """{agent's name: observation}, and the same by role."""
    rng = np.random.default_rng(key)
    roles = {r: rng.normal(size=(s.agents, s.obs_size)).astype(np.float32) for r, s in spec.roles.items()}
    return {n: roles[r][i] for r, names in spec.names.items() for i, n in enumerate(names)}, roles


def by_hand(team, roles, place=0):
    """{role: [A U]} greedy vectors straight from the learner."""
    _, logits = jax.jit(team.learner.policy)(team.place(place), (), {r: jnp.asarray(x) for r, x in roles.items()})
    return {r: np.asarray(greedy(team.spec.roles[r].actions, x)) for r, x in logits.items()}


@pytest.mark.parametrize(
    "config", [DDPG(hidden=(16,)), PPO(hidden=(16,)), PPO(hidden=(16,), shared=False)], ids=["ddpg", "ppo", "own"]
)
def test_actions_by_name_are_those_of_the_networks(config):
    """Two roles, two heads and continuous numbers: an int, ints, floats."""
    spec = Mixed().spec
    team = fresh(spec, config)
    obs, roles = seen_by(spec)
    got, _ = team.act(obs, seed=1)
    want = by_hand(team, roles, 1)
    assert list(got) == list(obs)
    for role, names in spec.names.items():
        space = spec.roles[role].actions
        for name, row in zip(names, want[role], strict=True):
            if isinstance(space, Continuous):
                np.testing.assert_allclose(got[name], np.clip(row, -1, 1), rtol=1e-6)
            elif len(space.heads) == 1:
                assert isinstance(got[name], int) and got[name] == row.argmax()
            else:
                blocks = np.split(row, np.cumsum(space.heads)[:-1])
                assert got[name].tolist() == [block.argmax() for block in blocks]


@pytest.mark.parametrize("form", ["parts", "observation", "both"])
def test_observations_in_parts_are_read_as_the_environment_reads_them(form):
    """A Gymnasium Dict as it comes from the environment, perhaps with the mask inside."""
    inner = spaces.Dict({"near": spaces.Box(-1, 1, (2, 3)), "own": spaces.Dict({"v": spaces.Box(-1, 1, (2,))})})
    spec = TeamSpec({"agent": RoleSpec(2, observed(inner, "x"), Discrete((4,)))}, 10)
    team, _ = fresh(spec), inner.seed(0)
    seen = {name: inner.sample() for name in ("agent_0", "agent_1")}
    plain = {name: flat(inner, x) for name, x in seen.items()}
    favourite = team.act(plain)[0]["agent_0"]
    mask = np.arange(4) != favourite
    wrapped = {
        "parts": seen["agent_0"],
        "observation": {"observation": flat(inner, seen["agent_0"]), "action_mask": mask},
        "both": {"action_mask": mask, "observation": dict(reversed(seen["agent_0"].items()))},
    }[form]
    want, _ = team.act(plain, available=None if form == "parts" else {"agent_0": mask})
    assert team.act({"agent_0": wrapped, "agent_1": plain["agent_1"]})[0] == want
    if form != "parts":
        assert want["agent_0"] != favourite
        assert team.act({"agent_0": wrapped}, available={"agent_0": ~mask})[0]["agent_0"] == favourite, "a mask beside counts"


def test_continuous_actions_come_in_the_environments_units():
    spec = TeamSpec({"arm": RoleSpec(2, (Field("obs", 1, 3),), Continuous(2, (0.0, -10.0), (4.0, 10.0)))}, 10)
    team = fresh(spec)
    obs, roles = seen_by(spec)
    got, _ = team.act(obs)
    want = (by_hand(team, roles)["arm"] + 1) / 2 * np.array([4.0, 20.0]) + np.array([0.0, -10.0])
    np.testing.assert_allclose(np.stack(list(got.values())), want, rtol=1e-5)


def test_those_who_left_are_left_out_and_change_nothing_for_the_others():
    spec = Spread(3).spec
    team = fresh(spec)
    obs, _ = seen_by(spec)
    whole, _ = team.act(obs)
    del obs["agent_1"]
    assert team.act(obs)[0] == {n: a for n, a in whole.items() if n != "agent_1"}


def test_illegal_choices_are_never_made():
    spec = Spread(2).spec
    team = fresh(spec)
    obs, _ = seen_by(spec)
    favourite = team.act(obs)[0]["agent_0"]
    mask = np.ones(5, bool)
    mask[favourite] = False
    got, _ = team.act(obs, available={"agent_0": mask})
    assert got["agent_0"] != favourite and got["agent_1"] == team.act(obs)[0]["agent_1"]


def test_a_recurrent_team_remembers_what_it_is_handed():
    spec = Spread(2).spec
    team = fresh(spec, PPO(core="gru", hidden=(8,)))
    obs, roles = seen_by(spec)
    _, memory = team.act(obs)
    _, again = team.act(obs, memory)
    step = lambda carry: team.learner.policy(team.place(0), carry, {r: jnp.asarray(x)[None] for r, x in roles.items()})[0]
    want = step(step(team.learner.start(1)))
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(memory), strict=True))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda obs: {"agent_0": obs["agent_0"], "agent_9": obs["agent_0"]}, "unknown agent 'agent_9'"),
        (lambda obs: obs | {"agent_1": np.zeros(7)}, r"obs\['agent_1'\] must have 12 numbers, not 7"),
        (lambda obs: {**obs, "agent_2": obs["agent_0"]}, "'agent_2': the team has agent_0, agent_1: team.adapt"),
        (lambda obs: {"agent_2": obs["agent_0"]}, "did you mean"),
        (lambda obs: {}, "obs is empty"),
    ],
)
def test_bad_observations_get_one_line(change, says):
    team = fresh(Spread(2).spec)
    with pytest.raises(HeadstartError, match=says) as told:
        team.act(change(seen_by(team.spec)[0]))
    assert "\n" not in str(told.value)


def test_a_team_is_shown_in_a_line(tmp_path):
    team = fresh(Spread(2).spec)
    assert repr(team) == "<TeamPolicy: 2 agent, by DDPG, 2 seeds, 0 env-steps>"
    team.save(tmp_path / "team")
    assert repr(load(tmp_path / "team")).endswith(f", from {tmp_path / 'team'}>")
    assert repr(dataclasses.replace(team, env_steps=None)).endswith("env-steps unknown>")


def test_a_seed_that_is_not_there_is_refused():
    team = fresh(Spread(2).spec)
    with pytest.raises(HeadstartError, match="between 0 and 1"):
        team.act(seen_by(team.spec)[0], seed=2)


@pytest.mark.parametrize("config", [DDPG(hidden=(16,)), PPO(hidden=(16,))], ids=["separate", "shared"])
def test_a_role_and_an_agent_alone_act_as_within_the_team(config, tmp_path):
    spec = Mixed().spec
    team = fresh(spec, config)
    obs, _ = seen_by(spec)
    whole, _ = team.act(obs, seed=1)
    for role, names in spec.names.items():
        alone = team.role(role)
        assert tuple(alone.spec.roles) == (role,) and "critic" not in alone.params
        _same_actions(alone.act({n: obs[n] for n in names}, seed=1)[0], {n: whole[n] for n in names})
        for name in names:
            single = team.agent(name)
            assert single.spec.roles[role].agents == 1
            single.save(tmp_path / name)
            for each in (single, load(tmp_path / name)):
                _same_actions(each.act({name: obs[name]}, seed=1)[0], {name: whole[name]})
    with pytest.raises(HeadstartError, match="unknown role"):
        team.role("nobody")
    with pytest.raises(HeadstartError, match="unknown agent"):
        team.agent("nobody_0")


def _same_actions(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("agents", [2, 5])
def test_a_team_fitted_to_another_size_acts_as_its_paired_agent_on_what_it_would_see(agents, tmp_path):
    small, large = Spread(3).spec, Spread(agents).spec
    team = fresh(small)
    fitted = team.adapt(large)
    obs, roles = seen_by(large)
    got, _ = fitted.act(obs, seed=1)
    seen = np.asarray(adapt(jnp.asarray(roles["agent"]), large.roles["agent"].obs, small.roles["agent"].obs))
    for i in range(agents):
        three = np.zeros((3, small.roles["agent"].obs_size), np.float32)
        three[i % 3] = seen[i]
        assert got[f"agent_{i}"] == by_hand(team, {"agent": three}, 1)["agent"][i % 3].argmax()
    fitted.save(tmp_path)
    assert load(tmp_path).act(obs, seed=1)[0] == got
    assert load(tmp_path).spec == large
    returns = score(fitted, Spread(agents), 8)
    assert returns.shape == (2,) and np.isfinite(returns).all()


def test_fitted_twice_is_fitted_once():
    team = fresh(Spread(3).spec)
    obs, _ = seen_by(Spread(6).spec)
    assert team.adapt(Spread(6).spec).adapt(Spread(6).spec).act(obs)[0] == team.adapt(Spread(6).spec).act(obs)[0]


def test_what_cannot_be_fitted_is_refused():
    team = fresh(Spread(3).spec)
    with pytest.raises(HeadstartError, match="none in common"):
        team.adapt(Mixed().spec)
    role = team.spec.roles["agent"]
    with pytest.raises(HeadstartError, match="same action heads"):
        team.adapt(TeamSpec({"agent": role._replace(actions=Discrete((4,)))}, 25))
    with pytest.raises(HeadstartError, match="'landmarks' has entities of 3 numbers"):
        team.adapt(TeamSpec({"agent": role._replace(obs=(Field("landmarks", 2, 3),))}, 25))
    with pytest.raises(HeadstartError, match="--adapt"):
        score(team, Spread(4), 2)


@pytest.mark.parametrize("name", environments())
def test_every_environments_team_survives_its_files(name, tmp_path):
    spec = registry.preset("env", name).spec
    team = fresh(spec, PPO(hidden=(8,)), registry.preset("env", name))
    team.save(tmp_path)
    again = load(tmp_path)
    assert again.spec == spec and again.env == team.env
    obs, _ = seen_by(spec)
    for a, b in zip(team.act(obs)[0].values(), again.act(obs)[0].values(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda about: about["spec"]["roles"]["agent"].update(agents=4), "does not belong"),
        (lambda about: about["spec"]["roles"]["agent"].update(agents=-1), "damaged"),
        (lambda about: about["spec"]["roles"]["agent"].update(actions={"continuous": "x"}), "damaged"),
        (lambda about: about["spec"]["roles"]["agent"].update(names=["a"]), "damaged"),
        (lambda about: about["spec"].update(messages=[["agent", 0, "ghost", "x"]]), "damaged"),
        (lambda about: about.pop("seeds"), "damaged"),
        (lambda about: about.update(seeds=[]), "damaged|does not belong"),
        (lambda about: about["learner"]["settings"].update(hidden=[7]), "does not belong"),
        (lambda about: about["learner"].update(name="magic"), "unknown learner 'magic'"),
        (lambda about: about.update(trained=5), "damaged"),
    ],
)
def test_an_edited_policy_file_is_refused_in_one_line(edit, says, tmp_path):
    fresh(Spread(3).spec).save(tmp_path)
    about = json.loads((tmp_path / "policy.json").read_text())
    edit(about)
    about["digest"] = files.digest_of(about)
    (tmp_path / "policy.json").write_text(json.dumps(about))
    with pytest.raises(HeadstartError, match=says) as told:
        load(tmp_path)
    assert "\n" not in str(told.value)


def test_a_truncated_policy_file_is_refused(tmp_path):
    fresh(Spread(3).spec).save(tmp_path)
    whole = (tmp_path / "policy.safetensors").read_bytes()
    for size in (0, 7, len(whole) // 2, len(whole) - 1):
        (tmp_path / "policy.safetensors").write_bytes(whole[:size])
        with pytest.raises(HeadstartError, match="damaged or truncated"):
            load(tmp_path)


def test_a_team_that_would_see_nothing_is_refused():
    """Another library's environment has one field without a name of ours: filled with zeros, agents would be blind."""
    named, nameless = Spread(3).spec, Spread(4).spec
    blind = nameless._replace(roles={"agent": nameless.roles["agent"]._replace(obs=(Field("obs", 1, 24),))})
    with pytest.raises(HeadstartError, match="'agent' would see nothing"):
        fresh(named).adapt(blind)
    with pytest.raises(HeadstartError, match="'agent' would see nothing"):
        Distill(fresh(named)).make(blind, DDPG().make(blind))


def test_what_adapting_does_is_told_in_words():
    have = (Field("goal", 1, 2), Field("near", 4, 2), Field("far", 1, 2))
    want = (Field("near", 3, 2), Field("far", 2, 2), Field("wind", 1, 3))
    told = describe_adaptation("agent", have, want)
    assert told == [
        "near the nearest 3 of 4", "far filled up with zeros to 2", "wind all zeros (3 numbers)", "goal left out",
    ]  # fmt: skip
    assert describe_adaptation("agent", have, have) == []


def test_a_fitted_team_does_not_say_it_was_trained_where_it_would_not_fit(tmp_path):
    team = fresh(Spread(3).spec, env=Spread(3))
    team.adapt(Spread(5)).save(tmp_path / "five")
    assert load(tmp_path / "five").env is None
    assert team.role("agent").env == Spread(3) and team.agent("agent_1").env is None


@pytest.mark.parametrize("name", ["policy.json", "run.json", "experiment.json"])
def test_saving_overwrites_nothing(name, tmp_path):
    team = fresh(Spread(3).spec)
    (tmp_path / name).write_text("mine")
    with pytest.raises(HeadstartError, match="choose another directory"):
        team.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


def test_files_may_be_read_by_whoever_may_read_the_directory(tmp_path):
    (tmp_path / "plain").touch()
    fresh(Spread(3).spec).save(tmp_path / "team")
    assert len({path.stat().st_mode for path in [tmp_path / "plain", *(tmp_path / "team").iterdir()]}) == 1


def test_an_experiment_says_where_its_teams_are(tmp_path):
    (tmp_path / "experiment.json").write_text("{}")
    with pytest.raises(HeadstartError, match="stages"):
        load(tmp_path)
