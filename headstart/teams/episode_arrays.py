"""Arrays of episodes [M T ..] as a user gives them: checked, by role, and zero after each episode's end."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError, require
from headstart.core.env import Env
from headstart.core.spec import ActionSpace, Continuous, Discrete, RoleSpec
from headstart.core.types import TeamSpec

ByRole = dict[str, np.ndarray]


def spec_of(env: Any) -> TeamSpec:
    """The spec of an environment, or the spec itself."""
    if isinstance(env, TeamSpec):
        return env
    if isinstance(env, type) or not isinstance(env, Env):
        raise HeadstartError(f"env must be an environment or a TeamSpec, e.g. headstart.Spread(), not {env!r}")
    return env.spec


def numbers(name: str, given: Any) -> np.ndarray:
    """An array of numbers; HeadstartError for anything else."""
    try:
        found = np.asarray(given)
    except ValueError:  # lists of different lengths
        found = np.asarray(None)
    if found.dtype.kind not in "biuf":
        raise HeadstartError(f"{name} must be an array of numbers, not {type(given).__name__}")
    return found


def by_role(spec: TeamSpec, name: str, given: Any, inner: Callable[[RoleSpec], tuple[int, ...]]) -> ByRole:
    """{role: [M T ..]} with the last axes `inner` of each role; one array stands for those of the only role."""
    if not isinstance(given, Mapping):
        require(len(spec.roles) == 1, name, "one array", f"a dict by role: {', '.join(spec.roles)}")
        given = {next(iter(spec.roles)): given}
    require(given.keys() == spec.roles.keys(), f"the roles of {name}", [*given], f"{[*spec.roles]}")
    found = {role: numbers(f"{name}['{role}']", given[role]) for role in spec.roles}
    for role, x in found.items():
        rest = inner(spec.roles[role])
        fits = x.ndim == 2 + len(rest) and x.shape[2:] == rest
        require(fits, f"the shape of {name}['{role}']", x.shape, f"(episodes, steps, {', '.join(map(str, rest))})")
    shapes = {x.shape[:2] for x in found.values()}
    require(len(shapes) == 1, f"the numbers of episodes and steps of {name}", sorted(shapes), "the same for all roles")
    return found


def running(seen: ByRole, lengths: Any, dones: Any) -> tuple[np.ndarray, np.ndarray]:
    """([M T] whether a step is before the end of its episode, [M] lengths); T is that of the longest episode."""
    episodes, steps = next(iter(seen.values())).shape[:2]
    if lengths is not None and dones is not None:
        raise HeadstartError("lengths and dones both say where episodes end: give one of them")
    if dones is not None:
        dones = numbers("dones", dones)
        require(dones.shape == (episodes, steps), "the shape of dones", dones.shape, f"{(episodes, steps)}")
        ended = dones.astype(bool)
        ends = np.where(ended.any(1), ended.argmax(1) + 1, steps)
    else:
        ends = numbers("lengths", np.full(episodes, steps) if lengths is None else lengths)
        require(ends.shape == (episodes,), "the shape of lengths", ends.shape, f"{(episodes,)}")
    require(episodes > 0 and steps > 0, "the numbers of episodes and steps", (episodes, steps), "at least 1")
    fits = ((ends >= 1) & (ends <= steps) & (ends == np.round(ends))).all()
    require(bool(fits), "lengths", ends[:5].tolist(), f"whole numbers between 1 and {steps}")
    ends = ends.astype(np.int32)
    return np.arange(ends.max()) < ends[:, None], ends


def kept(given: ByRole, running: np.ndarray, name: str, kind: Any = np.float32) -> ByRole:
    """The arrays of running steps, zeros elsewhere; HeadstartError if a number of a running step is not finite."""
    found = {}
    for role, x in given.items():
        episodes, steps = running.shape
        fits = x.shape[0] == episodes and x.shape[1] >= steps
        require(fits, f"the shape of {name}['{role}']", x.shape, f"({episodes}, at least {steps}, ..)")
        with np.errstate(over="ignore"):
            x = x[:, :steps].astype(kind)
        x[~running] = 0
        require(bool(np.isfinite(x).all()), f"{name}['{role}']", "NaN or infinity", "finite numbers")
        found[role] = x
    return found


def living_and_dead(spec: TeamSpec, running: np.ndarray, alive: Any, dead: Any) -> tuple[ByRole, ByRole | None]:
    """Twice {role: [M T A]}: the agents that live in running steps, and those that have died.

    Without one of them, these are all others. Without both, nobody dies.
    """
    flags = lambda name, given: kept(by_role(spec, name, given, lambda role: (role.agents,)), running, name, bool)
    others = lambda found: {role: running[..., None] & ~x for role, x in found.items()}
    if alive is None and dead is None:
        return {name: np.repeat(running[..., None], role.agents, -1) for name, role in spec.roles.items()}, None
    live = None if alive is None else flags("alive", alive)
    died = others(live) if dead is None else flags("dead", dead)
    return others(died) if live is None else live, died


def returns(spec: TeamSpec, running: np.ndarray, rewards: Any) -> ByRole:
    """{role: [M A]}: sums of rewards [M T A], or [M T] of the team; zeros without rewards."""
    if rewards is None:
        return {name: np.zeros((len(running), role.agents), np.float32) for name, role in spec.roles.items()}
    if not isinstance(rewards, Mapping) and (shared := numbers("rewards", rewards)).ndim == 2:
        rewards = {name: np.repeat(shared[..., None], role.agents, -1) for name, role in spec.roles.items()}
    paid = kept(by_role(spec, "rewards", rewards, lambda role: (role.agents,)), running, "rewards")
    return {role: x.sum(1, dtype=np.float32) for role, x in paid.items()}


def events(episodes: int, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """{name: [M]}: finite counts."""
    found = {}
    for name, x in given.items():
        x = numbers(f"events['{name}']", x).astype(np.float32)
        require(x.shape == (episodes,), f"the shape of events['{name}']", x.shape, f"{(episodes,)}")
        require(bool(np.isfinite(x).all()), f"events['{name}']", "NaN or infinity", "finite numbers")
        found[name] = x
    return found


def actions(spec: TeamSpec, running: np.ndarray, alive: ByRole, given: Any) -> ByRole | None:
    """{role: [M T A U]}: action vectors, of whole numbers (choices) or of vectors; zeros after the end."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        require(len(spec.roles) == 1, "actions", "one array", f"a dict by role: {', '.join(spec.roles)}")
        given = {next(iter(spec.roles)): given}
    vectors = {role: _vectors(role, about, given[role]) for role, about in spec.roles.items() if role in given}
    found = kept(by_role(spec, "actions", vectors, lambda role: (role.agents, role.actions.size)), running, "actions")
    for role, x in found.items():
        check_chosen(f"actions['{role}']", spec.roles[role].actions, x[alive[role]])
    return found


def check_chosen(name: str, space: ActionSpace, chosen: np.ndarray) -> None:
    """Raise HeadstartError unless vectors [N U] of discrete actions choose one option of each head."""
    if isinstance(space, Discrete):
        heads = np.split(chosen, np.cumsum(space.heads)[:-1], -1)
        one = all(((x == 0) | (x == 1)).all() and (x.sum(-1) == 1).all() for x in heads)
        require(
            one, name, "other numbers", f"a choice among {' and '.join(map(str, space.heads))} options for each living agent"
        )


def check_legal(spec: TeamSpec, alive: ByRole, chosen: ByRole | None, legal: ByRole | None) -> None:
    """Raise HeadstartError if a living agent chose what it might not. A head of which nothing is legal is free."""
    for role, about in spec.roles.items():
        if chosen is None or legal is None or not isinstance(about.actions, Discrete):
            continue
        cuts = np.cumsum(about.actions.heads)[:-1]
        free = np.concatenate(
            [np.broadcast_to(~x.any(-1, keepdims=True), x.shape) for x in np.split(legal[role], cuts, -1)], -1
        )
        wrong = (chosen[role] > 0) & ~legal[role] & ~free & alive[role][..., None]
        if wrong.any():
            episode, step, agent, option = np.argwhere(wrong)[0].tolist()
            raise HeadstartError(
                f"actions['{role}'] has {int(wrong.sum()):,} choices that `available` forbids, first option {option} of agent "
                f"{agent} in step {step} of episode {episode}: options are counted from the environment's first, and a mask is "
                "that of the observation before the action"
            )


def _vectors(role: str, about: RoleSpec, given: Any) -> np.ndarray:
    """[M T A U]: choices as one-hot heads side by side; floats are vectors already."""
    x, space = numbers(f"actions['{role}']", given), about.actions
    if isinstance(space, Continuous):
        return x
    heads = len(space.heads)
    if x.dtype.kind == "f":
        if x.shape[2:] in ((about.agents,), (about.agents, heads)) and x.shape[3:] != (space.size,):
            raise HeadstartError(f"actions['{role}'] are choices, and choices are whole numbers: pass actions.astype(int)")
        return x
    x = x[..., None] if x.ndim == 3 and heads == 1 else x
    fits = x.ndim == 4 and x.shape[2:] == (about.agents, heads)
    must = f"(episodes, steps, {about.agents}, {heads}) for choices"
    require(fits, f"the shape of actions['{role}']", x.shape, must)
    first = space.start or (0,) * heads  # the environment's number of each head's first option
    return np.concatenate([x[..., i, None] - first[i] == np.arange(size) for i, size in enumerate(space.heads)], -1)


def available(spec: TeamSpec, running: np.ndarray, given: Any) -> ByRole | None:
    """{role: [M T A U]}: legal choices in running steps."""
    if given is None:
        return None
    return kept(by_role(spec, "available", given, lambda role: (role.agents, role.actions.size)), running, "available", bool)
