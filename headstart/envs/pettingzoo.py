"""PettingZoo: its parallel environments in headstart, and headstart's in PettingZoo.

headstart train pettingzoo:mpe2.simple_spread_v3 --env.options '{"N": 4}' --learner ippo
"""

from typing import Any, ClassVar

from headstart.core.env import Env
from headstart.core.named import named
from headstart.core.part import part
from headstart.envs.host.env import HostEnv
from headstart.envs.host.openers import full_name


@part("env")
class PettingZoo(HostEnv):
    """Any PettingZoo parallel environment: pettingzoo:PACKAGE.MODULE, or pettingzoo:PACKAGE.MODULE:CLASS."""

    opener: ClassVar[str] = "headstart.envs.host.openers:pettingzoo_team"
    id: str = "mpe2.simple_spread_v3"
    """A module with a `parallel_env`, one of PettingZoo's own ("sisl.pursuit_v5"), or "module:thing" that makes one."""

    @property
    def module(self) -> str:
        """The module whose code the id runs; empty for an environment of PettingZoo's or mpe2's."""
        module, _, thing = full_name(self.id).partition(":")
        return module if thing or module.split(".")[0] not in ("pettingzoo", "mpe2") else ""


def to_pettingzoo(env: Env) -> Any:
    """`env` as a PettingZoo `ParallelEnv`: agents "ROLE_0", "ROLE_1", .. with Discrete, MultiDiscrete or Box actions.

    It passes PettingZoo's own tests of interface and seeds. An agent that dies leaves `agents`, and as PettingZoo has
    it, rewards do not tell what it is paid later. Raises HeadstartError if PettingZoo is not installed.
    """
    named("pettingzoo")
    from headstart.envs.host.outward import outward

    return outward(env)


PRESETS = {"pettingzoo": PettingZoo()}
"""`pettingzoo:ID` on the command line; without an id, mpe2's cooperative navigation."""
