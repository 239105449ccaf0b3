"""Regular files: read within a bound, written whole or not at all. JSON carries the digest of its own content.

A link, a pipe, a device or a socket is refused before it is opened. Nothing here needs JAX.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path
from typing import Any

from headstart.core.checks import HeadstartError
from headstart.core.permission import Permission
from headstart.storage.conform import Misfit, conform, shown

FORMAT = 2
"""Version of the run directory and policy files. Readers refuse newer ones; files of format 1 have no digests."""
LARGEST_JSON = 16 * 2**20
LARGEST_INTEGER = 300
"""Digits: each such integer is a finite float as well."""
DEEPEST = 64
"""Objects and lists inside each other."""

HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
"""A name for this machine in the names of temporary files: on a shared disk, another machine's processes look dead."""
made_here: set[str] = set()
"""Names of this process's temporary files: a dead process may have had the same number."""
_numbers = itertools.count()
_ACCEPTED = Permission("changes")


class NotWritten(HeadstartError):
    """A file could not be written, e.g. because the disk is full; what stood in its place is unchanged."""

    def __init__(self, what: str, resume: str = ""):
        super().__init__(f"{what}, then go on with: {resume}" if resume else what)
        self.what = what


class Changed(HeadstartError):
    """A file is not the one that was written, or does not belong to the files beside it."""


def accepting(changes: bool) -> AbstractContextManager[None]:
    """Accept files with other digests than expected, if `changes`, in the block. Malformed files are refused all the same."""
    return _ACCEPTED.given(changes)


def accepts() -> bool:
    """Whether changes are accepted here."""
    return bool(_ACCEPTED)


def refuse_change(what: str) -> None:
    """Raise Changed with `what` was found, unless changes are accepted."""
    if not accepts():
        raise Changed(f"{what}: restore it, or pass --accept-changed (accept_changed=True in Python) if this is meant")


# ------------------------------------------------------------------ reading


def kind(path: Path) -> str | None:
    """What stands at a path, in words: "a file", "a directory", "a link", "a pipe", ..; None if nothing does."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise HeadstartError(f"{shown(path)} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    tests = {"a file": stat.S_ISREG, "a directory": stat.S_ISDIR, "a link": stat.S_ISLNK, "a pipe": stat.S_ISFIFO}
    return next((name for name, test in tests.items() if test(mode)), "a socket or a device")


def opened(path: Path) -> BufferedReader:
    """A regular file, opened to read bytes; HeadstartError if it is missing or anything else."""
    found = kind(path)
    if found is None:
        raise HeadstartError(f"{path} is missing: is this a headstart directory, and was it written completely?")
    if found == "a file":
        try:
            file = os.fdopen(os.open(path, os.O_RDONLY | _careful()), "rb")
        except OSError as error:
            raise HeadstartError(f"{path} cannot be read: {error.strerror}") from None
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
    raise HeadstartError(f"{path} is {found}, and headstart reads regular files only: put the file itself there")


def _careful() -> int:
    """Flags that keep `open` from following a link and from waiting for a pipe, between the look and the opening."""
    return sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise HeadstartError(f"{path} is damaged: it has {size:,} bytes, and such a file has at most {most:,}")
        try:
            return file.read(most)
        except OSError as error:
            raise HeadstartError(f"{path} cannot be read: {error.strerror}") from None


def sha256(path: Path) -> str:
    """The digest of a file's bytes, as `sha256sum` prints it."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_json(data: bytes, path: Path) -> Any:
    """JSON as RFC 8259 has it, without duplicate keys, lone surrogates and numbers that no float holds."""

    def integer(digits: str) -> int:
        if len(digits) > LARGEST_INTEGER:
            raise ValueError(f"a number of {len(digits)} digits")
        return int(digits)

    def constant(name: str) -> None:
        raise ValueError(f"JSON has no {name}")

    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            raise ValueError("a name stands twice in one object")
        return made

    try:
        value = json.loads(data.decode("utf-8"), parse_int=integer, parse_constant=constant, object_pairs_hook=fields)
        level, depth = [value], 0
        while level:
            if (depth := depth + 1) > DEEPEST:
                raise RecursionError
            inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
            level = [x for each in inner for x in each]
        canonical(value)
        return value
    except RecursionError:
        why = f"more than {DEEPEST} objects inside each other"
        raise HeadstartError(f"{path} is damaged ({why}): restore it or start anew") from None
    except ValueError as error:
        raise HeadstartError(f"{path} is damaged ({shown(str(error))}): restore it or start anew") from None


def canonical(value: Any) -> bytes:
    """JSON of equal values is equal; ValueError for what JSON or UTF-8 cannot hold."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def digest_of(value: dict[str, Any]) -> str:
    """The sha256 of a JSON object's content. Layout and its own "digest" do not count."""
    return hashlib.sha256(canonical({name: x for name, x in value.items() if name != "digest"})).hexdigest()


def read_json(path: Path, schema: Any = None) -> dict[str, Any]:
    """Read a JSON object that `write_json` wrote.

    Raises HeadstartError if it is missing, damaged, of a newer format or not as `schema` says, and `Changed` if its digest
    says that it was changed.
    """
    value = parse_json(read_bytes(path, LARGEST_JSON), path)
    version = value.get("format") if isinstance(value, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise HeadstartError(f"{path} has no format number: it was not written by headstart")
    if version > FORMAT:
        raise HeadstartError(f"{path} has format {shown(version)} and this version reads up to {FORMAT}: update headstart")
    try:
        conform(value, schema)
    except Misfit as error:
        raise HeadstartError(f"{path} is damaged: {error}") from None
    if version > 1 and value.get("digest") != digest_of(value):
        refuse_change(f"{path} was changed after it had been written (its digest does not match)")
    return value


# ------------------------------------------------------------------ writing


def temporary_name(name: str) -> str:
    """A name that no other process or thread chooses; `places.tidy` finds those of dead processes."""
    made = f".{name}.{os.getpid()}.{HOST}.{next(_numbers)}"
    made_here.add(made)
    return made


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the system become NotWritten: one line that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)) or "No space left" in str(error)
        mend = "free some space" if full else "check the path and its permissions"
        raise NotWritten(f"{path} could not be written ({error.strerror or shown(error)}): {mend}") from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it, atomically, when the block ends without an error."""
    temporary = path.with_name(temporary_name(path.name))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _careful(), 0o666))
            mode = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            temporary.chmod(mode)  # some libraries write files that only the user may read
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            made_here.discard(temporary.name)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def append_text(path: Path, text: str) -> None:
    """Add to the end of a regular file, which is made if it is missing; a crash may leave a part of the text."""
    if kind(path) not in ("a file", None):
        raise HeadstartError(f"{path} is {kind(path)}, and headstart writes to regular files only: move it away")
    with writing(path):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _careful(), 0o666)
        try:
            left = text.encode("utf-8")
            while left:
                left = left[os.write(handle, left) :]
        finally:
            os.close(handle)


def write_json(path: Path, value: dict[str, Any], schema: Any = None) -> str:
    """Write a JSON object atomically, with its format and its digest, which is returned.

    Raises HeadstartError for what `read_json` would refuse: NaN, infinity, and what is not as `schema` says.
    """
    kept = {name: x for name, x in value.items() if name not in ("format", "digest")}
    try:
        plain = json.loads(json.dumps({"format": FORMAT, **kept}, allow_nan=False))
        plain["digest"] = digest_of(plain)
        conform(plain, schema)
    except ValueError as error:
        raise HeadstartError(f"{path} cannot hold this as JSON: {shown(str(error))}") from None
    write_text(path, json.dumps(plain, indent=2) + "\n")
    return plain["digest"]
