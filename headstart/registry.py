"""Names to parts: a file in `envs`, `learners` or `guidance` is a part, and its `PRESETS` are its names.

There is no list to keep: a new file is found by its being there.
"""

import dataclasses
import importlib
import pkgutil
from functools import cache
from typing import Any

from headstart.checks import HeadstartError, known

KINDS = {"env": "headstart.envs", "learner": "headstart.learners", "guidance": "headstart.guidance"}


@cache
def presets(kind: str) -> dict[str, Any]:
    """{name: settings} of every part of a kind: "env", "learner" or "guidance"."""
    package = importlib.import_module(KINDS[kind])
    found: dict[str, Any] = {}
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        found |= getattr(importlib.import_module(info.name), "PRESETS", {})
    return found


def preset(kind: str, name: str) -> Any:
    """The settings a name stands for; raises HeadstartError with the nearest names.

    "NAME:ID" are the settings of NAME with `id` set: another library's environments by their ids.
    """
    name, _, id = name.partition(":")
    known(kind, name, presets(kind))
    part = presets(kind)[name]
    if not id:
        return part
    if not any(field.name == "id" for field in dataclasses.fields(part)):
        raise HeadstartError(f"{kind} '{name}' has no id: write {name}, without :{id}")
    return dataclasses.replace(part, id=id)


def described(kind: str) -> list[tuple[str, str]]:
    """[(names, the first sentence of the documentation)] of a kind's parts; names that mean the same stand together."""
    names: dict[str, list[str]] = {}
    for name, part in sorted(presets(kind).items()):
        names.setdefault(repr(part), []).append(name)
    first = lambda part: " ".join((type(part).__doc__ or "").split()).split(". ")[0].rstrip(".")
    return [(", ".join(same), first(presets(kind)[same[0]])) for same in names.values()]


def encode(kind: str, part: Any) -> dict[str, Any]:
    """A part's settings as JSON: its name and its fields, without the teacher (a value, not a setting)."""
    name = next((n for n, p in presets(kind).items() if type(p) is type(part)), None)
    if name is None:
        return {"name": f"{type(part).__module__}:{type(part).__qualname__}", "settings": {}}
    fields = {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.name != "teacher"}
    return {"name": name, "settings": fields}


def decode(kind: str, saved: Any) -> Any:
    """The part that `encode` wrote; raises HeadstartError for names and settings this version does not know."""
    try:
        part, settings = preset(kind, saved["name"]), saved["settings"]
        as_tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        return dataclasses.replace(part, **as_tuples)
    except (TypeError, KeyError, AttributeError) as error:
        raise HeadstartError(f"the saved {kind} is not one this version can read ({error})") from None
