"""Kinds "length" and "coming": how long episodes last, and who plays when."""

import numpy as np

from headstart.envs.host.openers import gymnasium_team
from headstart.envs.host.team import HostTeam
from situations.table import refused, right
from situations.teams import Pair, opened, played


class Rings(Pair):
    """Its clock, which is nowhere to be read, cuts an episode off after `rings` steps."""

    max_cycles = None
    rings = 11

    def cut(self, agent):
        return self.time >= self.rings


class Ends(Rings):
    """The same as an end of the task."""

    def cut(self, agent):
        return False

    def ends(self, agent):
        return self.time >= self.rings


class Prize(Ends):
    """The same with a prize in the last step."""

    def move(self, agent, action):
        return 100.0 * (self.time >= self.rings)


def alone(env) -> tuple[int, float]:
    """(steps, return) of an episode outside of headstart."""
    env.reset(seed=0)
    steps = total = 0
    while env.agents:
        _, reward, *_ = env.step(dict.fromkeys(env.agents, 0))
        steps, total = steps + 1, total + sum(reward.values())
    return steps, total


def as_alone(kind, **changes) -> str:
    """An episode in headstart beside the same one outside of it."""
    want, shown = alone(type("It", (kind,), changes)()), played(opened(kind, **changes))
    got = len(shown.truncated) - 1, float(shown.reward["agent"].sum())
    assert got == want, f"{got} in headstart, {want} alone"
    return f"{got[0]} steps, return {got[1]:g}, {'terminated' if shown.terminated[-1] else 'truncated'}"


@right("length", "a limit of one step more than max_steps says")
def _():
    return as_alone(Prize, max_steps=10)


@right("length", "`horizon` of a planner that looks 5 steps ahead")
def _():
    return as_alone(Prize, horizon=5, rings=50)


@right("length", "`max_episode_steps` as a real number")
def _():
    return as_alone(Rings, max_episode_steps=5.0)


@right("length", "one step")
def _():
    return as_alone(Rings, rings=1)


@right("length", "max_cycles")
def _():
    return as_alone(Pair, max_cycles=7)


@refused("length", "max_cycles that the environment does not keep to", "the episode goes on after 6 steps")
def _():
    played(opened(Rings, max_cycles=6, rings=7))


@right("length", "Gymnasium's time limit")
def _():
    shown = played(gymnasium_team("Pendulum-v1", {"max_episode_steps": 9}, 0))
    assert len(shown.truncated) == 10 and shown.truncated[-1]
    return "9 steps, truncated"


@right("length", "a length that the user gives")
def _():
    shown = played(HostTeam(type("It", (Rings,), {"rings": 10**9})(), 4))
    assert shown.truncated.tolist() == [False] * 4 + [True]
    return "4 steps, truncated"


@refused("length", "an episode without an end", "pass --env.horizon STEPS (horizon=STEPS) (if its horizon is that: 40)")
def _():
    opened(Rings, rings=10**9, horizon=40)


@refused("length", "episodes of different lengths", "does not say how long an episode may last: pass --env.horizon STEPS")
def _():
    opened(Prize, ends=lambda self, agent: self.time >= 3 + self.rng.integers(9))


# ------------------------------------------------------------------ who plays


class Later(Pair):
    """agent_1 comes in step 3, and `leaves` says when it has gone."""

    max_cycles, leaves = 8, ()

    def reset(self, seed=None, options=None):
        told = super().reset(seed, options)
        self.agents = ["agent_0"]
        return tuple({"agent_0": part["agent_0"]} for part in told)

    def step(self, actions):
        here = self.agents
        told = super().step(actions)
        if self.time == 3:
            for part, value in zip(told, (np.float32([9]), 1.0, False, False, {}), strict=True):
                part["agent_1"] = value
            self.agents = [*here, "agent_1"]
        return told


@right("coming", "an agent that comes later")
def _():
    shown = played(team := opened(Later))
    assert shown.alive["agent"][:, 1].astype(int).tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 0]
    assert shown.reward["agent"][:, 1].sum() == 6 and shown.obs["agent"][3, 1] == 9
    acted = [time for time, agent, _ in team.env.sent if agent == "agent_1"]
    assert acted == [4, 5, 6, 7, 8]
    return f"alive from step 3, acts in steps {acted}"


@right("coming", "an agent that dies and comes again")
def _():
    def step(self, actions):
        told = Pair.step(self, actions)
        if self.time == 4:
            self.agents = ["agent_0", "agent_1"]
            for part, value in zip(told, (np.float32([9]), 0.0, False, False, {}), strict=True):
                part["agent_1"] = value
        return told

    shown = played(opened(step=step, ends=lambda self, agent: agent == "agent_1" and self.time == 2))
    assert shown.alive["agent"][:, 1].astype(int).tolist() == [1, 1, 0, 0, 1, 1, 0]
    return shown.alive["agent"][:, 1].astype(int).tolist()


def left(who: list[str]):
    def step(self, actions):
        told = Pair.step(self, actions)
        self.agents = self.agents if self.time != 4 else who
        return told

    return played(opened(step=step))


@refused("coming", "an agent that leaves without a flag", "agent_1 has left `agents` without being terminated or truncated")
def _():
    left(["agent_0"])


@right("coming", "all agents that leave at once, without a flag, end the episode")
def _():
    shown = left([])
    assert len(shown.terminated) == 5 and shown.terminated[-1]
    return "terminated after 4 steps"


@refused("coming", "a stranger among the agents", "`agents` names 'agent_7', whom possible_agents does not name")
def _():
    left(["agent_0", "agent_1", "agent_7"])


@refused("coming", "an agent that is here and is shown nothing", "the observations must have agent_1, which plays")
def _():
    def step(self, actions):
        told = Pair.step(self, actions)
        if self.time % 3:
            told[0].pop("agent_1")
        return told

    played(opened(step=step))


@refused("coming", "nobody at the start", "nobody plays after reset")
def _():
    def reset(self, seed=None, options=None):
        told = Pair.reset(self, seed)
        self.agents = []
        return told

    opened(reset=reset).reset(0)


@right("coming", "an agent that has ended and stays listed")
def _():
    def step(self, actions):
        self.agents = list(actions)
        told = Pair.step(self, actions)
        self.agents = list(self.possible_agents) if self.time < 6 else []
        return told

    shown = played(opened(step=step, ends=lambda self, agent: agent == "agent_1" and self.time == 2))
    assert shown.alive["agent"][:, 1].astype(int).tolist()[:4] == [1, 1, 0, 0]
    return "dead from step 2"
