"""One PettingZoo parallel environment as a team, in plain Python; worker processes run this side."""

from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.spec import TeamSpec
from headstart.envs.host import spaces
from headstart.envs.host.layout import Shown


class HostTeam:
    """A `ParallelEnv` (or an object with its methods) as a team: fixed agents, roles, vectors, and one clock.

    An agent that leaves early is dead from then on: its observation is zeros and its reward 0.
    """

    def __init__(self, env: Any, horizon: int = 0, label: str = ""):
        self.env, self.label = env, label or type(env).__name__
        self.names = [str(name) for name in env.possible_agents]
        self.by_name = dict(zip(self.names, env.possible_agents, strict=True))
        self.masked: dict[str, bool] = {}
        self.seen: dict[str, Any] = {}
        fields, actions = {}, {}
        for name, agent in self.by_name.items():
            space = env.observation_space(agent)
            self.masked[name] = type(space).__name__ == "Dict" and set(space.spaces) == {"observation", "action_mask"}
            self.seen[name] = space.spaces["observation"] if self.masked[name] else space
            fields[name] = spaces.observed(self.seen[name], f"what {name} of {self.label} observes")
            actions[name] = spaces.acted(env.action_space(agent), f"{name} of {self.label}")
        roles = spaces.roles_of(self.names, fields, actions)
        size = sum(role.agents * role.obs_size for role in roles.values())
        self.spec = TeamSpec(roles, horizon or _horizon(env, self.label), size)
        self.time, self.over = 0, True

    def reset(self, seed: int) -> Shown:
        """A fresh episode from a seed in [0, 2³¹)."""
        obs, infos = self.env.reset(seed=int(seed))
        self.time, self.over, self.gone = 0, False, set()
        self.dead = {name for name, agent in self.by_name.items() if agent not in self.env.agents}
        return self._shown(obs, infos, {}, False, False)

    def step(self, action: dict[str, np.ndarray]) -> Shown:
        """One joint step by action vectors {role: [A U]}; steps after the end change nothing."""
        if self.over:
            return self._shown({}, {}, {}, True, False)
        sent = {}
        for role, names in self.spec.names.items():
            for name, vector in zip(names, action[role], strict=True):
                if name not in self.dead:
                    agent = self.by_name[name]
                    own = spaces.native(self.spec.roles[role].actions, vector)
                    sent[agent] = spaces.as_sent(self.env.action_space(agent), own)
        obs, reward, terminated, truncated, infos = self.env.step(sent)
        self.time += 1
        # An agent that is both terminated and truncated counts as terminated.
        ended = {n for n, a in self.by_name.items() if terminated.get(a, False)}
        cut = {n for n, a in self.by_name.items() if truncated.get(a, False)} - ended
        playing = set(self.names) - self.dead
        self.gone |= ended & playing
        all_left = not self.env.agents or playing <= ended | cut
        late = self.time >= self.spec.horizon
        self.over = all_left or late
        # The team terminates if all agents that still played terminated; any other end is a truncation.
        final = all_left and not (cut & playing)
        shown = self._shown(obs, infos, reward, final, self.over and not final)
        self.dead |= ended | cut
        return shown._replace(alive=self._each(lambda name: name not in self.dead))

    def close(self) -> None:
        """Close windows and files."""
        self.env.close()

    def _each(self, value: Any) -> dict[str, np.ndarray]:
        return {role: np.stack([np.asarray(value(name)) for name in names]) for role, names in self.spec.names.items()}

    def _shown(self, obs: Any, infos: Any, reward: Any, terminated: bool, truncated: bool) -> Shown:
        roles = {name: self.spec.roles[role] for role, names in self.spec.names.items() for name in names}

        def look(name: str) -> np.ndarray:
            agent = self.by_name[name]
            if agent not in obs or name in self.dead:
                return np.zeros(roles[name].obs_size, np.float32)
            return spaces.flat(self.seen[name], obs[agent]["observation"] if self.masked[name] else obs[agent])

        def may(name: str) -> np.ndarray:
            agent, size = self.by_name[name], roles[name].actions.size
            if name in self.dead:
                return np.ones(size)
            mask = obs[agent]["action_mask"] if self.masked[name] and agent in obs else None
            mask = (infos or {}).get(agent, {}).get("action_mask") if mask is None else mask
            return np.ones(size) if mask is None or not np.any(mask) else np.reshape(mask, size)

        return Shown(
            self._each(look),
            self._each(may),
            self._each(lambda name: np.float32(0.0 if name in self.dead else reward.get(self.by_name[name], 0.0))),
            self._each(lambda name: name not in self.dead),
            self._each(lambda name: name in self.gone),
            terminated,
            truncated,
        )


def _horizon(env: Any, label: str) -> int:
    """The longest episode: PettingZoo's environments store it under one of these names, and `Alone` under `max_steps`."""
    inner = getattr(env, "unwrapped", env)
    for source in (env, inner, getattr(inner, "env", None)):
        for name in ("max_cycles", "max_steps", "horizon", "max_episode_steps"):
            value = getattr(source, name, None)
            if isinstance(value, int | np.integer) and value > 0:
                return int(value)
    raise HeadstartError(f"{label} does not say how long an episode may last: pass --env.horizon STEPS (horizon=STEPS)")
