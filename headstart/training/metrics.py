"""metrics.csv: a row for each evaluation and seed."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.storage import files
from headstart.training.watch import Watcher


class MetricsFile(Watcher):
    """Writes metrics.csv: seed, env_steps, updates, then the columns of the first row; empty if a value is not finite."""

    def __init__(self, path: Path, steps_per_update: int):
        self.path, self.steps_per_update = path, steps_per_update
        self.seeds: list[int] = []

    def begin(self, manifest: dict[str, Any]) -> None:
        """Remember the numbers of the seeds."""
        self.seeds = manifest["seeds"]

    def row(self, env_steps: int, values: dict[str, np.ndarray]) -> None:
        """Add a line for each seed; the first ones decide the columns."""
        text = lambda x: repr(float(x)) if np.isfinite(x) else ""
        rows = [
            {"seed": seed, "env_steps": env_steps, "updates": env_steps // self.steps_per_update}
            | {name: text(x[i]) for name, x in values.items()}
            for i, seed in enumerate(self.seeds)
        ]
        columns = self._columns()
        lines = io.StringIO()
        writer = csv.DictWriter(lines, columns or list(rows[0]), extrasaction="ignore", lineterminator="\n")
        if not columns:
            writer.writeheader()
        writer.writerows(rows)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(lines.getvalue())

    def _columns(self) -> list[str]:
        if not self.path.exists() or not self.path.stat().st_size:
            return []
        with self.path.open(encoding="utf-8") as file:
            return file.readline().strip().split(",")

    def forget_after(self, updates: int) -> None:
        """Drop the lines of updates after a checkpoint, and one that a crash left half-written."""
        if not self.path.exists():
            return
        try:
            header, *lines = self.path.read_text(encoding="utf-8").split("\n")
            if not lines:  # not even the header's line was finished
                return self.path.unlink()
            place, width = header.split(",").index("updates"), header.count(",")
            kept = [x for x in lines[:-1] if x.count(",") == width and int(x.split(",")[place]) <= updates]
        except ValueError as error:
            raise HeadstartError(f"{self.path} is damaged ({error}): move it away and start the run anew") from None
        files.write_text(self.path, "\n".join([header, *kept, ""]))
