"""A Python function as a teacher."""

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from headstart.core.checks import HeadstartError
from headstart.core.env import Env, WithExpert
from headstart.core.env_check import in_words
from headstart.core.types import Discrete, TeamSpec

HOST = "host=True (headstart.Scripted(function, env.spec, host=True))"


@dataclass(frozen=True, eq=False)
class Scripted:
    """A function as a teacher, e.g. an analytic controller or a planner.

        guide = headstart.Distill(headstart.Scripted(controller, env.spec), loss="ce")

    `function` takes observations {role: [*n A O]}, as `spec` describes them, and returns {role: [*n A U]}: logits of
    discrete actions (the largest is its choice), or continuous actions in [-1, 1]. It is traced into the jitted program;
    with `host`, it is called with NumPy arrays instead. Distillation shows it observations of other sizes fitted to its fields.
    """

    function: Callable[[dict[str, Any]], dict[str, Any]]
    spec: TeamSpec
    host: bool = False
    env_steps: ClassVar[int | None] = 0
    """Env-steps that its training took: a function is not trained."""
    policy_networks: ClassVar[tuple[str, ...]] = ()
    params: ClassVar[dict[str, Any]] = {}
    """A function has no parameters to save. To resume a run that learns from one, pass the function again."""

    def __post_init__(self):
        if not callable(self.function):
            raise HeadstartError(f"function must be callable, not a {type(self.function).__name__}")
        try:
            inspect.signature(self.function).bind({})
        except TypeError as error:
            raise HeadstartError(f"function must take one argument, the observations {{role: [A O]}}: {error}") from None
        except ValueError:  # one that is not written in Python does not tell
            pass
        if not isinstance(self.spec, TeamSpec):
            raise HeadstartError(f"spec must be a TeamSpec, e.g. env.spec, not a {type(self.spec).__name__}")

    @classmethod
    def of(cls, env: Env) -> "Scripted":
        """The expert that an environment brings with it; HeadstartError if it brings none."""
        if not isinstance(env, WithExpert):
            raise HeadstartError(f"{type(env).__name__} has no expert of its own: record a trained team, or write a Scripted")
        return cls(env.expert, env.spec)

    def seed(self, number: Any) -> Any:
        """The same for every seed."""
        return self.params

    @property
    def learner(self) -> "Scripted":
        """Itself: it has a policy and an empty carry."""
        return self

    def start(self, num_envs: int) -> Any:
        """No memory."""
        return ()

    def policy(self, params: Any, carry: Any, obs: dict[str, Array]) -> tuple[Any, dict[str, Array]]:
        """The function's output; HeadstartError if it has the wrong shape."""
        want = {role: (*x.shape[:-1], self.spec.roles[role].actions.size) for role, x in obs.items()}
        if self.host:
            shapes = {role: jax.ShapeDtypeStruct(shape, np.float32) for role, shape in want.items()}
            as_numpy = lambda obs: self._said(self._asked({r: np.asarray(x) for r, x in obs.items()}), obs, np.asarray)
            return carry, jax.pure_callback(as_numpy, shapes, obs, vmap_method="broadcast_all")
        try:
            said = self.function(obs)
        except jax.errors.TracerArrayConversionError:
            raise HeadstartError(f"the scripted teacher computes with NumPy: write it in jax.numpy, or pass {HOST}") from None
        return carry, self._said(said, obs, jnp.asarray)

    def _asked(self, obs: dict[str, Any]) -> Any:
        """What the function returns; HeadstartError with the place if it fails, since JAX would show its own code alone."""
        try:
            return self.function(obs)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise HeadstartError(f"the scripted teacher failed ({place.filename}, line {place.lineno}): {told}") from None

    def _said(self, said: Any, obs: dict[str, Any], array: Callable) -> dict[str, Any]:
        out = {}
        for role, x in obs.items():
            actions = self.spec.roles[role].actions
            want = (*np.shape(x)[:-1], actions.size)
            if not isinstance(said, dict):
                raise HeadstartError(f"the scripted teacher must return a dict {{'{role}': {want}}}, not {in_words(said)}")
            if role not in said:
                had = ", ".join(map(str, said)) or "no role"
                raise HeadstartError(f"the scripted teacher must answer '{role}' with shape {want}: it answered {had}")
            try:
                got = array(said[role], np.float32)
            except (ValueError, TypeError) as error:
                told = " ".join(str(error).split())
                raise HeadstartError(f"the scripted teacher must answer '{role}' with an array of numbers: {told}") from None
            if got.shape != want:
                few = isinstance(actions, Discrete) and got.shape in (want[:-1], (*want[:-1], len(actions.heads)))
                hint = ": a logit for each option, not the choice" if few else ""
                raise HeadstartError(f"the scripted teacher must answer '{role}' with shape {want}, not {got.shape}{hint}")
            if array is np.asarray and not np.isfinite(got).all():
                raise HeadstartError(f"the scripted teacher must answer '{role}' with finite numbers")
            out[role] = got
        return out
