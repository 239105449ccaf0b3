"""Our environments as PettingZoo's: its own tests, there and back again, and our scores in mpe2's own environments."""

import dataclasses
import warnings
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnasium import spaces as gym_spaces
from pettingzoo.test import parallel_api_test, parallel_seed_test
from probes import Masked, Mixed, shown

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.episodes import evaluate
from headstart.core.types import Continuous, Discrete, Field, RoleSpec, TeamSpec
from headstart.envs.particle.adversary import Adversary
from headstart.envs.particle.spread import Spread, SpreadState
from headstart.envs.particle.tag import Tag
from headstart.envs.pettingzoo import PettingZoo, to_pettingzoo
from headstart.learners.ddpg import DDPG
from headstart.teams.policy import TeamPolicy
from headstart.training.run import score

OURS = {name: env for name, env in registry.presets("env").items() if not hasattr(env, "id")}

# ------------------------------------------------------------------ PettingZoo's own tests


@pytest.mark.parametrize("name", OURS)
def test_a_preset_passes_pettingzoos_tests(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # where it only warns, something is missing
        parallel_api_test(to_pettingzoo(OURS[name]))
        parallel_seed_test(lambda: to_pettingzoo(OURS[name]), num_cycles=20)


@dataclass(frozen=True)
class Mortal:
    """Of four agents one dies in the second step; the task ends for another in the third, and for one as the clock rings.

    `done`: the task ends for the whole team in the fourth step.
    """

    done: bool = False

    @property
    def spec(self):
        role = RoleSpec(4, (Field("time", 1, 1),), Discrete((2,)), ("ann", "bob", "cid", "dot"))
        return TeamSpec({"walker": role}, 5, 4)

    def _show(self, time, **rest):
        alive = {"walker": jnp.stack([time < 9, time < 2, time < 3, time < 5])}
        gone = {"walker": jnp.stack([time > 9, time > 9, time >= 3, time >= 5])}
        obs = {"walker": jnp.full((4, 1), time, jnp.float32)}
        return dataclasses.replace(shown(obs, alive=alive, **rest), agent_terminated=gone)

    def reset(self, key):
        time = jnp.zeros((), jnp.int32)
        return time, self._show(time)

    def step(self, state, action, key):
        time = state + 1
        reward = {"walker": action["walker"][:, 1] * 10.0 ** jnp.arange(4)}
        return time, self._show(time, reward=reward, terminated=self.done & (time == 4), truncated=time >= 5)


@pytest.mark.parametrize("done", [False, True])
def test_an_agent_that_dies_leaves_the_game(done):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(to_pettingzoo(Mortal(done)))
    env = to_pettingzoo(Mortal(done))
    obs, infos = env.reset(seed=3)
    everybody = ["ann", "bob", "cid", "dot"]
    assert env.possible_agents == env.agents == list(obs) == list(infos) == everybody
    playing, left = list(everybody), {2: "bob", 3: "cid", 5: "dot"}
    for time in range(1, 5 if done else 6):
        obs, reward, terminated, truncated, infos = env.step(dict.fromkeys(playing, 1))
        assert list(obs) == list(reward) == list(terminated) == list(truncated) == list(infos) == playing
        assert all(obs[name] == [time] and reward[name] == 10 ** everybody.index(name) for name in playing)
        over, cut = done and time == 4, time == 5
        assert terminated == {name: over or name == left.get(time) for name in playing}
        assert truncated == {name: cut and name != "dot" for name in playing}
        playing = [] if over or cut else [name for name in playing if name != left.get(time)]
        assert env.agents == playing
    assert not env.agents


# ------------------------------------------------------------------ actions


@dataclass(frozen=True)
class Ranges:
    """Pays each agent the numbers of its own action vector, weighted 1, 10, 100, ..; a state is what was sent last."""

    @property
    def spec(self):
        field = (Field("nothing", 1, 1),)
        roles = {
            "metric": RoleSpec(1, field, Continuous(3, (2.0, -1.0, 0.0), (5.0, 1.0, 0.5))),
            "plain": RoleSpec(1, field, Continuous(2)),
            "single": RoleSpec(1, field, Discrete((3,))),
            "double": RoleSpec(1, field, Discrete((2, 3))),
        }
        return TeamSpec(roles, 9, 4)

    def _show(self, **rest):
        return shown({role: jnp.zeros((1, 1)) for role in self.spec.roles}, **rest)

    def reset(self, key):
        return {role: jnp.zeros((1, x.actions.size)) for role, x in self.spec.roles.items()}, self._show()

    def step(self, state, action, key):
        reward = {role: x @ 10.0 ** jnp.arange(x.shape[-1]) for role, x in action.items()}
        return action, self._show(reward=reward)


def test_actions_have_their_own_ranges():
    env = to_pettingzoo(Ranges())
    metric, plain = env.action_space("metric_0"), env.action_space("plain_0")
    np.testing.assert_array_equal(metric.low, np.float32([2, -1, 0]))
    np.testing.assert_array_equal(metric.high, np.float32([5, 1, 0.5]))
    assert plain == gym_spaces.Box(-1, 1, (2,), np.float32)
    assert env.action_space("single_0") == gym_spaces.Discrete(3)
    assert env.action_space("double_0") == gym_spaces.MultiDiscrete([2, 3])
    env.reset(seed=0)
    cases = [
        ([2, -1, 0.5], [0.5, -1], 2, [1, 0], (-1 - 10 + 100, 0.5 - 10, 100, 10 + 100)),
        ([3.5, 0, 0.125], [0, 0], 0, [0, 2], (-50, 0, 1, 1 + 10000)),
        ([5, 1, 0], [1, 1], np.int64(1), np.array([1, 1]), (1 + 10 - 100, 11, 10, 10 + 1000)),
    ]
    for a, b, c, d, paid in cases:
        _, reward, *_ = env.step({"metric_0": np.float32(a), "plain_0": np.float32(b), "single_0": c, "double_0": d})
        np.testing.assert_allclose([reward[f"{role}_0"] for role in Ranges().spec.roles], paid, rtol=1e-5)


@pytest.mark.parametrize("action", [{"double_0": [2, 0]}, {"double_0": [0]}, {"single_0": -1}, {"single_0": 3}])
def test_a_choice_that_is_none_is_refused(action):
    env = to_pettingzoo(Ranges())
    env.reset(seed=0)
    (name, value), *_ = action.items()
    with pytest.raises(HeadstartError, match=f"the action of {name} must be a choice of each of .*, not") as caught:
        env.step({"metric_0": np.zeros(3), "plain_0": np.zeros(2), "single_0": 0, "double_0": [0, 0]} | action)
    assert str(value) in str(caught.value) and "\n" not in str(caught.value)


def test_roles_masks_and_the_state_are_told():
    """Legal choices as Gymnasium's `sample` takes them; `state` is ours, of the moment that was shown."""
    env = to_pettingzoo(Masked())
    _, infos = env.reset(seed=0)
    for _ in range(3):
        masks = {name: infos[name]["action_mask"] for name in env.agents}
        assert all(mask.dtype == np.int8 and mask.sum() in (2, 3) for mask in masks.values())
        actions = {name: env.action_space(name).sample(mask) for name, mask in masks.items()}
        obs, reward, _, _, infos = env.step(actions)
        assert np.isfinite(list(reward.values())).all()  # an illegal one earns NaN
        np.testing.assert_array_equal(env.state(), np.concatenate(list(obs.values())))
    mixed = to_pettingzoo(Mixed())
    obs, _ = mixed.reset(seed=0)
    assert {name: x.shape for name, x in obs.items()} == {"talker_0": (3,), "talker_1": (3,), "mover_0": (4,)}


def test_seeds_begin_a_sequence_of_episodes():
    env = to_pettingzoo(Spread(2))
    begin = lambda seed=None: env.reset(seed=seed)[0]["agent_0"].tolist()
    first, second = [begin(1), begin(), begin()], [begin(1), begin(), begin()]
    assert first == second and len({*map(tuple, [*first, begin(2)])}) == 4
    fresh = {tuple(to_pettingzoo(Spread(2)).reset()[0]["agent_0"].tolist()) for _ in range(2)}
    assert len(fresh) == 2


# ------------------------------------------------------------------ there and back again


@pytest.mark.slow
def test_out_to_pettingzoo_and_back_steps_as_it_does_itself():
    """The start is read off the observations: own velocity and position, then the landmarks as seen from there."""
    spread, back = Spread(3), PettingZoo("toy_envs:round_trip", workers=1)
    assert back.spec.roles["agent"].obs_size == 18 and back.spec.roles["agent"].actions == spread.spec.roles["agent"].actions
    assert list(back.spec.roles) == ["agent"] and back.spec.horizon == 25
    keys = jr.split(jr.key(0), 4)
    reset, step, itself = jax.jit(jax.vmap(back.reset)), jax.jit(jax.vmap(back.step)), jax.jit(jax.vmap(spread.step))
    state, now = reset(keys)
    obs = now.obs["agent"]
    position = obs[..., 2:4]
    landmarks = position[:, :1] + obs[:, 0, 4:10].reshape(4, 3, 2)
    ours = SpreadState(position, obs[..., :2], landmarks, jnp.zeros(4, jnp.int32))
    assert len(np.unique(np.asarray(position)[..., 0])) == 12
    dice = np.random.default_rng(0)
    for time in range(25):
        action = {"agent": jnp.asarray(np.eye(5, dtype=np.float32)[dice.integers(5, size=(4, 3))])}
        state, now = step(state, action, keys)
        ours, expected = itself(ours, action, keys)
        np.testing.assert_allclose(now.obs["agent"], expected.obs["agent"], atol=1e-5)
        np.testing.assert_allclose(now.reward["agent"], expected.reward["agent"], rtol=1e-5)
        assert (now.truncated == (time == 24)).all() and not now.terminated.any()


# ------------------------------------------------------------------ scores in mpe2

MANY, FEW = 2000, 100
BOUND = 4 * np.sqrt(1 / MANY + 1 / FEW)
"""Episodes are independent: times σ, what two means differ by once in 16,000 times."""


def two_teams(env, seed: int) -> TeamPolicy:
    """Two untrained MADDPG teams, with seeds whose returns are far apart."""
    config = DDPG(hidden=(16,))
    return TeamPolicy(env.spec, config, jax.vmap(config.make(env.spec).init)(jr.split(jr.key(seed), 2)), (0, 1), env)


def returns(team: TeamPolicy, env, episodes: int) -> dict[str, np.ndarray]:
    """{role: [S episodes]}: of greedy episodes, the mean over a role's agents."""
    run = jax.jit(jax.vmap(evaluate(env, team.learner, episodes)))
    return {role: np.asarray(x).mean(-1) for role, x in run(team.params, jr.split(jr.key(4), 2))["return"].items()}


@pytest.mark.slow
def test_a_score_in_mpe2s_spread_is_that_in_ours():
    theirs = PettingZoo("mpe2.simple_spread_v3")
    team = two_teams(Spread(3), 7)
    (here,) = returns(team, Spread(3), MANY).values()
    there, bound = score(team, theirs, FEW), BOUND * here.std(1)
    assert there.shape == (2,) and (np.abs(here.mean(1) - there) < bound).all()
    assert (np.abs(here.mean(1) - there[::-1]) > bound).all(), "so few episodes tell nothing apart"


@pytest.mark.slow
@pytest.mark.parametrize("name,ours,seed", [("simple_tag_v3", Tag(), 24), ("simple_adversary_v3", Adversary(), 26)])
def test_every_role_earns_in_mpe2_what_it_earns_here(name, ours, seed):
    theirs, team = PettingZoo(f"mpe2.{name}"), two_teams(ours, seed)
    assert team.fits(theirs.spec) and theirs.spec.horizon == ours.spec.horizon
    here, there = returns(team, ours, MANY), returns(team, theirs, FEW)
    apart = []
    for role in ours.spec.roles:
        bound = BOUND * here[role].std(1)
        assert (np.abs(here[role].mean(1) - there[role].mean(1)) < bound).all(), role
        apart.append((np.abs(here[role].mean(1) - there[role].mean(1)[::-1]) > bound).all())
    assert any(apart), "so few episodes tell nothing apart"
