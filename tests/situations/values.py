"""Kinds "values" and "bounds": what an environment returns, and what it is sent."""

import numpy as np
from gymnasium import spaces as gym
from rude_envs import LATE, Careless, Rude
from toy_envs import box

import headstart as hs
from headstart.core.spec import Discrete
from headstart.envs.host import reading, spaces
from headstart.envs.host.openers import Alone
from headstart.envs.host.pool import Pool
from headstart.envs.host.team import HostTeam
from situations.table import ALL, Situation, refused, right
from situations.teams import Pair, opened, played

RUDE = {
    "wider": ("an observation of more numbers", "agent_1's observation must be numbers of shape (3,)"),
    "narrower": ("an observation of fewer numbers", "agent_1's observation must be numbers of shape (3,)"),
    "turned": ("an observation of another shape", "agent_1's observation must be numbers of shape (3,)"),
    "nan": ("an observation that is NaN", "agent_1's observation must be finite"),
    "beyond": ("an observation beyond single precision", "agent_1's observation must be finite"),
    "none": ("no observation", "agent_1's observation must be numbers of shape (3,), not None"),
    "objects": ("an observation of objects", "agent_1's observation must be numbers of shape (3,)"),
    "two rewards": ("a reward of two numbers", "agent_1's reward must be one number"),
    "no reward": ("no reward", "agent_1's reward must be one number, not None"),
    "nan reward": ("a reward that is NaN", "agent_1's reward must be finite"),
    "flag in words": ("a flag in words", "agent_1's truncation must be True or False"),
    "two flags": ("two flags", "agent_1's truncation must be True or False"),
    "info none": ("an info that is None", "agent_1's info must be a dict, not None"),
    "returns four": ("a step of four values, as of old", "step must return 5 values"),
    "all at once": ("one flag for all, as RLlib has", "the terminations must have agent_0, which plays, not only __all__"),
    "one unseen": ("an agent that plays and sees nothing", "the observations must have agent_1, which plays"),
    "one unpaid": ("an agent that plays and is paid nothing", "the rewards must have agent_1, which plays"),
    "observations in a list": ("observations in a list", "the observations must be a dict of the agents"),
}


def rude(how: str) -> None:
    team = HostTeam(Rude(how))
    team.reset(7)
    for _ in range(LATE):
        team.step(np.zeros(6, np.float32))


for how, (name, says) in RUDE.items():
    ALL.append(Situation("values", name, lambda how=how: rude(how), says))


@refused("values", "a reset that returns observations alone, as of old", "reset must return 2 values (observations, infos)")
def _():
    opened(reset=lambda self, seed=None, options=None: Pair.reset(self, seed)[0]).reset(0)


@refused("values", "a reset that takes no seed", "Pair's reset takes no seed")
def _():
    opened(reset=lambda self, options=None: Pair.reset(self, 0))


@refused("values", "a Gymnasium environment of the old interface", "step must return 5 values")
def _():
    Old = type("Old", (), {"spec": None, "reset": lambda s, seed: (0, {}), "step": lambda s, a: (0, 0.0, False, {})})
    Alone(Old()).step({"agent_0": 0})


@refused("values", "a choice that its space does not have", "agent_0's observation must be a whole number from 0 to 2, not 3")
def _():
    two = dict.fromkeys(("agent_0", "agent_1"), (gym.Discrete(3), gym.Discrete(3)))
    opened(spaces_of=two, look=lambda self, agent: 3).reset(0)


@refused("values", "a part of a Dict that is missing", "agent_0's observation must be a dict with a, b")
def _():
    two = dict.fromkeys(("agent_0", "agent_1"), (gym.Dict({"a": box(1), "b": box(1)}), gym.Discrete(3)))
    opened(spaces_of=two, look=lambda self, agent: {"a": [1.0]}).reset(0)


@right("values", "harmless habits: arrays of one, lists, NumPy's flags, no infos")
def _():
    def step(self, actions):
        obs, reward, terminated, truncated, _ = Pair.step(self, actions)
        reward, truncated = ({a: np.array([x]) for a, x in part.items()} for part in (reward, truncated))
        return obs, reward, terminated, truncated, None

    shown = played(opened(step=step, look=lambda self, agent: [[0.5]]))
    assert shown.reward["agent"].sum() == 2 * 6 and shown.truncated[-1] and len(shown.truncated) == 7
    return shown.reward["agent"][-1].tolist()


@right("values", "what an agent that has left sees and earns")
def _():
    ghost = Pair.step

    def step(self, actions):
        told = ghost(self, actions)
        for part, value in zip(told, (np.float32([9]), 9.0, True, False, {}), strict=True):
            part.setdefault("agent_1", value)
        return told

    shown = played(opened(step=step, ends=lambda self, agent: agent == "agent_1" and self.time == 2))
    paid = shown.reward["agent"][:, 1]
    assert shown.obs["agent"].max() < 9 and paid[~shown.alive["agent"][:, 1]].max() == 9, "rewards name it, so it is paid"
    return f"rewards {paid.tolist()}, observation {shown.obs['agent'][-1, 1].tolist()}"


@right("values", "environments that draw from global generators, in one process and in three", slow=True)
def _():
    settings, spec = {"id": "rude_envs:Careless", "options": {}, "horizon": 0}, HostTeam(Careless()).spec
    pools = [Pool(hs.PettingZoo.opener, settings, spec, 3, workers) for workers in (1, 3)]
    starts = [pool.reset(np.arange(3)) for pool in pools]
    steps = [[pool.step(np.zeros((3, 6)), np.arange(3), True) for _ in range(8)] for pool in pools]
    np.testing.assert_array_equal(*starts)
    np.testing.assert_array_equal(*steps)
    return np.round(starts[0][:, 0], 3).tolist()


# ------------------------------------------------------------------ what it is sent

BOXES = {
    "a bound on one side": (gym.Box(0, np.inf, (1,)), [0, 1, 2]),
    "a bound from above": (gym.Box(-np.inf, -3, (1,)), [-5, -4, -3]),
    "one endless bound beside others": (gym.Box(np.float32([-100, -np.inf]), np.float32([100, np.inf])), [-100, 0, 100]),
    "bounds of the largest float": (gym.Box(-np.finfo(np.float32).max, np.finfo(np.float32).max, (1,)), [-1, 0, 1]),
    "whole numbers": (gym.Box(0, 4, (1,), np.int64), [0, 2, 4]),
    "whole numbers around 0": (gym.Box(-2, 2, (1,), np.int64), [-2, 0, 2]),
    "bytes": (gym.Box(0, 255, (2, 2), np.uint8), [0, 128, 255]),
    "double precision": (gym.Box(0.1, 0.3, (1,), np.float64), [0.1, 0.2, 0.3]),
    "one number without an axis": (gym.Box(-2, 2, ()), [-2, 0, 2]),
    "a single value": (gym.Box(3, 3, (1,)), [3, 3, 3]),
}


def sent(space: gym.Box, ends: list[float]) -> list:
    send = spaces.sender(ours := spaces.acted(space, "it"), space)
    got = [send(np.full(ours.size, unit, np.float32)) for unit in (-1, 0, 1)]
    np.testing.assert_allclose([np.ravel(x)[0] for x in got], ends, rtol=1e-6)
    for unit in np.linspace(-3, 3, 61, dtype=np.float32):
        assert space.contains(send(np.full(ours.size, unit, np.float32))), unit
    return [np.ravel(x).tolist() for x in got]


for name, (space, ends) in BOXES.items():
    ALL.append(Situation("bounds", name, lambda space=space, ends=ends: sent(space, ends)))


@right("bounds", "whole numbers are the nearest ones")
def _():
    send = spaces.sender(spaces.acted(space := gym.Box(-2, 2, (1,), np.int64), "it"), space)
    got = [int(send(np.float32([unit]))[0]) for unit in (-0.6, -0.3, 0.3, 0.6, 0.999)]
    assert got == [-1, -1, 1, 1, 2]
    return got


@right("bounds", "rows of choices and of switches")
def _():
    for space, size in ((gym.MultiDiscrete([[2, 3], [4, 5]]), 14), (gym.MultiBinary((2, 3)), 12)):
        send = spaces.sender(ours := spaces.acted(space, "it"), space)
        assert isinstance(ours, Discrete) and ours.size == size and space.contains(send(np.ones(size, np.float32)))
    return reading.told(send(np.ones(size, np.float32)))


@refused("bounds", "bounds the wrong way around", "bounds are no numbers or the wrong way around")
def _():
    Odd = type("Box", (), {"low": np.ones(1), "high": -np.ones(1), "shape": (1,)})
    spaces.acted(Odd(), "it")


@refused("bounds", "actions of a Dict", "acts in a Dict space")
def _():
    spaces.acted(gym.Dict({"a": gym.Discrete(2)}), "it")
