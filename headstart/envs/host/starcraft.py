"""Open one battle of the real game in a worker: SMAC's `StarCraft2Env` with the methods of a `ParallelEnv`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.named import called, named
from headstart.core.own import installed, named_by_user
from headstart.envs.host.roles import Naming
from headstart.envs.host.team import HostTeam

MOVES = ("noop", "stop", "up", "down", "right", "left")
"""SMAC's first orders: north is up."""
NEEDED = (
    "needs StarCraft II and the package smac of the StarCraft multi-agent challenge: "
    "pip install git+https://github.com/oxwhirl/smac.git, and let SC2PATH name the game's directory (smax needs neither)"
)


class Battle:
    """SMAC's environment with the methods of a `ParallelEnv`: a dead unit leaves `agents` and is paid what its team is, and a
    time-out is a truncation.

    SMAC calls a time-out an end and says in its info that it is none, if it is asked to (`continuing_episode`). A game that
    breaks down is started again by SMAC, and its battle is cut off as well. The game draws its own chance from the seed with
    which it is started, the option `seed`: the seed of an episode changes nothing.
    """

    def __init__(self, env: Any):
        about = env.get_env_info()
        self.env, self.max_cycles, self.choices = env, int(about["episode_limit"]), int(about["n_actions"])
        self.possible_agents = [f"ally_{i}" for i in range(about["n_agents"])]
        self.agents: list[str] = []
        gymnasium: Any = named("gymnasium")
        self._seen = gymnasium.spaces.Box(-np.inf, np.inf, (int(about["obs_shape"]),), np.float32)
        self._acts = gymnasium.spaces.Discrete(self.choices)

    def observation_space(self, agent: str) -> Any:
        """What a unit observes: SMAC's vector."""
        return self._seen

    def action_space(self, agent: str) -> Any:
        """A unit's orders."""
        return self._acts

    def action_meanings(self, agent: str) -> list[list[str]]:
        """The names of a unit's orders."""
        return [[*MOVES, *(f"attack {i}" for i in range(self.choices - len(MOVES)))]]

    def action_mask(self, agent: str) -> Any:
        """Which orders a unit may be given."""
        return np.asarray(self.env.get_avail_agent_actions(self.possible_agents.index(agent)))

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        """A fresh battle."""
        self.env.reset()
        self.agents = list(self.possible_agents)
        return self._observed(self.agents), {}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """One joint step; the dead are given the order that is theirs alone, to do nothing."""
        orders = [int(actions[name]) if name in self.agents else 0 for name in self.possible_agents]
        reward, over, info = self.env.step(orders)
        late = bool(over and (info.get("episode_limit", False) or "battle_won" not in info))
        played = self.agents
        # To do nothing is an order of the dead alone. SMAC's own list of the dead is not kept up if it pays for the end only.
        gone = {name: bool((over and not late) or self.action_mask(name)[0]) for name in played}
        self.agents = [] if over else [name for name in played if not gone[name]]
        cut = {name: late and not gone[name] for name in played}
        return self._observed(played), dict.fromkeys(self.possible_agents, float(reward)), gone, cut, {}

    def _observed(self, names: list[str]) -> dict[str, np.ndarray]:
        seen = self.env.get_obs()
        return {name: np.asarray(seen[self.possible_agents.index(name)], np.float32) for name in names}

    def close(self) -> None:
        """End the game."""
        self.env.close()


def smac_team(
    id: str, options: dict[str, Any], horizon: int, roles: Sequence[str] = (), fields: Sequence[str] = (), found: int = 0,
    draws: bool = False,
) -> HostTeam:  # fmt: skip
    """A map of SMAC, opened in this process; `found` is the longest episode if that was found out before."""
    if draws:
        raise HeadstartError(f"smac:{id} cannot be drawn here: the game keeps replays of its own (save_replay)")
    if not (installed("smac") or named_by_user("smac")):
        raise HeadstartError(f"smac:{id} {NEEDED}")
    try:
        make = named("smac.env:StarCraft2Env")
    except HeadstartError as error:
        raise HeadstartError(f"smac:{id} {NEEDED} ({error})") from None
    return HostTeam(
        Battle(called(make, id, {"map_name": id, "continuing_episode": True, **options})),
        horizon,
        id,
        Naming(roles, fields),
        found,
    )
