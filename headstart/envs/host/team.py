"""One PettingZoo parallel environment as a team, in plain Python; worker processes run this side.

What the environment returns is checked in full: a value of the wrong size would otherwise shift all others in a row.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.spec import TeamSpec
from headstart.envs.host import layout, meanings, reading, spaces
from headstart.envs.host.reading import Wrong, by_agent, flat, several

MASKED = {"observation", "action_mask"}
_EMPTY: dict[str, Any] = {}


class Seat(NamedTuple):
    """What is fixed about an agent: its names, where its numbers are, and how they are read."""

    name: str
    agent: Any
    place: layout.Place
    acts: slice
    look: Callable[[Any], tuple[np.ndarray, Any]]
    send: Callable[[np.ndarray], Any]


class HostTeam:
    """A `ParallelEnv` (or an object with its methods) as a team: fixed agents, roles, vectors, and one clock.

    An agent that leaves early is dead from then on: its observation is zeros and its reward 0. `reset` and `step` return a row
    of numbers (see `layout`) and raise HeadstartError if the environment returned something that does not fit the spec.
    """

    def __init__(self, env: Any, horizon: int = 0, label: str = ""):
        self.env, self.label = env, label or type(env).__name__
        agents = {str(name): name for name in env.possible_agents}
        if not agents:
            raise HeadstartError(f"{self.label} has nobody in possible_agents")
        look, send, fields, actions = {}, {}, {}, {}
        for name, agent in agents.items():
            space, action_space = env.observation_space(agent), env.action_space(agent)
            masked = type(space).__name__ == "Dict" and set(space.spaces) == MASKED
            seen = space.spaces["observation"] if masked else space
            fields[name] = spaces.observed(seen, f"what {name} of {self.label} observes")
            actions[name] = meanings.named(spaces.acted(action_space, f"{name} of {self.label}"), env, agent, self.label)
            look[name], send[name] = _looker(seen, masked), spaces.sender(actions[name], action_space)
        roles = spaces.roles_of(list(agents), fields, actions)
        size = sum(role.agents * role.obs_size for role in roles.values())
        self.spec = TeamSpec(roles, horizon or _horizon(env, self.label), size)
        self.width = layout.width(self.spec)
        self.seats = [
            Seat(name, agents[name], place, acts, look[name], send[name]) for name, place, acts in layout.places(self.spec)
        ]
        self.time, self.over, self.moment = 0, True, "reset"

    def reset(self, seed: int) -> np.ndarray:
        """The row of a fresh episode from a seed in [0, 2³¹)."""
        self.time, self.over, self.seed, self.moment = 0, False, int(seed), f"reset (seed {seed})"
        self.gone, self.dead = set(), set()
        told = several(self.env.reset(seed=int(seed)), "reset", "observations, infos")
        obs, infos = by_agent(told[0], "observations"), by_agent(_EMPTY if told[1] is None else told[1], "infos")
        living = self._living()
        if not living:
            raise HeadstartError("nobody plays after reset: `agents` is empty")
        self.dead = {seat.name for seat in self.seats if seat.agent not in living}
        return self._row(obs, infos, None, set())

    def step(self, action: np.ndarray) -> np.ndarray:
        """The row after a joint step by the agents' action vectors, side by side; steps after the end change nothing."""
        if self.over:
            return self._row_after_the_end()
        self.time += 1
        self.moment = f"step {self.time} (seed {self.seed})"
        playing = [seat for seat in self.seats if seat.name not in self.dead]
        sent = {seat.agent: seat.send(action[seat.acts]) for seat in playing}
        told = several(self.env.step(sent), "step", "observations, rewards, terminations, truncations, infos")
        obs, reward = by_agent(told[0], "observations"), by_agent(told[1], "rewards")
        terminated, truncated = by_agent(told[2], "terminations"), by_agent(told[3], "truncations")
        infos = by_agent(_EMPTY if told[4] is None else told[4], "infos")
        living = self._living()
        # An agent that is both terminated and truncated counts as terminated.
        ended = {seat.name for seat in playing if _read(seat, "termination", terminated, reading.flag)}
        cut = {seat.name for seat in playing if _read(seat, "truncation", truncated, reading.flag)} - ended
        for seat in playing:
            if living and seat.agent not in living and seat.name not in ended | cut:
                raise HeadstartError(f"{seat.name} has left `agents` without being terminated or truncated")
        self.gone |= ended
        all_left = not living or len(ended) + len(cut) == len(playing)
        # The team terminates if all agents that still played terminated; any other end is a truncation.
        final = all_left and not cut
        self.over = all_left or self.time >= self.spec.horizon
        row = self._row(obs, infos, reward, ended)
        row[layout.TERMINATED], row[layout.TRUNCATED] = final, self.over and not final
        self.dead = self.dead | ended | cut
        for seat in playing:
            row[seat.place.alive] = seat.name not in self.dead
        return row

    def close(self) -> None:
        """Close windows and files."""
        self.env.close()

    def _living(self) -> list[Any]:
        try:
            return list(self.env.agents)
        except TypeError:
            raise HeadstartError(f"`agents` must list who plays, not {reading.told(self.env.agents)}") from None

    def _row(self, obs: Mapping, infos: Mapping, reward: Mapping | None, ended: set[str]) -> np.ndarray:
        row = np.zeros(self.width, np.float32)
        with np.errstate(over="ignore"):  # what is beyond single precision becomes infinite, and is refused below
            for seat in self.seats:
                place = seat.place
                row[place.agent_terminated] = seat.name in self.gone
                if seat.name in self.dead:
                    row[place.available] = 1.0
                    continue
                row[place.alive] = 1.0
                if reward is not None:
                    row[place.reward] = _read(seat, "reward", reward, reading.number)
                mask = None
                if seat.agent in obs or seat.name not in ended:  # what an agent saw as it died is of no use to anyone
                    row[place.obs], mask = _read(seat, "observation", obs, seat.look)
                row[place.available] = _may(seat, mask, infos)
        if not np.isfinite(row).all():
            self._refuse_what_is_not_finite(row)
        return row

    def _row_after_the_end(self) -> np.ndarray:
        row = np.zeros(self.width, np.float32)
        row[layout.TERMINATED] = 1.0
        for seat in self.seats:
            row[seat.place.available] = 1.0
            row[seat.place.alive] = seat.name not in self.dead
            row[seat.place.agent_terminated] = seat.name in self.gone
        return row

    def _refuse_what_is_not_finite(self, row: np.ndarray) -> None:
        for seat in self.seats:
            for noun, numbers in (("observation", row[seat.place.obs]), ("reward", row[seat.place.reward])):
                if not np.isfinite(numbers).all():
                    shown = reading.told(numbers)
                    raise HeadstartError(f"{seat.name}'s {noun} must be finite in single precision, not {shown}")


def _read(seat: Seat, noun: str, values: Mapping, read: Callable[[Any], Any]) -> Any:
    """An agent's value of one kind."""
    if seat.agent not in values:
        there = ", ".join(map(str, list(values)[:10])) or "nobody"
        raise HeadstartError(f"the {noun}s must have {seat.name}, which plays, not only {there}")
    try:
        return read(values[seat.agent])
    except Wrong as wrong:
        raise HeadstartError(f"{seat.name}'s {noun}{wrong.part} must be {wrong}") from None


def _may(seat: Seat, mask: Any, infos: Mapping) -> np.ndarray | float:
    """Which choices an agent has: as its observation says, or its info, or all. A mask without any choice is none."""
    if mask is None:
        info = infos.get(seat.agent, _EMPTY)
        if not isinstance(info, Mapping):
            raise HeadstartError(f"{seat.name}'s info must be a dict, not {reading.told(info)}")
        mask = info.get("action_mask")
    if mask is None:
        return 1.0
    try:
        legal = reading.mask(mask, seat.acts.stop - seat.acts.start)
    except Wrong as wrong:
        raise HeadstartError(f"{seat.name}'s action mask must be {wrong}") from None
    return legal if legal.any() else 1.0


def _looker(space: Any, masked: bool) -> Callable[[Any], tuple[np.ndarray, Any]]:
    """The function from an observation to its numbers and its action mask, if it brings one."""
    if not masked:
        return lambda value: (flat(space, value), None)

    def look(value: Any) -> tuple[np.ndarray, Any]:
        if not isinstance(value, Mapping) or not value.keys() >= MASKED:
            raise Wrong("a dict with observation, action_mask", value)
        return flat(space, value["observation"]), value["action_mask"]

    return look


def _horizon(env: Any, label: str) -> int:
    """The longest episode: PettingZoo's environments store it under one of these names, and `Alone` under `max_steps`."""
    inner = getattr(env, "unwrapped", env)
    for source in (env, inner, getattr(inner, "env", None)):
        for name in ("max_cycles", "max_steps", "horizon", "max_episode_steps"):
            value = getattr(source, name, None)
            if isinstance(value, int | np.integer) and value > 0:
                return int(value)
    raise HeadstartError(f"{label} does not say how long an episode may last: pass --env.horizon STEPS (horizon=STEPS)")
