"""An environment around another one, which changes only the time steps and the actions."""

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Array

from headstart.core.env import Env, EnvState, VectorEnv, vectorise
from headstart.core.types import TeamSpec, TimeStep

OPTIONAL = ("entities", "scene", "at_once")
"""What an environment may have beside `Env`, and what is the same seen from outside: see `Drawable` and `core.episodes`."""


class Wrapper(ABC):
    """The base of environments that show or move the agents of `env` in another way.

    A subclass defines `spec`, `shown` and `sent`; the last two take any leading axes. Restarts, batching and drawing stay
    those of the wrapped environment.
    """

    env: Any

    @property
    def inner(self) -> Env:
        """The wrapped environment."""
        return self.env

    @property
    @abstractmethod
    def spec(self) -> TeamSpec:
        """The team as seen from outside."""

    @abstractmethod
    def shown(self, step: TimeStep) -> TimeStep:
        """The wrapped environment's time step as seen from outside."""

    def shown_after(self, step: TimeStep, action: dict[str, Array]) -> TimeStep:
        """The time step that an action from outside led to; after an end, `obs` may be of the next episode already."""
        return self.shown(step)

    @abstractmethod
    def sent(self, action: dict[str, Array]) -> dict[str, Array]:
        """An action from outside as an action of the wrapped environment."""

    def reset(self, key: Array) -> tuple[EnvState, TimeStep]:
        """A fresh episode of the wrapped environment."""
        state, step = self.inner.reset(key)
        return state, self.shown(step)

    def step(self, state: EnvState, action: dict[str, Array], key: Array) -> tuple[EnvState, TimeStep]:
        """One joint step of the wrapped environment."""
        state, step = self.inner.step(state, self.sent(action), key)
        return state, self.shown_after(step, action)

    def vectorised(self, num_envs: int) -> VectorEnv:
        """`num_envs` environments that restart themselves; the wrapped environment may batch itself."""
        inside = vectorise(self.inner, num_envs)

        def reset(key):
            states, step = inside.reset(key)
            return states, self.shown(step)

        def step(states, action, key):
            states, step = inside.step(states, self.sent(action), key)
            return states, self.shown_after(step, action)

        return VectorEnv(self.spec, num_envs, reset, step)

    def __getattr__(self, name: str) -> Any:
        """What the wrapped environment may have beside the protocol `Env`, if it has it."""
        if name in OPTIONAL:
            return getattr(self.env, name)
        raise AttributeError(f"{type(self).__name__} has no {name}")
