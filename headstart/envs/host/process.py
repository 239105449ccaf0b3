"""One worker process, seen from the run: its start, requests and answers within bounds, and its end."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

from headstart.core import own
from headstart.core.checks import HeadstartError
from headstart.envs.host import frames
from headstart.envs.host.guard import GRACE

CHUNK = 2**18
"""Bytes to read at once."""
BOOT = """
import json, runpy, sys
imports = json.loads(sys.argv.pop(1))
sys.path[:] = imports["paths"]
from headstart.core import own
own.adopt(imports)
runpy.run_module("headstart.envs.host.worker", run_name="__main__")
"""
"""Starts a worker that imports from where this process does. The variable PYTHONPATH could not hold a path with a colon."""

_orders: queue.SimpleQueue = queue.SimpleQueue()
_starter: threading.Thread | None = None
_lock = threading.Lock()


def _start_all() -> None:
    while True:
        future, options = _orders.get()
        try:
            future.set_result(subprocess.Popen(**options))
        except BaseException as error:
            future.set_exception(error)


def _started(**options: object) -> subprocess.Popen:
    """A process. Linux ends a worker with the THREAD that started it, so one thread, which never ends, starts all."""
    global _starter
    with _lock:
        if _starter is None or not _starter.is_alive():
            _starter = threading.Thread(target=_start_all, name="headstart-starter", daemon=True)
            _starter.start()
    future: Future[subprocess.Popen] = Future()
    _orders.put((future, options))
    return future.result()


class Process:
    """A worker process. It takes one request at a time."""

    def __init__(self, label: str, timeout: float):
        self.label, self.timeout = label, timeout
        self.popen = _started(
            args=[sys.executable, "-P", "-c", BOOT, json.dumps(own.as_json()), str(os.getpid())],  # -P: not from here
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            start_new_session=True,  # Ctrl-C reaches only the run, which ends the workers after its checkpoint
        )  # fmt: skip
        assert self.popen.stdin is not None and self.popen.stdout is not None
        self.input, self.output = self.popen.stdin.fileno(), self.popen.stdout.fileno()
        os.set_blocking(self.input, False)
        os.set_blocking(self.output, False)
        self.number, self.unsent, self.buffer = 0, memoryview(b""), bytearray()
        self.answer: bytes | None = b""
        """The last answer; None while it is awaited."""

    def ask(self, kind: bytes, body: bytes, answer: bytes, low: int, high: int, doing: str) -> None:
        """Begin a request whose answer has this kind and from `low` to `high` bytes."""
        self.number = (self.number + 1) % 2**32
        self.allowed = {answer: (low, high), frames.FAILED: (0, frames.LONGEST_TEXT), frames.BUSY: (0, 0)}
        self.most, self.doing, self.answer = high, doing, None
        self.deadline = time.monotonic() + self.timeout
        self.unsent = memoryview(frames.framed(kind, self.number, body))
        self.send()

    def send(self) -> None:
        """Send as much of the request as the pipe takes now."""
        try:
            while self.unsent:
                self.unsent = self.unsent[os.write(self.input, self.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.unsent = memoryview(b"")  # the worker has gone: its last words are in the other pipe

    def receive(self) -> None:
        """Take what has come; HeadstartError if that is no proper answer, or the end."""
        while True:
            try:
                data = os.read(self.output, self._wanted())
            except BlockingIOError:
                return
            if not data:
                raise self.gone()
            self.buffer += data
            while self.answer is None and len(self.buffer) >= frames.HEAD.size:
                kind, length = self._head()
                if len(self.buffer) < frames.HEAD.size + length:
                    break
                body = bytes(self.buffer[frames.HEAD.size : frames.HEAD.size + length])
                del self.buffer[: frames.HEAD.size + length]
                if kind == frames.FAILED:
                    raise HeadstartError(body.decode(errors="replace"))
                if kind == frames.BUSY:
                    self.deadline = time.monotonic() + self.timeout
                else:
                    self.answer = body
            if self.answer is not None:
                if self.buffer:
                    raise self._garbled("more than its answer")
                return

    def _wanted(self) -> int:
        """Bytes to read at most, so that no frame takes more memory than it may have."""
        if self.answer is not None:
            return 1
        length = self._head()[1] if len(self.buffer) >= frames.HEAD.size else self.most
        return min(frames.HEAD.size + length - len(self.buffer), CHUNK)

    def _head(self) -> tuple[bytes, int]:
        try:
            kind, _, length = frames.read_head(self.buffer, self.number, self.allowed)
        except frames.Garbled as error:
            raise self._garbled(str(error)) from None
        return kind, length

    def _garbled(self, what: str) -> HeadstartError:
        sent = f"a worker process of the environment {self.label} sent {what} in {self.doing}"
        return HeadstartError(f"{sent}: does the environment write to pipes that are not its own?")

    def check(self, now: float) -> None:
        """Raise HeadstartError if the worker has ended without a word, or has been at one environment for too long."""
        if self.popen.poll() is not None:
            self.receive()
            if self.answer is None:
                raise self.gone()
        if now > self.deadline:
            late = f"the environment {self.label} has not finished {self.doing} within {self.timeout:g} s"
            length = "; --env.horizon STEPS saves playing episodes to learn their length" if self.doing == "opening" else ""
            raise HeadstartError(f"{late}: if it is slow but does not hang, raise --env.timeout (timeout=SECONDS){length}")

    def gone(self) -> HeadstartError:
        """The error that says how the worker ended."""
        try:
            code = self.popen.wait(GRACE)
        except subprocess.TimeoutExpired:
            code = None
        how = "closed its pipe" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            known = {x.value: x.name for x in signal.Signals}
            how = f"was ended by {known.get(-code, f'signal {-code}')}" + (" (out of memory?)" if code == -9 else "")
        return HeadstartError(f"a worker process of the environment {self.label} {how} in {self.doing}")

    def let_go(self) -> None:
        """Close the pipes; a worker that waits for a request ends then."""
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()

    def kill(self) -> None:
        """End the worker and what its environments started."""
        with contextlib.suppress(OSError):
            os.killpg(self.popen.pid, signal.SIGKILL)


def end(processes: list[Process], grace: float = GRACE) -> None:
    """End workers: by themselves within `grace` seconds, else by force."""
    until = time.monotonic() + grace
    for process in processes:
        process.let_go()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.popen.wait(max(0.0, until - time.monotonic()))
        process.kill()  # also those that an environment has started
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.popen.wait(GRACE)
    processes.clear()
