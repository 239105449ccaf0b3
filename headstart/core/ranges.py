"""The values a field may have, as its annotation: `gamma: Unit = 0.99`.

The marks are those of the package annotated-types. A part checks its fields with `fit` when it is made, and the command line
shows `in_words` beside each flag.
"""

import math
import types
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, GroupedMetadata, Gt, Interval, Le, Lt, MaxLen, MinLen, MultipleOf

Unit = Annotated[float, Interval(ge=0, le=1)]
Share = Annotated[float, Interval(gt=0, le=1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Agents = Annotated[int, Interval(ge=1, le=1000)]
"""Agents or other things in a world; every agent observes all of them."""
Entities = Annotated[int, Interval(ge=0, le=1000)]
"""The same, if there may be none."""
Steps = Annotated[int, Interval(ge=1, le=10**12)]
"""Env-steps of a run."""
Evaluations = Annotated[int, Interval(ge=1, le=10**6)]
Sizes = tuple[Count, ...]
"""Widths of layers."""
Select = Literal["nearest", "first"]
"""The entities of a field that a team is shown if there are more than it knows."""


class Unfit(ValueError):
    """A value breaks its annotation; the text completes the sentence "NAME must be ..."."""


def fit(value: Any, hint: Any) -> Any:
    """`value` converted to the type of `hint`; raises `Unfit` if it does not fit.

    NumPy and JAX numbers become Python numbers, whole numbers become floats where the hint is of floats, and lists become
    tuples. NaN is refused, and infinity unless the hint has it as a bound. Numbers with a range fit into the 32 bits that JAX
    computes with, unless a whole number has an upper bound of its own. Only numbers, strings, choices, and tuples and dicts of
    them are checked.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _marked(value, args[0], list(_flat(args[1:])))
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in args):
            raise Unfit(f"one of {', '.join(map(repr, args))}")
        return value
    if origin in (Union, types.UnionType):
        return _any_of(value, args)
    if origin is tuple or hint is tuple:
        return _tuple(value, args)
    if origin is dict:
        if not isinstance(value, dict):
            raise Unfit("a dict")
        return {fit(key, args[0]): fit(x, args[1]) for key, x in value.items()}
    return _plain(value, hint)


def _plain(value: Any, hint: Any, infinite: bool = False) -> Any:
    if hint not in (bool, int, float, str, type(None)):
        return value
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if hint is bool and not isinstance(value, bool):
        raise Unfit("True or False")
    if hint is int and not (isinstance(value, Integral) and not isinstance(value, bool)):
        raise Unfit("a whole number")
    if hint is float:
        return _float(value, infinite)
    if hint is str and not isinstance(value, str):
        raise Unfit("a string")
    if hint is type(None) and value is not None:
        raise Unfit("None")
    return value


def _float(value: Any, infinite: bool) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise Unfit("a number")
    if not _finite(value, infinite):
        raise Unfit("a finite number")
    return float(value)


def _finite(value: Any, infinite: bool) -> bool:
    """Whether a number is finite, or infinite where that is allowed."""
    try:
        return math.isfinite(value) or (infinite and not math.isnan(value))
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _marked(given: Any, hint: Any, marks: list[BaseMetadata]) -> Any:
    infinite = any(isinstance(mark, Ge | Le) and math.isinf(_rule(0, mark)[2]) for mark in marks)
    value: Any = _plain(given, float, infinite) if hint is float else fit(given, hint)
    if value is not None and not all(_rule(value, mark)[0] for mark in marks):
        raise Unfit(_words(marks))
    upper = any(isinstance(mark, Le | Lt) for mark in marks)
    if hint is int and value is not None and not upper and not -(2**31) <= value < 2**31:
        raise Unfit("a whole number of 32 bits, below 2³¹")
    if hint is float and value and not math.isinf(value) and not 2**-126 <= abs(value) < 2**128:
        raise Unfit("0 or a number of 32 bits, between 1.2e-38 and 3.4e38 in size")
    return value


def _any_of(value: Any, hints: tuple[Any, ...]) -> Any:
    asked = []
    for hint in hints:
        try:
            return fit(value, hint)
        except Unfit as error:
            asked.append(str(error))
    raise Unfit(" or ".join(asked))


def _tuple(value: Any, hints: tuple[Any, ...]) -> Any:
    if not isinstance(value, tuple | list):
        raise Unfit("a tuple")
    if not hints:
        return tuple(value)
    if hints[-1] is Ellipsis:
        try:
            return tuple(fit(x, hints[0]) for x in value)
        except Unfit as error:
            raise Unfit(f"a tuple with every entry {error}") from None
    if len(value) != len(hints):
        raise Unfit(f"a tuple of {len(hints)} entries")
    return tuple(fit(x, hint) for x, hint in zip(value, hints, strict=True))


def _flat(marks: Iterable[Any]) -> Iterable[BaseMetadata]:
    """The single marks; those of other packages are left out."""
    for mark in marks:
        if isinstance(mark, GroupedMetadata):
            yield from _flat(mark)
        elif isinstance(mark, BaseMetadata):
            yield mark


def _rule(value: Any, mark: BaseMetadata) -> tuple[bool, str, Any]:
    """Whether a value satisfies a mark, the mark in words, and its bound."""
    match mark:
        case Gt(gt=bound):
            return value > bound, f"above {_number(bound)}", bound
        case Ge(ge=bound):
            return value >= bound, f"at least {_number(bound)}", bound
        case Lt(lt=bound):
            return value < bound, f"below {_number(bound)}", bound
        case Le(le=bound):
            return value <= bound, f"at most {_number(bound)}", bound
        case MultipleOf(multiple_of=bound):
            return value % bound == 0, f"a multiple of {bound}", bound
        case MinLen(min_length=bound):
            return not hasattr(value, "__len__") or len(value) >= bound, f"of length at least {bound}", bound
        case MaxLen(max_length=bound):
            return not hasattr(value, "__len__") or len(value) <= bound, f"of length at most {bound}", bound
    raise TypeError(f"{mark} cannot be checked: use bounds, lengths and multiples, and __post_init__ for all else")


def _number(bound: Any) -> str:
    """A bound as it is read most easily: 10^12 instead of its zeros."""
    text = str(bound)
    return f"10^{len(text) - 1}" if len(text) > 5 and text == "1" + "0" * (len(text) - 1) else text


def _words(marks: list[BaseMetadata]) -> str:
    match marks:
        case [Ge(ge=low), Le(le=high)]:
            return f"between {_number(low)} and {_number(high)}"
    return " and ".join(_rule(0, mark)[1] for mark in marks)


def in_words(hint: Any) -> str:
    """The range of a field in words, "between 0 and 1" or "every entry at least 1"; empty if it has none."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return ", ".join(filter(None, (in_words(args[0]), _words(list(_flat(args[1:]))))))
    if origin is tuple and args[-1] is Ellipsis:
        each = in_words(args[0])
        return f"every entry {each}" if each else ""
    if origin in (Union, types.UnionType):
        return " or ".join(filter(None, map(in_words, args)))
    return ""
