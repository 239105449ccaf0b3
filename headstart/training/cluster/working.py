"""What an engine calls in a process of its own."""

import importlib
import os
import signal
import sys
import threading
from typing import Any


def work(order: dict[str, Any]) -> None:
    """Carry out a task's order by `main` of the module `order["worker"]`; how it ends is in the task's file."""
    sys.path += [path for path in order["own"]["paths"] if path not in sys.path]
    importlib.import_module(order["worker"]).main(order)


def work_alone(order: dict[str, Any]) -> None:
    """As `work`, as a process that stops at its next checkpoint when its standard input ends, and with it its driver."""

    def listen() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, name="headstart-driver", daemon=True).start()
    work(order)
