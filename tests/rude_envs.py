"""Environments that break the rules of PettingZoo's interface, one at a time: pettingzoo:rude_envs:Rude with {"how": HOW}."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
from gymnasium import spaces
from toy_envs import Match, box

from headstart.envs.host import frames

LATE = 3
"""The step in which they become rude."""


class Nasty:
    """A value that nothing can be asked of."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")


class Silent(Exception):
    """An error that cannot be printed."""

    def __str__(self):
        raise RuntimeError("no")


class Cyclist(BaseException):
    """Not an Exception."""


OBSERVATIONS = {
    "wider": np.zeros(4, np.float32),
    "narrower": np.zeros(2, np.float32),
    "deeper": np.zeros((3, 3), np.float32),
    "turned": np.zeros((1, 3, 2), np.float32),
    "nan": np.array([0, np.nan, 0], np.float32),
    "infinite": [0.0, float("inf"), 0.0],
    "beyond": np.full(3, 1e300),
    "none": None,
    "words": "abc",
    "texts": ["1", "2", "3"],
    "ragged": [[1.0], [1.0, 2.0], 3.0],
    "objects": np.array([1, None, 2], object),
    "complex": np.zeros(3, complex),
    "dates": np.zeros(3, "datetime64[s]"),
    "dict": {"obs": [1, 2, 3]},
    "nasty": Nasty(),
}
REWARDS = {
    "two rewards": np.ones(2),
    "no reward": None,
    "reward in words": "1.0",
    "nan reward": float("nan"),
    "infinite reward": np.inf,
    "reward beyond": 10**400,
    "nasty reward": Nasty(),
}
FLAGS = {"flag in words": "False", "flag none": None, "two flags": [True, False], "half a flag": 0.5}
INFOS = {"info none": None, "info list": [1]}
MASKS = {"wide mask": np.ones(4), "mask in words": "101", "mask of twos": [2, 0, 1], "ragged mask": ([1], [1, [0]])}
ENTIRE = {
    "returns none": lambda told: None,
    "returns four": lambda told: told[:4],
    "returns six": lambda told: (*told, {}),
    "observations in a list": lambda told: (list(told[0].values()), *told[1:]),
    "rewards none": lambda told: (told[0], None, *told[2:]),
    "terminations none": lambda told: (*told[:2], None, *told[3:]),
    "infos in a list": lambda told: (*told[:4], [1]),
    "nobody seen": lambda told: ({}, *told[1:]),
    "one unseen": lambda told: ({"agent_0": told[0]["agent_0"]}, *told[1:]),
    "one unpaid": lambda told: (told[0], {"agent_0": 1.0}, *told[2:]),
    "all at once": lambda told: (*told[:2], {"__all__": False}, {"__all__": False}, told[4]),
}


def hang():
    while True:
        time.sleep(100)


def everywhere(data):
    """Write to every pipe that there is."""
    for fd in range(3, 40):
        try:
            os.write(fd, data)
        except OSError:
            continue


def fork_and_stay():
    if os.fork() == 0:
        Path(os.environ["TOY_PIDS"], str(os.getpid())).touch()
        hang()


def deaf_and_hanging():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    hang()


def raise_(error):
    raise error


ACTS = {
    "hang": hang,
    "deaf": deaf_and_hanging,
    "spin": lambda: sum(iter(lambda: 0, 1)),
    "sys.exit": lambda: sys.exit(3),
    "os._exit": lambda: os._exit(0),
    "abort": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "alarm": lambda: signal.setitimer(signal.ITIMER_REAL, 0.1) and hang(),
    "interrupt": lambda: raise_(KeyboardInterrupt()),
    "base": lambda: raise_(Cyclist("fell\noff")),
    "silent": lambda: raise_(Silent()),
    "lengthy": lambda: raise_(RuntimeError("long " * 10**6)),
    "forks": os.fork,
    "fork stays": fork_and_stay,
    "writes": lambda: everywhere(b"hello, I am an environment"),
    "boasts": lambda: everywhere(frames.HEAD.pack(frames.MARK, frames.ROWS, 5, 2**40)),
    "closes": lambda: os.closerange(3, 100),
}


class Rude(Match):
    """Polite up to a step, and rude in it; `at` is "step", "reset" or "open", `when` a file that must be there."""

    def __init__(self, how: str, at: str = "step", when: str = "", late: int = LATE):
        super().__init__()
        self.how, self.at, self.when, self.late = how, at, when, late
        self.act("open")

    def act(self, at):
        if at == self.at and self.how in ACTS and (not self.when or Path(self.when).exists()):
            ACTS[self.how]()

    def reset(self, seed=None, options=None):
        told = super().reset(seed)
        self.act("reset")
        return told

    def step(self, actions):
        told = super().step(actions)
        if self.time != self.late:
            return told
        self.act("step")
        obs, reward, _, truncated, infos = told
        if self.how in OBSERVATIONS:
            obs["agent_1"] = OBSERVATIONS[self.how]
        if self.how in REWARDS:
            reward["agent_1"] = REWARDS[self.how]
        if self.how in FLAGS:
            truncated["agent_1"] = FLAGS[self.how]
        if self.how in INFOS:
            infos["agent_1"] = INFOS[self.how]
        if self.how in MASKS:
            infos["agent_1"] = {"action_mask": MASKS[self.how]}
        if self.how == "sneaks off":
            self.agents = ["agent_0"]
        return ENTIRE.get(self.how, tuple)(told)


class Chooser(Match):
    """Shows choices that it has not."""

    spaces_of = {"agent_0": (spaces.MultiDiscrete([2, 3], start=[0, 5]), spaces.Discrete(3))}
    shown = (1, 5)

    def look(self, agent):
        return np.array(self.shown)

    def move(self, agent, action):
        return 0.0


class Slow(Match):
    """Each step takes its time."""

    def move(self, agent, action):
        time.sleep(0.05)
        return 0.0


class Careless(Match):
    """Draws from the global generators, now and then."""

    def look(self, agent):
        return np.array([np.random.uniform(), random.random(), np.random.normal() if self.time % 2 else 0], np.float32)

    def move(self, agent, action):
        return np.random.rand()


class Shuffled(Match):
    """Its agents come in another order in every process."""

    spaces_of = {name: (box(3), spaces.Discrete(3)) for name in sorted("abcdefgh", key=lambda _: os.urandom(4))}
