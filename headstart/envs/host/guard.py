"""Rules of a worker process: it ends with its parent, and processes that its environments fork keep out of the pipes."""

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import time

GRACE = 2.0
"""Seconds that a worker has to end by itself once its parent has closed the pipe."""
PR_SET_PDEATHSIG = 1


def end_with_parent(pipe: int, parent: int) -> None:
    """End this process and those that it started if the parent ends, even in the middle of a step.

    On Linux the kernel does it, also if code of an environment holds the interpreter. A thread does it everywhere: it
    notices the closed pipe or another parent.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(1)
    threading.Thread(target=_watch, args=(pipe, parent), daemon=True).start()


def _watch(pipe: int, parent: int) -> None:
    poller = select.poll()
    poller.register(pipe, 0)  # only the pipe's end is reported
    while not poller.poll(1000) and os.getppid() == parent:
        pass
    time.sleep(GRACE if os.getppid() == parent else 0.0)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def keep_from_children(*pipes: int) -> None:
    """Point the pipes at nothing in every process that this one forks: it must not answer in this one's name."""

    def forked() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for pipe in pipes:
            os.dup2(nothing, pipe, inheritable=False)

    os.register_at_fork(after_in_child=forked)
