"""SMAC, the StarCraft multi-agent challenge: battles of the real game, in worker processes.

headstart train smac:5m_vs_6m --learner ippo
"""

from typing import ClassVar

from headstart.core.part import part
from headstart.core.ranges import Positive
from headstart.envs.host.env import HostEnv


@part("env")
class SMAC(HostEnv):
    """Battles of the real game StarCraft II by the package smac: smac:MAP. Its stand-in without the game is smax:MAP."""

    opener: ClassVar[str] = "headstart.envs.host.starcraft:smac_team"
    tried: ClassVar[bool] = False
    """The game starts with the first episode, and takes as long as a program to compile."""
    id: str = "3m"
    """The map, as SMAC names it."""
    timeout: Positive = 300.0
    """Seconds that starting the game, a reset or a step of one environment may take."""


PRESETS = {"smac": SMAC()}
"""`smac:MAP` on the command line; without a map, three marines on each side."""
