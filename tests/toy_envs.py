"""Tiny PettingZoo environments with every kind of space, end and misbehaviour: pettingzoo:toy_envs:NAME.

All of them are decided by the seed and the actions, and insist that an action lies in its space.
"""

import os
import sys
from pathlib import Path

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Toy(ParallelEnv):
    """A base: `spaces_of` gives {agent: (observation space, action space)}; a subclass fills in `look` and `move`."""

    metadata = {"name": "toy", "render_modes": []}
    render_mode = None
    max_cycles = 6
    spaces_of: dict = {}

    def __init__(self):
        self.possible_agents, self.agents, self.time = list(self.spaces_of), [], 0
        if "TOY_PIDS" in os.environ:  # a directory: where processes that have an environment leave their numbers
            Path(os.environ["TOY_PIDS"], str(os.getpid())).touch()

    def observation_space(self, agent):
        return self.spaces_of[agent][0]

    def action_space(self, agent):
        return self.spaces_of[agent][1]

    def reset(self, seed=None, options=None):
        self.agents, self.time, self.rng = list(self.possible_agents), 0, np.random.default_rng(seed)
        self.begin(seed)
        return {a: self.look(a) for a in self.agents}, {a: self.note(a) for a in self.agents}

    def step(self, actions):
        assert list(actions) and set(actions) == set(self.agents), f"{set(actions)} act and {self.agents} live"
        for agent, action in actions.items():
            assert self.action_space(agent).contains(action), f"{agent} cannot do {action!r}"
        self.time += 1
        reward = {a: float(self.move(a, action)) for a, action in actions.items()}
        terminated = {a: self.ends(a) for a in self.agents}
        truncated = {a: self.cut(a) for a in self.agents}
        told = {a: self.look(a) for a in self.agents}, reward, terminated, truncated, {a: self.note(a) for a in self.agents}
        self.agents = [a for a in self.agents if not (terminated[a] or truncated[a])]
        return told

    def begin(self, seed):
        pass

    def note(self, agent):
        return {}

    def ends(self, agent):
        return False

    def cut(self, agent):
        return self.time >= self.max_cycles


def box(*shape, low=-np.inf, high=np.inf):
    return spaces.Box(low, high, shape, np.float32)


class Menagerie(Toy):
    """No two kinds alike. Within an episode the tank dies, the second scout is cut off alone, the second odd one dies.

    Half of the episodes end for all at once, at a time of their own; the clock runs out for the others.
    """

    max_cycles = 7
    spaces_of = {
        "scout_0": (box(2, 2), box(2, low=2, high=5)),
        "scout_1": (box(2, 2), box(2, low=2, high=5)),
        "tank_0": (spaces.Dict({"observation": box(3), "action_mask": box(4, low=0, high=1)}), spaces.Discrete(4)),
        "talker": (spaces.Tuple([spaces.Discrete(3), box(2)]), spaces.MultiDiscrete([2, 3], start=[0, 5])),
        "odd_0": (spaces.Discrete(3, start=5), spaces.Discrete(3, start=10)),
        "odd_1": (spaces.MultiBinary(2), spaces.MultiBinary(2)),
        "guide_0": (spaces.Dict({"a": box(1), "b": spaces.MultiDiscrete([2, 3], start=[4, 0])}), box(3)),
    }

    def begin(self, seed):
        self.length, self.told = int(self.rng.integers(4, 10)), np.zeros(len(self.spaces_of))
        self.death = {"tank_0": int(self.rng.integers(1, 4)), "odd_1": int(self.rng.integers(1, 6))}
        self.leave = int(self.rng.integers(1, 5))

    def look(self, agent):
        draw, total = self.rng.normal(size=4).astype(np.float32), np.float32(self.told.sum())
        choice = [int(n) for n in self.rng.integers(0, 2, 3)]
        return {
            "scout_0": lambda: draw.reshape(2, 2),
            "scout_1": lambda: np.stack([draw[:2], [total, self.time]]).astype(np.float32),
            "tank_0": lambda: {"observation": draw[:3], "action_mask": np.array([1, *choice], np.int8)},
            "talker": lambda: (choice[0] + choice[1], draw[:2]),
            "odd_0": lambda: np.int64(5 + choice[0] + choice[1]),
            "odd_1": lambda: np.array(choice[:2], np.int8),
            "guide_0": lambda: {"a": draw[:1], "b": np.array([4 + choice[0], choice[1] + choice[2]])},
        }[agent]()

    def note(self, agent):
        return {"action_mask": np.array([True, self.time % 2, 1])} if agent == "odd_0" else {}

    def move(self, agent, action):
        number = np.dot(np.ravel(action).astype(np.float32), [1, 10, 100][: np.size(action)])
        self.told[list(self.spaces_of).index(agent)] = number
        return number

    def ends(self, agent):
        return self.time == self.length or self.time >= self.death.get(agent, 99)

    def cut(self, agent):
        return not self.ends(agent) and (super().cut(agent) or (agent == "scout_1" and self.time >= self.leave))


class Match(Toy):
    """Two agents see one of three signs and are paid 1 a step for naming it: the best return is 5."""

    max_cycles = 5
    spaces_of = {f"agent_{i}": (box(3), spaces.Discrete(3)) for i in range(2)}

    def begin(self, seed):
        self.signs = {}

    def look(self, agent):
        self.signs[agent] = int(self.rng.integers(3))
        return np.eye(3, dtype=np.float32)[self.signs[agent]]

    def move(self, agent, action):
        return action == self.signs[agent]


class Steer(Match):
    """The same for a continuous action in [2, 5]: what is paid falls with the distance from the middle number shown."""

    spaces_of = {f"agent_{i}": (box(1), box(1, low=2, high=5)) for i in range(2)}

    def look(self, agent):
        self.signs[agent] = np.float32(self.rng.uniform(2, 5))
        return np.array([self.signs[agent]])

    def move(self, agent, action):
        return -abs(float(action[0]) - self.signs[agent])


class Ghosts(Match):
    """One agent dies early, another is cut off alone, and the environment goes on telling what they see and earn."""

    max_cycles = 6
    spaces_of = {f"agent_{i}": (box(3), spaces.Discrete(3)) for i in range(3)}

    def begin(self, seed):
        super().begin(seed)
        self.length, self.death, self.leave = (int(self.rng.integers(*ends)) for ends in ((4, 9), (1, 4), (1, 4)))

    def step(self, actions):
        dead = [a for a in self.possible_agents if a not in self.agents]
        obs, reward, terminated, truncated, infos = super().step(actions)
        for agent in dead:
            obs[agent], reward[agent], terminated[agent], truncated[agent] = np.full(3, 7, np.float32), 7.0, True, False
            infos[agent] = {"action_mask": np.array([0, 0, 1])}
        return obs, reward, terminated, truncated, infos

    def ends(self, agent):
        return self.time == self.length or (agent == "agent_1" and self.time >= self.death)

    def cut(self, agent):
        return not self.ends(agent) and (super().cut(agent) or (agent == "agent_2" and self.time >= self.leave))


class Loud(Match):
    """Prints while it works."""

    def begin(self, seed):
        super().begin(seed)
        print("a new episode, says the environment")

    def move(self, agent, action):
        os.write(1, b"K and this goes straight to where standard output is")
        return super().move(agent, action)


class Breaks(Match):
    """Raises in its third step."""

    def move(self, agent, action):
        if self.time == 3:
            raise RuntimeError("the rope broke\nin two")
        return 0.0


class Exits(Match):
    """Takes its process along in its third step."""

    def move(self, agent, action):
        if self.time == 3:
            os._exit(7)
        return 0.0


class Asks(Match):
    """Reads standard input, where a worker is given its orders."""

    def move(self, agent, action):
        return len(sys.stdin.readline())


class Endless(Match):
    """Does not say how long an episode may last."""

    max_cycles = None

    def cut(self, agent):
        return False


class Sized(Match):
    """Takes an option."""

    def __init__(self, size: int = 3):
        super().__init__()
        self.max_cycles = size


class Camera(Match):
    """Shows pixels."""

    spaces_of = {"agent_0": (spaces.Box(0, 255, (84, 84, 3), np.uint8), spaces.Discrete(2))}


class Reader(Match):
    """Observes a text."""

    spaces_of = {"agent_0": (spaces.Text(5), spaces.Discrete(2))}


class Writer(Match):
    """Acts by a text."""

    spaces_of = {"agent_0": (box(2), spaces.Text(5))}


def round_trip():
    """Our own cooperative navigation, out to PettingZoo and back."""
    from headstart.envs.particle.spread import Spread
    from headstart.envs.pettingzoo import to_pettingzoo

    return to_pettingzoo(Spread(3))


def turns():
    """An environment whose agents act one after the other."""
    from pettingzoo.utils.conversions import parallel_to_aec

    return parallel_to_aec(Match())


class aec_only:
    """What a module of a turn-based game has."""

    env = turns


aec_only = aec_only()  # not callable, as a module is not
not_an_env = dict


class Painted(Match):
    """Draws what it has been through: every picture is of one colour, 40 · time, below a row of the last agent's last choice.

    `look_like` makes it return something that is no picture, or raise.
    """

    metadata = {"name": "painted", "render_modes": ["human", "rgb_array"]}

    def __init__(self, render_mode=None, look_like=""):
        super().__init__()
        self.render_mode, self.look_like, self.last = render_mode, look_like, 0

    def begin(self, seed):
        super().begin(seed)
        self.last = 0

    def move(self, agent, action):
        self.last = int(action)
        return super().move(agent, action)

    def render(self):
        if self.look_like == "broken":
            raise OSError("no\ndisplay")
        if self.render_mode is None or self.look_like == "nothing":
            return None
        picture = np.full((20, 30, 3), 40 * self.time, np.uint8)
        picture[0] = 100 + self.last
        return picture.astype(np.float32) if self.look_like == "floats" else picture


class Unpainted(Painted):
    """Takes a render_mode and has another one."""

    metadata = {"name": "unpainted", "render_modes": ["ansi"]}
