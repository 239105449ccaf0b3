"""What the actions of other libraries' environments mean, if the environment or its library says so; no JAX here."""

import enum
from collections.abc import Iterator
from typing import Any

from headstart.core.checks import HeadstartError
from headstart.core.spec import ActionSpace, Continuous, Discrete, check_names

MOVES = ("stay", "left", "right", "down", "up")
"""The moves of today's particle environments, in their order: of mpe2 and of JaxMARL's."""


def named(space: ActionSpace, env: Any, agent: Any, label: str) -> ActionSpace:
    """The space with names for its options or numbers, unchanged if nothing is known.

    An environment says them by `action_meanings(agent)` (for each head its options' names, or those of a single head; for a
    Box its numbers' names) or by the libraries' own ways: `get_action_meanings()`, an enumeration `actions`, or a particle
    world.
    """
    for layer in layers(env):
        if callable(told := getattr(layer, "action_meanings", None)):
            return _as_told(space, told(agent), agent, label)
    if isinstance(space, Discrete) and len(space.heads) == 1:
        for names in _known(env, agent):
            if len(set(names)) == len(names) == space.heads[0]:
                return space._replace(options=(names,))
    if isinstance(space, Continuous) and _moves(env, agent) and space.size == len(MOVES):
        return space._replace(names=MOVES)
    return space


def _as_told(space: ActionSpace, told: Any, agent: Any, label: str) -> ActionSpace:
    try:
        told = list(told)
        if isinstance(space, Continuous):
            space = space._replace(names=tuple(map(str, told)))
        else:
            heads = [told] if told and all(isinstance(name, str) for name in told) else told
            space = space._replace(options=tuple(tuple(map(str, names)) for names in heads))
        check_names(space, str(agent))
    except (TypeError, HeadstartError) as error:
        raise HeadstartError(f"action_meanings of {label} do not fit its action space: {error}") from None
    return space


def layers(env: Any) -> Iterator[Any]:
    """The environment, and what its wrappers wrap."""
    seen = []
    while env is not None and len(seen) < 50 and not any(env is layer for layer in seen):
        seen.append(env)
        yield env
        inner = (getattr(env, name, None) for name in ("env", "aec_env"))
        env = next((layer for layer in inner if layer is not None), None)


def _known(env: Any, agent: Any) -> Iterator[tuple[str, ...]]:
    for layer in layers(env):
        if callable(told := getattr(layer, "get_action_meanings", None)):
            meanings: Any = told()
            yield tuple(map(str, meanings))
        kinds: Any = getattr(layer, "actions", None)
        if isinstance(kinds, enum.EnumMeta) and issubclass(kinds, int):
            in_order: list[Any] = sorted(kinds, key=int)
            if [int(kind) for kind in in_order] == list(range(len(in_order))):
                yield tuple(kind.name for kind in in_order)
    if _moves(env, agent):
        yield MOVES


def _moves(env: Any, agent: Any) -> bool:
    """Whether an agent of a particle world of mpe2 moves and does not speak."""
    for layer in layers(env):
        world = getattr(layer, "world", None)
        if world is not None and type(layer).__module__.split(".")[0] == "mpe2":
            return any(a.name == agent and a.movable and a.silent for a in world.agents)
    return False
