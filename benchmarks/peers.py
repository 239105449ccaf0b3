"""What peers need that cannot be installed beside headstart: made once under a directory, and reused from then on.

A peer of Python packages gets a virtual environment, DIR/NAME, with the versions below. JaxMARL's training scripts get a
checkout of its repository, DIR/jaxmarl. A peer is ready once its file `made.json` is there, which is written last.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from headstart.core.checks import HeadstartError
from headstart.storage import files
from headstart.storage.conform import shown

TORCH = "torch==2.13.0"
PACKAGES = {
    "benchmarl": ("benchmarl==1.5.2", "vmas==1.5.2", TORCH),
    "imitation": ("imitation==1.0.1", "numpy==1.26.4", "datasets==2.21.0", "pyarrow==17.0.0", TORCH),
    "sb3": ("stable-baselines3==2.9.2", "gymnasium==1.3.0", "mujoco==4.0.0", "imageio==2.38.1", "packaging==26.3", TORCH),
    "vmas": ("vmas==1.5.2", TORCH),
}
"""{peer: the packages of its virtual environment}. Which build of torch pip chooses is up to its own settings."""
REPOSITORY, COMMIT = "https://github.com/FLAIROx/JaxMARL.git", "c793d095618c6d3edfb5632802348f57b70a4b94"
NAMES = ("jaxmarl", *PACKAGES)
MARK, MADE = "peers.json", "made.json"
"""Files that say that a directory was made here, and that a peer in it is ready."""


class Found(NamedTuple):
    """Where the peers are, and why some are not."""

    places: dict[str, str]
    """{peer: a Python that has its packages, or the checkout}."""
    lacking: dict[str, str]
    """{peer: a line that says why it could not be made}."""


def provide(directory: Path, names: Iterable[str]) -> Found:
    """Make what the named peers need and `directory` has not; a peer that cannot be made is one line on stderr.

    Raises HeadstartError if the directory, or a peer's own within it, was not made here, is half-made, or has other versions.
    """
    names = [name for name in NAMES if name in set(names)]
    _check(directory, names)
    found = Found({}, {})
    for name in names:
        place = directory / name
        if not (place / MADE).exists():
            print(f"making {place}: {', '.join(_wanted(name))}", file=sys.stderr, flush=True)
            try:
                _make(name, place)
            except _Failed as error:
                found.lacking[name] = "it could not be made"
                print(f"{place} could not be made ({error}): its rows are left out", file=sys.stderr, flush=True)
                continue
        found.places[name] = str((place if name == "jaxmarl" else _python(place)).absolute())
    return found


def _check(directory: Path, names: list[str]) -> None:
    """Refuse all that would be overwritten or used without being what it should be; mark an empty directory as ours."""
    what = files.kind(directory)
    if what not in (None, "a directory"):
        raise HeadstartError(f"{shown(str(directory))} is {what}: name a directory for the peers, new or empty")
    if what and not (directory / MARK).exists() and any(directory.iterdir()):
        raise HeadstartError(f"{shown(str(directory))} has files that --peers did not make: name a new or an empty directory")
    for name in names:
        place = directory / name
        if files.kind(place) is None:
            continue
        if files.kind(place / MADE) is None:
            raise HeadstartError(f"{shown(str(place))} is half-made: delete it, and it is made again")
        if files.read_json(place / MADE).get("of") != _wanted(name):
            raise HeadstartError(f"{shown(str(place))} has other versions than are wanted now: delete it, and it is made again")
    if not (directory / MARK).exists():
        files.write_json(directory / MARK, {"made_by": "python -m benchmarks --peers"})


def _wanted(name: str) -> list[str]:
    return [REPOSITORY, COMMIT] if name == "jaxmarl" else list(PACKAGES[name])


def _python(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


class _Failed(Exception):
    """A command failed; the text is the last line of what it said."""


def _make(name: str, place: Path) -> None:
    """Make one peer's directory. If that fails or is stopped by an error, nothing of it stays."""
    try:
        if name == "jaxmarl":
            place.mkdir()
            _run("git", "init", "--quiet", str(place))
            _run("git", "-C", str(place), "fetch", "--quiet", "--depth", "1", REPOSITORY, COMMIT)
            _run("git", "-C", str(place), "checkout", "--quiet", "FETCH_HEAD")
        else:
            _run(sys.executable, "-m", "venv", str(place))
            _run(str(_python(place)), "-m", "pip", "install", "--quiet", *PACKAGES[name])
        files.write_json(place / MADE, {"of": _wanted(name)})
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _run(*command: str) -> None:
    env = {name: x for name, x in os.environ.items() if name != "PYTHONPATH"} | {"GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    except OSError as error:
        raise _Failed(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
        raise _Failed(shown(next((line for line in said if line.lower().startswith(("error", "fatal"))), said[-1])))


def commit(checkout: str) -> str | None:
    """The short name of the commit of a checkout; None if git cannot tell."""
    try:
        done = subprocess.run(
            ["git", "-C", checkout, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def versions(python: str | None, packages: Iterable[str]) -> dict[str, str]:
    """The versions that a Python has of some packages, for a row's machine; those it lacks are left out."""
    ask = "import importlib.metadata as m, json, sys\nhave = {d.name.lower().replace('_', '-'): d.version for d in "
    ask += "m.distributions()}\nprint(json.dumps({name: have[name] for name in sys.argv[1:] if name in have}))"
    command = [python or sys.executable, "-c", ask, *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return {}
