"""Whether JSON is as a type says, for what is read from files. `schema` has the types of headstart's own files."""

import types
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

from headstart.core.ranges import Unfit, fit


class Misfit(ValueError):
    """A value is not as its schema says; the text is "FIELD must be ..., not ..."."""


def conform(value: Any, hint: Any, field: str = "") -> None:
    """Raise Misfit unless JSON is as a type says: a TypedDict, a tuple, a dict, a union with None, or what `fit` knows.

    Objects may have further names, so that an earlier version reads what a later one adds.
    """
    origin, args = get_origin(hint), get_args(hint)
    inner = lambda name: f"{field}.{shown(name)}" if field else shown(name)
    if origin in (NotRequired, Required):
        return conform(value, args[0], field)
    if origin in (Union, types.UnionType) and type(None) in args and len(args) == 2:
        return None if value is None else conform(value, args[0], field)
    if is_typeddict(hint):
        _must(isinstance(value, dict), field, "an object", value)
        for name, each in get_type_hints(hint, include_extras=True).items():
            if name in value:
                conform(value[name], each, inner(name))
            elif name in hint.__required_keys__:
                raise Misfit(f"{inner(name)} is missing")
        return None
    if origin is dict:
        _must(isinstance(value, dict), field, "an object", value)
        for name, each in value.items():
            conform(each, args[1], inner(name))
        return None
    if origin is tuple:
        _must(isinstance(value, list), field, "a list", value)
        every = args[-1] is Ellipsis
        _must(every or len(value) == len(args), field, f"a list of {len(args)}", value)
        for i, each in enumerate(value):
            conform(each, args[0] if every else args[i], inner(i))
        return None
    try:
        fit(value, hint)
    except (Unfit, OverflowError, RecursionError) as error:
        _must(False, field, str(error), value)
    if origin is Annotated:
        conform(value, args[0], field)
    return None


def _must(holds: bool, field: str, what: str, value: Any) -> None:
    if not holds:
        raise Misfit(f"{field or 'its content'} must be {what}, not {shown(value)}")


def shown(value: Any) -> str:
    """A value from a file or of the user in at most 80 printable characters."""
    text = value if isinstance(value, str) else ascii(value) if isinstance(value, dict | list) else str(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 80 else f"{text[:77]}..."
