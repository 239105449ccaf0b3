"""PettingZoo: its parallel environments as ours, and ours as its.

headstart train pettingzoo:mpe2.simple_spread_v3 --env.options '{"N": 4}' --learner ippo
"""

import json
from dataclasses import dataclass
from typing import Any

from headstart.checks import require
from headstart.envs.base import Env
from headstart.envs.host.env import HostEnv
from headstart.envs.host.named import named, options_text


@dataclass(frozen=True)
class PettingZoo(HostEnv):
    """Any environment of PettingZoo's parallel kind: pettingzoo:PACKAGE.MODULE, or pettingzoo:PACKAGE.MODULE:CLASS."""

    id: str = "mpe2.simple_spread_v3"
    """A module with a `parallel_env`, one of PettingZoo's own ("sisl.pursuit_v5"), or "module:thing" that makes one."""
    options: Any = "{}"
    """What it is made with: a JSON object, or a dict from Python."""
    horizon: int = 0
    """Env-steps after which an episode is cut off; 0 asks the environment for its `max_cycles`."""
    workers: int = 0
    """Worker processes; 0 for one a core."""

    def __post_init__(self):
        object.__setattr__(self, "options", options_text(self.options))
        require(self.horizon >= 0, "env.horizon", self.horizon, "at least 0")
        require(self.workers >= 0, "env.workers", self.workers, "at least 0")

    @property
    def opener(self) -> str:
        """Where a worker finds how to open one."""
        return "headstart.envs.host.openers:pettingzoo_team"

    @property
    def settings(self) -> dict[str, Any]:
        """What a worker opens it with."""
        return {"id": self.id, "options": json.loads(self.options), "horizon": self.horizon}


def to_pettingzoo(env: Env) -> Any:
    """`env` as a PettingZoo `ParallelEnv`: agents "ROLE_0", "ROLE_1", .. with Discrete, MultiDiscrete or Box actions.

    It passes PettingZoo's own tests of its interface and of its seeds. An agent that dies leaves `agents`. Raises
    HeadstartError where PettingZoo is not installed.
    """
    named("pettingzoo")
    from headstart.envs.host.outward import outward

    return outward(env)


PRESETS = {"pettingzoo": PettingZoo()}
"""`pettingzoo:ID` on the command line; without an id, its cooperative navigation."""
