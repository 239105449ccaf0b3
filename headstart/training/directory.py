"""One run's directory: run.json, metrics.csv, checkpoints and the trained policy.

run.json      the manifest: everything needed to repeat and resume the run; `finished` and `timing` once it is over
metrics.csv   a row for each evaluation and seed
checkpoints/  the last two complete training states; gone when the run has finished
policy.*      the trained team
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
from headstart.storage import files

KEEP = 2


def go_on(path: Path) -> str:
    """The advice to resume, if a directory holds a run or an experiment; else empty."""
    begun = any((path / name).exists() for name in ("run.json", "experiment.json"))
    return f", or go on with: {command('resume', path)}" if begun else ""


@contextlib.contextmanager
def undone_if_refused(path: Path, begun: Callable[[], bool]) -> Iterator[None]:
    """Remove what the block wrote to a directory that was empty or not there, if it raises an error before `begun()`."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    ours = bool(missing) or (path.is_dir() and not any(path.iterdir()))
    try:
        yield
    except Exception:
        if ours and not begun():
            for entry in (path / name for name in ("run.json", "metrics.csv", "experiment.json")):
                entry.unlink(missing_ok=True)
            for entry in (path / "stages", *path.glob("teacher-*")):
                shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):  # somebody else has put something there
                for parent in missing:
                    parent.rmdir()
        raise


class RunDir:
    """Paths and files of a run directory."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.csv"

    @property
    def resume(self) -> str:
        """The command that goes on with this run."""
        return command("resume", self.path)

    def create(self, manifest: dict[str, Any]) -> None:
        """Begin a run; refuses a directory that holds anything, so that nothing is ever overwritten."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise HeadstartError(f"{self.path} already holds something: choose another --out{go_on(self.path)}")
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_manifest(manifest)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write run.json."""
        files.write_json(self.path / "run.json", {"format": files.FORMAT, **manifest})

    def manifest(self) -> dict[str, Any]:
        """Read run.json."""
        if not self.path.is_dir():
            raise HeadstartError(f"{self.path} is not a directory: pass the --out directory of a run")
        return files.read_json(self.path / "run.json")

    def save_checkpoint(self, updates: int, state: PyTree, note: dict[str, str]) -> None:
        """Write the whole training state, and delete all but the last `KEEP` checkpoints."""
        storage.save_tree(self.checkpoints / f"{updates:010d}.safetensors", state, note | {"updates": str(updates)})
        for old in self._saved()[:-KEEP]:
            old.unlink()

    def load_checkpoint(self, like: PyTree) -> tuple[int, PyTree, dict[str, str]] | None:
        """The newest checkpoint that can be read: (updates, state, note); None if there is none.

        Damaged checkpoints are skipped; raises HeadstartError if all are damaged.
        """
        trouble = None
        for path in reversed(self._saved()):
            try:
                note = storage.read_note(path)
                return int(note["updates"]), storage.load_tree(path, like), note
            except (HeadstartError, KeyError, ValueError) as error:
                trouble = error
        if trouble:
            raise HeadstartError(f"no checkpoint in {self.checkpoints} can be read: {trouble}")
        return None

    def has_checkpoint(self) -> bool:
        """Whether there is anything to resume from."""
        return bool(self._saved())

    def _saved(self) -> list[Path]:
        return sorted(p for p in self.checkpoints.glob("*.safetensors") if not p.name.startswith("."))

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a finished run; its policy and metrics stay."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
