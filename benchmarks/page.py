"""Rows of benchmarks kept as JSON, and the pages whose tables are made from them and are never typed.

A table stands between `<!-- benchmarks: FILE.json -->` and `<!-- end of benchmarks -->`; names after the file select its rows.
`python -m benchmarks --page PAGE` keeps what it prints in the files that the page's blocks name, and makes the blocks anew;
`python -m benchmarks.page PAGE ..` makes the blocks alone. A row stays with the machine on which it ran.
"""

import ast
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from annotated_types import MaxLen

from benchmarks.common import is_speed
from headstart.core.checks import HeadstartError
from headstart.report.plain import text
from headstart.storage import files
from headstart.storage.schema import Some

OPENS, CLOSES = "<!-- benchmarks: {} -->", "<!-- end of benchmarks -->"
BLOCK = re.compile(r"<!-- benchmarks: (?P<file>[\w./-]+\.json)(?P<names>( [\w.-]+)*) -->\n.*?" + re.escape(CLOSES), re.DOTALL)
Words = Annotated[str, MaxLen(400)]


class Machine(TypedDict):
    """What a row ran on."""

    processor: Words
    cores: Some
    device: Words
    versions: dict[str, Words]


class Row(TypedDict):
    """A row as it is kept: what `common.row` prints, the benchmark and the command that printed it, and the machine."""

    name: Words
    benchmark: Words
    command: Words
    quick: bool
    ours: float
    peer: float | None
    peer_name: Words
    peer_version: NotRequired[Words]
    unit: Words
    ratio: float | None
    spread: tuple[float, float] | None
    settings: dict[str, Any]
    machine: Machine


class Rows(TypedDict):
    """A file of rows."""

    rows: tuple[Row, ...]


# ------------------------------------------------------------------ keeping


def check(pages: Iterable[Path]) -> None:
    """Raise HeadstartError unless rows can be kept for these pages: before the benchmarks run, so that no row is lost."""
    for page in pages:
        if not page.absolute().parent.is_dir():
            raise HeadstartError(f"{page.parent} is not a directory: make it first, or name another page")
        for file in _files(page, _content(page)):
            read(file)


def keep(rows: Sequence[dict[str, Any]], pages: Sequence[Path]) -> list[str]:
    """Keep rows in the pages' files and make the pages' blocks anew; returns a line for each older row that stays."""
    contents, stay = {page: _content(page) for page in pages}, []
    for file in dict.fromkeys(file for page, content in contents.items() for file in _files(page, content)):
        kept, staying = merged(read(file), rows)
        write(file, kept)
        stay += [line for line in staying if line not in stay]
    for page, content in contents.items():
        files.write_text(page, fill(content, page))
    return stay


def merged(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows in the place of older ones of their names. One that is rougher, or has lost its peer, replaces none."""
    rows, stay = {row["name"]: row for row in old}, []
    for row in new:
        before = rows.get(row["name"])
        if before and row["quick"] and not before["quick"]:
            stay.append(f"{row['name']}: the kept row is of a full run, and stays")
        elif before and before["peer"] is not None and row["peer"] is None:
            stay.append(f"{row['name']}: the kept row has a peer, and stays ({row['peer_name']})")
        else:
            rows[row["name"]] = row
    return sorted(rows.values(), key=lambda row: (row["benchmark"], _natural(row["name"]))), stay


def read(file: Path) -> list[dict[str, Any]]:
    """The rows of a file, none if there is no file; HeadstartError if it is damaged or was changed by hand."""
    return list(files.read_json(file, Rows)["rows"]) if files.kind(file) else []


def write(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One row a line, so that a later run changes the lines of its own rows alone."""
    plain = json.loads(json.dumps({"format": files.FORMAT, "rows": rows}, allow_nan=False))
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, sort_keys=True) for row in plain["rows"])
    digest = json.dumps(files.digest_of(plain))
    files.write_text(file, f'{{"format": {files.FORMAT}, "digest": {digest}, "rows": [\n{lines}\n]}}\n')


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in a name by their size: lanes-2 before lanes-16."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _content(page: Path) -> str:
    """The page's text, with a block for the file beside it if it has none."""
    content = files.read_bytes(page, 2**20).decode("utf-8") if files.kind(page) else "# Benchmarks\n"
    return content if BLOCK.search(content) else f"{content.rstrip()}\n\n{OPENS.format(f'{page.stem}.json')}\n{CLOSES}\n"


def _files(page: Path, content: str) -> list[Path]:
    return list(dict.fromkeys((page.parent / match["file"]).resolve() for match in BLOCK.finditer(content)))


# ------------------------------------------------------------------ tables


def fill(content: str, page: Path) -> str:
    """The page's text with its blocks made anew from the rows that are kept."""

    def block(match: re.Match[str]) -> str:
        rows, names = read(page.parent / match["file"]), match["names"].split()
        chosen = [row for name in names for row in rows if row["name"] == name]
        machines = list(dict.fromkeys(_machine(row["machine"]) for row in (chosen if names else rows)))
        parts = ["\n".join(_table(chosen))] if names and chosen else [] if names else list(_sections(rows, machines))
        if machines:
            parts.append("\n".join(f"- Machine {i}: {machine}." for i, machine in enumerate(machines, 1)))
        opens = OPENS.format(match["file"] + match["names"])
        return "\n".join([opens, "\n\n".join(parts) or "No rows are kept yet.", CLOSES])

    return BLOCK.sub(block, content)


def _sections(rows: Sequence[dict[str, Any]], machines: Sequence[str]) -> Iterator[str]:
    """A heading for each benchmark, what it says of itself, and a table for each command and machine."""
    for benchmark, own in itertools.groupby(rows, key=lambda row: row["benchmark"]):
        yield f"## {benchmark}\n\n{_about(benchmark)}"
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in own:
            groups.setdefault((row["command"], _machine(row["machine"])), []).append(row)
        for (command, machine), alike in groups.items():
            yield f"`{command}`, machine {machines.index(machine) + 1}:"
            yield "\n".join(_table(alike))


def _about(benchmark: str) -> str:
    """A benchmark's own description, whose indented parts are a page's too."""
    source = (Path(__file__).parent / f"{benchmark}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| row | headstart | beside | single turns, min … max | unit |"
    yield "|---|---|---|---|---|"
    for row in rows:
        low, high = (text(x) for x in row["spread"] or (None, None))
        turns = f"{low} … {high}" if row["spread"] else ""
        if row["ratio"] is None:
            beside = "" if row["peer_name"] == "none" else row["peer_name"]
            yield f"| `{row['name']}` | {text(row['ours'])} {row['unit']} | {beside} | {turns} | |"
        else:
            how = "as fast" if is_speed(row["unit"]) else "as long" if _is_time(row["unit"]) else "as much"
            peer = f"{row['peer_name']} ({row['peer_version']})" if "peer_version" in row else row["peer_name"]
            goal = f" (goal {row['settings']['goal']:g})" if "goal" in row["settings"] and how != "as much" else ""
            yield f"| `{row['name']}` | **{text(row['ratio'])} ×** {how}{goal} | {peer} | {turns} | {row['unit']} |"


def _is_time(unit: str) -> bool:
    return bool(re.match(r"(ms|µs|s)\b|× one", unit))


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    device = "" if machine["device"] == "cpu" else f", {machine['device']}"
    return f"{machine['processor']}, {machine['cores']} cores{device}; {versions}"


def main(pages: Sequence[str]) -> None:
    """Make the blocks of the pages anew."""
    try:
        check(map(Path, pages))
        keep([], [Path(page) for page in pages])
    except HeadstartError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
