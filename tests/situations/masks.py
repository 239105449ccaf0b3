"""Kind "masks": under which names, in which places and forms legal choices are found."""

import gymnasium
import numpy as np
from gymnasium import spaces as gym
from toy_envs import box

from headstart.core.spec import Discrete
from headstart.envs.host import layout, masks
from headstart.envs.host.openers import Alone, gymnasium_team
from headstart.envs.host.team import HostTeam
from situations.table import ALL, Situation, refused, right
from situations.teams import Pair, opened

LEGAL = [1, 0, 1]


def space(key: str, seen: str = "observation", size: int = 3, **extra) -> dict:
    parts = {seen: box(2), key: box(size, low=0, high=1)} | extra
    return {"spaces_of": {"agent_0": (gym.Dict(parts), gym.Discrete(3))}}


def first(team: HostTeam) -> layout.Shown:
    return layout.unpack(team.spec, team.reset(0))


def legal(team: HostTeam, want=LEGAL) -> list:
    got = first(team).available[next(iter(team.spec.roles))][0].astype(int).tolist()
    assert got == list(want), got
    return got


def in_observation(key: str, seen: str = "observation", **extra) -> list:
    value = {seen: np.float32([1, 2]), key: np.int8(LEGAL)} | {name: part.sample() for name, part in extra.items()}
    return legal(opened(**space(key, seen, **extra), look=lambda self, agent: value))


IN_OBSERVATION = {
    "beside a third part": ("action_mask", "observation", {"agent_id": gym.Discrete(2)}),
    "beside 'observations', as in RLlib": ("action_mask", "observations", {}),
    "called avail_actions": ("avail_actions", "obs", {}),
    "called legal_moves": ("legal_moves", "observation", {}),
    "called mask": ("mask", "observation", {}),
}
for name, (key, seen, extra) in IN_OBSERVATION.items():
    call = lambda key=key, seen=seen, extra=extra: in_observation(key, seen, **extra)
    ALL.append(Situation("masks", f"in the observation, {name}", call))


@refused("masks", "in the observation, one that may be the opposite", "'invalid_actions', which may be an action mask")
def _():
    opened(**space("invalid_actions"))


@refused("masks", "in the observation, of another size", "of 4 numbers, and the actions have 3 choices")
def _():
    opened(**space("action_mask", size=4))


@refused("masks", "in the observation, one part too deep", "it must be beside it")
def _():
    deep = gym.Dict({"a": gym.Dict({"action_mask": box(3), "x": box(1)})})
    opened(spaces_of={"agent_0": (deep, gym.Discrete(3))})


@refused("masks", "of continuous actions", "its actions are continuous")
def _():
    opened(spaces_of={"agent_0": (gym.Dict({"obs": box(2), "action_mask": box(3)}), box(3, low=-1, high=1))})


@right("masks", "a part of what is seen that is called a mask and is none")
def _():
    found = opened(spaces_of={"agent_0": (gym.Dict({"map_mask": box(5), "x": box(2)}), gym.Discrete(3))})
    return [field.name for field in found.spec.roles["agent"].obs]


@right("masks", "in the infos")
def _():
    return legal(opened(note=lambda self, agent: {"steps": 3, "action_mask": LEGAL}))


@right("masks", "in the infos, called legal_actions, of truth values")
def _():
    return legal(opened(note=lambda self, agent: {"legal_actions": np.array(LEGAL, bool)}))


@refused("masks", "in the infos, as numbers of choices", "agent_0's action mask must be 3 zeros and ones")
def _():
    opened(note=lambda self, agent: {"legal_actions": [0, 2]}).reset(0)


@refused("masks", "in the infos, one that may be the opposite", "called action_mask, with 1 for legal")
def _():
    opened(note=lambda self, agent: {"invalid_actions": LEGAL}).reset(0)


@refused("masks", "in the infos beside the agents'", "'action_mask' beside the agents")
def _():
    def reset(self, seed=None, options=None):
        obs, infos = Pair.reset(self, seed)
        return obs, infos | {"action_mask": dict.fromkeys(obs, LEGAL)}

    opened(reset=reset).reset(0)


@right("masks", "as the environment's own method")
def _():
    return legal(opened(action_masks=lambda self, agent: LEGAL))


class Masker(gymnasium.Wrapper):
    """A wrapper that has the mask, around an environment that has none."""

    def action_masks(self):
        return [1, 0]


@right("masks", "as a method of a wrapper")
def _():
    return legal(HostTeam(Alone(gymnasium.wrappers.OrderEnforcing(Masker(gymnasium.make("CartPole-v1"))))), [1, 0])


@right("masks", "of Gymnasium's own environments")
def _():
    got = first(gymnasium_team("Taxi-v4" if "Taxi-v4" in gymnasium.registry else "Taxi-v3", {}, 0))
    assert 0 < got.available["agent"].sum() < 6
    return got.available["agent"].astype(int).tolist()


@right("masks", "of several heads, as Gymnasium's tuple")
def _():
    for value in ([1, 0, 1, 0, 0], (np.int8([1, 0]), np.int8([1, 0, 0]))):
        np.testing.assert_array_equal(masks.read(value, Discrete((2, 3))), [1, 0, 1, 0, 0])
    return [1, 0, 1, 0, 0]


@right("masks", "of switches, as 0, 1 or 2 (free)")
def _():
    got = masks.read([0, 1, 2], Discrete((2, 2, 2))).astype(int).tolist()
    assert got == [1, 0, 0, 1, 1, 1]
    return got


@right("masks", "that allow nothing leave the choice free")
def _():
    return legal(opened(note=lambda self, agent: {"action_mask": [0, 0, 0]}), [1, 1, 1])
