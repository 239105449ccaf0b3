"""Worker processes that work on requests side by side, and the patience with them."""

import select
import threading
import time
import weakref
from collections.abc import Sequence

from headstart.core.checks import HeadstartError
from headstart.envs.host.guard import GRACE
from headstart.envs.host.process import Process, end

TICK = 0.1
"""Seconds between two looks at the clock, the stop and the processes while no worker answers."""
STOP_SECONDS = 2.0
"""How long a request may still take once the run was asked to stop."""


class GivenUp(HeadstartError):
    """A request that was given up because the run was asked to stop."""


class Crew:
    """`count` worker processes. After an error they have ended, and the crew is of no more use."""

    def __init__(self, count: int, label: str, timeout: float, stop: threading.Event | None = None):
        self.label, self.stop, self.closed = label, stop, False
        self.processes: list[Process] = []
        weakref.finalize(self, end, self.processes)
        self.poller, self.by_pipe = select.poll(), {}
        try:
            for _ in range(count):
                process = Process(label, timeout)
                self.processes.append(process)
                self.by_pipe |= {process.input: process, process.output: process}
                self.poller.register(process.output, select.POLLIN)
        except BaseException:
            end(self.processes, 0.0)
            raise

    def ask(
        self, kind: bytes, bodies: Sequence[bytes], answer: bytes, sizes: Sequence[tuple[int, int]], doing: str
    ) -> list[bytes]:
        """The workers' answers to a request each; `sizes` are the least and greatest bytes of an answer."""
        try:
            for process, body, (low, high) in zip(self.processes, bodies, sizes, strict=True):
                process.ask(kind, body, answer, low, high, doing)
                if process.unsent:
                    self.poller.register(process.input, select.POLLOUT)
            self._wait(doing)
            return [process.answer or b"" for process in self.processes]
        except BaseException as error:
            # The other workers' answers are lost. One that hangs does not end by itself.
            patient = isinstance(error, HeadstartError) and not isinstance(error, GivenUp) and not self.closed
            for process in self.processes:
                if process.answer is None and time.monotonic() > process.deadline:
                    process.kill()
            end(self.processes, GRACE if patient else 0.0)
            raise

    def _wait(self, doing: str) -> None:
        asked = None
        while any(process.answer is None for process in self.processes):
            for pipe, _ in self.poller.poll(1000 * TICK):
                process = self.by_pipe[pipe]
                if pipe == process.output:
                    process.receive()
                    continue
                process.send()
                if not process.unsent:
                    self.poller.unregister(pipe)
            now = time.monotonic()
            if self.closed:
                raise HeadstartError(f"the environment {self.label} was closed in {doing}")
            for process in self.processes:
                if process.answer is None:
                    process.check(now)
            if self.stop is not None and self.stop.is_set():
                asked = now if asked is None else asked
                if now - asked > STOP_SECONDS:
                    raise GivenUp(f"the environment {self.label} has not finished {doing}, and the run was asked to stop")

    def close(self, busy: bool = False) -> None:
        """End the workers; `busy` says that another thread waits for their answers, which fail then."""
        self.closed = True
        if not busy:
            end(self.processes)
