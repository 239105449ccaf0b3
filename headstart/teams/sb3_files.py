"""Policies of Stable-Baselines3, whose files hold pickles: whether one may be opened is for `foreign` to check."""

import io
import json
import zipfile
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.learner import Outputs
from headstart.core.spec import ActionSpace, Continuous, RoleSpec
from headstart.teams.programs import need, told
from headstart.teams.torch_files import one_core

NEEDED = ("observation_space", "action_space", "policy_class", "policy_kwargs", "use_sde")
"""What a policy is made of; the rest of its algorithm, such as schedules and buffers, is not unpickled."""


class StableBaselines3:
    """The policy of a file that `model.save` of Stable-Baselines3 (or its contrib package) has written, as a `Program`."""

    def __init__(self, data: bytes, name: str):
        need("stable-baselines3", "sb3", name)
        self.name = name
        try:
            self.policy: Any = _policy(data)
        except Exception as error:
            raise HeadstartError(f"{name} cannot be read by Stable-Baselines3: {told(error)}") from None
        self.network = next((x for x in ("q_net", "quantile_net") if hasattr(self.policy, x)), "")
        self.outputs: Outputs = "values" if self.network else "logits"

    def check(self, role: RoleSpec) -> None:
        """Raise HeadstartError unless the policy's spaces are those of a role."""
        space, acts, size = self.policy.observation_space, self.policy.action_space, role.obs_size
        if hasattr(self.policy, "lstm_actor"):
            raise HeadstartError(f"{self.name} remembers, and a teacher of another program cannot: train one without an LSTM")
        if type(space).__name__ != "Box":
            raise HeadstartError(f"{self.name} observes a {type(space).__name__}: a teacher observes one Box")
        if int(np.prod(space.shape)) != size:
            raise HeadstartError(f"{self.name} observes {int(np.prod(space.shape))} numbers, and an agent of this team {size}")
        if _kind(acts) != _kind_of(role.actions):
            theirs, ours = _words(_kind(acts)), _words(_kind_of(role.actions))
            raise HeadstartError(f"{self.name} acts by {theirs or type(acts).__name__}, and an agent of this team by {ours}")
        if isinstance(role.actions, Continuous):
            self._check_bounds(role.actions)
        elif not self.network and not hasattr(self.policy, "get_distribution"):
            raise HeadstartError(f"{self.name} puts out neither logits nor values of actions, and cannot teach")

    def _check_bounds(self, ours: Continuous) -> None:
        acts = self.policy.action_space
        low, high = ours.low or (-1.0,) * ours.size, ours.high or (1.0,) * ours.size
        if not (np.allclose(acts.low.ravel(), low) and np.allclose(acts.high.ravel(), high)):
            theirs = f"{acts.low.ravel().tolist()} to {acts.high.ravel().tolist()}"
            raise HeadstartError(
                f"{self.name} acts from {theirs}, and an agent of this team from {list(low)} to {list(high)}: "
                "train it with the environment's own bounds"
            )

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[N O] -> [N U] log-probabilities, values of actions, or deterministic actions in the environment's own units."""
        obs = rows.reshape(-1, *self.policy.observation_space.shape)
        if type(self.policy.action_space).__name__ == "Box":
            with one_core():
                return self.policy.predict(obs, deterministic=True)[0].reshape(len(rows), -1)
        with one_core():
            given = self.policy.obs_to_tensor(obs)[0]
            if self.network:
                values = getattr(self.policy, self.network)(given).numpy()
                return values.mean(1) if values.ndim == 3 else values  # of quantiles
            heads = self.policy.get_distribution(given).distribution
            heads = heads if isinstance(heads, list) else [heads]
            return np.concatenate([head.logits.numpy() for head in heads], -1)


def _policy(data: bytes) -> Any:
    """The policy alone: an algorithm would make its replay memory as well."""
    from stable_baselines3.common.policies import ActorCriticPolicy  # pyright: ignore[reportMissingImports]
    from stable_baselines3.common.save_util import load_from_zip_file  # pyright: ignore[reportMissingImports]

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = json.loads(archive.read("data"))
    rest = {name: None for name in names if name not in NEEDED}
    found, weights, _ = load_from_zip_file(io.BytesIO(data), custom_objects=rest, device="cpu")
    if lost := [name for name in NEEDED if name not in (found or {})]:
        raise ValueError(f"its {', '.join(lost)} cannot be restored")
    own = {"use_sde": found["use_sde"]} if issubclass(found["policy_class"], ActorCriticPolicy) else {}
    spaces = found["observation_space"], found["action_space"]
    policy = found["policy_class"](*spaces, lambda progress: 0.0, **(own | found["policy_kwargs"]))
    policy.load_state_dict(weights["policy"])
    policy.to("cpu").set_training_mode(False)
    return policy


def _kind(space: Any) -> Any:
    """Heads of a discrete space, the size of a continuous one; None for all others."""
    name = type(space).__name__
    if name in ("Discrete", "MultiDiscrete"):
        return tuple(int(n) for n in np.ravel(space.n if name == "Discrete" else space.nvec))
    return int(np.prod(space.shape)) if name == "Box" else None


def _kind_of(space: ActionSpace) -> Any:
    return space.size if isinstance(space, Continuous) else tuple(space.heads)


def _words(kind: Any) -> str:
    if isinstance(kind, tuple):
        return f"choices among {' and '.join(map(str, kind))}"
    return "" if kind is None else f"{kind} number{'s' * (kind != 1)}"
