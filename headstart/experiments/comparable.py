"""Whether the returns of runs can be compared: whether they were trained in one environment."""

import contextlib
from collections.abc import Mapping
from typing import Any

from headstart.core.checks import HeadstartError
from headstart.registry import decode, encode

WITHOUT_EFFECT = ("workers", "timeout", "fields")
"""Settings that change how an environment is run or described, and no return."""


def incomparable(manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence if the runs {name: run.json} are of different environments; else empty. Wrappers do not count: a regrouped
    environment is the same game."""
    games = {name: _game(manifest["config"]["env"]) for name, manifest in manifests.items()}
    first = next(iter(games.values()))
    if all(game == first for game in games.values()):
        return ""
    described = "; ".join(f"{name} is of {_described(game, list(games.values()))}" for name, game in games.items())
    return f"returns of different environments are not comparable: {described}"


def _game(saved: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name and the settings of the environment inside all wrappers."""
    with contextlib.suppress(HeadstartError):  # its module may not be there
        saved = encode("env", decode("env", saved))  # with the settings that are new to this version
    while isinstance(inner := saved["settings"].get("env"), Mapping) and "settings" in inner:
        saved = inner
    settings = {name: x for name, x in saved["settings"].items() if name not in WITHOUT_EFFECT}
    id = settings.pop("id", "")
    return f"{saved['name']}:{id}" if id else saved["name"], settings


def _described(game: tuple[str, dict[str, Any]], games: list[tuple[str, dict[str, Any]]]) -> str:
    """An environment's name, and the settings in which those of the same name differ."""
    name, settings = game
    alike = [other for kind, other in games if kind == name]
    odd = [key for key in settings if any(other.get(key) != settings[key] for other in alike)]
    return f"{name} with {', '.join(f'{key} {settings[key]}' for key in odd)}" if odd else name
