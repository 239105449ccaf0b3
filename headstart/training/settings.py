"""Settings of a run by name, "learner.actor_lr" as on the command line: read, changed with all checks, and crossed to a grid.

Guidance is called `guidance` if a run has one, and `guidance0`, `guidance1`, .. if it has several.
"""

import dataclasses
import itertools
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

import numpy as np

from headstart.core.checks import HeadstartError, check_known
from headstart.core.part import settings_of, with_unchecked
from headstart.training.config import Config, encode

MOST = 256
"""Points that a grid may have."""


def _parts(config: Config) -> dict[str, Any]:
    guides = {"guidance" if len(config.guidance) == 1 else f"guidance{i}": g for i, g in enumerate(config.guidance)}
    return {"env": config.env, "learner": config.learner, **guides}


def settings(config: Config) -> dict[str, tuple[Any, Any]]:
    """{name: (value, annotation)} of all settings of the environment, the learner and the guidance, without teachers."""
    every = ((f"{kind}.{name}", *rest) for kind, part in _parts(config).items() for name, *rest in settings_of(part))
    return {name: (value, hint) for name, value, hint in every if not _is_teacher(name)}


def _is_teacher(name: str) -> bool:
    return name.startswith("guidance") and name.endswith(".teacher")


def changed(config: Config, name: str, value: Any) -> Config:
    """The configuration with one setting changed; HeadstartError if the value does not fit."""
    return _with(config, name, lambda part, inner: _replaced(part, inner, value))


def with_traced(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with traced values in the place of numbers that have been checked."""
    for name, value in values.items():
        config = _with(config, name, lambda part, inner, value=value: with_unchecked(part, inner, value))
    return config


def _with(config: Config, name: str, change: Any) -> Config:
    kind, _, inner = name.partition(".")
    parts = _parts(config)
    parts[kind] = change(parts[kind], inner)
    made = with_unchecked(with_unchecked(config, "env", parts["env"]), "learner", parts["learner"])
    return with_unchecked(made, "guidance", tuple(part for kind, part in parts.items() if kind not in ("env", "learner")))


def _replaced(part: Any, name: str, value: Any) -> Any:
    head, _, rest = name.partition(".")
    return dataclasses.replace(part, **{head: _replaced(getattr(part, head), rest, value) if rest else value})


def is_real(hint: Any) -> bool:
    """Whether an annotation is that of a real number, of any range."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return is_real(args[0])
    return any(map(is_real, args)) if origin in (Union, types.UnionType) else hint is float


def read(config: Config, texts: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """{name: values} of "NAME=VALUE,VALUE.." as on the command line; HeadstartError for other forms and unknown names."""
    known, found = settings(config), {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not name or not equals or not values:
            raise HeadstartError(f"--over must be NAME=VALUE,VALUE.. such as learner.gamma=0.9,0.99, not '{text}'")
        if name in found:
            raise HeadstartError(f"--over names {name} twice: write all its values in one")
        check_setting(config, name)
        found[name] = tuple(_value(name, known[name][0], known[name][1], each.strip()) for each in values.split(","))
    return found


def _value(name: str, now: Any, hint: Any, text: str) -> Any:
    """A value of a setting that is `now`, from its text."""
    if type(now) is bool and text in ("True", "False", "true", "false"):
        return text in ("True", "true")
    kind = float if is_real(hint) else type(now)
    if kind not in (float, int, str):
        raise HeadstartError(
            f"--over takes numbers and words, and {name} is neither: sweep over it in Python, by headstart.sweep"
        )
    try:
        return kind(text)
    except ValueError:
        raise HeadstartError(f"--over {name} must list {'whole ' * (kind is int)}numbers, not '{text}'") from None


def check_setting(config: Config, name: str) -> None:
    """Raise HeadstartError unless a run has a setting of this name."""
    known = settings(config)
    if name.startswith("guidance") and not config.guidance:
        raise HeadstartError(f"there is no guidance that could have the setting {name}: name it by --guidance")
    check_known("setting", name, known)


def grid(config: Config, over: Mapping[str, Sequence[Any]], any_kind: bool = False) -> dict[str, tuple[dict[str, Any], Config]]:
    """{name of a point: (its values by setting, its configuration)} of every combination of values.

    Settings other than real numbers are refused unless `any_kind`. Raises HeadstartError if there is nothing to compare or
    too much, for a value that does not fit its setting, and for one that is given twice.
    """
    for name, values in over.items():
        check_setting(config, name)
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values):
            raise HeadstartError(f"over must list values for {name}, e.g. [0.1, 0.2], not {values!r}")
        if not any_kind and not is_real(settings(config)[name][1]):
            raise HeadstartError(f"{name} is no real number, so it decides what the program does: {SEPARATE}")
    count = int(np.prod([len(values) for values in over.values()], dtype=object)) if over else 0
    if count < 2:
        raise HeadstartError(
            "a sweep needs at least two points: give a setting several values, e.g. --over learner.gamma=0.9,0.99"
        )
    if count > MOST:
        raise HeadstartError(f"the sweep would have {count:,} points, and {MOST} are the most: leave out values")
    tidy = {name: _fitting(config, name, values) for name, values in over.items()}
    short = _short_names(list(tidy))
    points = {}
    for combination in itertools.product(*tidy.values()):
        values, point = dict(zip(tidy, combination, strict=True)), config
        for name, value in values.items():
            point = changed(point, name, value)
        points[",".join(f"{short[name]}={value_text(value)}" for name, value in values.items())] = (values, point)
    return points


SEPARATE = "run its points as programs of their own by --separate (separate=True)"


def _fitting(config: Config, name: str, values: Sequence[Any]) -> list[Any]:
    """The values as the setting has them."""
    found = [settings(changed(config, name, value))[name][0] for value in values]
    same = lambda x: float(np.float32(x)) if type(x) in (float, int) else x  # JAX computes with 32 bits
    for i, value in enumerate(found):
        if any(same(value) == same(other) for other in found[:i]):
            raise HeadstartError(f"{name} is given the value {value_text(value)} twice: leave one out")
    return found


def value_text(value: Any) -> str:
    """A value for a directory's name and for tables; different numbers have different texts."""
    if type(value) is float:
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return "".join(c if c.isalnum() or c in "._+-" else "-" for c in text)


def _short_names(names: list[str]) -> dict[str, str]:
    """{name: its last part, if no other setting's ends in the same}."""
    last = [name.rpartition(".")[2] for name in names]
    return {name: end if last.count(end) == 1 else name for name, end in zip(names, last, strict=True)}


def differing(configs: Sequence[Config]) -> dict[str, list[Any]]:
    """{the one setting in which runs differ: its value in each}; HeadstartError if they differ in none or in several."""
    found = [settings(config) for config in configs]
    odd = [name for name, (value, _) in found[0].items() if any(other.get(name, (None,))[0] != value for other in found)]
    if len(odd) != 1:
        raise HeadstartError(f"stages of one sweep must differ in one setting, not in {', '.join(odd) or 'none'}")
    return {odd[0]: [each[odd[0]][0] for each in found]}


def values_of(configs: Sequence[Config], names: Sequence[str]) -> dict[str, np.ndarray]:
    """{name: [P]} of runs that train together; HeadstartError if they differ in anything else."""
    for config in configs[1:]:
        alike = config
        for name in names:
            alike = changed(alike, name, settings(configs[0])[name][0])
        if encode(alike) != encode(configs[0]):
            raise HeadstartError("runs that train together may differ only in the settings of their sweep")
    return {name: np.array([settings(config)[name][0] for config in configs], np.float32) for name in names}
