"""Teams that choose among entities, such as enemies to attack, fitted to other numbers of them: beside plain loops."""

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
from headstart.core.spec import Continuous, Discrete, Field, RoleSpec, TeamSpec, check_aims, decode_spec, encode_spec
from headstart.envs.battle.smax import SMAX
from headstart.envs.battle.units import MOVES
from headstart.learners.ppo import PPO
from headstart.learners.qlearning import QLearning
from headstart.teams.policy import TeamPolicy
from headstart.views.meaning import translation

ILLEGAL = actions.ILLEGAL
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


def by_hand(team: TeamPolicy, obs: np.ndarray, foes: int, known: int, select: str) -> np.ndarray:
    """What a team that knows `known` foes puts out on a task of `foes`: foe by foe, agent by agent."""
    out = []
    for n, each in enumerate(obs.reshape(-1, obs.shape[-1])):
        foe = [each[2 + 3 * i : 5 + 3 * i] for i in range(foes)]
        shown = list(range(foes))
        if select == "nearest" and foes > known:
            shown.sort(key=lambda i: (not foe[i].any(), float(foe[i][0] ** 2 + foe[i][1] ** 2)))
        shown = shown[:known]
        there = [foe[i] for i in shown] + [np.zeros(3, np.float32)] * (known - len(shown))
        said = answers(team, np.concatenate([each[:2], *there, each[2 + 3 * foes :]])[None, None].repeat(2, 1))[0, n % 2]
        row = np.full(2 + foes + 3, ILLEGAL, np.float32)
        row[:2], row[2 + foes :] = said[:2], said[2 + known :]
        for slot, i in enumerate(shown):
            row[2 + i] = said[2 + slot]
        out.append(row)
    return np.array(out).reshape(*obs.shape[:-1], -1)


@pytest.mark.parametrize("select", ["nearest", "first"])
@pytest.mark.parametrize(("known", "foes"), [(2, 5), (3, 4), (4, 2), (3, 3)])
def test_a_fitted_team_chooses_among_the_entities_it_was_shown(known, foes, select, capsys):
    team, obs = fresh(task(known)), seen(foes)
    fitted = team.adapt(task(foes), select=select)
    told = capsys.readouterr().err
    assert (f"one of {known} foes → one of {foes}" in told) == (known != foes)
    np.testing.assert_allclose(answers(fitted, obs), by_hand(team, obs, foes, known, select), rtol=1e-5, atol=1e-5)


def test_a_fitted_team_never_chooses_what_it_was_not_shown():
    spec = task(5)
    team = fresh(task(2)).adapt(spec)
    obs = seen(5)
    for each in obs:
        act, _ = team.act({f"agent_{i}": x for i, x in enumerate(each)})
        for i, x in enumerate(each):
            foe = x[2:17].reshape(5, 3)
            near = sorted(range(5), key=lambda k: (not foe[k].any(), (foe[k][:2] ** 2).sum()))[:2]
            assert act[f"agent_{i}"][0] in (0, 1, *(2 + k for k in near))


def test_masks_go_back_to_the_entities_that_are_known():
    theirs, ours = task(4).roles["agent"], task(2).roles["agent"]
    few = translation(theirs, ours, "agent")
    mask = np.array([True, False, True, False, True, True, False])
    assert np.asarray(few.back(jnp.asarray(mask))).tolist() == [True, False, True, False, False, False, True, True, False]
    many = translation(ours, theirs, "agent")
    mask = np.array([True, False, True, False, True, False, True, True, False])
    assert np.asarray(many.back(jnp.asarray(mask))).tolist() == [True, False, True, False, True, True, False]


@pytest.mark.parametrize("config", [PPO(), QLearning(shared=False)], ids=["ppo", "dqn"])
@pytest.mark.parametrize(("known", "foes"), [(2, 5), (4, 2)])
def test_a_warm_start_copies_choices_and_begins_new_ones_at_their_mean(known, foes, config):
    config = small(config, hidden=(8,))
    team, learner = fresh(task(known), config), config.make(task(foes))
    guide = hs.WarmStart(team).make(task(foes), learner)
    params, _ = guide.start(guide.init(jr.key(0), 0), learner.init(jr.key(1)))
    obs = seen(foes)
    got = np.asarray(learner.policy(params, (), {"agent": jnp.asarray(obs)})[1]["agent"])
    want = by_hand(team, obs, foes, known, "first")
    copied = 2 + min(known, foes)
    np.testing.assert_allclose(got[..., :copied], want[..., :copied], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got[..., 2 + foes :], want[..., 2 + foes :], rtol=1e-4, atol=1e-4)
    mean = want[..., 2:copied].mean(-1, keepdims=True)
    np.testing.assert_allclose(
        got[..., copied : 2 + foes], np.broadcast_to(mean, got[..., copied : 2 + foes].shape), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("loss", ["mse", "ce", "kl"])
def test_what_a_teacher_does_not_know_adds_nothing_to_the_loss(loss):
    """Against sums over the choices that it knows."""
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 6, 10)).astype(np.float32)
    space = Discrete((7, 3))
    teacher[:, 4:7] = ILLEGAL
    distance = hs.Distill(loss=loss)._distance(loss, space, "logits", "logits")
    got, slope = jax.value_and_grad(lambda x: distance(jnp.asarray(teacher), x, None).sum())(jnp.asarray(student))
    soft = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    want = 0.0
    for t, s in zip(teacher.astype(float), student.astype(float), strict=True):
        if loss == "mse":
            want += ((t - s)[[0, 1, 2, 3, 7, 8, 9]] ** 2).sum() / 10
            continue
        for known, cut in ((slice(0, 4), slice(0, 7)), (slice(7, 10), slice(7, 10))):
            p, q = soft(t[known]), soft(s[cut])[: known.stop - known.start]
            want += -(p * np.log(q)).sum() + (p * np.log(p)).sum() * (loss == "kl")
    assert got == pytest.approx(want, rel=1e-4) and np.isfinite(slope).all()


def test_aims_survive_their_json_and_impossible_ones_are_refused():
    spec = task(3)
    assert decode_spec(json.loads(json.dumps(encode_spec(spec)))) == spec
    about = spec.roles["agent"]
    assert about.aimed == {"foes": range(2, 5)} and "aims" not in encode_spec(hs.Spread(3).spec)["roles"]["agent"]["actions"]
    assert RoleSpec(1, about.obs, Continuous(2)).aimed == {}
    for aims in (("foes",), ("nobody", ""), ("foes", "foes"), ("", "foes"[:3])):
        wrong = about._replace(actions=about.actions._replace(aims=aims))
        with pytest.raises(HeadstartError, match="aims must be"):
            check_aims(wrong, "agent")
        saved = encode_spec(spec._replace(roles={"agent": wrong}))
        with pytest.raises(ValueError, match="aims must be"):
            decode_spec(saved)


def test_teams_that_aim_at_other_things_are_not_translated():
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
def test_a_team_of_three_marines_wins_with_four():
    """Without a step of training; choices of enemies in no order, as of `first`, win hardly a battle."""
    env = SMAX("4m")
    team = hs.load("zoo:3m")
    won = lambda select: hs.record(team.adapt(env, select=select), env, episodes=200, sample=False).means["win"]
    assert won("nearest") > 0.6 and won("first") < 0.2
