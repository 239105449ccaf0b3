"""Gymnasium: an environment for one agent as a team of one.

headstart train gymnasium:CartPole-v1 --learner ppo
"""

import json
from dataclasses import dataclass
from typing import Any

from headstart.checks import require
from headstart.envs.host.env import HostEnv
from headstart.envs.host.named import options_text


@dataclass(frozen=True)
class Gymnasium(HostEnv):
    """Any Gymnasium environment as a team of one: gymnasium:ID, or gymnasium:MODULE:ID to import its module first."""

    id: str = "CartPole-v1"
    """As of `gymnasium.make`."""
    options: Any = "{}"
    """What it is made with: a JSON object, or a dict from Python."""
    horizon: int = 0
    """Env-steps after which an episode is cut off; 0 asks the environment for its `max_episode_steps`."""
    workers: int = 0
    """Worker processes; 0 for one a core."""

    def __post_init__(self):
        object.__setattr__(self, "options", options_text(self.options))
        require(self.horizon >= 0, "env.horizon", self.horizon, "at least 0")
        require(self.workers >= 0, "env.workers", self.workers, "at least 0")

    @property
    def opener(self) -> str:
        """Where a worker finds how to open one."""
        return "headstart.envs.host.openers:gymnasium_team"

    @property
    def settings(self) -> dict[str, Any]:
        """What a worker opens it with."""
        return {"id": self.id, "options": json.loads(self.options), "horizon": self.horizon}


PRESETS = {"gymnasium": Gymnasium()}
"""`gymnasium:ID` on the command line; without an id, the pole on a cart."""
