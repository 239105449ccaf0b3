"""One run's directory: run.json, metrics.csv, checkpoints and the trained policy.

run.json      what is needed to repeat and to resume the run; `finished` and `timing` once it is over
metrics.csv   a row for each evaluation and seed
checkpoints/  the last two complete training states; gone when the run has finished
policy.*      the trained team
"""

import csv
import io
import shutil
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from headstart.core.checks import HeadstartError
from headstart.storage import arrays as storage
from headstart.storage import files

KEEP = 2


def go_on(path: Path) -> str:
    """How to go on with what a directory holds, where it is a run or an experiment."""
    begun = any((path / name).exists() for name in ("run.json", "experiment.json"))
    return f", or go on with: headstart resume {path}" if begun else ""


class RunDir:
    """Paths and files of a run directory."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.csv"

    def create(self, about: dict[str, Any]) -> None:
        """Begin a run; refuses a directory that holds anything, so that nothing is ever overwritten."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise HeadstartError(f"{self.path} already holds something: choose another --out{go_on(self.path)}")
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_about(about)

    def write_about(self, about: dict[str, Any]) -> None:
        """Write run.json."""
        files.write_json(self.path / "run.json", {"format": files.FORMAT, **about})

    def about(self) -> dict[str, Any]:
        """Read run.json."""
        if not self.path.is_dir():
            raise HeadstartError(f"{self.path} is not a directory: pass the --out directory of a run")
        return files.read_json(self.path / "run.json")

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Add rows to metrics.csv; the first ones decide its columns."""
        columns = self._columns() or list(rows[0])
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        if not self._columns():
            writer.writeheader()
        writer.writerows(rows)
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(text.getvalue())

    def _columns(self) -> list[str]:
        if not self.metrics.exists() or not self.metrics.stat().st_size:
            return []
        with self.metrics.open(encoding="utf-8") as file:
            return file.readline().strip().split(",")

    def forget_after(self, updates: int) -> None:
        """Drop the metrics of updates after a checkpoint, and a line a crash left half-written."""
        if not self.metrics.exists():
            return
        try:
            header, *lines = self.metrics.read_text(encoding="utf-8").split("\n")
            if not lines:  # not even the header's line was finished
                return self.metrics.unlink()
            place, width = header.split(",").index("updates"), header.count(",")
            kept = [x for x in lines[:-1] if x.count(",") == width and int(x.split(",")[place]) <= updates]
        except ValueError as error:
            raise HeadstartError(f"{self.metrics} is damaged ({error}): move it away and start the run anew") from None
        files.write_text(self.metrics, "\n".join([header, *kept, ""]))

    def save_checkpoint(self, updates: int, state: PyTree, note: dict[str, str]) -> None:
        """Write the whole training state, and drop all but the last checkpoints."""
        storage.save_tree(self.checkpoints / f"{updates:010d}.safetensors", state, note | {"updates": str(updates)})
        for old in self._saved()[:-KEEP]:
            old.unlink()

    def load_checkpoint(self, like: PyTree) -> tuple[int, PyTree, dict[str, str]] | None:
        """The newest checkpoint that can be read: (updates, state, note); None where there is none.

        A damaged newest one is passed over for the one before it; raises HeadstartError where all are damaged.
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
        """Remove the checkpoints of a finished run: its policy and metrics are what is left of it."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
