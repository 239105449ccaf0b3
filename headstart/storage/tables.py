"""metrics.csv as numbers: one reader for reports and for runs that go on."""

import csv
import io
import math
from pathlib import Path
from typing import NamedTuple

from headstart.core.checks import HeadstartError
from headstart.storage import files
from headstart.storage.conform import shown

LARGEST = 2**30
WHOLE = ("seed", "env_steps", "updates")
"""Columns of natural numbers; the others hold numbers, or nothing for a missing value."""


class Row(NamedTuple):
    """A line, and its numbers by column; a missing value is None."""

    line: str
    values: dict[str, float | None]


class Table(NamedTuple):
    """A table of numbers. `header` is the line of the columns' names, empty if not even that is complete."""

    header: str
    columns: list[str]
    rows: list[Row]


def read_table(path: Path) -> Table:
    """The rows of a CSV file of numbers; HeadstartError for anything that is no such file.

    A last line without its end is left out: a crash has left it half-written, or it is just being written.
    """
    try:
        lines = files.read_bytes(path, LARGEST).decode("utf-8").split("\n")[:-1]
        columns = _cells(lines[0]) if lines else []
        if len(set(columns)) < len(columns) or not all(columns):
            raise ValueError("two columns have one name, or a column has none")
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from None
    except HeadstartError:
        raise
    except ValueError as error:
        raise _damaged(path, f"line 1: {error}") from None
    rows = []
    for number, line in enumerate(lines[1:], 2):
        try:
            cells = _cells(line)
            if cells and len(cells) != len(columns):
                raise ValueError(f"{len(cells)} values for {len(columns)} columns")
            if cells:
                rows.append(Row(line, {name: _number(name, text) for name, text in zip(columns, cells, strict=True)}))
        except ValueError as error:
            raise _damaged(path, f"line {number}: {error}") from None
    return Table(lines[0] if lines else "", columns, rows)


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(line, newline=""), strict=True), [])
    except csv.Error as error:
        raise ValueError(error) from None


def _number(name: str, text: str) -> float | None:
    if name in WHOLE:
        if not (text.isascii() and text.isdecimal() and len(text) <= 15):
            raise ValueError(f"{name} must be a whole number, not {shown(text)}")
        return int(text)
    value = float(text) if text else None
    if value is not None and math.isinf(value):
        raise ValueError(f"{shown(name)} must be a finite number, not {shown(text)}")
    return value


def _damaged(path: Path, error: object) -> HeadstartError:
    return HeadstartError(f"{path} is damaged ({shown(str(error))}): restore it, or move it away and start anew")
