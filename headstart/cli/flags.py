"""Flags of a command: read by tyro from dataclasses, and refused in one line."""

import contextlib
import dataclasses
import io
import sys
from pathlib import Path
from typing import Any

from headstart.core.checks import HeadstartError


def read_flags(options: Any, args: list[str], prog: str, about: str = "") -> Any:
    """Parse `args` into the dataclass `options` by tyro; a mistake becomes one HeadstartError line."""
    import tyro

    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(options, args=args, prog=prog, description=about)
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise HeadstartError(f"{_one_line(told.getvalue())} (see {prog} --help)") from None


def _one_line(boxed: str) -> str:
    """The message and the first suggestion inside the box that tyro draws around an error."""
    lines = [line.strip("│╭╮╰╯─ ").strip() for line in boxed.splitlines()]
    body = [line for line in lines[1:] if line]
    parts, suggestion = [], ""
    for i, line in enumerate(body):
        if line.startswith("Perhaps you meant"):
            suggestion = f"; did you mean {body[i + 1].split()[0]}?" if i + 1 < len(body) else ""
        if line.startswith(("Perhaps you meant", "Argument helptext", "For full helptext")):
            break
        parts.append(line)
    return " ".join(parts or ["the flags could not be read"]) + suggestion


def take(args: list[str], names: tuple[str, ...]) -> tuple[dict[str, list[str]], list[str]]:
    """Values of the flags that decide which other flags there are (`--flag value` or `--flag=value`), and the rest."""
    given: dict[str, list[str]] = {name: [] for name in names}
    rest, left = [], list(args)
    while left:
        flag, _, value = left.pop(0).partition("=")
        if flag not in names:
            rest.append(f"{flag}={value}" if value else flag)
        elif value or (left and not left[0].startswith("--")):
            given[flag].append(value or left.pop(0))
        else:
            raise HeadstartError(f"{flag} needs a value")
    return given, rest


def directory_of(args: list[str], command: str, about: str, more: bool = False) -> tuple[Path, list[str]]:
    """The command's directory and its further arguments; with --help and nothing more to explain, that is printed."""
    if args and args[0] in ("-h", "--help"):
        if more:
            return Path("DIR"), ["--help"]
        print(about)
        sys.exit(0)
    if not args or args[0].startswith("-"):
        raise HeadstartError(f"say which directory: headstart {command} DIR")
    if len(args) > 1 and not more:
        raise HeadstartError(f"headstart {command} takes one directory; '{args[1]}' is too much")
    return existing(Path(args[0])), args[1:]


def existing(directory: Path) -> Path:
    if not directory.is_dir():
        raise HeadstartError(f"{directory} is not a directory: pass the --out directory of a run")
    return directory


def options_of(fields: list[Any]) -> Any:
    """A dataclass of flags: (name, type or None for the default's, default, help)."""
    from typing import Annotated

    import tyro

    made = []
    for name, kind, default, text in fields:
        kind = kind or type(default)
        if getattr(kind, "__parameters__", ()):  # an environment around another: its flags are those of both
            kind = kind[type(default.env)]  # pyright: ignore[reportIndexIssue]
        kind = Annotated[kind, tyro.conf.arg(help=text)] if text else kind
        made.append((name, kind, dataclasses.field(default=default)))
    return dataclasses.make_dataclass("Options", made, frozen=True)
