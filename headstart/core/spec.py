"""Specs of a team, in plain Python: its roles, their observations, actions and messages.

Nothing here needs JAX, so the worker processes of host environments start without it.
"""

from typing import Any, NamedTuple

import numpy as np

from headstart.core.checks import HeadstartError, require


class Field(NamedTuple):
    """A named block of an observation: `count` entities of `size` numbers each, e.g. `("landmarks", 3, 2)`.

    The first two numbers of an entity are its position relative to the observer, if it has one: they rank entities by
    nearness. A field without positions `follows` the field that ranks the same entities.
    """

    name: str
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    size: int
    follows: str = ""
    own: bool = False
    """Whether it is about the observer itself, e.g. its velocity, and not about entities that it sees."""
    kinds: tuple[int, ...] = ()
    """Widths of the one-hot vectors at the end of an entity, e.g. the type of a treasure; in a task with other numbers of
    kinds they have other widths, see `views.adapt`."""

    @property
    def width(self) -> int:
        """Numbers the field takes in the observation."""
        return self.count * self.size


class Discrete(NamedTuple):
    """One choice a head, e.g. `Discrete((5, 10))`: five moves and ten words.

    `start` is the environment's number of each head's first option; empty if that is 0. `options` says what the options
    mean, e.g. `(("stay", "left", "right", "down", "up"), ())`: a name for each option of each head, none for a head of which
    nothing is known (or whose words have no meaning of their own). Two teams' options of one name are the same option.

    `aims` names, for each head, the observed field whose entities its last options select: of a field of five entities, the
    last five options are entities 0 to 4, e.g. `("enemies",)` for attacks. "" stands for a head that selects none; empty if no
    head does. A team that knows another number of entities then chooses them by their numbers, and new ones at the mean of
    those that it knows.
    """

    heads: tuple[int, ...]
    start: tuple[int, ...] = ()
    options: tuple[tuple[str, ...], ...] = ()
    aims: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """U, the numbers in an action vector: every head's options side by side."""
        return sum(self.heads)

    def vector(self, options: Any) -> np.ndarray:
        """[.. H] the option of each head, in the environment's own numbers -> [.. U] ones at the options, zeros elsewhere.

        Raises ValueError for another number of heads, and for options that a head does not have.
        """
        chosen = np.asarray(options) - np.array(self.start or 0)
        if chosen.shape[-1:] != (len(self.heads),) or not ((chosen >= 0) & (chosen < np.array(self.heads))).all():
            raise ValueError(f"not a choice of each of {self.heads}")
        heads = [np.eye(n, dtype=np.float32)[chosen[..., h].astype(int)] for h, n in enumerate(self.heads)]
        return np.concatenate(heads, -1)


class Continuous(NamedTuple):
    """`size` numbers meant to lie in [-1, 1]; a Gaussian policy may overshoot, and the environment clips.

    `low` and `high` are the values of -1 and 1 in the environment's own units; empty if those are -1 and 1 as well. `names`
    says what the numbers mean; "-x" is "x" with the opposite sign. `units` are those of `low` and `high`, e.g. "N". Both are
    empty if nothing is known.
    """

    size: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    def in_units(self, vector: Any) -> Any:
        """An action vector [.. U] of NumPy or JAX, clipped to [-1, 1], in the environment's own units."""
        unit = vector.clip(-1.0, 1.0)
        if not self.low:
            return unit
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        return (low + (unit + 1) / 2 * (high - low)).clip(low, high)

    def vector(self, action: Any) -> Any:
        """[.. U] in the environment's own units -> an action vector; numbers whose bounds are equal become -1."""
        if not self.low:
            return action
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        return 2 * (action - low) / np.where(high > low, high - low, 1) - 1


ActionSpace = Discrete | Continuous


def check_names(space: ActionSpace, role: str) -> None:
    """Raise HeadstartError unless a name, once each, stands for every option or number that has names at all."""
    if isinstance(space, Discrete):
        require(len(space.options) in (0, len(space.heads)), f"role {role}: options", space.options, "names for each head")
        named = list(zip(space.options, space.heads, strict=False))
    else:
        require(len(space.units) in (0, space.size), f"role {role}: units", space.units, f"{space.size} units")
        named = [(space.names, space.size)]
    for names, count in named:
        plain = {name.removeprefix("-") for name in names} if isinstance(space, Continuous) else set(names)
        fine = not names or len(plain) == len(names) == count
        require(fine, f"role {role}: names", names, f"{count} different names, or none")


IDLE = ("stay", "stop", "noop", "no_action", "nothing", "none")
"""Names of options that do nothing, in small letters."""


def idle(space: Discrete, head: int) -> int:
    """The index of a head's option that does nothing: by its name, else the first."""
    names = [name.lower() for name in space.options[head]] if space.options else []
    return next((i for i, name in enumerate(names) if name in IDLE), 0)


class RoleSpec(NamedTuple):
    """Agents of one role share their spaces; a homogeneous team has one role."""

    agents: int
    obs: tuple[Field, ...]
    actions: ActionSpace
    names: tuple[str, ...] = ()
    """Names of the agents; if empty, they are "ROLE_0", "ROLE_1", .. ."""

    @property
    def obs_size(self) -> int:
        """O, the numbers in one agent's observation."""
        return sum(field.width for field in self.obs)

    @property
    def aimed(self) -> dict[str, range]:
        """{field: places in an action vector of the options that choose one of its entities}; see `Discrete.aims`."""
        if not isinstance(self.actions, Discrete):
            return {}
        counts, ends = {field.name: field.count for field in self.obs}, np.cumsum(self.actions.heads).tolist()
        found = zip(self.actions.aims, ends, strict=False)
        return {field: range(end - counts[field], end) for field, end in found if field}


def check_actions(about: RoleSpec, role: str) -> None:
    """Raise HeadstartError for names of options that are not as many, and for aims at no observed field of the role."""
    check_names(about.actions, role)
    if not isinstance(about.actions, Discrete) or not (aims := about.actions.aims):
        return
    heads, counts = about.actions.heads, {field.name: field.count for field in about.obs}
    require(len(aims) == len(heads), f"role {role}: aims", aims, "the name of a field, or an empty one, for each head")
    named = [(field, size) for field, size in zip(aims, heads, strict=True) if field]
    once = len({field for field, _ in named}) == len(named)
    fits = all(counts.get(field, size + 1) <= size for field, size in named)
    require(
        once and fits, f"role {role}: aims", aims, "observed fields, each once, of no more entities than the head has options"
    )


class Route(NamedTuple):
    """A message's way: the choice of `speaker`'s action head `head` appears in `listener`'s observed field `field`.

    The field has one entity per speaker, in order. If the roles are the same, it leaves out the listener itself.
    """

    speaker: str
    head: int
    listener: str
    field: str


class TeamSpec(NamedTuple):
    """An environment as a learner needs to know it: its roles, the longest episode in env-steps, the state's size Z, and
    its message routes."""

    roles: dict[str, RoleSpec]
    horizon: int
    state_size: int = 0
    messages: tuple[Route, ...] = ()

    def heads(self, role: str) -> list[tuple[int, bool]]:
        """[(options, whether they move the agent, else they are words)] of a role's heads; continuous actions are one head."""
        space = self.roles[role].actions
        if isinstance(space, Continuous):
            return [(space.size, True)]
        spoken = {route.head for route in self.messages if route.speaker == role}
        return [(size, head not in spoken) for head, size in enumerate(space.heads)]

    @property
    def sizes(self) -> str:
        """Its roles in words, e.g. "3 predator, 1 prey"."""
        return ", ".join(f"{about.agents} {role}" for role, about in self.roles.items())

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """{role: names of its agents}, in the order of the agent axis."""
        return {role: s.names or tuple(f"{role}_{i}" for i in range(s.agents)) for role, s in self.roles.items()}


def encode_spec(spec: TeamSpec) -> dict[str, Any]:
    """A team's spec as JSON."""
    return {
        "horizon": spec.horizon,
        "state_size": spec.state_size,
        "messages": [list(route) for route in spec.messages],
        "roles": {
            name: {
                "agents": role.agents,
                "names": list(role.names),
                "obs": [_encode_field(field) for field in role.obs],
                "actions": _encode_actions(role.actions),
            }
            for name, role in spec.roles.items()
        },
    }


def _encode_field(field: Field) -> list[Any]:
    return [*field[:5], list(field.kinds)] if field.kinds else list(field if field.own else field[:4])[:5]


def _encode_actions(space: ActionSpace) -> dict[str, Any]:
    size = {"discrete": list(space.heads)} if isinstance(space, Discrete) else {"continuous": space.size}
    rest = space._asdict()
    del rest["heads" if isinstance(space, Discrete) else "size"]
    lists = lambda x: [lists(y) for y in x] if isinstance(x, tuple) else x
    return size | {name: lists(x) for name, x in rest.items() if x}


def _decode_field(saved: list[Any]) -> Field:
    kinds = tuple(int(width) for width in saved[5]) if len(saved) > 5 else ()
    if min(kinds, default=0) < 0 or sum(kinds) > int(saved[2]):
        raise ValueError(f"the field {saved[0]} has one-hot vectors of impossible widths")
    return Field(str(saved[0]), int(saved[1]), int(saved[2]), str(saved[3]), saved[4:5] == [True], kinds)


def decode_spec(saved: dict[str, Any]) -> TeamSpec:
    """The spec that `encode_spec` wrote; ValueError, KeyError or TypeError if it is none."""
    roles = {}
    for name, role in saved["roles"].items():
        given = role["actions"]
        if "discrete" in given:
            heads, start = (tuple(int(n) for n in given.get(part, ())) for part in ("discrete", "start"))
            named = tuple(tuple(str(n) for n in names) for names in given.get("options", ()))
            space = Discrete(heads, start, named, tuple(str(field) for field in given.get("aims", ())))
            if len(space.start) not in (0, len(space.heads)):
                raise ValueError(f"role {name} has {len(space.start)} starts for {len(space.heads)} heads")
        else:
            low, high = (tuple(float(x) for x in given.get(end, ())) for end in ("low", "high"))
            names, units = (tuple(str(n) for n in given.get(part, ())) for part in ("names", "units"))
            space = Continuous(int(given["continuous"]), low, high, names, units)
            if {len(low), len(high)} - {0, space.size} or len(low) != len(high):
                raise ValueError(f"role {name} has bounds of the wrong length")
        fields = tuple(_decode_field(f) for f in role["obs"])
        agents, names = int(role["agents"]), tuple(str(n) for n in role.get("names", ()))
        if agents < 1 or space.size < 1 or min((min(f.count, f.size) for f in fields), default=0) < 0:
            raise ValueError(f"role {name} has impossible sizes")
        if names and len(set(names)) != agents:
            raise ValueError(f"role {name} has {agents} agents and the names {names}")
        roles[str(name)] = about = RoleSpec(agents, fields, space, names)
        try:
            check_actions(about, name)
        except HeadstartError as error:
            raise ValueError(str(error)) from None
    routes = tuple(Route(str(r[0]), int(r[1]), str(r[2]), str(r[3])) for r in saved.get("messages", ()))
    for route in routes:
        if route.speaker not in roles or route.listener not in roles:
            raise ValueError(f"a message goes from {route.speaker} to {route.listener}, but there is no such role")
    return TeamSpec(roles, int(saved["horizon"]), int(saved["state_size"]), routes)
