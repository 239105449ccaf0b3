"""Refusing bad input in one line that says what to do."""

import dataclasses
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints


class HeadstartError(ValueError):
    """A mistake the user can mend; its one line says how. The command line prints it and exits with 2."""


def require(holds: bool, name: str, value: Any, must: str) -> None:
    """Raise HeadstartError "name must be MUST, not VALUE" unless `holds`."""
    if not holds:
        raise HeadstartError(f"{name} must be {must}, not {value}")


def check_choices(part: Any, kind: str) -> None:
    """Raise HeadstartError where a setting of a dataclass `part`, or of one inside it, is none of its `Literal` choices.

    The command line checks them itself; from Python and from files they come unchecked.
    """
    hints = get_type_hints(type(part)) if dataclasses.is_dataclass(part) else {}
    for field in dataclasses.fields(part) if hints else ():
        value = getattr(part, field.name)
        if get_origin(hints[field.name]) is Literal:
            choices = get_args(hints[field.name])
            require(value in choices, f"{kind}.{field.name}", repr(value), f"one of {', '.join(map(repr, choices))}")
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            check_choices(value, kind)


def check_known(kind: str, name: str, names: Iterable[str]) -> None:
    """Raise HeadstartError naming the nearest of `names` unless `name` is one of them."""
    names = sorted(names)
    if name in names:
        return
    near = get_close_matches(name, names, 3, 0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names)}"
    raise HeadstartError(f"unknown {kind} '{name}': {hint}")
