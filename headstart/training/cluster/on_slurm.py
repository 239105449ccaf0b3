"""`--on slurm`: jobs of a SLURM queue by submitit (extra `cluster`); `slurm-here` runs the same jobs on this machine.

submitit hands each job over in a pickled file. Its directory is new and private to each driver, so the jobs read only what this
driver has written.
"""

import importlib
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headstart.core.checks import HeadstartError
from headstart.core.own import installed
from headstart.training import cores
from headstart.training.cluster.engine import FAR, NEAR, TRIES, Engine, Task, Wanted
from headstart.training.cluster.working import work

HOURS = 24.0
"""The limit of a job if the user names none; a job that reaches it goes on in another."""


def engine(wanted: Wanted, here: bool) -> Callable[[], Engine]:
    """The engine, to be made later; HeadstartError if submitit or SLURM is not installed."""
    if not installed("submitit"):
        raise HeadstartError("--on slurm needs the package submitit: pip install 'headstart[cluster]'")
    if not here and shutil.which("sbatch") is None:
        raise HeadstartError("--on slurm needs SLURM's command sbatch, which is not on the PATH: run it on a login node")
    return lambda: OnSlurm(wanted, here)


class OnSlurm:
    """Jobs of a queue. A job that the queue ends before its own end is submitted again."""

    slots, tries = 2**20, TRIES

    def __init__(self, wanted: Wanted, here: bool):
        self.wanted, self.here = wanted, here
        self.late_seconds = NEAR if here else FAR
        self.folder: Path | None = None
        self.jobs: dict[str, Any] = {}

    def begin(self, task: Task) -> None:
        """Submit a job."""
        submitit: Any = importlib.import_module("submitit")
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix=".jobs-", dir=task.about.parent))
        executor = submitit.AutoExecutor(folder=self.folder, cluster="local" if self.here else "slurm")
        executor.update_parameters(
            name=f"headstart-{task.name}",
            cpus_per_task=self.wanted.cpus or cores.pool(),
            gpus_per_node=self.wanted.gpus or 0,
            timeout_min=math.ceil(60 * (self.wanted.hours or HOURS)),
            **({"slurm_partition": self.wanted.partition} if self.wanted.partition else {}),
        )
        try:
            self.jobs[task.name] = executor.submit(work, task.order)
        except Exception as error:  # of many classes: a partition or resources that the cluster does not have
            raise HeadstartError(f"SLURM does not take '{task.name}': {' '.join(str(error).split())}") from None

    def ended(self) -> dict[str, str]:
        """{name: the last line that its job printed as an error} of the tasks whose jobs have ended."""
        found = {name: _last_line(job) for name, job in self.jobs.items() if job.done()}
        for name in found:
            del self.jobs[name]
        return found

    def stop(self) -> None:
        """Ask all jobs to stop."""
        for job in self.jobs.values():
            job.cancel(check=False)

    def close(self) -> None:
        """Take all jobs from the queue."""
        self.stop()
        self.jobs.clear()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _last_line(job: Any) -> str:
    lines = (job.stderr() or "").strip().splitlines()
    return lines[-1].strip() if lines else ""
