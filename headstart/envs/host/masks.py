"""Action masks: under which names environments show which choices are legal, and where.

They are in the observation (a Dict with the mask beside what is seen), in an agent's info, or in a method of the environment.
What looks like a mask but is none that can be read is refused by its name.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.spec import ActionSpace, Discrete
from headstart.envs.host.meanings import layers
from headstart.envs.host.reading import Wrong, array

NAMES = frozenset(
    f"{word}{end}"
    for word in (
        "action",
        "actions",
        "legal",
        "legal_action",
        "avail",
        "avail_action",
        "available_action",
        "valid",
        "valid_action",
    )
    for end in ("_mask", "_masks")
) | {f"{word}_{noun}" for word in ("legal", "avail", "available", "valid") for noun in ("action", "actions", "moves")}
"""Names of action masks, in lower case."""
MAYBE = frozenset({"mask", "masks"})
"""Names of action masks if their size is that of a mask; else of parts of what is seen."""
SEEN = frozenset({"observation", "observations", "obs"})
"""Names of what is seen beside a mask; a single part of such a name is the whole observation."""
METHODS = ("action_mask", "action_masks", "get_action_mask", "get_avail_agent_actions", "get_avail_actions")
"""Methods that return an agent's mask, by its name, or without arguments the only agent's or a dict of all."""
SUSPECT = re.compile(r"(^|_)(in)?(valid|avail|available|legal)(_|$)|(^|_)masks?$")


def key_of(space: Any, actions: ActionSpace, where: str) -> str | None:
    """The key of a Dict under which its action mask is; None if it has none. HeadstartError for one that cannot be read."""
    if type(space).__name__ != "Dict":
        return None
    keys = [key for key, part in space.spaces.items() if _is_mask(str(key), part, actions, where)]
    if len(keys) > 1:
        raise HeadstartError(f"{where} has {len(keys)} action masks, {' and '.join(map(str, keys))}: one can be read")
    for key, part in space.spaces.items():
        if key not in keys:
            _check_inside(part, str(key), where)
    return keys[0] if keys else None


def _is_mask(key: str, part: Any, actions: ActionSpace, where: str) -> bool:
    fits = _size(part) in sizes(actions)
    if key.lower() in MAYBE:
        return fits and isinstance(actions, Discrete)
    if key.lower() not in NAMES:
        if fits and SUSPECT.search(key.lower()) and isinstance(actions, Discrete):
            raise HeadstartError(
                f"{where} has '{key}', which may be an action mask: call it action_mask if it is, with 1 for legal"
            )
        return False
    if not isinstance(actions, Discrete):
        raise HeadstartError(f"{where} has the mask '{key}', but its actions are continuous: choices only can be masked")
    if not fits:
        most = " or ".join(map(str, sorted(sizes(actions))))
        raise HeadstartError(f"{where} has the mask '{key}' of {_size(part)} numbers, and the actions have {most} choices")
    return True


def _check_inside(part: Any, name: str, where: str) -> None:
    if type(part).__name__ == "Dict":
        for key, inner in part.spaces.items():
            if str(key).lower() in NAMES:
                raise HeadstartError(f"{where} has the mask '{key}' inside of '{name}': it must be beside it")
            _check_inside(inner, f"{name}.{key}", where)


def _size(space: Any) -> int:
    """The numbers in a mask of this space."""
    if type(space).__name__ in ("Dict", "Tuple"):
        inner = space.spaces.values() if hasattr(space.spaces, "values") else space.spaces
        return sum(_size(part) for part in inner)
    return int(np.prod(space.shape)) if space.shape is not None else 0


def sizes(actions: ActionSpace) -> set[int]:
    """The numbers that a mask may have: one for each option, or for on-off heads also one for each (0 or 1 forced, 2 free)."""
    binary = isinstance(actions, Discrete) and set(actions.heads) == {2} and len(actions.heads) > 1
    return {actions.size, len(actions.heads)} if binary and isinstance(actions, Discrete) else {actions.size}


def without(space: Any, key: str) -> tuple[Any, list[Any]]:
    """(the space of what is seen beside a mask, the keys that lead there)."""
    rest = {name: part for name, part in space.spaces.items() if name != key}
    if not rest:
        raise HeadstartError(f"an observation must have more than the mask '{key}'")
    if len(rest) == 1 and str(next(iter(rest))).lower() in SEEN:
        return next(iter(rest.values())), [next(iter(rest))]
    return type(space)(rest), []


def in_info(info: Mapping, actions: ActionSpace) -> Any:
    """The mask in an agent's info; None if it has none. `Wrong` for what may be one but has another name."""
    for key in info:
        kind = _kind(key) if isinstance(key, str) else None
        if kind is None or (kind is not NAMES and np.size(info[key]) not in sizes(actions)):
            continue
        if kind is NAMES or (kind is MAYBE and isinstance(actions, Discrete)):
            return info[key]
        if kind is SUSPECT and isinstance(actions, Discrete) and np.ndim(info[key]) > 0:
            raise Wrong(f"called action_mask, with 1 for legal, if '{key}' in the info is one", info[key])
    return None


@functools.lru_cache(1024)
def _kind(key: str) -> Any:
    """Whether a name is one of a mask (NAMES), may be one (MAYBE), or looks like one (SUSPECT)."""
    key = key.lower()
    return NAMES if key in NAMES else MAYBE if key in MAYBE else SUSPECT if SUSPECT.search(key) else None


def check_beside(told: Mapping, agents: set, what: str) -> None:
    """Raise HeadstartError if a mask stands among the agents' values, where it belongs to nobody."""
    for key in told:
        if key not in agents and isinstance(key, str) and key.lower() in NAMES:
            raise HeadstartError(f"the {what} have '{key}' beside the agents: put each agent's mask into its own info")


def method_of(env: Any) -> Callable[[Any], Any] | None:
    """The environment's own function, or one of its wrappers', from an agent to its mask; None if there is none."""
    every = [*layers(env), getattr(env, "unwrapped", None)]
    return next((method for layer in every if (method := _own_method(layer))), None)


def _own_method(env: Any) -> Callable[[Any], Any] | None:
    for name in METHODS:
        found = getattr(env, name, None)
        if not callable(found):
            continue
        try:
            parameters = inspect.signature(found).parameters.values()
        except (TypeError, ValueError):
            continue
        needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if len(needed) == 1 and needed[0].startswith("agent"):
            return found
        if not needed:
            return lambda agent, found=found: masks.get(agent) if isinstance(masks := found(), Mapping) else masks
    return None


def read(value: Any, actions: ActionSpace) -> np.ndarray:
    """Which options are legal, ones and zeros [U]; every option of a head for which no option is.

    Several heads' masks may come one after the other, or as a list, as from Gymnasium; on-off heads' also as 0, 1 or 2 each.
    """
    if not isinstance(actions, Discrete):
        raise Wrong("absent, since the actions are continuous", value)
    must = f"{actions.size} zeros and ones"
    if isinstance(value, tuple | list) and any(isinstance(part, tuple | list | np.ndarray) for part in value):
        each = [np.ravel(array(part, must)) for part in value]
        if len(each) == len(actions.heads) and tuple(map(len, each)) != actions.heads:
            raise Wrong(f"zeros and ones for heads of {', '.join(map(str, actions.heads))} options", value)
        value = np.concatenate(each) if each else value
    out = array(value, must).reshape(-1)
    if out.size != actions.size and out.size in sizes(actions):
        if not np.isin(out, (0, 1, 2)).all():
            raise Wrong(f"{out.size} times 0, 1 or 2 (free)", value)
        out = np.stack([out != 1, out != 0], -1).reshape(-1)
    if out.size != actions.size or not ((out == 0) | (out == 1)).all():
        raise Wrong(must, value)
    if out.all():
        return out
    legal, at = np.array(out, np.float32), 0
    for head in actions.heads:
        if not legal[at : at + head].any():
            legal[at : at + head] = 1.0
        at += head
    return legal
