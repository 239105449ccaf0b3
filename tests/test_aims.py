"""Teams that choose among entities, such as enemies to attack, fitted to other numbers of them: beside plain loops."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import small

import headstart as hs
from headstart.core import actions
from headstart.core.checks import HeadstartError
from headstart.core.env import vectorise
from headstart.core.spec import Continuous, Discrete, Field, RoleSpec, TeamSpec, check_actions, decode_spec, encode_spec
from headstart.envs.battle.smax import SMAX
from headstart.envs.battle.units import MOVES
from headstart.learners.ppo import PPO
from headstart.learners.qlearning import QLearning
from headstart.teams.fit import fit_teacher
from headstart.teams.policy import TeamPolicy
from headstart.views.adapt import describe_adaptation
from headstart.views.meaning import translation

WORDS = ("wait", "walk")


def task(foes: int, agents: int = 2) -> TeamSpec:
    """Agents that see foes of three numbers each and friends, and wait, walk, or choose a foe."""
    fields = Field("velocity", 1, 2, own=True), Field("foes", foes, 3), Field("friends", agents - 1, 2)
    names = (*WORDS, *(f"hit {i}" for i in range(foes)))
    choice = Discrete((len(names), 3), options=(names, ("a", "b", "c")), aims=("foes", ""))
    return TeamSpec({"agent": RoleSpec(agents, fields, choice)}, 10)


def seen(foes: int, agents: int = 2, count: int = 40) -> np.ndarray:
    """[count agents O] random observations, in which every third foe is out of sight."""
    rng = np.random.default_rng(foes)
    obs = rng.normal(size=(count, agents, 2 + 3 * foes + 2 * (agents - 1))).astype(np.float32)
    foe = obs[..., 2 : 2 + 3 * foes].reshape(count, agents, foes, 3)
    foe[rng.random((count, agents, foes)) < 1 / 3] = 0.0
    obs[..., 2 : 2 + 3 * foes] = foe.reshape(count, agents, -1)
    return obs


def fresh(spec: TeamSpec, config=None) -> TeamPolicy:
    """A team of one seed whose logits are far apart."""
    config = config or small(PPO(), hidden=(8,))
    params = jax.tree.map(lambda x: x + jr.normal(jr.key(3), x.shape), config.make(spec).init(jr.key(7)))
    return TeamPolicy(spec, config, jax.tree.map(lambda x: x[None], params), (0,))


def answers(team: TeamPolicy, obs: np.ndarray) -> np.ndarray:
    return np.asarray(team.learner.policy(team.place(0), (), {"agent": jnp.asarray(obs)})[1]["agent"])


def by_hand(team: TeamPolicy, obs: np.ndarray, foes: int, known: int) -> np.ndarray:
    """What a team that knows `known` foes puts out on a task of `foes`: foe by foe, agent by agent."""
    out = []
    for n, each in enumerate(obs.reshape(-1, obs.shape[-1])):
        foe = [each[2 + 3 * i : 5 + 3 * i] if i < foes else np.zeros(3, np.float32) for i in range(known)]
        said = answers(team, np.concatenate([each[:2], *foe, each[2 + 3 * foes :]])[None, None].repeat(2, 1))[0, n % 2]
        hits = [said[2 + i] if i < known else sum(said[2 : 2 + known]) / known for i in range(foes)]
        out.append([*said[:2], *hits, *said[2 + known :]])
    return np.array(out).reshape(*obs.shape[:-1], -1)


@pytest.mark.parametrize("select", ["nearest", "first"])
@pytest.mark.parametrize(("known", "foes"), [(2, 5), (3, 4), (4, 2), (3, 3)])
def test_a_fitted_team_chooses_entities_by_their_numbers_and_new_ones_at_the_mean(known, foes, select, capsys):
    team, obs = fresh(task(known)), seen(foes)
    fitted = team.adapt(task(foes), select=select)
    told = capsys.readouterr().err
    assert (f"one of {known} foes → one of {foes}" in told) == (known != foes)
    np.testing.assert_allclose(answers(fitted, obs), by_hand(team, obs, foes, known), rtol=1e-5, atol=1e-5)


def test_a_fitted_team_chooses_what_it_does_not_know_if_nothing_else_is_legal():
    team, obs = fresh(task(2)).adapt(task(4)), seen(4)[0]
    masks = np.array([False] * 5 + [True] + [True] * 3)  # of all foes the last
    act, _ = team.act(dict(zip(("agent_0", "agent_1"), obs, strict=True)), available={"agent_0": masks})
    assert act["agent_0"][0] == 5


def test_a_team_that_knows_nobody_of_a_field_puts_out_zero_for_all_of_it():
    spec = lambda pals: TeamSpec({"agent": RoleSpec(1, (Field("pals", pals, 2), Field("goal", 1, 2)),
                                 Discrete((1 + pals,), aims=("pals",)))}, 10)  # fmt: skip
    team = fresh(spec(0))
    obs = np.ones((1, 1, 8), np.float32)
    got = answers(team.adapt(spec(3)), obs)[0, 0]
    np.testing.assert_array_equal(got, [answers(team, obs[..., :2])[0, 0, 0], 0.0, 0.0, 0.0])


def test_a_field_that_follows_chosen_entities_keeps_their_numbers_and_others_the_nearest():
    fields = lambda n: (Field("foes", n, 2), Field("healths", n, 1, follows="foes"), Field("pals", n, 2))
    obs = jnp.array([3.0, 3.0, 2.0, 2.0, 1.0, 1.0, 0.3, 0.2, 0.1, 6.0, 6.0, 5.0, 5.0, 4.0, 4.0])
    want = np.float32([3.0, 3.0, 2.0, 2.0, 0.3, 0.2, 4.0, 4.0, 5.0, 5.0])
    for numbered in (("foes",), ("healths",)):
        np.testing.assert_array_equal(hs.adapt(obs, fields(3), fields(2), numbered=numbered), want)
        told = describe_adaptation("agent", fields(3), fields(2), numbered=numbered)
        assert told == ["foes the first 2 of 3", "healths the first 2 of 3", "pals the nearest 2 of 3"]
    assert np.asarray(hs.adapt(obs, fields(3), fields(2)))[:2].tolist() == [1.0, 1.0]


def test_a_teacher_labels_entities_by_their_numbers():
    guide, obs = fresh(task(2)), seen(4)
    teacher = fit_teacher(guide, task(4), (), "nearest")
    got = teacher.policy(teacher.params(0), (), {"agent": jnp.asarray(obs)})[1]["agent"]
    np.testing.assert_allclose(got, by_hand(guide, obs, 4, 2), rtol=1e-5, atol=1e-5)


def test_a_team_fitted_twice_is_fitted_to_its_own_task_and_kept_in_files(tmp_path):
    team, obs = fresh(task(2)), seen(5)
    twice = team.adapt(task(4)).adapt(task(5))
    np.testing.assert_array_equal(answers(twice, obs), answers(team.adapt(task(5)), obs))
    twice.save(tmp_path / "five")
    np.testing.assert_array_equal(answers(hs.load(tmp_path / "five"), obs), answers(twice, obs))


def test_a_team_is_no_team_of_other_numbers_of_entities_by_its_sizes_alone():
    """Three foes of two numbers and two pals are as many numbers as four foes and one pal."""
    shapes = [TeamSpec({"agent": RoleSpec(1, (Field("foes", n, 2), Field("pals", m, 2)),
              Discrete((2 + n,), aims=("foes",)))}, 10) for n, m in ((3, 2), (4, 1))]  # fmt: skip
    team = fresh(shapes[0])
    assert team.fits(shapes[0]) and not team.fits(shapes[1])
    with pytest.raises(HeadstartError, match="one of 3 foes → one of 4: fit it by --adapt"):
        team.learner_in(shapes[1])


def heads(first: str, second: str, foes: int = 2, pals: int = 2, named: bool = True) -> RoleSpec:
    """A role that selects one entity of each of two fields, after an option for none."""
    counts = {"foes": foes, "pals": pals}
    words = {name: ("none", *(f"{name} {i}" for i in range(n))) for name, n in counts.items()}
    fields = tuple(Field(name, n, 3) for name, n in counts.items())
    sizes = tuple(1 + counts[name] for name in (first, second))
    return RoleSpec(1, fields, Discrete(sizes, (), (words[first], words[second]) if named else (), (first, second)))


@pytest.mark.parametrize("named", [True, False])
def test_heads_are_paired_by_the_field_of_their_entities(named):
    theirs, ours = heads("foes", "pals", named=named), heads("pals", "foes", 3, 1, named)
    found = translation(theirs, ours, "agent")
    assert found.order == (3, 4, 0, 1, 2, -1)
    same = translation(theirs, heads("pals", "foes", named=named), "agent")
    assert same.order == (3, 4, 5, 0, 1, 2)


def test_a_team_without_aims_and_one_with_them_are_translated_by_name():
    """A team from before an environment of one's own said what its choices are of."""
    spec = task(3)
    role = spec.roles["agent"]
    before = spec._replace(roles={"agent": role._replace(actions=role.actions._replace(aims=()))})
    team, obs = fresh(before), seen(3)
    np.testing.assert_array_equal(answers(team.adapt(spec), obs), answers(team, obs))
    teacher = fit_teacher(team, spec, (), "nearest")
    taught = teacher.policy(teacher.params(0), (), {"agent": jnp.asarray(obs)})[1]["agent"]
    np.testing.assert_array_equal(taught, answers(team, obs))


@pytest.mark.parametrize("there", [True, False])
def test_entities_are_last_if_all_that_is_known_of_them_is_zero(there):
    """Of an entity at the observer's own place, a field that follows tells that it is there."""
    fields = Field("foes", 3, 2), Field("healths", 3, 1, follows="foes")
    less = Field("foes", 2, 2), Field("healths", 2, 1, follows="foes")
    obs = jnp.array([3.0, 3.0, 0.0, 0.0, 1.0, 0.0, 0.5, 0.7 * there, 0.9])
    want = [0.0, 0.0, 1.0, 0.0, 0.7, 0.9] if there else [1.0, 0.0, 3.0, 3.0, 0.9, 0.5]
    np.testing.assert_allclose(hs.adapt(obs, fields, less), want)
    np.testing.assert_allclose(hs.adapt(obs[:6], fields[:1], less[:1]), [0.0, 0.0, 1.0, 0.0])  # only places: it is there


@pytest.mark.parametrize("config", [PPO(), QLearning(shared=False)], ids=["ppo", "dqn"])
@pytest.mark.parametrize(("known", "foes"), [(2, 5), (4, 2)])
def test_a_warm_start_copies_choices_and_begins_new_ones_at_their_mean(known, foes, config):
    config = small(config, hidden=(8,))
    team, learner = fresh(task(known), config), config.make(task(foes))
    guide = hs.WarmStart(team).make(task(foes), learner)
    params, _ = guide.start(guide.init(jr.key(0), 0), learner.init(jr.key(1)))
    obs = seen(foes)
    got = np.asarray(learner.policy(params, (), {"agent": jnp.asarray(obs)})[1]["agent"])
    want = by_hand(team, obs, foes, known)
    copied = 2 + min(known, foes)
    np.testing.assert_allclose(got[..., :copied], want[..., :copied], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got[..., 2 + foes :], want[..., 2 + foes :], rtol=1e-4, atol=1e-4)
    mean = want[..., 2:copied].mean(-1, keepdims=True)
    np.testing.assert_allclose(
        got[..., copied : 2 + foes], np.broadcast_to(mean, got[..., copied : 2 + foes].shape), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("loss", ["ce", "kl"])
def test_what_a_teacher_would_never_choose_is_compared(loss):
    """A teacher that puts out −10⁹ for a choice, as some do for those that are not legal, knows it."""
    teacher, student = jnp.array([0.0, 0.5, actions.ILLEGAL]), jnp.zeros(3)
    distance = hs.Distill(loss=loss)._distance(loss, Discrete((3,)), "logits", "logits")
    assert jax.grad(lambda x: distance(teacher, x, None))(student)[2] > 0.1


def test_aims_survive_their_json_and_impossible_ones_are_refused():
    spec = task(3)
    assert decode_spec(json.loads(json.dumps(encode_spec(spec)))) == spec
    about = spec.roles["agent"]
    assert about.aimed == {"foes": range(2, 5)} and "aims" not in encode_spec(hs.Spread(3).spec)["roles"]["agent"]["actions"]
    assert RoleSpec(1, about.obs, Continuous(2)).aimed == {}
    for aims in (("foes",), ("nobody", ""), ("foes", "foes"), ("", "foe")):
        wrong = about._replace(actions=about.actions._replace(aims=aims))
        with pytest.raises(HeadstartError, match="aims must be"):
            check_actions(wrong, "agent")
        saved = encode_spec(spec._replace(roles={"agent": wrong}))
        with pytest.raises(ValueError, match="aims must be"):
            decode_spec(saved)


def test_an_environment_of_wrong_aims_is_refused_before_training(tmp_path):
    class Wrong(SMAX):
        @property
        def spec(self):
            spec = super().spec
            ally = spec.roles["ally"]
            return spec._replace(roles={"ally": ally._replace(actions=ally.actions._replace(aims=("foes",)))})

    with pytest.raises(HeadstartError, match="role ally: aims must be observed fields"):
        hs.train(Wrong("3m"), "ippo", tmp_path / "run", steps=4, progress=False)
    assert not list(tmp_path.iterdir())


def test_demonstrations_from_before_aims_are_those_of_the_team():
    env = SMAX("3m")
    demos = hs.record(hs.load("zoo:3m"), env, episodes=2, actions=True)
    ally = demos.spec.roles["ally"]
    old = demos.spec._replace(roles={"ally": ally._replace(actions=ally.actions._replace(aims=()))})
    dataclasses.replace(demos, spec=old).check_fits(env.spec)


def test_a_fitted_battle_team_from_before_aims_has_them_in_both_specs(tmp_path):
    team = hs.load("zoo:3m").role("ally")
    team.save(tmp_path / "role")
    path = tmp_path / "role/policy.json"
    saved = json.loads(path.read_text())
    for spec in ("spec", "trained"):
        del saved[spec]["roles"]["ally"]["actions"]["aims"]
    path.write_text(json.dumps(saved))
    back = hs.load(tmp_path / "role", accept_changed=True)
    assert back.spec == team.spec and back.trained == team.trained


def test_teams_that_aim_at_other_things_are_not_translated():
    with pytest.raises(HeadstartError, match="chooses among foes, and here it chooses among pals"):
        translation(*(heads("foes", "pals")._replace(actions=Discrete((3,), aims=(x,))) for x in ("foes", "pals")), "agent")
    about = task(3).roles["agent"]
    other = task(4).roles["agent"]
    other = other._replace(actions=other.actions._replace(aims=()))
    with pytest.raises(HeadstartError, match="pick one with the same action heads"):
        translation(about, other, "agent")


def test_an_attack_is_of_the_enemy_at_its_place():
    """An attack is legal if the enemy of its number is seen within reach, by what the ally observes."""
    env = SMAX("3m_vs_5m")
    about, units = env.spec.roles["ally"], env.units
    start = 2 + 1 + 1 + 6 + 2 * 13
    many = vectorise(env, 16)
    state, now = many.reset(jr.key(0))
    step, legal = jax.jit(many.step), 0
    for t in range(30):
        foe = np.asarray(now.obs["ally"])[..., start:].reshape(16, 3, 5, 13)
        reach = np.asarray(units.reach / units.sight)[:3].reshape(1, 3, 1)
        near = foe.any(-1) & (np.square(foe[..., :2]).sum(-1) < reach**2)
        may = np.asarray(now.available["ally"])[..., list(about.aimed["enemies"])]
        np.testing.assert_array_equal(may, near)
        legal += may.sum()
        lots = actions.legal(jnp.zeros((16, 3, len(MOVES) + 5)).at[..., 1].set(3.0), now.available["ally"])
        state, now = step(state, {"ally": actions.sample(about.actions, jr.key(t), lots)}, jr.key(t))
    assert legal > 50


def test_a_battle_team_from_before_aims_has_them_now(tmp_path):
    team = hs.load("zoo:3m")
    assert team.spec.roles["ally"].actions.aims == ("enemies",)
    assert team.adapt(SMAX("4m")).spec == SMAX("4m").spec


@pytest.mark.slow
def test_a_team_of_three_marines_wins_with_eight():
    """Without a step of training; with the nearest enemies instead of the first it wins one battle in ten."""
    env = SMAX("8m")
    assert hs.record(hs.load("zoo:3m").adapt(env), env, episodes=200, sample=False).means["win"] > 0.4
