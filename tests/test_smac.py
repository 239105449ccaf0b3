"""The real StarCraft II through SMAC's interface, by a stand-in that has it: the game itself is not needed."""

import dataclasses
import inspect
import sys
import types

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart import registry
from headstart.core import own
from headstart.core.checks import HeadstartError
from headstart.core.env import vectorise
from headstart.envs.host import layout
from headstart.envs.host.worker import open_team


class StarCraft2Env:
    """SMAC's methods: two units against three; the first dies in step 2, and the script says how the battle ends."""

    ends = "win"

    def __init__(self, map_name="8m", difficulty="7", continuing_episode=False, reward_sparse=False):
        self.map_name, self.difficulty, self.given, self.closed = map_name, difficulty, [], False
        self.continuing_episode, self.reward_sparse = continuing_episode, reward_sparse

    def get_env_info(self):
        return {"state_shape": 7, "obs_shape": 4, "n_actions": 9, "n_agents": 2, "episode_limit": 5}

    def reset(self):
        self.time, self.dead, self.death_tracker_ally = 0, np.zeros(2, bool), np.zeros(2)
        return self.get_obs(), np.zeros(7)

    def get_obs(self):
        return [np.full(4, 10 * i + self.time, np.float32) * (not self.dead[i]) for i in range(2)]

    def get_avail_agent_actions(self, agent_id):
        return [1] + [0] * 8 if self.dead[agent_id] else [0, 1, 1, 1, 1, 1, agent_id, 0, 0]

    def step(self, actions):
        assert all(self.get_avail_agent_actions(i)[action] for i, action in enumerate(actions)), "an illegal order"
        self.given.append(list(actions))
        self.time += 1
        if self.ends == "crash" and self.time == 3:
            self.reset()
            return 0, True, {}
        self.dead[0] = self.time >= 2
        if not self.reward_sparse:
            self.death_tracker_ally[:] = self.dead
        last = 4 if self.ends == "win" else 5
        info = {"battle_won": self.ends == "win" and self.time == last}
        if self.time == 5 and self.continuing_episode:
            info["episode_limit"] = True
        return 1.5, self.time == last, info

    def close(self):
        self.closed = True


@pytest.fixture
def game(monkeypatch):
    module = types.ModuleType("smac.env")
    module.StarCraft2Env = StarCraft2Env  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "smac", types.ModuleType("smac"))
    monkeypatch.setitem(sys.modules, "smac.env", module)
    return StarCraft2Env


def played(ends, monkeypatch, **options):
    """The team, and what each row of an episode says, in which every unit moves up."""
    monkeypatch.setattr(StarCraft2Env, "ends", ends)
    env = registry.preset("env", "smac:2m_vs_3m")
    team = open_team(env.opener, env.settings | {"options": {"difficulty": "3", **options}})
    rows = [team.reset(3)]
    while not team.over:
        vectors = np.zeros((2, 9), np.float32)
        vectors[:, 2] = 1
        rows.append(team.step(vectors.reshape(-1)))
    return team, [layout.unpack(team.spec, row) for row in rows]


def test_a_battle_of_smac_is_a_team(game, monkeypatch):
    team, rows = played("win", monkeypatch)
    role = team.spec.roles["ally"]
    assert (role.agents, role.obs_size, team.spec.horizon) == (2, 4, 5)
    assert role.actions.options[0][:7] == ("noop", "stop", "up", "down", "right", "left", "attack 0")
    assert (team.env.env.map_name, team.env.env.difficulty) == ("2m_vs_3m", "3")
    assert team.env.env.given == [[2, 2], [2, 2], [0, 2], [0, 2]], "the dead do nothing"
    assert [row.alive["ally"].tolist() for row in rows][:3] == [[True, True], [True, True], [False, True]]
    assert rows[0].available["ally"][:, 6].tolist() == [False, True]
    np.testing.assert_array_equal(rows[1].obs["ally"], [[1] * 4, [11] * 4])
    assert [row.reward["ally"].tolist() for row in rows] == [[0.0, 0.0], *[[1.5, 1.5]] * 4], "the dead are paid, too"
    assert rows[-1].terminated and not rows[-1].truncated
    team.close()
    assert team.env.env.closed


@pytest.mark.parametrize("ends,options,length", [("late", {}, 6), ("late", {"reward_sparse": True}, 6), ("crash", {}, 4)])
def test_a_time_out_of_smac_is_a_truncation_and_so_is_a_game_that_breaks_down(game, monkeypatch, ends, options, length):
    _, rows = played(ends, monkeypatch, **options)
    assert len(rows) == length and rows[-1].truncated and not rows[-1].terminated
    assert rows[2].alive["ally"].tolist() == [False, True]
    assert rows[-1].agent_terminated["ally"].tolist() == [True, False]


def test_who_asks_smac_to_end_with_a_time_out_gets_it(game, monkeypatch):
    _, rows = played("late", monkeypatch, continuing_episode=False)
    assert rows[-1].terminated and not rows[-1].truncated


def test_battles_of_smac_run_in_worker_processes(tmp_path):
    """From a package of that name in a directory that the user has named."""
    (tmp_path / "smac").mkdir()
    (tmp_path / "smac" / "__init__.py").write_text("")
    (tmp_path / "smac" / "env.py").write_text("import numpy as np\n\n\n" + inspect.getsource(StarCraft2Env))
    own.open_directory(str(tmp_path))
    own.admit("smac")
    envs = vectorise(dataclasses.replace(registry.preset("env", "smac:2m_vs_3m"), workers=1), 2)
    state, now = envs.reset(jr.key(0))
    up = {"ally": jnp.zeros((2, 2, 9)).at[..., 2].set(1.0)}
    ends = []
    for _ in range(4):
        state, now = envs.step(state, up, jr.key(1))
        ends.append(now.terminated.tolist())
    assert ends == [[False] * 2] * 3 + [[True] * 2] and not now.truncated.any()
    np.testing.assert_array_equal(now.obs["ally"][0], [[0] * 4, [10] * 4])  # of the next battle
    np.testing.assert_array_equal(now.final_obs["ally"][0, 1], [14] * 4)


@pytest.mark.parametrize("another", [False, True])
def test_without_the_game_one_line_says_what_is_missing(another, monkeypatch):
    """Also if `smac` is another package of that name, which there is."""
    if another:
        monkeypatch.setitem(sys.modules, "smac", types.ModuleType("smac"))
    env = registry.preset("env", "smac:3m")
    with pytest.raises(HeadstartError, match=r"^smac:3m needs StarCraft II and the package smac of .*github.com/oxwhirl") as e:
        open_team(env.opener, env.settings)
    assert "\n" not in str(e.value)
    if not another:
        with pytest.raises(HeadstartError, match="needs StarCraft II"):
            _ = env.spec  # looked at in a worker
