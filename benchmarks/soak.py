"""A long run's memory: fifty million env-steps as `headstart train` runs them, with evaluations, checkpoints and metrics.csv.

Resident memory is read twice a second or so. Each tenth of the run gives its median; the first tenth, in which programs are
compiled and caches fill, is left out of the fit. Memory grows if the 95 % interval of the slope through the other nine lies
above 0 and the line rises by more than the readings differ from it. A shorter run does not tell a leak from the few megabytes
by which an allocator steps up and down.
"""

import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import linregress, t

from benchmarks.common import Options, row
from headstart.envs.particle.spread import Spread
from headstart.learners.ppo import PPO
from headstart.training import footprint, run
from headstart.training.config import Config
from headstart.training.watch import Progress, Watcher

TENTHS = 10
MB = 10**6
LEARNER = PPO(num_envs=64, rollout=25, epochs=1, minibatches=1, hidden=(16, 16))
"""Two gradients of small networks for each 1,600 env-steps, so that a long run is a short benchmark."""


class Growth(NamedTuple):
    """A line through medians."""

    slope: float
    """MB in a million env-steps."""
    low: float
    high: float
    """Its 95 % interval."""
    rise: float
    """MB from the first reading to the last, along the line."""
    noise: float
    """MB: the largest distance of a median from the line."""

    @property
    def grows(self) -> bool:
        """Whether the line rises beyond noise."""
        return self.low > 0 and self.rise > self.noise


class Reader(Watcher):
    """Reads resident memory as a run goes on, and prints the median of each tenth when it is over."""

    def __init__(self):
        self.tenth, self.readings = 0, []
        self.medians: list[float] = []
        """MB in each tenth so far."""

    def progress(self, progress: Progress) -> None:
        """A piece of the run is done."""
        self.readings.append((footprint.resident() or 0) / MB)
        tenth = TENTHS * progress.env_steps // progress.total_steps
        if tenth > self.tenth:
            median = statistics.median(self.readings)
            self.medians += [median] * (tenth - self.tenth)
            self.tenth, self.readings = tenth, []
            print(f"{progress.env_steps:,} env-steps: {median:.1f} MB resident", flush=True)


def growth(steps: float, medians: list[float]) -> Growth:
    """The line through the medians of the tenths of a run of so many env-steps, but for the first."""
    at = steps / 1e6 * (np.arange(len(medians)) + 0.5) / len(medians)
    at, seen = at[1:], np.asarray(medians[1:])
    line = linregress(at, seen)
    off = t.ppf(0.975, len(at) - 2) * line.stderr
    noise = np.abs(seen - (line.intercept + line.slope * at)).max()
    numbers = (line.slope, line.slope - off, line.slope + off, line.slope * (at[-1] - at[0]), noise)
    return Growth(*map(float, numbers))  # plain numbers, which a row can hold


def main(options: Options) -> None:
    """One row: MB that resident memory grows in a million env-steps."""
    if footprint.resident() is None:
        raise SystemExit("this system does not tell how much memory a process has: run the benchmark on Linux")
    steps, reader = 10**6 if options.quick else 5 * 10**7, Reader()
    with tempfile.TemporaryDirectory() as directory:
        config = Config(Spread(3), LEARNER, steps=steps)
        run.train(config, Path(directory) / "soak", [reader])
    found = growth(steps, reader.medians)
    told = {name: round(value, 4) for name, value in found._asdict().items() if name != "slope"}
    tenths = [round(x, 1) for x in reader.medians]
    row("soak", found.slope, None, "none", "MB / 10^6 env-steps", grows=found.grows, **told, steps=steps, resident_mb=tenths)
