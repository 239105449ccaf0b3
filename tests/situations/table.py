"""The rows: how they are declared, run and printed."""

import contextlib
import importlib
import io
from collections.abc import Callable
from typing import Any, NamedTuple

from headstart.core.checks import HeadstartError

WRONG = "WRONG"


class Situation(NamedTuple):
    """`call` returns what is to be printed, or raises AssertionError; `says` are words of the refusal if there must be one."""

    kind: str
    name: str
    call: Callable[[], Any]
    says: str = ""
    slow: bool = False


class Row(NamedTuple):
    """What happened."""

    situation: Situation
    outcome: str
    printed: str


ALL: list[Situation] = []


def right(kind: str, name: str, slow: bool = False) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Declare a situation that is to be done right."""
    return lambda call: ALL.append(Situation(kind, name, call, "", slow)) or call


def refused(kind: str, name: str, says: str, slow: bool = False) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Declare a situation that is to be refused, in a line with these words."""
    return lambda call: ALL.append(Situation(kind, name, call, says, slow)) or call


def happened(situation: Situation) -> Row:
    """Run one: each error is an outcome, and lines on stderr are printed as well."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            out = situation.call()
    except HeadstartError as error:
        clear = situation.says and situation.says in str(error) and "\n" not in str(error)
        return Row(situation, "refused" if clear else WRONG, str(error))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Row(situation, WRONG, f"{type(error).__name__}: {error}")
    lines = [line for line in said.getvalue().splitlines() if line.startswith("headstart:")]
    return Row(situation, WRONG if situation.says else "right", "; ".join([str(out), *lines]))


def line(row: Row, width: int = 62) -> str:
    """A row of the table."""
    kind, name = row.situation.kind, row.situation.name
    return f"{kind:8} | {name:{width}} | {row.outcome:7} | {' '.join(row.printed.split())[:300]}"


def load() -> list[Situation]:
    """All situations: each module of a kind declares its own as it is imported."""
    for name in ("actions", "episodes", "identity", "masks", "processes", "runs", "values"):
        importlib.import_module(f"situations.{name}")
    return ALL


def chosen(words: list[str], quick: bool) -> list[Situation]:
    """The situations whose kind or name contains one of the words; all without words."""
    fits = lambda s: not words or any(word.lower() in f"{s.kind} {s.name}".lower() for word in words)
    return [s for s in load() if fits(s) and not (quick and s.slow)]
