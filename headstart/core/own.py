"""Imports from the user's own directory: modules that the user has named, and what these import themselves.

The directory is not on `sys.path`, so neither a library that looks for an optional package nor a name in a file that was read
runs code from it. Installed packages come first.
"""

import contextlib
import importlib.metadata
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any


class OwnModules:
    """The last finder on `sys.meta_path`: finds the top-level modules `names` in `directories`."""

    def __init__(self):
        self.directories: list[str] = []
        self.names: set[str] = set()
        self.found: set[str] = set()
        """Modules that this finder has found; the imports inside them may find others."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The module's spec, if the user has named it or one of the user's modules imports it."""
        if path is not None or not (name in self.names or _importer() in self.found):
            return None
        spec = PathFinder.find_spec(name, self.directories)
        if spec is not None:
            self.found.add(name)
        return spec


OWN = OwnModules()


def _importer() -> str:
    """The first name of the module whose code asks for an import: that of the frame below those of the import system."""
    frame, met = sys._getframe(1), False
    while frame is not None:
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        system = name in ("importlib", "_frozen_importlib")
        if met and not system:
            return name
        frame, met = frame.f_back, met or system
    return ""


def open_directory(directory: str) -> None:
    """Let named modules be imported from a directory."""
    if directory not in OWN.directories:
        OWN.directories.append(directory)
    if OWN not in sys.meta_path:
        sys.meta_path.append(OWN)


def admit(module: str) -> None:
    """The user has named a module: it may be imported from the user's directory."""
    OWN.names.add(module.partition(".")[0])


def named_by_user(module: str) -> bool:
    """Whether the user has named the module, or the package around it."""
    return module.partition(".")[0] in OWN.names


def as_json() -> dict[str, list[str]]:
    """What another process needs in order to import the same modules: see `adopt`."""
    return {"paths": [path or os.getcwd() for path in sys.path], "directories": OWN.directories, "names": sorted(OWN.names)}


def adopt(given: dict[str, list[str]]) -> None:
    """Import what the process imports that wrote `given` by `as_json`."""
    OWN.names |= set(given["names"])
    for directory in given["directories"]:
        open_directory(directory)


def installed(package: str) -> bool:
    """Whether a package is among the installed ones: a file of its name in some directory is not enough."""
    if package in sys.modules:
        return sys.modules[package] is not None
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution(package)
        return True
    return False
