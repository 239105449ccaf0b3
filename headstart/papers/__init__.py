"""The papers, runnable: one file a paper, its experiments in `EXPERIMENTS`."""

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def experiments() -> dict[str, Callable[[Any], Any]]:
    """{"paper/experiment": scale -> Experiment} of every file in this folder."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        found |= {f"{info.name}/{name}": make for name, make in getattr(module, "EXPERIMENTS", {}).items()}
    return found
