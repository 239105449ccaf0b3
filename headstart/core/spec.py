"""Specs of a team, in plain Python: its roles, their observations, actions and messages.

Nothing here needs JAX, so the worker processes of host environments start without it.
"""

from typing import Any, NamedTuple


class Field(NamedTuple):
    """A named block of an observation: `count` entities of `size` numbers each, e.g. `("landmarks", 3, 2)`.

    The first two numbers of an entity are its position relative to the observer, if it has one: they rank entities by
    nearness. A field without positions `follows` the field that ranks the same entities.
    """

    name: str
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    size: int
    follows: str = ""

    @property
    def width(self) -> int:
        """Numbers the field takes in the observation."""
        return self.count * self.size


class Discrete(NamedTuple):
    """One choice a head, e.g. `Discrete((5, 10))`: five moves and ten words.

    `start` is the environment's number of each head's first option; empty if that is 0.
    """

    heads: tuple[int, ...]
    start: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """U, the numbers in an action vector: every head's options side by side."""
        return sum(self.heads)


class Continuous(NamedTuple):
    """`size` numbers meant to lie in [-1, 1]; a Gaussian policy may overshoot, and the environment clips.

    `low` and `high` are the values of -1 and 1 in the environment's own units; empty if those are -1 and 1 as well.
    """

    size: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


ActionSpace = Discrete | Continuous


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
                "obs": [list(field) for field in role.obs],
                "actions": _encode_actions(role.actions),
            }
            for name, role in spec.roles.items()
        },
    }


def _encode_actions(space: ActionSpace) -> dict[str, Any]:
    if isinstance(space, Discrete):
        return {"discrete": list(space.heads)} | ({"start": list(space.start)} if space.start else {})
    return {"continuous": space.size} | ({"low": list(space.low), "high": list(space.high)} if space.low else {})


def decode_spec(saved: dict[str, Any]) -> TeamSpec:
    """The spec that `encode_spec` wrote; ValueError, KeyError or TypeError if it is none."""
    roles = {}
    for name, role in saved["roles"].items():
        given = role["actions"]
        if "discrete" in given:
            space = Discrete(*(tuple(int(n) for n in given.get(part, ())) for part in ("discrete", "start")))
            if len(space.start) not in (0, len(space.heads)):
                raise ValueError(f"role {name} has {len(space.start)} starts for {len(space.heads)} heads")
        else:
            low, high = (tuple(float(x) for x in given.get(end, ())) for end in ("low", "high"))
            space = Continuous(int(given["continuous"]), low, high)
            if {len(low), len(high)} - {0, space.size} or len(low) != len(high):
                raise ValueError(f"role {name} has bounds of the wrong length")
        fields = tuple(Field(str(f[0]), int(f[1]), int(f[2]), str(f[3])) for f in role["obs"])
        agents, names = int(role["agents"]), tuple(str(n) for n in role.get("names", ()))
        if agents < 1 or space.size < 1 or min((min(f.count, f.size) for f in fields), default=0) < 0:
            raise ValueError(f"role {name} has impossible sizes")
        if names and len(set(names)) != agents:
            raise ValueError(f"role {name} has {agents} agents and the names {names}")
        roles[str(name)] = RoleSpec(agents, fields, space, names)
    routes = tuple(Route(str(r[0]), int(r[1]), str(r[2]), str(r[3])) for r in saved.get("messages", ()))
    for route in routes:
        if route.speaker not in roles or route.listener not in roles:
            raise ValueError(f"a message goes from {route.speaker} to {route.listener}, but there is no such role")
    return TeamSpec(roles, int(saved["horizon"]), int(saved["state_size"]), routes)
