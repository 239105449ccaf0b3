"""One PettingZoo parallel environment as a team, in plain Python; worker processes run this side.

What the environment returns is checked in full: a value of the wrong size would otherwise shift all others in a row.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.spec import ActionSpace, TeamSpec
from headstart.envs.host import clock, layout, masks, meanings, reading, spaces
from headstart.envs.host.reading import Wrong, by_agent, flat, several
from headstart.envs.host.roles import Naming

_EMPTY: dict[str, Any] = {}


class Seat(NamedTuple):
    """What is fixed about an agent: its names, where its numbers are, and how they are read."""

    name: str
    agent: Any
    place: layout.Place
    acts: slice
    actions: ActionSpace
    look: Callable[[Any], tuple[np.ndarray, Any]]
    send: Callable[[np.ndarray], Any]


class HostTeam:
    """A `ParallelEnv` (or an object with its methods) as a team: fixed agents, roles, vectors, and one clock.

    An agent that is not in `agents` is dead: its observation is zeros and its reward 0. One that was terminated is paid if
    rewards name it, e.g. what its team is paid. It may come (again) later. `reset` and `step` return a row of numbers (see
    `layout`) and raise HeadstartError if the environment returned something that does not fit the spec, or went on for longer
    than its episodes were found to last (`found`, if they were found before).
    """

    def __init__(self, env: Any, horizon: int = 0, label: str = "", naming: Naming | None = None, found: int = 0):
        self.env, self.label = env, label or type(env).__name__
        agents = {str(name): name for name in env.possible_agents}
        if not agents:
            raise HeadstartError(f"{self.label} has nobody in possible_agents")
        if len(agents) < len(list(env.possible_agents)):
            raise HeadstartError(
                f"{self.label} has two agents of one name in possible_agents: {', '.join(agents)} are all names"
            )
        if not _takes_seed(getattr(env, "reset", None)):
            raise HeadstartError(f"{self.label}'s reset takes no seed: begin it with reset(self, seed=None, options=None)")
        look, send, fields, actions = {}, {}, {}, {}
        for name, agent in agents.items():
            space, action_space = self._space("observation_space", agent), self._space("action_space", agent)
            actions[name] = meanings.named(spaces.acted(action_space, f"{name} of {self.label}"), env, agent, self.label)
            where = f"what {name} of {self.label} observes"
            mask = masks.key_of(space, actions[name], where)
            seen, keys = masks.without(space, mask) if mask is not None else (space, [])
            fields[name] = spaces.observed(seen, where)
            look[name], send[name] = _looker(seen, mask, keys), spaces.sender(actions[name], action_space)
        roles = (naming or Naming()).of(list(agents), fields, actions)
        size = sum(role.agents * role.obs_size for role in roles.values())
        self.spec = TeamSpec(roles, horizon or found or clock.longest(env, self.label), size)
        self.cuts = horizon > 0
        """Whether the user has said how long an episode may last: a found length must be that of the environment."""
        self.width = layout.width(self.spec)
        self.seats = [
            Seat(name, agents[name], place, acts, actions[name], look[name], send[name])
            for name, place, acts in layout.places(self.spec)
        ]
        self.names = set(agents.values())
        shown, may = size, layout.actions(self.spec)
        self.available = slice(shown, shown + may)
        self.mask_of = masks.method_of(env)
        self.time, self.over, self.moment = 0, True, "reset"

    def _space(self, name: str, agent: Any) -> Any:
        """An agent's space: from the method, or from a dict in its place. Some environments know it only after a reset."""

        def look() -> Any:
            spaces_of: Any = getattr(self.env, name)
            return spaces_of[agent] if hasattr(spaces_of, "spaces") or isinstance(spaces_of, dict) else spaces_of(agent)

        try:
            return look()
        except NotImplementedError:  # PettingZoo's own way to say that there is none: a reset changes nothing
            raise
        except Exception:
            self.env.reset(seed=0)
            return look()

    def reset(self, seed: int) -> np.ndarray:
        """The row of a fresh episode from a seed in [0, 2³¹)."""
        self.time, self.over, self.seed, self.moment = 0, False, int(seed), f"reset (seed {seed})"
        self.gone = set()
        told = several(self.env.reset(seed=int(seed)), "reset", "observations, infos")
        obs, infos = by_agent(told[0], "observations"), by_agent(_EMPTY if told[1] is None else told[1], "infos")
        self.listed = self._living()
        if not self.listed:
            raise HeadstartError("nobody plays after reset: `agents` is empty")
        self._check_known()
        for what, given in (("observations", obs), ("infos", infos)):
            masks.check_beside(given, self.names, what)
        self.playing = [seat for seat in self.seats if seat.agent in self.listed]
        return self._row(self.playing, obs, infos, None, set())

    def step(self, action: np.ndarray) -> np.ndarray:
        """The row after a joint step by the agents' action vectors, side by side; steps after the end change nothing."""
        if self.over:
            return self._row_after_the_end()
        self.time += 1
        self.moment = f"step {self.time} (seed {self.seed})"
        playing = self.playing
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
        come = self._arrived(living) if living != self.listed else []
        self.listed = living
        self.gone = (self.gone - {seat.name for seat in come}) | ended
        all_left = not living or (len(ended) + len(cut) == len(playing) and not come)
        # The team terminates if all agents that still played terminated; any other end is a truncation.
        final = all_left and not cut
        self.over = all_left or self.time >= self.spec.horizon
        if self.over and not all_left and not self.cuts:
            raise HeadstartError(
                f"the episode goes on after {self.time} steps, the longest that was expected: pass --env.horizon STEPS "
                "(horizon=STEPS) to say how long one may last"
            )
        shown = [*playing, *come]
        row = self._row(shown, obs, infos, reward, ended, {seat.name for seat in come})
        row[layout.TERMINATED], row[layout.TRUNCATED] = final, self.over and not final
        self.playing = [seat for seat in shown if seat.name not in ended and seat.name not in cut] if ended or cut else shown
        for seat in playing:
            row[seat.place.alive] = seat.name not in ended and seat.name not in cut
        return row

    def _arrived(self, living: list[Any]) -> list[Seat]:
        """The agents that `agents` names now and did not name before."""
        self._check_known(living)
        return [seat for seat in self.seats if seat.agent in living and seat.agent not in self.listed]

    def _check_known(self, living: list[Any] | None = None) -> None:
        for agent in self.listed if living is None else living:
            if agent not in self.names:
                raise HeadstartError(f"`agents` names {reading.told(agent)}, whom possible_agents does not name")

    def close(self) -> None:
        """Close windows and files."""
        self.env.close()

    def _living(self) -> list[Any]:
        try:
            return list(self.env.agents)
        except TypeError:
            raise HeadstartError(f"`agents` must list who plays, not {reading.told(self.env.agents)}") from None

    def _row(
        self, shown: list[Seat], obs: Mapping, infos: Mapping, reward: Mapping | None, ended: set[str], come: Any = ()
    ) -> np.ndarray:
        """The row of the agents that played, or have come; zeros and free choice for all others."""
        row = np.zeros(self.width, np.float32)
        if len(shown) < len(self.seats):
            row[self.available] = 1.0
        with np.errstate(over="ignore"):  # what is beyond single precision becomes infinite, and is refused below
            for seat in shown:
                place = seat.place
                row[place.alive] = 1.0
                # What is paid to an agent as it comes is its own, although it has not acted yet.
                if reward is not None and (seat.name not in come or seat.agent in reward):
                    row[place.reward] = _read(seat, "reward", reward, reading.number)
                mask = None
                if seat.agent in obs or seat.name not in ended:  # what an agent saw as it died is of no use to anyone
                    row[place.obs], mask = _read(seat, "observation", obs, seat.look)
                row[place.available] = self._may(seat, mask, infos)
        for seat in self.seats if self.gone else ():
            row[seat.place.agent_terminated] = dead = seat.name in self.gone
            if dead and seat not in shown and reward is not None and seat.agent in reward:
                row[seat.place.reward] = _read(seat, "reward", reward, reading.number)
        if not np.isfinite(row).all():
            self._refuse_what_is_not_finite(row)
        return row

    def _may(self, seat: Seat, mask: Any, infos: Mapping) -> np.ndarray | float:
        """Which choices an agent has: as its observation says, its info, or the environment's own method; or all."""
        try:
            if mask is None:
                info = infos.get(seat.agent, _EMPTY)
                if not isinstance(info, Mapping):
                    raise HeadstartError(f"{seat.name}'s info must be a dict, not {reading.told(info)}")
                mask = masks.in_info(info, seat.actions) if info else None
            if mask is None and self.mask_of is not None and seat.agent in self.listed:
                mask = self.mask_of(seat.agent)
            return 1.0 if mask is None else masks.read(mask, seat.actions)
        except Wrong as wrong:
            raise HeadstartError(f"{seat.name}'s action mask must be {wrong}") from None

    def _row_after_the_end(self) -> np.ndarray:
        row = np.zeros(self.width, np.float32)
        row[layout.TERMINATED] = 1.0
        for seat in self.seats:
            row[seat.place.available] = 1.0
            row[seat.place.alive] = seat in self.playing
            row[seat.place.agent_terminated] = seat.name in self.gone
        return row

    def _refuse_what_is_not_finite(self, row: np.ndarray) -> None:
        for seat in self.seats:
            for noun, numbers in (("observation", row[seat.place.obs]), ("reward", row[seat.place.reward])):
                if not np.isfinite(numbers).all():
                    shown = reading.told(numbers)
                    raise HeadstartError(f"{seat.name}'s {noun} must be finite in single precision, not {shown}")


def _takes_seed(reset: Any) -> bool:
    try:
        parameters = inspect.signature(reset).parameters.values()
    except (TypeError, ValueError):  # nothing is known about it
        return True
    return any(p.name == "seed" or p.kind is p.VAR_KEYWORD for p in parameters)


def _read(seat: Seat, noun: str, values: Mapping, read: Callable[[Any], Any]) -> Any:
    """An agent's value of one kind."""
    if seat.agent not in values:
        there = ", ".join(map(str, list(values)[:10])) or "nobody"
        raise HeadstartError(f"the {noun}s must have {seat.name}, which plays, not only {there}")
    try:
        return read(values[seat.agent])
    except Wrong as wrong:
        raise HeadstartError(f"{seat.name}'s {noun}{wrong.part} must be {wrong}") from None


def _looker(space: Any, mask: Any, keys: list[Any]) -> Callable[[Any], tuple[np.ndarray, Any]]:
    """The function from an observation to its numbers and its action mask, if it brings one under the key `mask`.

    `keys` lead to what is seen.
    """
    if mask is None:
        return lambda value: (flat(space, value), None)
    wanted = {mask, *keys} if keys else {mask, *space.spaces}

    def look(value: Any) -> tuple[np.ndarray, Any]:
        if not isinstance(value, Mapping) or not value.keys() >= wanted:
            raise Wrong(f"a dict with {', '.join(sorted(map(str, wanted)))}", value)
        return flat(space, value[keys[0]] if keys else value), value[mask]

    return look
