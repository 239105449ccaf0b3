"""Demonstrations: recorded episodes of a team, as plain NumPy arrays.

`recording` plays and records them, `saved_demos` loads them, and `recombined` mixes their agents.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headstart import registry
from headstart.core.checks import HeadstartError, require
from headstart.core.cost import total
from headstart.core.spec import ActionSpace, Discrete, encode_spec
from headstart.core.types import TeamSpec
from headstart.report.metric import label
from headstart.storage import arrays as storage
from headstart.storage import files, places, schema
from headstart.teams import episode_arrays as arrays

STORED = ("obs", "alive", "actions", "available", "dead")
"""The arrays [M T ..] of which a file keeps the steps before an episode's end."""
EACH = ("returns", "events")
"""The arrays [M ..]."""


@dataclasses.dataclass(frozen=True, eq=False)
class Demos:
    """M recorded episodes of a team; T is the length of the longest, and shorter ones are padded with zeros.

    O numbers of an observation, A agents of a role, U numbers of an action vector (see `core.types`).
    `len(demos)` is M, and `demos[:100]` are the first hundred. Raises HeadstartError for arrays that do not fit together.
    """

    spec: TeamSpec
    """Of the team that was recorded."""
    env: Any
    """The environment; None if it is unknown."""
    obs: dict[str, np.ndarray]
    """{role: [M T A O]} float32: what the team observed before each env-step."""
    alive: dict[str, np.ndarray]
    """{role: [M T A]} bool: False for a dead agent, and for all steps after the end of the episode."""
    lengths: np.ndarray
    """[M] int32 env-steps."""
    returns: dict[str, np.ndarray]
    """{role: [M A]} float32: undiscounted sums of the rewards."""
    events: dict[str, np.ndarray]
    """{name: [M]} float32: counts, e.g. `win`."""
    actions: dict[str, np.ndarray] | None = None
    """{role: [M T A U]} float32, if they were recorded."""
    available: dict[str, np.ndarray] | None = None
    """{role: [M T A U]} bool: the legal choices, if actions were recorded and the environment has illegal ones."""
    dead: dict[str, np.ndarray] | None = None
    """{role: [M T A]} bool: the agents that have died, not those that are away, cut off alone or not there yet; None if that is
    unknown, or if nobody can die."""
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Where the episodes come from: seed, greedy or sampled, version of headstart, digest of the recorded policy."""
    loaded_from: str = ""
    """The directory that they were loaded from, for messages."""

    def __repr__(self) -> str:
        """A line without the arrays: `<Demos: 3 agent, 200 episodes, 5,000 env-steps, with actions, from runs/demos>`."""
        parts = [self.spec.sizes, f"{len(self.lengths):,} episodes", f"{self.steps:,} env-steps"]
        parts += ["with actions"] * (self.actions is not None) + [f"from {self.loaded_from}"] * bool(self.loaded_from)
        return f"<Demos: {', '.join(parts)}>"

    def __post_init__(self):
        require(len(self.lengths) > 0, "the number of episodes", 0, "at least 1")
        require(int(self.lengths.min()) > 0, "the length of an episode", int(self.lengths.min()), "at least 1")
        require(self.actions is not None or self.available is None, "available", "given", "None if there are no actions")
        episodes, steps = len(self.lengths), int(self.lengths.max())
        require(steps <= self.spec.horizon, "the length of an episode", steps, f"at most the horizon, {self.spec.horizon}")
        inner = {"obs": lambda role: (role.obs_size,), **dict.fromkeys(("alive", "dead", "returns"), lambda role: ())}
        for name in ("returns", *STORED):
            by_role = getattr(self, name)
            if by_role is None:
                continue
            require(by_role.keys() == self.spec.roles.keys(), f"the roles of {name}", [*by_role], f"{[*self.spec.roles]}")
            for role, about in self.spec.roles.items():
                rest = inner.get(name, lambda role: (role.actions.size,))(about)
                wanted = (episodes, *(() if name == "returns" else (steps,)), about.agents, *rest)
                require(by_role[role].shape == wanted, f"the shape of {name}['{role}']", by_role[role].shape, f"{wanted}")
        both = sum(int((self.alive[role] & x).sum()) for role, x in (self.dead or {}).items())
        require(both == 0, "the number of agents' steps that are alive and dead", both, "0")
        for name, x in self.events.items():
            require(x.shape == (episodes,), f"the shape of events['{name}']", x.shape, f"{(episodes,)}")

    @classmethod
    def from_arrays(
        cls,
        env: Any,
        obs: Any,
        *,
        lengths: Any = None,
        dones: Any = None,
        alive: Any = None,
        rewards: Any = None,
        actions: Any = None,
        available: Any = None,
        dead: Any = None,
        events: Mapping[str, Any] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> "Demos":
        """Demonstrations from arrays of your own: {role: array}, or the array itself if the team has one role.

        env: the environment of the team that was recorded, or its `TeamSpec`. obs [M T A O]. The end of an episode: lengths
        [M], or dones [M T], true at its last step; without either, all episodes have T steps. alive [M T A]: false for agents
        that have died or are away; dead [M T A]: true for those that have died. Without one of them, these are all others.
        rewards [M T A], or [M T] if agents share them. actions: whole numbers [M T A], or [M T A H] for H heads, are choices;
        floats [M T A U] are action vectors (one-hot heads side by side, or numbers in [-1, 1]). available [M T A U]. events
        {name: [M]}: counts of each episode. It does not matter what stands after an episode's end.

        Raises HeadstartError for shapes that do not fit and for numbers that are not finite.
        """
        spec = arrays.spec_of(env)
        seen = arrays.by_role(spec, "obs", obs, lambda role: (role.agents, role.obs_size))
        running, ends = arrays.running(seen, lengths, dones)
        living, died = arrays.living_and_dead(spec, running, alive, dead)
        kept = arrays.kept(seen, running, "obs")
        chosen, legal = arrays.actions(spec, running, living, actions), arrays.available(spec, running, available)
        arrays.check_legal(spec, living, chosen, legal)
        return cls(
            spec,
            None if env is spec else env,
            kept,
            living,
            ends,
            arrays.returns(spec, running, rewards),
            arrays.events(len(ends), events or {}),
            chosen,
            legal,
            died,
            notes=dict(notes or {}),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, which: slice) -> "Demos":
        """The episodes of a slice."""
        if not isinstance(which, slice):
            raise HeadstartError(f"demos[..] takes a slice such as demos[:100], not {which!r}")
        return self.picked(np.arange(len(self))[which])

    def take(self, count: int) -> "Demos":
        """The first `count` episodes; HeadstartError if there are fewer."""
        require(1 <= count <= len(self), "the number of episodes to take", count, f"between 1 and the recorded {len(self)}")
        return self[:count]

    def picked(self, numbers: np.ndarray) -> "Demos":
        """The episodes with these numbers, in their order; HeadstartError if there are none."""
        require(len(numbers) > 0, "the number of episodes", 0, "at least 1")
        lengths = self.lengths[numbers]
        steps = lengths.max()
        in_time = lambda x: x[numbers, :steps]
        return dataclasses.replace(
            self, lengths=lengths, **self._changed(STORED, in_time), **self._changed(EACH, lambda x: x[numbers])
        )

    def _changed(self, names: tuple[str, ...], change: Any) -> dict[str, Any]:
        """{name: {role or event: changed array}}."""
        by_name = {name: getattr(self, name) for name in names}
        return {name: tree and {part: change(x) for part, x in tree.items()} for name, tree in by_name.items()}

    @property
    def steps(self) -> int:
        """Env-steps of all episodes."""
        return int(self.lengths.sum(dtype=np.int64))

    @property
    def env_steps(self) -> int | None:
        """Env-steps that they cost: of the recorded team's training and of the recording; None if the former are not known."""
        return total([self.notes.get("trained", 0), self.steps])

    @property
    def running(self) -> np.ndarray:
        """[M T] bool: False for all steps after the end of the episode."""
        return np.arange(self.lengths.max()) < self.lengths[:, None]

    @property
    def means(self) -> dict[str, float]:
        """{"return": the mean over episodes of the team's return, event: the mean of its counts}."""
        team = np.concatenate(list(self.returns.values()), -1).mean(-1, dtype=np.float64)
        return {"return": float(team.mean())} | {name: float(x.mean(dtype=np.float64)) for name, x in self.events.items()}

    def told(self) -> str:
        """ "1,000 episodes, 25,000 env-steps, return 12.34, win rate 0.31": the means of the episodes in words."""
        means = self.means
        rates = [f"{label(name)} {x:.2f}" for name, x in means.items() if name != "return"]
        return ", ".join([f"{len(self):,} episodes", f"{self.steps:,} env-steps", f"return {means['return']:.2f}", *rates])

    def check_fits(self, spec: TeamSpec) -> None:
        """Raise HeadstartError unless a team of `spec` has these agents, and observes and does what they observed and did."""
        which = f"the demonstrations{f' in {self.loaded_from}' if self.loaded_from else ''}"
        mine, theirs = ({name: role.agents for name, role in s.roles.items()} for s in (self.spec, spec))
        told = lambda roles: ", ".join(f"{count} × {name}" for name, count in roles.items())
        if mine != theirs:
            raise HeadstartError(f"{which} are of {told(mine)} and the team has {told(theirs)}: record such a team")
        for name, role in self.spec.roles.items():
            ours = spec.roles[name]
            fields, wanted = ([(field.name, field.width) for field in x.obs] for x in (role, ours))
            if fields != wanted:
                seen = f"{which} show {name} {_told(fields)}, and the team observes {_told(wanted)}"
                raise HeadstartError(f"{seen}: record a team of its environment")
            if self.actions is not None and _unaimed(role.actions) != _unaimed(ours.actions):
                raise HeadstartError(f"{which} have other actions of {name} than the team: record a team of its environment")

    def save(self, directory: str | Path, compact: bool = False) -> None:
        """Write demos.safetensors and demos.json.

        compact: observations as float16, which rounds them to 11 bits, and one-hot actions as bits; under half the size.
        Raises HeadstartError if the directory already holds anything, or if an observation is too large for a float16.
        """
        directory = places.located(directory)
        check_free(directory)
        with places.made_at_once(directory) as staged:
            self.write(staged, compact)

    def write(self, directory: Path, compact: bool = False) -> str:
        """As `save`, into a directory that is there; returns the digest of demos.json."""
        running = self.running
        stored = {"lengths": self.lengths, **self._changed(STORED, lambda x: x[running]), **self._changed(EACH, np.asarray)}
        stored |= self._compacted(stored) if compact else {}
        manifest = {
            "spec": encode_spec(self.spec),
            "env": None if self.env is None else registry.encode("env", self.env),
            "episodes": len(self),
            "steps": self.steps,
            "events": list(self.events),
            "actions": self.actions is not None,
            "available": self.available is not None,
            "dead": self.dead is not None,
            "means": self.means,
            "notes": self.notes,
            **({"compact": True} if compact else {}),
            "arrays": storage.save_tree(directory / "demos.safetensors", {k: x for k, x in stored.items() if x is not None}),
        }
        return files.write_json(directory / "demos.json", manifest, schema.Demonstrations)

    def _compacted(self, stored: dict[str, Any]) -> dict[str, Any]:
        """The stored observations and actions in the types of `stored_as`."""
        out = {}
        for name in ("obs", "actions"):
            kinds = {role: stored_as(name, about.actions, compact=True) for role, about in self.spec.roles.items()}
            with np.errstate(over="ignore"):
                out[name] = stored[name] and {role: x.astype(kinds[role]) for role, x in stored[name].items()}
            for role, x in (out[name] or {}).items():
                if not np.isfinite(x).all():
                    raise HeadstartError(f"the observations of {role} are too large for a float16: leave --compact out")
                if x.dtype == bool and (x != stored[name][role]).any():
                    raise HeadstartError(f"the actions of {role} are no one-hot vectors: leave --compact out")
        return out


def stored_as(name: str, actions: ActionSpace, compact: bool) -> Any:
    """The type in which a file holds the array `name` of STORED."""
    if name == "obs":
        return np.float16 if compact else np.float32
    return bool if name in ("alive", "available", "dead") or (compact and isinstance(actions, Discrete)) else np.float32


def demos_for(guide: str, teacher: Any, spec: TeamSpec, actions: bool = False, otherwise: str = "") -> Demos:
    """The demonstrations from which a guide's students of `spec` learn; HeadstartError unless `teacher` is such.

    `actions`: whether the guide needs recorded actions. `otherwise`: what else a user may do, for the error's text.
    """
    how = f"headstart record RUN{' --actions' * actions} --out demos/NAME records some, and --teacher demos/NAME passes them"
    if callable(getattr(teacher, "function", None)):
        raise HeadstartError(
            f"{guide} needs recordings of this teacher: headstart.record(teacher, env, episodes=200) makes some"
        )
    if not isinstance(teacher, Demos):
        given = "" if teacher is None else f", and a {type(teacher).__name__} is none"
        raise HeadstartError(f"{guide} needs a teacher that is demonstrations{given}: {how}{otherwise and ', '}{otherwise}")
    if actions and teacher.actions is None:
        raise HeadstartError(f"{guide} learns from recorded actions, and these demonstrations have none: {how}")
    teacher.check_fits(spec)
    return teacher


def check_free(directory: Path) -> None:
    """Refuse a directory that holds anything, so that nothing is ever overwritten."""
    if not places.empty(directory):
        raise HeadstartError(f"{directory} already holds something: choose another --out")


def _unaimed(space: ActionSpace) -> ActionSpace:
    """The space without aims, which recordings from before them lack."""
    return space._replace(aims=()) if isinstance(space, Discrete) else space


def _told(fields: list[tuple[str, int]]) -> str:
    """ "velocity 2 + landmarks 6", in at most some 100 characters."""
    return files.shown(" + ".join(f"{name} {width}" for name, width in fields))
