"""Open one host environment in a worker: PettingZoo's parallel ones, and Gymnasium's as teams of one."""

from collections.abc import Sequence
from typing import Any

from headstart.core.checks import HeadstartError
from headstart.core.named import called, named
from headstart.envs.host import pictures
from headstart.envs.host.reading import flag, several
from headstart.envs.host.roles import Naming
from headstart.envs.host.team import HostTeam

AGENT = "agent_0"


def pettingzoo_team(
    id: str, options: dict[str, Any], horizon: int, roles: Sequence[str] = (), fields: Sequence[str] = (), found: int = 0,
    draws: bool = False,
) -> HostTeam:  # fmt: skip
    """A PettingZoo environment, opened in this process; `found` is the longest episode if that was found out before, and
    `draws` asks for one that can be drawn."""
    make = named(full_name(id))
    if not callable(make):
        if not hasattr(make, "parallel_env"):
            turns = " it is a turn-based (AEC) game, which has no joint step:" if hasattr(make, "env") else ""
            names = ", ".join(_environments(make))
            own = f"one of its environments, pettingzoo:{id}:NAME ({names})"
            mend = own if names else "a module that has one, or module:thing"
            raise HeadstartError(f"{id} has no parallel_env:{turns} name {mend}")
        make = make.parallel_env
    env = (pictures.made_to_draw if draws else called)(make, id, options)
    if not hasattr(env, "possible_agents") or hasattr(env, "agent_iter"):
        lack = "has no possible_agents" if not hasattr(env, "possible_agents") else "is turn-based (AEC)"
        raise HeadstartError(f"{id} makes a {type(env).__name__}, which {lack}: only a ParallelEnv will do")
    return HostTeam(env, horizon, id, Naming(roles, fields), found)


def _environments(module: Any) -> list[str]:
    """The names of a module's own classes that can be stepped."""
    own = lambda thing: isinstance(thing, type) and thing.__module__ == getattr(module, "__name__", "")
    return [name for name, thing in vars(module).items() if own(thing) and hasattr(thing, "reset") and hasattr(thing, "step")]


def full_name(id: str) -> str:
    """The id with "pettingzoo." in front if it names one of PettingZoo's own families."""
    family = id.split(".")[0]
    return f"pettingzoo.{id}" if family in ("sisl", "butterfly", "atari", "classic") else id


class Alone:
    """A Gymnasium environment with the methods of a `ParallelEnv` of one agent."""

    possible_agents = [AGENT]

    def __init__(self, env: Any):
        self.env, self.agents = env, []
        self.time_limit = env.spec.max_episode_steps if env.spec else None

    def render(self) -> Any:
        """The environment's own picture."""
        return self.env.render()

    def observation_space(self, agent: str) -> Any:
        """The agent's observation space."""
        return self.env.observation_space

    def action_space(self, agent: str) -> Any:
        """The agent's action space."""
        return self.env.action_space

    def reset(self, seed: int) -> tuple[dict, dict]:
        """A fresh episode."""
        obs, info = several(self.env.reset(seed=seed), "reset", "observation, info")
        self.agents = [AGENT]
        return {AGENT: obs}, {AGENT: info}

    def step(self, action: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """One step of the agent."""
        told = self.env.step(action[AGENT])
        obs, reward, terminated, truncated, info = several(told, "step", "observation, reward, terminated, truncated, info")
        self.agents = [] if flag(terminated) or flag(truncated) else self.agents
        return {AGENT: obs}, {AGENT: reward}, {AGENT: terminated}, {AGENT: truncated}, {AGENT: info}

    def close(self) -> None:
        """Close windows and files."""
        self.env.close()


def gymnasium_team(
    id: str, options: dict[str, Any], horizon: int, roles: Sequence[str] = (), fields: Sequence[str] = (), found: int = 0,
    draws: bool = False,
) -> HostTeam:  # fmt: skip
    """A Gymnasium environment as a team of one, opened in this process; `found` and `draws` as above."""
    gymnasium: Any = named("gymnasium")
    module, _, name = id.rpartition(":")
    if module:
        named(module)
    try:
        gymnasium.spec(name)
    except gymnasium.error.Error as error:
        raise HeadstartError(f"gymnasium:{id}: {error}") from None
    made = (pictures.made_to_draw if draws else called)(lambda **given: gymnasium.make(name, **given), id, options)
    env = Alone(made)
    return HostTeam(env, horizon, id, Naming(roles, fields), found)
