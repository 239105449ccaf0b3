"""One run's directory: run.json, metrics.csv, checkpoints and the trained policy.

run.json      the manifest: everything needed to repeat and resume the run; `finished` and `timing` once it is over
metrics.csv   a row for each evaluation and seed
checkpoints/  the last two complete training states; gone when the run has finished, but for --keep last
policy.*      the trained team
best/, ..     teams that the run keeps (see `keep`)
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from headstart.core.checks import HeadstartError
from headstart.registry import command
from headstart.storage import arrays as storage
from headstart.storage import files, places, schema
from headstart.storage.conform import conform, shown
from headstart.training import keep

KEEP = 2
"""Checkpoints that a run keeps while it goes on."""


def go_on(path: Path) -> str:
    """The advice to resume, if a directory holds a run or an experiment; else empty."""
    if not any((path / name).exists() for name in ("run.json", "experiment.json", places.SWEEP)):
        return ""
    again = command("resume", path, ours=False)
    with contextlib.suppress(HeadstartError):  # a damaged file is told by what reads it
        if (path / "run.json").exists() and files.read_json(path / "run.json", schema.Run).get("finished"):
            return f" (a run that has finished; it goes on with: {again} --steps N)"
    return f", or go on with: {again}"


@contextlib.contextmanager
def undone_if_refused(path: Path, begun: Callable[[], bool]) -> Iterator[None]:
    """Remove what the block wrote to a directory that was empty or not there, if it raises an error before `begun()`."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    ours = bool(missing) or (path.is_dir() and not any(path.iterdir()))
    try:
        yield
    except files.NotWritten:  # once there is space again, it goes on
        raise
    except Exception:
        if ours and not begun():
            for entry in (path / name for name in ("run.json", "metrics.csv", "experiment.json", places.SWEEP)):
                entry.unlink(missing_ok=True)
            for entry in (path / "stages", path / "tasks", path / places.POINTS, *path.glob("teacher-*")):
                shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):  # somebody else has put something there
                for parent in missing:
                    parent.rmdir()
        raise


def check_free(path: Path) -> None:
    """Refuse a directory that holds anything, so that nothing is ever overwritten."""
    if not places.empty(path):
        raise HeadstartError(f"{path} already holds something: choose another --out{go_on(path)}")


class RunDir:
    """Paths and files of a run directory."""

    def __init__(self, path: str | Path):
        self.path = places.located(path)
        self.metrics = self.path / "metrics.csv"

    @property
    def resume(self) -> str:
        """The command that goes on with this run."""
        return command("resume", self.path)

    @property
    def checkpoints(self) -> Path:
        """The directory of checkpoints; HeadstartError if it is a link."""
        return places.inside(self.path, "checkpoints")

    def create(self, manifest: dict[str, Any], fill: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """Begin a run: the directory appears at once, with run.json and all that `fill` writes. Returns the manifest.

        `fill` returns further content of run.json. A directory that holds anything is refused.
        """
        check_free(self.path)
        with places.made_at_once(self.path) as staged:
            manifest = manifest | fill(staged)
            files.write_json(staged / "run.json", manifest, schema.Run)
        return manifest

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Work in the directory alone, after tidying what dead processes have left."""
        if not self.path.is_dir():
            raise HeadstartError(f"{self.path} is not a directory: pass the --out directory of a run")
        with places.held(self.path):
            for directory in (self.path, self.checkpoints):
                places.tidy(directory)
            yield

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write run.json."""
        files.write_json(self.path / "run.json", manifest, schema.Run)

    def manifest(self) -> dict[str, Any]:
        """Read run.json."""
        return files.read_json(self.path / "run.json", schema.Run)

    def save_checkpoint(self, updates: int, state: PyTree, note: dict[str, str]) -> None:
        """Write the whole training state, and delete all but the last `KEEP` checkpoints, also those that could not be read."""
        path = self.checkpoints / f"{updates:010d}.safetensors"
        storage.save_tree(path, state, note | {"updates": str(updates)})
        saved = self._saved()
        kept = [other for other in saved if other.name <= path.name][-KEEP:]
        with files.writing(self.checkpoints):
            for old in set(saved) - set(kept):
                old.unlink()

    def load_checkpoint(
        self, like: PyTree | Callable[[int], PyTree], most: int, run: str | None, at: int | None = None
    ) -> tuple[int, PyTree, dict[str, float]] | None:
        """The newest checkpoint that can be read: (updates, state, seconds by name); None if there is none.

        `at`: only that after so many updates.

        `like`: the state's shape, or a function of the room of its memory (0: unknown), which depends on the run's length.
        Damaged checkpoints are skipped; raises HeadstartError if all are damaged. A checkpoint after more than `most`
        updates, or of another run than the one with the id `run`, is damaged.
        """
        trouble = None
        for path in (path for path in reversed(self._saved()) if at is None or int(path.stem) == at):
            try:
                note = _checked(path, storage.read_note(path), most, run)
                room = int(note.pop("room"))
                return int(note.pop("updates")), storage.load_tree(path, like(room) if callable(like) else like), note
            except HeadstartError as error:
                trouble = error
        if trouble:
            raise HeadstartError(f"no checkpoint in {self.checkpoints} can be read: {trouble}")
        return None

    def has_checkpoint(self) -> bool:
        """Whether there is anything to resume from."""
        return bool(self._saved())

    def newest(self) -> int:
        """The updates before the newest checkpoint; 0 if there is none."""
        return max((int(path.stem) for path in self._saved()), default=0)

    def _saved(self) -> list[Path]:
        return sorted(self.checkpoints.glob("[0-9]" * 10 + ".safetensors"))

    def clear(self, manifest: dict[str, Any]) -> None:
        """Tidy up after a finished run: kept teams are in their places, and the checkpoints go, but for one to be kept."""
        keep.place_all(self.checkpoints, manifest)
        if keep.LAST not in manifest["config"].get("keep", ()):
            return self.drop_checkpoints()
        with files.writing(self.checkpoints):
            for old in self._saved()[:-1]:
                old.unlink()

    def drop_checkpoints(self) -> None:
        """Remove all checkpoints."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)


def _checked(path: Path, note: dict[str, str], most: int, run: str | None) -> dict[str, float]:
    """The numbers of a checkpoint's note."""
    try:
        numbers: dict[str, Any] = {name: float(note.get(name, 0)) for name in ("run_s", "compile_s")}
        numbers |= {"updates": int(note["updates"]), "room": int(note.get("room", 0))}
        conform(numbers, schema.Note)
    except (KeyError, ValueError) as error:
        raise HeadstartError(f"{path} is damaged (its note: {shown(str(error))})") from None
    updates = int(numbers["updates"])
    if updates > most or path.name != f"{updates:010d}.safetensors":
        raise HeadstartError(f"{path} is damaged: its note says that it was written after {updates} updates of {most}")
    if run is not None and note.get("run") != run:
        files.refuse_change(f"{path} is a checkpoint of another run")
    return numbers
