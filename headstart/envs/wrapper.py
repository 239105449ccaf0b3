"""An environment around another one: what the wrapped one can do stays, and only what is shown and sent changes."""

from typing import Any

from jaxtyping import Array

from headstart.core.env import Env, EnvState, VectorEnv, vectorise
from headstart.core.types import TeamSpec, TimeStep


class Wrapper:
    """The base of environments that see or move the agents of `env` in another way.

    A subclass has `spec`, `shown` and `sent`, which take any leading axes. How episodes restart, how many environments step
    together and how the inside is drawn stay the wrapped environment's own.
    """

    env: Any

    @property
    def inner(self) -> Env:
        """The wrapped environment."""
        return self.env

    @property
    def spec(self) -> TeamSpec:
        """The team as it is seen from outside."""
        raise NotImplementedError

    def shown(self, step: TimeStep) -> TimeStep:
        """What the wrapped environment shows, as it is seen from outside."""
        raise NotImplementedError

    def sent(self, action: dict[str, Array]) -> dict[str, Array]:
        """What is done from outside, as the wrapped environment understands it."""
        raise NotImplementedError

    def reset(self, key: Array) -> tuple[EnvState, TimeStep]:
        """As of the wrapped environment."""
        state, step = self.inner.reset(key)
        return state, self.shown(step)

    def step(self, state: EnvState, action: dict[str, Array], key: Array) -> tuple[EnvState, TimeStep]:
        """As of the wrapped environment."""
        state, step = self.inner.step(state, self.sent(action), key)
        return state, self.shown(step)

    def vectorised(self, num_envs: int) -> VectorEnv:
        """As of the wrapped environment, which may know better than `vectorise`."""
        inside = vectorise(self.inner, num_envs)

        def reset(key):
            states, step = inside.reset(key)
            return states, self.shown(step)

        def step(states, action, key):
            states, step = inside.step(states, self.sent(action), key)
            return states, self.shown(step)

        return VectorEnv(self.spec, num_envs, reset, step)

    @property
    def entities(self) -> list[dict[str, Any]]:
        """Of the wrapped environment, if that can be drawn."""
        return self.env.entities

    @property
    def scene(self) -> Any:
        """Of the wrapped environment, if that can be drawn."""
        return self.env.scene
