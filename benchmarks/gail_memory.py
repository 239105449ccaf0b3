"""Memory of GAIL: 1000 demonstrations exist once, however many seeds learn from them.

Peak memory of training in a process of its own, with one seed and with three, with GAIL and without. What three seeds cost more
with GAIL than without is the discriminators; copies of the demonstrations for each seed would be twice their size. Compiling
moves a peak by a few hundred megabytes from one process to the next, so that the demonstrations are large.
"""

import json
import resource
import subprocess
import sys
import tempfile

import numpy as np

import headstart as hs
from benchmarks.common import Options, row

EPISODES = 1000
ENV = hs.Spread(agents=16, horizon=100)


def main(_: Options) -> None:
    """One row in megabytes: how much more two further seeds take with GAIL than without, beside two copies."""
    names = {True: "gail", False: "alone"}
    peaks = {f"{names[guided]}-{seeds}": _peak(seeds, guided) for guided in names for seeds in (1, 3)}
    more = (peaks["gail-3"] - peaks["gail-1"]) - (peaks["alone-3"] - peaks["alone-1"])
    size = _demos().obs["agent"].nbytes / 1e6
    row("gail-memory", more, 2 * size, "two copies of the demonstrations", "MB", demonstrations_mb=round(size), peak_mb=peaks)


def _demos() -> hs.Demos:
    """Episodes of noise: what they show does not matter here."""
    shape = (EPISODES, ENV.horizon, ENV.agents, ENV.spec.roles["agent"].obs_size)
    obs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return hs.Demos.from_arrays(ENV, obs=obs, rewards=np.zeros(shape[:2], np.float32), lengths=np.full(shape[0], shape[1]))


def _peak(seeds: int, guided: bool) -> int:
    """Peak memory of a training in megabytes."""
    script = [sys.executable, "-m", "benchmarks.gail_memory", json.dumps([seeds, guided])]
    return json.loads(subprocess.run(script, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1])


def _train(seeds: int, guided: bool) -> None:
    demos = _demos()
    guidance = [hs.Gail(demos)] if guided else []
    with tempfile.TemporaryDirectory() as scratch:
        settings = {"steps": 8_192, "seeds": seeds, "evaluations": 1, "episodes": 4, "progress": False}
        hs.train(ENV, hs.PPO(shared=False), f"{scratch}/run", guidance=guidance, **settings)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    _train(*json.loads(sys.argv[1]))
