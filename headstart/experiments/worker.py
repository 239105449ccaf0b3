"""A worker's side of `distributed`: carries out one order, in a process of its own, on this machine or another."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headstart import registry
from headstart.core import own
from headstart.core.trust import trusting
from headstart.experiments import run as experiments
from headstart.storage import files, places
from headstart.training import cores, devices, run, sweep
from headstart.training.cluster.telling import Teller, telling

PATIENCE_SECONDS = 120.0
"""How long a worker waits for an earlier one, whose driver has gone, to let go of the directory."""


def main(order: dict[str, Any]) -> None:
    """Carry out an order; how it ends is in its file."""
    with (
        telling(Path(order["about"])) as teller,
        files.accepting(order["accept"]),
        trusting(order["trust"]),
        devices.limited(order["devices"]),
    ):
        with contextlib.suppress(OSError):  # another machine may not have it
            os.chdir(order["cwd"])
        cores.use_pool(order["cores"])
        own.adopt(order["own"])
        for module in order["use"]:
            registry.use(module)
        _patiently(lambda: _carry_out(order, teller))


def _carry_out(order: dict[str, Any], teller: Teller) -> None:
    out, which = Path(order["out"]), order["which"]
    told = lambda name: (teller,)
    if order["kind"] == "run":
        run.resume(out, told(which))
    elif order["kind"] == "sweep":
        sweep.resume(out, told)
    elif order["kind"] == "point":
        sweep.resume_point(out, which, told(which))
    else:
        _of_experiment(out, order["kind"], which, teller)


def _of_experiment(out: Path, kind: str, which: str, teller: Teller) -> None:
    _, experiment, _, out, seeds = experiments.begun(out)
    if kind == "training":
        return experiments.complete(experiment.trainings[which], out, seeds, lambda name: teller)
    recordings = (recording for stage in experiment.stages for recording in stage.recordings)
    next(recording for recording in recordings if recording.name == which).made(out)


def _patiently(call: Callable[[], None]) -> None:
    """`call()`, again and again while another process works in the same directory."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except places.Busy:
            if time.monotonic() > until:
                raise
            time.sleep(1.0)
