"""What a policy of another program must be able to do in order to teach, and what the readers of such files share."""

from typing import Protocol, runtime_checkable

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.learner import Outputs
from headstart.core.own import installed
from headstart.core.spec import RoleSpec
from headstart.storage import files


@runtime_checkable
class Program(Protocol):
    """An opened policy of another program."""

    outputs: Outputs
    """Whether it puts out logits (or actions), or values of actions."""

    def check(self, role: RoleSpec) -> None:
        """Raise HeadstartError if its observations or actions are known to be others than those of a role."""
        ...

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[N O] -> what it puts out: see `foreign.Foreign`. It is called by any thread, and may raise anything."""
        ...


def need(package: str, extra: str, name: str) -> None:
    """Raise HeadstartError if the package that reads the file `name` is not installed."""
    if not installed(package):
        raise HeadstartError(f"{name} needs the package {package}: pip install 'headstart[{extra}]'")


def told(error: Exception) -> str:
    """An error of another program in one short line: the last one of a traceback."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    at = lines[-1] if any(line.startswith("Traceback") for line in lines) else " ".join(lines)
    return files.shown(" ".join(at.split()))
