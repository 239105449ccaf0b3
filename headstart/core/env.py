"""The `Env` protocol, and many environments that step as one.

An `Env` describes ONE environment with all its agents and no batch axis. `vectorise` makes E of them step together and
start a new episode by themselves when one ends.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float, Int, Key, PyTree

from headstart.core.ops import chosen_where
from headstart.core.part import kind_of, settings_of
from headstart.core.types import TeamSpec, TimeStep

EnvState = PyTree


@runtime_checkable
class Env(Protocol):
    """One environment: a class with `@part("env")` whose fields are its settings (and its command-line flags)."""

    @property
    def spec(self) -> TeamSpec:
        """Roles, spaces, horizon."""
        ...

    def reset(self, key: Key[Array, ""]) -> tuple[EnvState, TimeStep]:
        """A fresh episode. The key is consumed."""
        ...

    def step(self, state: EnvState, action: dict[str, Array], key: Key[Array, ""]) -> tuple[EnvState, TimeStep]:
        """One joint step; `action` is {role: [A U]}. Does not start a new episode: `vectorise` does."""
        ...


def unwrapped(env: Any) -> Any:
    """The environment inside all wrappers, each of which holds another one as `env`."""
    while hasattr(env, "env"):
        env = env.env
    return env


class Scene(NamedTuple):
    """A picture of one moment: the places and looks of the M entities of a `Drawable`."""

    place: Float[Array, "*n M 2"]
    """World units; NaN hides an entity."""
    word: Int[Array, "*n M"]
    """Number of the word an entity says, -1 for silence."""
    shade: Int[Array, "*n M"]
    """Index of the entity's current colour among its colours."""
    health: Float[Array, "*n M"] | None = None
    """Share of its health that an entity has left, drawn as a bar above it; None if nothing in the world has health."""
    hit: Int[Array, "*n M"] | None = None
    """Number of the entity that an entity has just hit, drawn as a line between them; -1 for none."""
    links: Int[Array, "*n M L"] | None = None
    """Numbers of up to L entities that an entity is joined to; -1 for none. The first line is straight, the others are bent."""


@runtime_checkable
class Drawable(Protocol):
    """Methods beside `Env` of an environment that can be drawn: circles in a plane, in world units."""

    @property
    def entities(self) -> list[dict[str, Any]]:
        """The entities that `scene` places: [{"name", "kind": "agent" | "landmark" | .., "radius", "colors": [..]}].

        "labels": a text for each colour, which is written above the entity, if it has them.
        """
        ...

    def scene(self, state: EnvState) -> Scene:
        """The place and look of each entity."""
        ...


@runtime_checkable
class WithExpert(Env, Protocol):
    """An environment that knows how it is to be played."""

    def expert(self, obs: dict[str, Array]) -> dict[str, Array]:
        """Observations {role: [*n A O]} -> its choices {role: [*n A U]}, as logits or continuous actions."""
        ...


@runtime_checkable
class WithFindings(Env, Protocol):
    """An environment that has more to tell about an episode's end than rewards and events."""

    def findings(self, states: Sequence[EnvState]) -> Iterator[str]:
        """A line about the last state of each greedy episode, as soon as it is known; `headstart evaluate` prints them."""
        ...


class VectorEnv(NamedTuple):
    """E environments as one: `reset(key)` and `step(states, action, key)`; every TimeStep leaf is [E ..]."""

    spec: TeamSpec
    num_envs: int
    reset: Callable[[Array], tuple[EnvState, TimeStep]]
    step: Callable[[EnvState, dict[str, Array], Array], tuple[EnvState, TimeStep]]


@runtime_checkable
class Vectorised(Protocol):
    """An environment that batches itself instead of leaving it to `vectorise`, e.g. one that runs on the host."""

    def vectorised(self, num_envs: int) -> VectorEnv:
        """`num_envs` environments that restart themselves."""
        ...


def vectorise(env: Env, num_envs: int) -> VectorEnv:
    """`num_envs` environments that restart themselves.

    After an end, `obs` and `state` belong to the new episode, and `final_obs` and `final_state` keep the true last ones.
    Resets are computed only in steps in which an episode of any seed ends. Particle episodes end together, so they pay for
    the random numbers of a reset once an episode rather than once a step.

    States keep the environment axis last. An environment's own arrays are tiny (three agents, two coordinates), so with
    the environments innermost every elementwise operation runs over long contiguous vectors.
    """
    if isinstance(env, Vectorised):
        return env.vectorised(num_envs)
    last = jax.tree.map(lambda _: -1, jax.eval_shape(env.reset, jr.key(0))[0])
    reset_each = jax.vmap(env.reset, out_axes=(last, 0))
    step_each = jax.vmap(env.step, in_axes=(last, 0, 0), out_axes=(last, 0))

    def reset(key):
        return reset_each(jr.split(key, num_envs))

    def restart(ended, key, states, shown):
        new_states, new = reset(key)
        states = jax.tree.map(lambda n, o: jnp.where(ended, n, o), new_states, states)
        return states, chosen_where(ended, _of_next_episode(new), shown)

    restart_if_any = _skipped_unless_any(restart, is_traced(env))

    def step(states, action, key):
        step_key, reset_key = jr.split(key)
        states, now = step_each(states, action, jr.split(step_key, num_envs))
        states, shown = restart_if_any(now.terminated | now.truncated, reset_key, states, _of_next_episode(now))
        return states, dataclasses.replace(now, **shown)

    return VectorEnv(env.spec, num_envs, reset, step)


def is_traced(env: Env) -> bool:
    """Whether a program traces settings of the environment, as in a sweep."""
    return kind_of(env) is not None and any(isinstance(value, Tracer) for _, value, _ in settings_of(env))


def _of_next_episode(step: TimeStep) -> dict[str, Any]:
    """The parts of a time step that belong to the new episode once one ended."""
    return {"obs": step.obs, "state": step.state, "alive": step.alive, "available": step.available}


def _skipped_unless_any(change: Callable, traced: bool) -> Callable:
    """`change(mask, key, *values) -> values`, skipped if no entry of `mask` is true, under `vmap` as well.

    A `lax.cond` with a mapped predicate computes both branches. This one has a scalar predicate for all lanes: whether ANY
    lane needs the change. `change` itself must leave the lanes outside its mask alone. `traced`: whether it reads traced
    values beside its arguments, which `custom_vmap` takes as arguments only.
    """
    if not traced:
        return _conditional(change)

    def converted(mask, key, *values):
        whole, read = jax.closure_convert(change, mask, key, *values)
        own = len(values)
        keep = lambda mask, key, *both: (*whole(mask, key, *both), *both[own:])
        return _conditional(keep)(mask, key, *values, *read)[:own]

    return converted


def _conditional(change: Callable) -> Callable:

    @custom_vmap
    def conditional(mask, key, *values):
        return jax.lax.cond(mask.any(), lambda: change(mask, key, *values), lambda: values)

    @conditional.def_vmap
    def _(size, mapped, *args: Any):
        spread = lambda on, x: x if on else jnp.broadcast_to(x, (size, *x.shape))
        mask, key, *values = jax.tree.map(spread, mapped, list(args))
        out = _conditional(jax.vmap(change))(mask, key, *values)  # which may be mapped again: a companion's lanes
        return out, jax.tree.map(lambda _: True, out)

    return conditional
