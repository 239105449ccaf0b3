"""Gymnasium environments as teams of one agent.

headstart train gymnasium:CartPole-v1 --learner ppo
"""

from typing import ClassVar

from headstart.core.part import part
from headstart.envs.host.env import HostEnv


@part("env")
class Gymnasium(HostEnv):
    """Any Gymnasium environment as a team of one: gymnasium:ID, or gymnasium:MODULE:ID to import its module first."""

    opener: ClassVar[str] = "headstart.envs.host.openers:gymnasium_team"
    id: str = "CartPole-v1"
    """The id that `gymnasium.make` takes."""

    @property
    def module(self) -> str:
        """The module that the id imports, if it names one."""
        return self.id.rpartition(":")[0]


PRESETS = {"gymnasium": Gymnasium()}
"""`gymnasium:ID` on the command line; without an id, CartPole-v1."""
