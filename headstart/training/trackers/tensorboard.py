"""TensorBoard's event files, written by the package tensorboardX."""

import importlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from headstart.training.trackers.names import of_seed
from headstart.training.watch import Progress, Watcher

FOLDER = "tensorboard"
"""Inside a run's directory."""


class TensorBoard(Watcher):
    """Writes RUN/tensorboard/seed_N, a run of TensorBoard for each seed: `tensorboard --logdir runs` shows all of them.

    A resumed run goes on in the same place, and what followed its last checkpoint before is dropped by the reader.
    """

    def __init__(self, run: Path):
        self.place = run / FOLDER
        self.config = ""
        self.per_second = float("nan")
        self.seeds: list[int] = []
        self.files: list[EventFile] = []

    def begin(self, manifest: dict[str, Any]) -> None:
        """Remember the seeds, and the configuration as text."""
        self.seeds = manifest["seeds"]
        self.config = f"```\n{json.dumps(manifest['config'], indent=1)}\n```"

    def progress(self, progress: Progress) -> None:
        """Remember how fast the run is."""
        self.per_second = progress.steps_per_second

    def row(self, env_steps: int, values: dict[str, np.ndarray]) -> None:
        """Write each seed's numbers; the first row opens the files."""
        self.files = self.files or [self._opened(seed, env_steps) for seed in self.seeds]
        for i, file in enumerate(self.files):
            now = of_seed(values, i) | ({"time/steps_per_second": self.per_second} if np.isfinite(self.per_second) else {})
            file.write([_scalar(name, value) for name, value in now.items()], env_steps)

    def end(self, team: Any) -> None:
        """Close the files."""
        for file in self.files:
            file.close()
        self.files = []

    def _opened(self, seed: int, env_steps: int) -> "EventFile":
        place = self.place / f"seed_{seed}"
        again = place.is_dir() and any(place.iterdir())
        file = EventFile(place)
        if again:
            file.begin_again(env_steps)
        else:
            file.write([_text("config", self.config)], env_steps)
        return file


class EventFile:
    """A new event file in a directory. What is written is on disk at once: the package's own `SummaryWriter` hands it to a
    thread, and a kill loses up to two minutes of it."""

    def __init__(self, place: Path):
        from tensorboardX.event_file_writer import EventsWriter

        place.mkdir(parents=True, exist_ok=True)
        # Without a suffix, two files of the same second would have the same name.
        self.writer = EventsWriter(str(place / "events"), f".{len(list(place.iterdir()))}")

    def write(self, summaries: list[Any], env_steps: int) -> None:
        """Summaries of one moment."""
        self._add(
            env_steps, summary=_proto("summary", "Summary")(value=[value for summary in summaries for value in summary.value])
        )

    def begin_again(self, env_steps: int) -> None:
        """Have the reader drop what other files of the directory tell of this moment and of later ones."""
        session = _proto("event", "SessionLog")
        self._add(env_steps, session_log=session(status=session.START))

    def close(self) -> None:
        """Nothing follows."""
        self.writer.close()

    def _add(self, env_steps: int, **content: Any) -> None:
        self.writer.write_event(_proto("event", "Event")(wall_time=time.time(), step=env_steps, **content))
        self.writer.flush()


def _proto(file: str, name: str) -> Any:
    """A kind of TensorBoard's messages, whose classes are made as the package loads."""
    return getattr(importlib.import_module(f"tensorboardX.proto.{file}_pb2"), name)


def _scalar(name: str, value: float) -> Any:
    from tensorboardX.summary import scalar

    return scalar(name, value)


def _text(name: str, text: str) -> Any:
    from tensorboardX import summary

    return summary.text(name, text)
