"""Demonstrations: recorded episodes of a team, as plain NumPy arrays."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headstart.core.types import TeamSpec


@dataclass(frozen=True, eq=False)
class Demos:
    """M recorded episodes of a team; T is the length of the longest, and shorter ones are padded with zeros.

    O numbers of an observation, A agents of a role, U numbers of an action vector (`Discrete` one-hot, `Continuous` in [-1, 1]).
    """

    spec: TeamSpec
    """Of the team that was recorded."""
    env: Any
    """The environment; None if it is unknown."""
    obs: dict[str, np.ndarray]
    """{role: [M T A O]} float32: what the team observed before each env-step."""
    alive: dict[str, np.ndarray]
    """{role: [M T A]} bool: False for a dead agent, and for all steps after the end of the episode."""
    lengths: np.ndarray
    """[M] int32 env-steps."""
    returns: dict[str, np.ndarray]
    """{role: [M A]} float32: undiscounted sums of the rewards."""
    events: dict[str, np.ndarray]
    """{name: [M]} float32: counts, e.g. `win`."""
    actions: dict[str, np.ndarray] | None = None
    """{role: [M T A U]} float32, if they were recorded."""
    available: dict[str, np.ndarray] | None = None
    """{role: [M T A U]} bool: the legal choices, if actions were recorded and the environment has illegal ones."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Where the episodes come from: seed, greedy or sampled, version of headstart, digest of the recorded policy."""

    def __len__(self) -> int:
        return len(self.lengths)
