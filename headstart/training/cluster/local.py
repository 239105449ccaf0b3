"""`--on local:N`: N worker processes on this machine, which need no package."""

import contextlib
import json
import os
import signal
import subprocess
import sys

from headstart.core import own
from headstart.training.cluster.engine import NEAR, TRIES, Task

BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from headstart.training.cluster import working
working.work_alone(json.loads(sys.argv[2]))
"""
"""Starts a worker that imports from where this process does. The variable PYTHONPATH could not hold a path with a colon."""


class Local:
    """Worker processes on this machine. They stop at a checkpoint when this process ends, even if it is killed."""

    tries, late_seconds = TRIES, NEAR

    def __init__(self, slots: int):
        self.slots = slots
        self.processes: dict[str, subprocess.Popen] = {}

    def begin(self, task: Task) -> None:
        """Start a worker. It ends when its standard input does, so it does not outlive this process."""
        words = [sys.executable, "-P", "-c", BOOT, json.dumps(own.as_json()["paths"]), json.dumps(task.order)]
        # Several processes on one GPU share its memory, so none may take most of it at its start.
        env = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | os.environ
        with open(task.log, "ab") as log:
            self.processes[task.name] = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=log, stderr=log, env=env,
                start_new_session=True,  # Ctrl-C reaches only the driver, which asks the workers to stop
            )  # fmt: skip

    def ended(self) -> dict[str, str]:
        """{name: how} of the tasks whose processes have ended."""
        found = {name: _how(code) for name, x in self.processes.items() if (code := x.poll()) is not None}
        for name in found:
            self._forget(self.processes.pop(name))
        return found

    def stop(self) -> None:
        """Ask all workers to stop."""
        for process in self.processes.values():
            process.terminate()

    def close(self) -> None:
        """End all workers at once."""
        for process in self.processes.values():
            process.kill()
            process.wait()
            self._forget(process)
        self.processes.clear()

    def _forget(self, process: subprocess.Popen) -> None:
        with contextlib.suppress(OSError):
            if process.stdin:
                process.stdin.close()


def _how(code: int) -> str:
    """How a process has ended, if it is worth a word."""
    if code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit code {code}" if code else ""
