"""`--on ray` and `--on ray://HOST:PORT`: tasks of a Ray cluster (extra `cluster`).

Ray begins a task again whose worker or machine has died. `ray` starts Ray on this machine, unless RAY_ADDRESS names a cluster.
"""

import importlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from headstart.core.checks import HeadstartError
from headstart.core.own import installed
from headstart.training.cluster.engine import FAR, NEAR, TRIES, Engine, Task, Wanted
from headstart.training.cluster.working import work


def engine(address: str, wanted: Wanted) -> Callable[[], Engine]:
    """The engine, to be made later; HeadstartError for what it does not know, or if Ray is not installed."""
    if address != "ray" and (not address.startswith("ray://") or not address[6:]):
        raise HeadstartError(f"--on must be ray, or ray://HOST:PORT with a running cluster's address, not '{address}'")
    if wanted.hours or wanted.partition:
        raise HeadstartError("--on ray takes cpus and gpus: hours and partition are for slurm")
    if not installed("ray"):
        raise HeadstartError("--on ray needs the package ray: pip install 'headstart[cluster]'")
    return lambda: OnRay(None if address == "ray" else address, wanted)


class OnRay:
    """Tasks of a Ray cluster; as many run at once as it has room for."""

    slots, tries = 2**20, 1

    def __init__(self, address: str | None, wanted: Wanted):
        ray: Any = importlib.import_module("ray")
        self.ray, self.ours = ray, not ray.is_initialized()
        self.late_seconds = FAR if address or os.environ.get("RAY_ADDRESS") else NEAR
        here = {"address": address} if address else {"include_dashboard": False}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level="error", **here)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise HeadstartError(f"Ray cannot be reached at {address or 'this machine'}: {error}") from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has put its own there, which knows nothing of checkpoints
        # A fresh process for each task: the size of XLA's pool is settled when JAX starts.
        wanted_of_ray = {"num_cpus": wanted.cpus or 1, "num_gpus": wanted.gpus or 0}
        self.work = ray.remote(max_calls=1, max_retries=TRIES - 1, **wanted_of_ray)(work)
        self.refs: dict[Any, str] = {}

    def begin(self, task: Task) -> None:
        """Give Ray a task."""
        self.refs[self.work.remote(task.order)] = task.name

    def ended(self) -> dict[str, str]:
        """{name: Ray's reason, if it gave the task up} of the tasks that have ended."""
        if not self.refs:
            return {}
        found, _ = self.ray.wait(list(self.refs), num_returns=len(self.refs), timeout=0, fetch_local=False)
        return {self.refs.pop(ref): self._why(ref) for ref in found}

    def _why(self, ref: Any) -> str:
        try:
            self.ray.get(ref)
        except Exception as error:  # of many classes, some of which this process does not know
            return str(error).strip().splitlines()[-1]
        return ""

    def stop(self) -> None:
        """Ask all workers to stop: Ray interrupts them as Ctrl-C does."""
        for ref in self.refs:
            self.ray.cancel(ref, force=False)

    def close(self) -> None:
        """End all workers, and leave the cluster."""
        for ref in self.refs:
            self.ray.cancel(ref, force=True)
        self.refs.clear()
        if self.ours:
            self.ray.shutdown()
