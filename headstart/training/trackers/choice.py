"""The trackers of a run, by name or by what they have left in its directory."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from headstart.core.checks import HeadstartError, check_known, notice
from headstart.core.own import installed
from headstart.storage import places
from headstart.training.trackers import tensorboard, wandb
from headstart.training.watch import Watcher

TRACKERS: dict[str, tuple[Callable[[Path], Watcher], str, str]] = {
    "tensorboard": (tensorboard.TensorBoard, "tensorboardX", tensorboard.FOLDER),
    "wandb": (wandb.WandB, "wandb", wandb.FOLDER),
}
"""{name: (run directory -> watcher, the package that it needs, its folder in the run directory)}."""
ASKED = ("wandb",)
"""Trackers that may upload: a directory, which can be a stranger's, does not start them."""


def trackers(names: str | Iterable[str], run: str | Path) -> tuple[Watcher, ...]:
    """The trackers of these names, or of one name, for a run directory, and those that it has already and that stay there.

    Raises HeadstartError for an unknown name, and if a package is missing.
    """
    run, wanted = places.located(run), check(names)
    had = [name for name in tracked(run) if name not in wanted]
    for name in had:
        if name in ASKED:
            notice(f"{run} has been tracked with {name}, which goes on only if it is asked for: --track {name}")
        elif not _can(name):
            notice(f"{run} has the tracker {name}, which does not go on without its package {TRACKERS[name][1]}")
    go_on = [name for name in had if name not in ASKED and _can(name)]
    return tuple(TRACKERS[name][0](run) for name in dict.fromkeys([*wanted, *go_on]))


def tracked(run: Path) -> list[str]:
    """The names of the trackers that have written into a run directory."""
    return [name for name, (_, _, folder) in TRACKERS.items() if (run / folder).is_dir()]


def check(names: str | Iterable[str]) -> list[str]:
    """One name or several as a list; HeadstartError for other things and other names, and if a package is missing."""
    wanted: list[Any] = [names] if isinstance(names, str) else list(names) if isinstance(names, Iterable) else [names]
    for name in wanted:
        check_known("tracker", name, TRACKERS)
        if not _can(name):
            raise HeadstartError(f"the tracker {name} needs the package {TRACKERS[name][1]}: pip install 'headstart[{name}]'")
    return wanted


def _can(name: str) -> bool:
    return installed(TRACKERS[name][1])
