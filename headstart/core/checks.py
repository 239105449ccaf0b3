"""Refuse bad input in one line that says how to mend it, and say in one line what a user has to know."""

import sys
import sysconfig
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any


class HeadstartError(ValueError):
    """A mistake the user can mend; its one line says how. The command line prints it and exits with 2."""


def require(holds: bool, name: str, value: Any, must: str) -> None:
    """Raise HeadstartError "name must be MUST, not VALUE" unless `holds`."""
    if not holds:
        raise HeadstartError(f"{name} must be {must}, not {value}")


def check_known(kind: str, name: str, names: Iterable[str]) -> None:
    """Raise HeadstartError naming the nearest of `names` unless `name` is one of them."""
    names = sorted(names)
    if name in names:
        return
    within = [known for known in names if len(str(name)) > 2 and str(name) in known]
    near = within[:12] or get_close_matches(str(name), names, 3, 0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names)}"
    raise HeadstartError(f"unknown {kind} '{name}': {hint}")


def place(error: BaseException) -> str:
    """Where an error comes from, "FILE, line N": the last line of the user's own code on its way, else the last of all.

    The user's own is neither Python's, nor an installed package's, nor headstart's.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    others = (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), str(Path(__file__).parents[1]))
    last = ([frame for frame in frames if not frame.filename.startswith(others)] or frames)[-1]
    return f"{last.filename}, line {last.lineno}"


def notice(message: str) -> None:
    """Say something in one line on stderr that changes what a result means, e.g. that a teacher's actions were translated."""
    print(f"headstart: {message}", file=sys.stderr, flush=True)
