"""metrics.csv: a row for each evaluation and seed."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.episodes import team_mean
from headstart.storage import files
from headstart.storage.tables import WHOLE, read_table
from headstart.training.watch import Watcher


def row_of(sums: Any, scores: Any, updates: int, learned: int) -> dict[str, np.ndarray]:
    """{column: [S]} of an evaluation, from its scores and the sums of metrics since the one before: of so many `updates`, in
    `learned` of which there were gradient steps."""
    columns = {name: np.asarray(x) for name, x in scores.items()}
    ended = np.asarray(sums["episodes"]["count"])
    with np.errstate(invalid="ignore", divide="ignore"):
        columns["train_return"] = np.asarray(team_mean(sums["episodes"]["returns"])) / ended
        columns |= {name: np.asarray(x) / np.float32(learned) for name, x in sums["learning"].items()}
        columns |= {name: np.asarray(x) / np.float32(updates) for name, x in sums["guidance"].items()}
        columns |= {name: columns.pop(name) for name in scores if name.startswith("eval_event/")}  # those come last
        columns |= {f"train_event/{name}": np.asarray(x) / ended for name, x in sums["episodes"]["events"].items()}
    return columns


def columns_of(sums: Any, scores: Any) -> set[str]:
    """The columns of `row_of`."""
    events = {f"train_event/{name}" for name in sums["episodes"]["events"]}
    return {*scores, *sums["learning"], *sums["guidance"], *events, "train_return"}


class MetricsFile(Watcher):
    """Writes metrics.csv: seed, env_steps, updates, then the columns of the first row; empty if a value is not finite."""

    def __init__(self, path: Path, steps_per_update: int):
        self.path, self.steps_per_update = path, steps_per_update
        self.seeds: list[int] = []
        self.columns: list[str] = []

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
        lines = io.StringIO()
        writer = csv.DictWriter(lines, self.columns or list(rows[0]), extrasaction="ignore", lineterminator="\n")
        if not self.columns:
            writer.writeheader()
            self.columns = list(rows[0])
        writer.writerows(rows)
        files.append_text(self.path, lines.getvalue())

    def forget_after(self, updates: int) -> None:
        """Drop the lines of updates after a checkpoint, and one that a crash left half-written."""
        if files.kind(self.path) is None:
            return
        table = read_table(self.path)
        if not table.columns:  # not even the header's line was finished
            return self.path.unlink()
        if not set(WHOLE) <= set(table.columns):
            raise HeadstartError(f"{self.path} is damaged (it has no column updates): move it away and start the run anew")
        self.columns = table.columns
        kept = [row.line for row in table.rows if (row.values["updates"] or 0) <= updates]
        files.write_text(self.path, "\n".join([table.header, *kept, ""]))

    def points(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """(updates, {column: [S]}) of the evaluations so far, as they were told; NaN for a missing value."""
        if files.kind(self.path) is None:
            return
        found: dict[int, list[dict[str, float | None]]] = {}
        for row in read_table(self.path).rows:
            found.setdefault(int(row.values["updates"] or 0), []).append(row.values)
        single = lambda x: np.float32(np.nan if x is None else x)
        for updates, rows in found.items():
            yield updates, {name: np.array([single(row[name]) for row in rows]) for name in rows[0]}
