"""Weights & Biases, with an account or offline without one."""

import importlib
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import notice
from headstart.storage import files, schema
from headstart.training.trackers.names import of_seed
from headstart.training.watch import Watcher

FOLDER = "wandb"
"""Inside a run's directory; the package names it."""


class WandB(Watcher):
    """A run of Weights & Biases for each seed, in one group, with the run's configuration; env-steps are its steps.

    Without an account, or with WANDB_MODE=offline, they are written to RUN/wandb, and `wandb sync` uploads them later. The
    project is "headstart", or WANDB_PROJECT. A resumed run goes on with the same ids. Offline it has new ones in
    the same group, since `wandb sync` of a second directory with an id writes over the first.
    """

    def __init__(self, run: Path):
        self.run = run
        self.manifest: dict[str, Any] = {}
        self.runs: list[Any] = []

    def begin(self, manifest: dict[str, Any]) -> None:
        """Remember the run's configuration and seeds."""
        self.manifest = manifest

    def row(self, env_steps: int, values: dict[str, np.ndarray]) -> None:
        """Log each seed's numbers; the first row opens the runs."""
        self.runs = self.runs or self._opened()
        for i, run in enumerate(self.runs):
            run.log(of_seed(values, i), step=env_steps)

    def end(self, team: Any) -> None:
        """Close the runs."""
        for run in self.runs:
            run.finish()
        self.runs = []

    def _opened(self) -> list[Any]:
        wandb = importlib.import_module("wandb")
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_account(wandb) else "offline")
        place, name = self.run / FOLDER, self.run.resolve().name
        number = secrets.token_hex(6) if mode == "offline" else self._number()
        if mode == "offline":
            notice(f"Weights & Biases writes to {place}; to upload it: wandb sync {place}/offline-run-*")
        return [
            wandb.init(
                project=os.environ.get("WANDB_PROJECT", "headstart"),
                group=name,
                name=f"{name}-seed-{seed}",
                id=f"{number}-{seed}",
                config=self.manifest["config"] | {"seed": seed},
                dir=str(self.run),
                mode=mode,
                reinit="create_new",
                resume="allow",
                settings=wandb.Settings(silent=True),
            )
            for seed in self.manifest["seeds"]
        ]

    def _number(self) -> str:
        """What the ids of these runs begin with: a random number that a resumed run finds again."""
        place = self.run / FOLDER / "headstart.json"
        if files.kind(place) is None:
            files.write_json(place, {"id": secrets.token_hex(6)}, schema.Tracked)
        return files.read_json(place, schema.Tracked)["id"]


def _has_account(wandb: Any) -> bool:
    """Whether the package knows whom to log in; it is not to ask in the terminal."""
    try:
        return bool(wandb.login(prompt=False))
    except TypeError:  # a version that can only ask
        return False
