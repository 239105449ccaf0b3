"""Trains on several devices, which this machine has if XLA is told so before it starts: python devices_child.py OUT"""

import os
import re
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"


import jax
import jax.numpy as jnp

from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG
from headstart.training import devices, lanes, run, session

LEARNER = DDPG(hidden=(8,), num_envs=4, train_every=4, batch=16, warmup=40, capacity=400)
CONFIG = run.Config(Spread(2, horizon=5), LEARNER, steps=200, seeds=5, evaluations=2, episodes=5)
HOST = lambda x: jax.pure_callback(lambda x: x, x, x, vmap_method="expand_dims")
EXCHANGES = r"\b(all-reduce|all-gather|all-to-all|collective-\w+|reduce-scatter|send|recv)[-a-z]*\("


def stopped_after_a_piece(out: Path, count: int) -> None:
    """Begin a run on so many devices, and stop it at its second piece."""

    class Stopper(run.Watcher):
        seen = 0

        def progress(self, progress) -> None:
            self.seen += 1
            if self.seen == 2:
                raise RuntimeError("enough")

    with devices.limited(count):
        try:
            run.train(CONFIG, out, (Stopper(),))
        except run.HeadstartError as error:
            assert "enough" in str(error), error


def main(out: Path) -> None:
    session.PIECE_SECONDS = 1e-9
    used = set()
    compiled = lanes._spread

    def spread(jitted, args, mapped, calls):
        program = compiled(jitted, args, mapped, calls)
        used.update(device.id for device, _ in calls)
        for placed in program.spread:
            text = placed.compiled.as_text()
            assert "fusion" in text or "while" in text
            assert not re.search(EXCHANGES, text), re.search(EXCHANGES, text)
        return program

    lanes._spread = spread
    with devices.limited(1):
        run.train(CONFIG, out / "one")
    assert not used
    run.train(CONFIG, out / "four")
    assert used == {0, 1, 2, 3}, used
    stopped_after_a_piece(out / "resumed", 3)
    with devices.limited(2):
        run.resume(out / "resumed")
    assert not lanes.compile_program(jax.vmap(HOST), jnp.zeros((4, 2)), mapped=1).spread  # its calls would mix on the host
    try:
        with devices.limited(5):
            devices.chosen()
    except run.HeadstartError as error:
        print(error)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
