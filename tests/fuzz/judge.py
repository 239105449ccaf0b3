"""Run one case and judge it.

A case must end within its time and memory with exit code 0, 2 or 130; a refusal is one line that begins with "headstart: ". It
must import no module of its working directory, start no process, and change nothing outside its directories. Reading
(evaluate, render) changes nothing at all.
"""

import contextlib
import io
import os
import resource
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from fuzz import commands, corpus, mutate
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.teams.saved import load

SECONDS = 20
BYTES = 4 * 2**30
WRITES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "ctypes.dlopen"}


class Hang(BaseException):
    """The case's time is over."""


class Judge:
    """Runs cases of one seed in a directory of their own."""

    def __init__(self, base: Path, place: Path, seed: int):
        self.base, self.place, self.seed = base, place, seed
        self.watching, self.found = False, []
        self.elsewhere = place / "elsewhere"
        self.elsewhere.mkdir(parents=True)
        (self.elsewhere / "precious.txt").write_text("nobody may touch this")
        sys.addaudithook(self._heard)
        signal.signal(signal.SIGALRM, self._late)

    def limit_memory(self) -> None:
        """From now on this process may take `BYTES` more."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGESIZE") + BYTES,) * 2)

    def _late(self, *_: Any) -> None:
        raise Hang

    def _heard(self, event: str, args: tuple) -> None:
        if not self.watching:
            return
        if event in STARTS and event != "ctypes.dlopen":
            self.found.append(f"{event} {args[:2]}")
        elif (event == "open" and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR)) or event in WRITES:
            self._wrote(event, args[0])

    def _wrote(self, event: str, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        above, name = os.path.split(os.path.join(self.work, os.fsdecode(path)))
        real = os.path.join(os.path.realpath(above), name)  # not where a link leads, but the link
        inside = any(Path(real).is_relative_to(place) for place in (self.work, os.environ["JAX_COMPILATION_CACHE_DIR"]))
        if not inside and os.fsdecode(path) != os.devnull:
            self.found.append(f"{event} outside: {os.fsdecode(path)!r}")

    def case(self, number: int, loud: bool = False) -> str:
        """Empty if the case is as promised; else what was not."""
        rng = np.random.default_rng((self.seed, number))
        self.work = Path(os.path.realpath(self.place / f"case-{number}"))
        self.work.mkdir()
        self.found, mark = [], self.place / f"mark-{number}"
        words, still = self._prepare(rng)
        corpus.set_traps(self.work, mark)
        before = _content(self.work) if still else {}
        told = self._run(words, loud)
        if self.found:
            told.append(self.found[0])
        if mark.exists():
            told.append("a module of the working directory was imported")
        if _content(self.elsewhere) != {"precious.txt": b"nobody may touch this"}:
            told.append("something outside was changed")
        if still and _content(self.work) != before:
            told.append("reading has changed a file")
        for path in (self.work, mark):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return f"case {number}: {words}: {'; '.join(told)}" if told else ""

    def _prepare(self, rng: mutate.Rng) -> tuple[list[str], bool]:
        """Put what the case needs in its directory: its command, and whether that only reads."""
        if rng.random() < 0.25:
            for name in ("run", "cut", "taught", "team"):
                corpus.copied(self.base, name, self.work)
            return commands.drawn(rng), False
        name = mutate.one_of(rng, ["run", "cut", "taught", "taught", "team", "experiment", "experiment"])
        directory = corpus.copied(self.base, name, self.work)
        for _ in range(int(rng.integers(1, 3))):
            whole = [path for path in sorted(directory.rglob("*")) if not path.is_symlink()]
            regular = [path for path in whole if path.is_file() and path.suffix != ".html"]
            kind = rng.random()
            if kind < 0.12 and whole:
                mutate.replaced(rng, mutate.one_of(rng, whole), self.elsewhere)
            elif kind < 0.22 and regular:
                mutate.swapped(rng, directory, self.base)
            elif regular:
                path = mutate.one_of(rng, regular)
                mutate.one_of(rng, mutate.ways(path))(rng, path)
        inside = sorted(path for path in directory.rglob("stages/*") if path.is_dir())
        target = mutate.one_of(rng, inside) if inside and rng.random() < 0.3 else directory
        verb = mutate.one_of(rng, ["evaluate", "render", "resume", "resume", "report", "load", "teach"])
        more = ["--accept-changed"] if verb not in ("load", "teach") and rng.random() < 0.4 else []
        named = str(target.relative_to(self.work))
        if verb == "teach":
            guided = ["--guidance", "knowru", "--teacher", named, "--learner.warmup", "40", "--learner.batch", "16"]
            return ["train", "spread", "--env.agents", "3", *guided, "--steps", "400", "--out", "out"], False
        return [verb, named, *more], verb in ("evaluate", "load")

    def _run(self, words: list[str], loud: bool) -> list[str]:
        out, err, code, trouble = io.StringIO(), io.StringIO(), 0, []
        here = os.getcwd()
        os.chdir(self.work)
        os.environ["HOME"] = str(self.work)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        self.watching = True
        try:
            with corpus.stubbed(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                if words[0] == "load":
                    load(words[1])
                else:
                    cli.main(words)
        except SystemExit as end:
            code = end.code or 0
        except HeadstartError as error:
            if words[0] != "load" or "\n" in str(error):
                trouble.append(f"HeadstartError left the command line: {error!r}")
        except corpus.Recorded:
            pass
        except Hang:
            trouble.append(f"not over after {SECONDS} s")
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            trouble.append(f"{type(error).__name__}: {str(error)[:200]} ({place.filename}:{place.lineno})")
            if loud:
                traceback.print_exc()
        finally:
            self.watching = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.chdir(here)
        told = err.getvalue().strip().splitlines()
        if code not in (0, 2, 130):
            trouble.append(f"exit code {code}")
        if code == 2 and (len(told) != 1 or not told[0].startswith("headstart: ")):
            trouble.append(f"a refusal of {len(told)} lines: {told[:3]}")
        if any("Traceback" in line for line in told):
            trouble.append("a traceback on standard error")
        if any("there is not enough memory" in line for line in told):
            trouble.append(f"more than {BYTES / 2**30:.0f} GiB were asked for")
        if loud:
            print(words, code, out.getvalue(), err.getvalue(), sep="\n")
        return trouble


def _content(directory: Path) -> dict[str, bytes]:
    """What is in a directory; for what is no regular file, only what it is."""
    found = {}
    for path in sorted(directory.rglob("*")):
        plain = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(directory))] = path.read_bytes() if plain else os.lstat(path).st_mode.to_bytes(4, "big")
    return found
