"""Names of parts: the `PRESETS` of every file in `envs`, `learners` and `guidance`.

There is no list to keep: the registry finds every file in these packages. `use` adds a user's own module. A name in a run
directory or a policy file never makes headstart import a module.
"""

import dataclasses
import importlib
import math
import pkgutil
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from headstart.core.checks import HeadstartError, check_known
from headstart.core.named import named
from headstart.core.own import admit
from headstart.core.part import kind_of, parts_in
from headstart.core.trust import trusts

KINDS = {"env": "headstart.envs", "learner": "headstart.learners", "guidance": "headstart.guidance"}
_joined: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
used: set[str] = set()
"""Modules that the user has named."""
_origin: dict[tuple[str, str], str] = {}
"""{(kind, name): the module that the user has named for this preset}."""


class Untrusted(HeadstartError):
    """A file names a module that the user has not named."""


@cache
def presets(kind: str) -> dict[str, Any]:
    """{name: settings} of every part of a kind: "env", "learner" or "guidance"."""
    return _found(kind, "PRESETS") | _joined[kind]


def variants(kind: str) -> dict[str, Any]:
    """{name: settings} that parts offer to the contract tests in `VARIANTS`, beside their presets."""
    return _found(kind, "VARIANTS")


def _found(kind: str, table: str) -> dict[str, Any]:
    """The entries of `table` in every file of a kind's package."""
    package = importlib.import_module(KINDS[kind])
    found: dict[str, Any] = {}
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        found |= getattr(importlib.import_module(info.name), table, {})
    return found


@cache
def experiments() -> dict[str, Callable[[Any], Any]]:
    """{"paper/experiment": scale -> Experiment} of every file in `papers`."""
    package, found = importlib.import_module("headstart.papers"), {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        found |= {f"{info.name}/{name}": make for name, make in getattr(module, "EXPERIMENTS", {}).items()}
    return found


def use(module: str | ModuleType) -> None:
    """Register the `PRESETS` of your own module by their names; `--use MODULE` does this on the command line.

    Files may then name the module as well, e.g. "pettingzoo:MODULE:CLASS" in a run directory. Raises HeadstartError if the
    module is not found, or if a preset is no environment, learner or guidance.
    """
    if isinstance(module, str):
        admit(module)
    where: ModuleType = named(module) if isinstance(module, str) else module
    if not isinstance(where, ModuleType):
        raise HeadstartError(f"{module} is no module: name the module itself, e.g. {str(module).partition(':')[0]}")
    found = getattr(where, "PRESETS", {})
    if not isinstance(found, dict):
        raise HeadstartError(f"PRESETS of {where.__name__} must be a dict, e.g. PRESETS = {{'mine': Mine()}}")
    used.add(where.__name__)
    for name, part in found.items():
        taken = [kind for kind in KINDS if name in presets(kind) and type(presets(kind)[name]) is not type(part)]
        if taken:
            raise HeadstartError(f"{where.__name__} names a part '{name}', which is already a {taken[0]}: choose another name")
        kind = _kind(name, part)
        _joined[kind][name], _origin[kind, name] = part, where.__name__
    presets.cache_clear()


def command(verb: str, path: Path, ours: bool = True, saved: Any = None) -> str:
    """`headstart VERB PATH` as a shell takes it, with `--use` of the modules that the user has named, or that `saved` needs.

    With `--trust` as well if the user trusts the teachers of this command, and the directory is `ours`: that of the command.
    `saved`: a configuration as JSON, e.g. of a run that another process began.
    """
    modules = sorted(used | set(_modules(saved)))
    told = [*(f"--use {module}" for module in modules), *(["--trust"] if trusts() and ours and verb == "resume" else [])]
    return " ".join(["headstart", verb, shlex.quote(str(path)), *told])


def _kind(name: str, part: Any) -> str:
    if kind := kind_of(part):
        return kind
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        mend = f'write @headstart.part("env"), ("learner") or ("guidance") above class {type(part).__name__}'
        raise HeadstartError(f"'{name}' must say which kind of part it is: {mend}, in place of @dataclass")
    if isinstance(part, type):
        mend = f"an instance of a part's class, e.g. PRESETS = {{'{name}': {part.__name__}()}}, not the class"
        raise HeadstartError(f"'{name}' must be {mend}")
    mend = f'write @headstart.part("env"), ("learner") or ("guidance") above class {type(part).__name__}'
    raise HeadstartError(f"'{name}' must be an instance of a part's class, e.g. PRESETS = {{'{name}': Mine()}}: {mend}")


def preset(kind: str, name: str) -> Any:
    """The settings of a name; raises HeadstartError with the nearest names for an unknown one.

    "NAME:ID" stands for the settings of NAME with `id` set (an environment of another library), or with `env` set (an
    environment around another one, or guidance with an environment of its own) or `expert`.
    """
    name, _, id = name.partition(":")
    if id and name not in presets(kind) and not any(c in name for c in " /"):
        use = f"if it is of your own module, pass --use {name} (headstart.use)"
        raise HeadstartError(f"unknown {kind} '{name}:{id}': {_offered(kind, name, id) if name in used else use}")
    try:
        check_known(kind, name, presets(kind))
    except HeadstartError as error:
        use = "a part of your own module needs --use MODULE, or headstart.use"
        raise HeadstartError(f"{error} ({_offered(kind, name) or use})") from None
    part = presets(kind)[name]
    if not id:
        return part
    fields = {field.name for field in dataclasses.fields(part)}
    if inside := next((field for field in ("env", "expert") if field in fields), None):
        return dataclasses.replace(part, **{inside: preset("env", id)})
    if "id" not in fields:
        raise HeadstartError(f"{kind} '{name}' has no id: write {name}, without :{id}")
    return dataclasses.replace(part, id=id)


def _offered(kind: str, name: str, thing: str = "") -> str:
    """What the modules that the user has named have in place of an unknown name; empty if none was named."""
    if name in used:
        theirs = " or ".join(f"{library}:{name}:{thing or 'CLASS'}" for library in ("pettingzoo", "gymnasium"))
        foreign = f", and an environment of another library is {theirs}"
        mend = f"name an instance in its PRESETS, e.g. PRESETS = {{'mine': {thing or 'Mine'}()}}"
        return f"{name} is the module: {mend}{foreign if kind == 'env' else ''}"
    names = {module: [name for (_, name), origin in _origin.items() if origin == module] for module in sorted(used)}
    return "; ".join(f"{module} offers {', '.join(has) or 'no PRESETS'}" for module, has in names.items())


LINE = 100
"""Characters of a line that lists settings."""


def described(kind: str) -> list[tuple[str, str]]:
    """[(names, first sentence of the docstring, or the difference)] of a kind's parts.

    Names of equal settings stand together; further settings of a class list their differences from its defaults.
    """
    names: dict[str, list[str]] = {}
    for name, part in presets(kind).items():
        names.setdefault(repr(part), []).append(name)
    lines, classes = [], {}
    for same in names.values():
        part = presets(kind)[same[0]]
        if type(part) in classes:
            lines.append((", ".join(sorted(same)), _difference(part, classes[type(part)])))
        else:
            classes[type(part)] = same[0]
            first = " ".join((type(part).__doc__ or "").split()).split(". ")[0].rstrip(".")
            lines.append((", ".join(sorted(same)), first))
    return sorted(lines)


def _difference(part: Any, name: str) -> str:
    """ "as tag, with policy=random": the settings that are not the class's own, as many as one line has room for."""
    fields = [f for f in dataclasses.fields(part) if f.name != "teacher" and getattr(part, f.name) != f.default]
    shown = [f"{f.name}={getattr(part, f.name)}" for f in fields]
    line = lambda count: ", ".join(shown[:count]) + (f" and {len(shown) - count} more" if count < len(shown) else "")
    most = next(count for count in range(len(shown), -1, -1) if count < 2 or len(line(count)) <= LINE)
    return f"as {name}, with {line(most)}"


def encode(kind: str, part: Any) -> dict[str, Any]:
    """A part's settings as JSON: its name and its fields, without guidance's teacher (a value, not a setting).

    A part of the user's own module also has "module", which a message names where the part is not known. A part inside also
    has its kind: {"part": kind, "name", "settings"}. Raises HeadstartError if something would be lost: an
    unregistered part inside, or a value that JSON cannot hold. Only an unregistered environment may hold such values; it is
    saved without its settings, since a team can be used without its training environment.
    """
    name = next((n for n, p in presets(kind).items() if type(p) is type(part)), None)
    known = dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()
    fields = [f.name for f in known if not (kind == "guidance" and f.name == "teacher")]
    try:
        settings = {field: _plain(f"{kind}.{field}", getattr(part, field)) for field in fields}
    except HeadstartError:
        if name is not None or kind != "env":
            raise
        settings = {}
    module = _origin.get((kind, name or "")) or _foreign_module(part)
    return {"name": name or _class_name(part), "settings": settings} | ({"module": module} if module else {})


def _class_name(part: Any) -> str:
    return f"{type(part).__module__}:{type(part).__qualname__}"


def _plain(name: str, value: Any) -> Any:
    """A setting as JSON that `_setting` reads back."""
    if isinstance(value, float) and not math.isfinite(value):
        raise HeadstartError(f"{name} cannot be saved: JSON has no {value}")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is tuple:
        return [_plain(name, entry) for entry in value]
    looks_like_a_part = type(value) is dict and ("part" in value or value.keys() == {"name", "settings"})
    if type(value) is dict and all(type(key) is str for key in value) and not looks_like_a_part:
        return {key: _plain(name, entry) for key, entry in value.items()}
    if kind := kind_of(value):
        if not any(type(known) is type(value) for known in presets(kind).values()):
            mend = "name it in PRESETS of a module, and pass --use MODULE (headstart.use)"
            raise HeadstartError(f"{name} cannot be saved: no registry knows {_class_name(value)}; {mend}")
        if kind == "guidance" and getattr(value, "teacher", None) is not None:
            raise HeadstartError(f"{name} cannot be saved: only a run's own guidance may have a teacher")
        return {"part": kind, **encode(kind, value)}
    can = "settings are numbers, strings, True, False, None, parts, and tuples and dicts (by string) of them"
    raise HeadstartError(f"{name} cannot be saved, since it is a {type(value).__name__}: {can}")


def decode(kind: str, saved: Any) -> Any:
    """The part that `encode` wrote; raises HeadstartError for names and settings this version does not know, and
    `Untrusted` for an environment of a module that the user has not named."""
    try:
        name, settings = saved["name"], saved["settings"]
        _check_named(kind, name, saved)
        settings = {key: _setting(key, value) for key, value in settings.items()}
        cls = own_class(kind, name)
        if cls and not settings and dataclasses.fields(cls):
            raise HeadstartError(f"{kind} '{name}' was saved without its settings, which no file can hold")
        part = cls(**settings) if cls else dataclasses.replace(preset(kind, name), **settings)
    except HeadstartError:
        raise
    except Exception as error:  # a part's own checks may raise anything for settings that no version has
        raise HeadstartError(f"the saved {kind} is not one this version can read ({error})") from None
    _check_trust(part)
    return part


def own_class(kind: str, name: str) -> Any:
    """The part's class "module:Class" of a module that the user has named, or of one of its presets; None if there is none."""
    module, _, thing = name.partition(":")
    near: list[Any] = [type(part) for part in presets(kind).values() if _class_name(part) == name]
    if module in used and module in sys.modules:
        near.append(getattr(sys.modules[module], thing, None))
    return next((cls for cls in near if isinstance(cls, type) and getattr(cls, "kind", None) == kind), None)


def _check_named(kind: str, name: str, saved: dict[str, Any]) -> None:
    module = next(_own_module(saved), None)
    if module and module not in used and name not in presets(kind):
        raise HeadstartError(f"{kind} '{name}' is of the module {module}: pass --use {module} (headstart.use)")


def _modules(saved: Any) -> Iterator[str]:
    """The modules of the user's own that a configuration as JSON names."""
    if isinstance(saved, dict):
        yield from _own_module(saved)
    for inner in saved.values() if isinstance(saved, dict) else saved if isinstance(saved, list) else ():
        yield from _modules(inner)


def _own_module(saved: dict[str, Any]) -> Iterator[str]:
    """The module of a part as JSON, if it names one: only ever text for a message, never imported."""
    module = saved.get("module")
    if isinstance(module, str) and all(word.isidentifier() for word in module.split(".")):
        yield module


def _setting(name: str, saved: Any) -> Any:
    """The setting that `_plain` encoded. Files of earlier versions have an environment inside without its kind."""
    if isinstance(saved, list):
        return tuple(_setting("", entry) for entry in saved)
    if not isinstance(saved, dict):
        return saved
    if "part" in saved:
        check_known("kind of part", str(saved["part"]), KINDS)
        return decode(saved["part"], saved)
    if name == "env" and saved.keys() == {"name", "settings"}:
        return decode("env", saved)
    return {key: _setting("", entry) for key, entry in saved.items()}


def _foreign_module(part: Any) -> str:
    """The module whose code an environment of another library runs; else empty."""
    return getattr(part, "module", "") if kind_of(part) == "env" else ""


def _check_trust(part: Any) -> None:
    module = _foreign_module(part)
    if module and module not in used:
        raise Untrusted(f"a file names an environment of the module {module}: pass --use {module} (headstart.use) to trust it")
    for inner in parts_in(part):
        _check_trust(inner)
