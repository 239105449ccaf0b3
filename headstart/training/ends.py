"""How a run ends before its end: it was asked to stop, or it diverged."""

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.training.directory import RunDir


class Interrupted(HeadstartError):
    """The run was asked to stop; it left a checkpoint."""


class Diverged(HeadstartError):
    """A loss or a parameter became NaN or infinite."""


def divergence(broken: np.ndarray, seeds: np.ndarray, directory: RunDir, resume: str = "") -> str:
    """What became NaN or infinite, when, what is left, and what helps. `broken` [S]: see `programs.begin`.

    resume: the command that goes on once the environment is mended, from the start if there is no checkpoint; a point of a
    sweep that was set aside has none.
    """
    updates = np.where(broken < -1, -2 - broken, broken)
    where = ", ".join(f"seed {seed} at update {at}" for seed, at in zip(seeds, updates, strict=True) if at >= 0)
    kept = (
        f"the last good checkpoint is in {directory.checkpoints}" if directory.has_checkpoint() else "no checkpoint was due yet"
    )
    if (broken < -1).any():
        told = f"the environment's observations or rewards became NaN or infinite: {where}; {kept}"
        return f"{told}; mend the environment{f' and go on with: {resume}' if resume else ''}"
    return f"a loss or parameter became NaN or infinite: {where}; {kept}; try a lower learning rate"
