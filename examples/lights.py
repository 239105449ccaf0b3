"""A custom PettingZoo environment: two agents press the buttons of the lights that go on.

headstart train pettingzoo:examples.lights:Lights --use examples.lights --learner ippo --steps 100000 --out runs/lights
"""

import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv

LIGHTS = 4


class Lights(ParallelEnv):
    """Each of two agents sees a light; both earn 1 if both press the buttons of their lights."""

    metadata = {"name": "lights", "render_modes": ["rgb_array"]}

    def __init__(self, max_cycles: int = 10, render_mode: str | None = None):
        self.possible_agents = ["left", "right"]
        self.max_cycles, self.render_mode = max_cycles, render_mode

    def observation_space(self, agent):
        """The agent's lights, one-hot: one of them is on."""
        return Box(0, 1, (LIGHTS,), np.float32)

    def action_space(self, agent):
        """A button: button i belongs to light i on the left, and to light LIGHTS − 1 − i on the right."""
        return Discrete(LIGHTS)

    def reset(self, seed=None, options=None):
        """A new episode of `max_cycles` steps; each step has two new lights."""
        self.agents, self.time = list(self.possible_agents), 0
        if seed is not None:
            self.random = np.random.default_rng(seed)
        return self.lit(), {name: {} for name in self.agents}

    def lit(self):
        """New lights, as the agents observe them."""
        self.light = dict(zip(self.agents, self.random.integers(LIGHTS, size=2), strict=True))
        return {name: np.eye(LIGHTS, dtype=np.float32)[self.light[name]] for name in self.agents}

    def step(self, actions):
        """The agents press their buttons."""
        right = LIGHTS - 1 - self.light["right"]
        reward = float(actions["left"] == self.light["left"] and actions["right"] == right)
        self.time += 1
        over, agents = self.time >= self.max_cycles, self.agents
        obs = self.lit()
        self.agents = [] if over else agents
        no, ended = dict.fromkeys(agents, False), dict.fromkeys(agents, over)
        return obs, dict.fromkeys(agents, reward), no, ended, {name: {} for name in agents}

    def render(self):
        """A picture [height, width, 3]: the left agent's lights above those of the right one."""
        shown = np.array([np.eye(LIGHTS)[self.light[name]] for name in self.possible_agents])
        return np.kron(60 + 195 * shown[..., None], np.ones((40, 40, 1))).astype(np.uint8).repeat(3, -1)
