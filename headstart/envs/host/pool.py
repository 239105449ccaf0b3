"""A few worker processes that step many host environments."""

import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
import weakref
from typing import Any

import numpy as np

from headstart.core import own
from headstart.core.checks import HeadstartError
from headstart.core.spec import TeamSpec
from headstart.envs.host import layout
from headstart.envs.host.worker import FAILED, HEAD, RESET, STEP

BOOT = """
import json, runpy, sys
imports = json.loads(sys.argv[1])
sys.path[:] = imports["paths"]
from headstart.core import own
own.adopt(imports)
runpy.run_module("headstart.envs.host.worker", run_name="__main__")
"""
"""Starts a worker that imports from where this process does. The variable PYTHONPATH could not hold a path with a colon."""


class Pool:
    """`lanes` environments in worker processes. Workers start with the first reset and end with the pool."""

    def __init__(self, opener: str, settings: dict[str, Any], spec: TeamSpec, lanes: int, workers: int = 0):
        self.order, self.spec = {"opener": opener, "settings": settings}, spec
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        count = max(1, min(workers or cores, lanes))
        self.parts = np.array_split(np.arange(lanes), count)
        self.processes: list[subprocess.Popen] = []
        self.lock = threading.Lock()

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Rows [N W] of fresh episodes from the seeds [N]."""
        return self._ask(RESET, False, seeds, None, layout.width(self.spec))

    def step(self, actions: np.ndarray, seeds: np.ndarray, restart: bool) -> np.ndarray:
        """Rows [N W] after the actions [N _]; [N 2W] with `restart` (see `worker`). `seeds` [N] are for new episodes."""
        return self._ask(STEP, restart, seeds, actions, layout.width(self.spec) * (1 + restart))

    def _ask(self, op: bytes, restart: bool, seeds: np.ndarray, actions: np.ndarray | None, width: int) -> np.ndarray:
        with self.lock:
            try:
                if not self.processes:
                    self._start()
                for process, part in zip(self.processes, self.parts, strict=True):
                    payload = b"" if actions is None else np.ascontiguousarray(actions[part], np.float32).tobytes()
                    self._send(process, HEAD.pack(op, restart) + seeds[part].astype(np.int32).tobytes() + payload)
                answers = [
                    np.frombuffer(self._answer(process, 4 * len(part) * width), np.float32).reshape(len(part), width)
                    for process, part in zip(self.processes, self.parts, strict=True)
                ]
            except BaseException:
                _end(self.processes)  # the other workers' answers are lost; the next reset starts new workers
                raise
            return np.concatenate(answers)

    def _start(self) -> None:
        command = [sys.executable, "-P", "-c", BOOT, json.dumps(own.as_json())]  # -P: not from the current directory
        for part in self.parts:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C reaches only the run, which ends the workers after its checkpoint
            )  # fmt: skip
            self.processes.append(process)
            self._send(process, json.dumps({**self.order, "lanes": len(part)}).encode() + b"\n")
        weakref.finalize(self, _end, self.processes)
        for process in self.processes:
            self._answer(process, 0)

    def _send(self, process: subprocess.Popen, data: bytes) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(data)
            process.stdin.flush()
        except BrokenPipeError:
            self._answer(process, 0)  # raises the worker's error, if it sent one

    def _answer(self, process: subprocess.Popen, size: int) -> bytes:
        assert process.stdout is not None
        status = process.stdout.read(1)
        if status == FAILED:
            (length,) = struct.unpack("<I", process.stdout.read(4))
            raise HeadstartError(f"the environment failed: {process.stdout.read(length).decode()}")
        data = process.stdout.read(size) if status else b""
        if not status or len(data) < size:
            raise HeadstartError(f"a worker process of the environment ended with code {process.wait()}")
        return data


def _end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(OSError):  # unsent data may be left in a broken pipe
                    pipe.close()
    for process in processes:
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
    processes.clear()
