"""Memory of GAIL: 1000 demonstrations exist once, however many seeds learn from them.

The memory that training takes in a process of its own, with one seed and with three, with GAIL and without. The row says how
much more the two further seeds take with GAIL than without, beside copies of the demonstrations for them. About 0 means that
nobody copies them. Memory is read a hundred times a second, from the run's first update on: reading the demonstrations in takes
more for a moment, with one seed as with three.
"""

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

import headstart as hs
from benchmarks.common import Options, row
from headstart.training import footprint, run
from headstart.training.config import Config
from headstart.training.watch import Progress, Watcher

EPISODES = 1000
ENV = hs.Spread(agents=16, horizon=100)


def main(_: Options) -> None:
    """One row in megabytes: how much more two further seeds take with GAIL than without, beside two copies."""
    names = {True: "gail", False: "alone"}
    most = {f"{names[guided]}-{seeds}": _most(seeds, guided) for guided in names for seeds in (1, 3)}
    more = (most["gail-3"] - most["gail-1"]) - (most["alone-3"] - most["alone-1"])
    size = _demos().obs["agent"].nbytes / 1e6
    row("gail-memory", more, 2 * size, "two copies of the demonstrations", "MB", demonstrations_mb=round(size), most_mb=most)


class Reader(Watcher):
    """The most memory that this process held from its run's first update on."""

    def __init__(self):
        self.most, self.over, self.thread = 0, threading.Event(), threading.Thread(target=self._read, daemon=True)

    def progress(self, progress: Progress) -> None:
        """A piece of the run is done."""
        if not self.thread.ident:
            self.thread.start()

    def end(self, team: hs.TeamPolicy) -> None:
        """The run has finished."""
        self.over.set()
        self.thread.join()

    def _read(self) -> None:
        while not self.over.wait(0.01):
            self.most = max(self.most, footprint.resident() or 0)


def _demos() -> hs.Demos:
    """Episodes of noise: what they show does not matter here."""
    shape = (EPISODES, ENV.horizon, ENV.agents, ENV.spec.roles["agent"].obs_size)
    obs = np.random.default_rng(0).standard_normal(shape, np.float32)
    return hs.Demos.from_arrays(ENV, obs=obs, rewards=np.zeros(shape[:2], np.float32), lengths=np.full(shape[0], shape[1]))


def _most(seeds: int, guided: bool) -> int:
    """The most memory of a training in megabytes."""
    script = [sys.executable, "-m", "benchmarks.gail_memory", json.dumps([seeds, guided])]
    return json.loads(subprocess.run(script, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1])


def _train(seeds: int, guided: bool) -> None:
    demos, reader = _demos(), Reader()
    guidance = (hs.Gail(demos),) if guided else ()
    config = Config(ENV, hs.PPO(shared=False), guidance, steps=8 * 2_048, seeds=seeds, evaluations=4, episodes=4)
    with tempfile.TemporaryDirectory() as scratch:
        run.train(config, Path(scratch) / "run", [reader])
    print(reader.most // 10**6)


if __name__ == "__main__":
    _train(*json.loads(sys.argv[1]))
