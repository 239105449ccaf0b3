"""Parts: frozen dataclasses of settings, each with a kind, that check their settings when they are made."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, dataclass_transform, get_args, get_type_hints

from headstart.core.checks import HeadstartError
from headstart.core.ranges import Unfit, fit

Kind = Literal["env", "learner", "guidance"]
Class = TypeVar("Class")


@dataclass_transform(frozen_default=True)
def part(kind: Kind) -> Callable[[type[Class]], type[Class]]:
    """Make a class an environment, a learner or guidance: `@part("env")` in place of `@dataclass(frozen=True)`.

    Its fields are its settings; each is checked against its annotation when a part is made (see `core.ranges`). The class's
    own `__post_init__` runs after that, for rules that relate fields to each other.
    """

    def made(cls: type[Class]) -> type[Class]:
        own = getattr(cls, "__post_init__", None)

        def __post_init__(self: Any) -> None:
            check_part(self)
            if own is not None:
                own(self)

        for name, value in (("kind", kind), ("__post_init__", __post_init__)):
            setattr(cls, name, value)
        return dataclasses.dataclass(frozen=True)(cls)

    return made


def kind_of(value: Any) -> Kind | None:
    """The kind of part that a value is; None if it is no part."""
    kind = getattr(type(value), "kind", None)
    instance = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return next((known for known in get_args(Kind) if instance and kind == known), None)


def check_kind(kind: Kind, value: Any) -> None:
    """Raise HeadstartError unless a value is a part of this kind."""
    example = {"env": "Spread()", "learner": "DDPG()", "guidance": "Distill(teacher)"}[kind]
    if kind_of(value) == kind:
        return
    if getattr(value, "kind", None) == kind and isinstance(value, type):
        raise HeadstartError(f"{kind} must be a part of this kind, e.g. {value.__name__}(), and not the class {value.__name__}")
    if other := kind_of(value):
        raise HeadstartError(
            f"{kind} must be a part of this kind, e.g. headstart.{example}; {type(value).__name__} is of kind {other}"
        )
    own = f'a class of your own becomes one by @headstart.part("{kind}") in place of @dataclass'
    raise HeadstartError(f"{kind} must be a part of this kind, e.g. headstart.{example}, not {_shown(value)}; {own}")


def parts_in(value: Any) -> Iterator[Any]:
    """The parts that a part holds, also in tuples and dicts, but not the parts inside those parts."""
    if isinstance(value, tuple | list | dict):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from [entry] if kind_of(entry) else parts_in(entry)
    elif kind_of(value):
        yield from parts_in([getattr(value, field.name) for field in dataclasses.fields(value)])


def settings_of(part: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(name, value, annotation) of every setting of a part and, as "INSIDE.NAME", of the parts that it holds in fields."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if kind_of(value):
            yield from settings_of(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value, _hints(type(part))[field.name]


def check_part(value: Any) -> None:
    """Raise HeadstartError "KIND.FIELD must be ..., not ..." if a field, or one of a part inside, breaks its annotation.

    Numbers become Python's, of the kind of the field, and lists become tuples.
    """
    prefix = f"{kind}." if (kind := kind_of(value)) else ""
    for field in dataclasses.fields(value):
        before = getattr(value, field.name)
        after = checked(f"{prefix}{field.name}", before, _hints(type(value))[field.name])
        if after is not before:
            object.__setattr__(value, field.name, after)
        for inner in [before] if kind_of(before) else parts_in(before):
            check_part(inner)


def checked(name: str, value: Any, hint: Any) -> Any:
    """`value` converted to the type of `hint`; HeadstartError "NAME must be ..., not ..." if it does not fit."""
    try:
        return fit(value, hint)
    except Unfit as error:
        raise HeadstartError(f"{name} must be {error}, not {_shown(value)}") from None


def _shown(value: Any) -> str:
    """A value in one line that is not too long to read."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a number too long for Python to write, or an object that cannot
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:60]} ..."


def with_unchecked(part: Class, name: str, value: Any) -> Class:
    """A copy of a part with the setting `name` ("gamma", or "env.speed" of a part inside) replaced, and no check made.

    For a value that a program traces: it has passed the checks as a number, and a check cannot look into a traced one.
    """
    head, _, rest = name.partition(".")
    made = object.__new__(type(part))
    for field in dataclasses.fields(part):  # pyright: ignore[reportArgumentType]
        object.__setattr__(made, field.name, getattr(part, field.name))
    object.__setattr__(made, head, with_unchecked(getattr(part, head), rest, value) if rest else value)
    return made


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)
