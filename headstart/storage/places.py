"""Directories: named by the user, made whole in one step, held by one process, and tidied after dead ones."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from headstart.core.checks import HeadstartError, check_known
from headstart.storage import files

SWEEP, POINTS = "sweep.json", "points"
"""A sweep's own file, and the directory of its points."""


class Busy(HeadstartError):
    """Another process works in the directory."""


TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.(?P<host>[0-9a-f]{8})\.\d+", re.DOTALL)


def located(path: str | os.PathLike[str]) -> Path:
    """The path that the user named; "~" is the home directory."""
    text = os.fspath(path)
    if "\0" in text:
        raise HeadstartError(f"{files.shown(text)} is no path: it holds a NUL character")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise HeadstartError(f"{text}: there is no such user; write ./{text} for a directory of this name") from None


ZOO = "zoo:"
"""What stands before the name of a team that comes with headstart."""
TRAINED = Path(__file__).parent.parent / "trained"
"""The directory of these teams and demonstrations, a directory each."""


def zoo_names() -> list[str]:
    """The names of the teams and demonstrations that come with headstart."""
    return sorted(path.parent.name for path in TRAINED.glob("*/zoo.json"))


def named_in_zoo(path: str | os.PathLike[str]) -> str:
    """NAME of the text "zoo:NAME"; empty for a path. Raises HeadstartError for a name that the zoo does not have."""
    if not isinstance(path, str) or not path.startswith(ZOO):  # a Path of "./zoo:NAME" looks the same
        return ""
    name = path.removeprefix(ZOO)
    check_known("team of the zoo", name, zoo_names())
    return name


def found(path: str | os.PathLike[str]) -> Path:
    """The path that the user named, to read from it; "zoo:NAME" is the directory of a team that comes with headstart.

    Raises HeadstartError for a name that the zoo does not have.
    """
    name = named_in_zoo(path)
    return TRAINED / name if name else located(path)


def in_zoo(directory: Path) -> bool:
    """Whether a directory is that of a team which comes with headstart."""
    return directory.parent == TRAINED


def as_named(directory: Path) -> str:
    """A directory as the user would name it."""
    return f"{ZOO}{directory.name}" if in_zoo(directory) else str(directory)


def beside(directory: Path, name: str) -> Path:
    """Where a file `name` about a directory goes: into it, or into the working directory, named after a team of the zoo."""
    return Path(f"{directory.name}-{name}") if in_zoo(directory) else directory / name


def of_arrays(path: Path) -> str:
    """What to say of a .npz file in the place of demonstrations."""
    made = f"headstart.demos_from_npz('{path}', env).save('demos/NAME')"
    return f"{path} holds arrays: {made} makes demonstrations of them, for --teacher demos/NAME"


def absent(directory: Path, wanted: str) -> str:
    """What to say of a place without a directory: what is `wanted` there, or which teams the run around it has kept."""
    home = directory.parent
    if directory.suffix == ".npz" and directory.exists():
        return of_arrays(directory)
    if not (home / "run.json").exists() or not (directory.name == "best" or "=" in directory.name):
        return f"{directory} is not a directory: pass {wanted}"
    kept = [path.parent.name for path in sorted(home.glob("*/kept.json"))]
    return f"{directory} is not a directory: beside its last team, {home} has kept {', '.join(kept) or 'none'}"


def sweep_of(path: Path) -> Path | None:
    """The directory of the sweep of which a run is a point; None for other runs."""
    home = path.resolve().parent.parent
    return home if path.resolve().parent.name == POINTS and (home / SWEEP).exists() else None


def inside(root: Path, *names: str) -> Path:
    """The directory `root`/NAME/.. , if it exists a real one on its whole way below `root`, and no link out of it."""
    path = root
    for name in names:
        path = path / name
        if (found := files.kind(path)) not in ("a directory", None):
            raise HeadstartError(f"{path} is {found}, not a directory: put the directory itself there, or remove it")
    return path


def empty(path: Path) -> bool:
    """Whether nothing is there, or a directory with nothing but leftovers of dead processes."""
    if not path.exists() and files.kind(path) is None:
        return True
    return path.is_dir() and all(_is_leftover(entry) for entry in path.iterdir())


@contextlib.contextmanager
def made_at_once(path: Path) -> Iterator[Path]:
    """A hidden directory that becomes `path`, with all that the block has put into it, when the block ends without an error.

    `path` may be an empty directory. An error or a kill leaves it as it was; else it is complete.
    """
    target = Path(os.path.realpath(path))
    tidy(target.parent, target.name)
    # An existing directory that cannot be replaced (a mount point, say) is filled, its files last.
    fills = target.is_dir() and not _replaceable(target)
    staged = (target if fills else target.parent) / files.temporary_name(target.name)
    try:
        with files.writing(path):
            staged.mkdir(parents=True)
            if target.is_dir() and not fills:
                staged.chmod(target.stat().st_mode & 0o7777)
        yield staged
        with files.writing(path):
            if target.is_dir():
                tidy(target)
            if fills:
                for entry in sorted(staged.iterdir(), key=lambda entry: entry.is_file()):
                    os.rename(entry, target / entry.name)
            else:
                _rename(staged, target, path)
    except files.NotWritten as error:
        raise files.NotWritten(error.what.replace(str(staged), str(path))) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        files.made_here.discard(staged.name)


def _replaceable(target: Path) -> bool:
    try:
        here = os.path.samefile(target, os.curdir)
    except OSError:  # this process works in a directory that has been removed
        here = False
    return not here and not os.path.ismount(target) and os.access(target.parent, os.W_OK)


def _rename(staged: Path, target: Path, path: Path) -> None:
    try:
        if os.name == "nt" and target.is_dir():
            target.rmdir()
        os.rename(staged, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise HeadstartError(f"{path} already holds something: choose another --out") from None
        raise


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes from working in a directory during the block. The end of a process, however sudden, lets go."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with files.writing(path):
        handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process works in {path}: wait for its end, or stop it first") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def tidy(directory: Path, name: str = "") -> None:
    """Remove temporary files and directories (of `name`, if given) that dead processes have left in a directory."""
    try:
        entries = list(directory.iterdir())
    except OSError:
        return
    for entry in entries:
        if not _is_leftover(entry, name):
            continue
        if files.kind(entry) == "a directory":
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                entry.unlink()


def _is_leftover(entry: Path, name: str = "") -> bool:
    found = TEMPORARY.fullmatch(entry.name)
    if found is None or found["host"] != files.HOST or (name and found["name"] != name):
        return False
    if os.name == "nt":  # there `os.kill` ends a process even with the number 0
        return False
    pid = int(found["pid"])
    if pid == os.getpid():
        return entry.name not in files.made_here
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False
