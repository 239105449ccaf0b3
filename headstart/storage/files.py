"""Text files: written whole or not at all, and refused in one clear line if they are damaged."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headstart.core.checks import HeadstartError

FORMAT = 1
"""Version of the run directory and policy files. Readers refuse newer ones."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it, atomically, when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # some libraries write files that only the user may read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity are refused, as JSON has neither."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a format that this version knows; HeadstartError if it is missing, damaged or newer."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HeadstartError(f"{path} is missing: is this a headstart directory, and was it written completely?") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise HeadstartError(f"{path} is damaged ({error}): restore it or start the run anew") from None
    version = value.get("format") if isinstance(value, dict) else None
    if not isinstance(version, int):
        raise HeadstartError(f"{path} has no format number: it was not written by headstart")
    if version > FORMAT:
        raise HeadstartError(f"{path} has format {version} and this version reads up to {FORMAT}: update headstart")
    return value
