"""Host environments as JAX functions: seeds and environments are folded into ONE call of the host a step.

The state holds the last observation and a token from the host, which makes XLA keep the calls in order. A run that is resumed
in another process starts with fresh environments: its running episodes are truncated there.
"""

import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.custom_batching import custom_vmap
from jax.experimental import io_callback
from jaxtyping import Array

from headstart.core.errors import log_only_unknown_errors
from headstart.core.scope import current
from headstart.core.spec import TeamSpec
from headstart.core.types import TimeStep
from headstart.envs.host import layout
from headstart.envs.host.pictures import Film
from headstart.envs.host.pool import Pool
from headstart.envs.host.running import Running

log_only_unknown_errors()


class HostState(NamedTuple):
    """`token`: number of the last reset or step of this process's host; `shown`: the row that it returned."""

    token: Array
    shown: Array


class Host:
    """A host environment's two JAX functions.

    Its workers end with the scope in which it was made, and with this object. JAX's own caches keep `Running`, but not this
    object, alive.
    """

    def __init__(
        self,
        make: Callable[[int, threading.Event | None], Pool],
        spec: TeamSpec,
        restart: bool = False,
        film: Film | None = None,
    ):
        owner, self.spec, self.width = current(), spec, layout.width(spec)
        self.running = Running(make, spec, restart, owner, film)
        weakref.finalize(self, self.running.close)
        if owner is not None:
            owner.own(self.running, lambda: self.running)
        shape, width = jax.ShapeDtypeStruct, self.width
        rows = width * (1 + restart)
        self._reset = _folded(self.running.reset, lambda n: (shape(n, jnp.int32), shape((*n, width), jnp.float32)))
        self._step = _folded(self.running.step, lambda n: (shape(n, jnp.int32), shape((*n, rows), jnp.float32)))

    def reset(self, key: Array) -> tuple[HostState, TimeStep]:
        """A fresh episode, from a seed drawn by the key."""
        token, row = self._reset(_seed(key))
        return HostState(token, row), self._time_step(row, row, begins=True)

    def step(self, state: HostState, action: dict[str, Array], key: Array) -> tuple[HostState, TimeStep]:
        """One joint step of the episode that `state` belongs to."""
        vector = jnp.concatenate([action[role].reshape(-1) for role in self.spec.roles]).astype(jnp.float32)
        token, rows = self._step(state.token, state.shown, vector, _seed(key))
        final, shown = rows[: self.width], rows[-self.width :]
        return HostState(token, shown), self._time_step(final, shown)

    def close(self) -> None:
        """End the workers for good."""
        self.running.close()

    def _time_step(self, final_row: Array, row: Array, begins: bool = False) -> TimeStep:
        final, now = layout.unpack(self.spec, final_row), layout.unpack(self.spec, row)
        together = lambda obs: jnp.concatenate([x.reshape(-1) for x in obs.values()])
        return TimeStep(
            obs=now.obs,
            final_obs=final.obs,
            state=together(now.obs),
            final_state=together(final.obs),
            reward=jax.tree.map(jnp.zeros_like, final.reward) if begins else final.reward,
            terminated=final.terminated,
            truncated=final.truncated,
            alive=now.alive,
            available=now.available,
            final_available=final.available,
            agent_terminated=final.agent_terminated,
        )


def _seed(key: Array) -> Array:
    return jr.randint(key, (), 0, 2**31 - 1)


def _folded(host: Callable, result: Callable) -> Callable:
    """`host` as a JAX function: every mapped axis becomes a leading axis of the arrays of one call.

    Neither kind of callback does this by itself. Ordered ones cannot be mapped. Unordered ones run only one lane of an axis
    that their arguments do not depend on, and return its result for all lanes.
    """
    as_arrays = lambda *args: host(*(np.asarray(x) for x in args))

    @custom_vmap
    def call(*args):
        # The first argument has one number per lane, so its shape is that of the mapped axes.
        return io_callback(as_arrays, result(args[0].shape), *args, ordered=False)

    @call.def_vmap
    def _(size, mapped, *args: Any):
        spread = [x if on else jnp.broadcast_to(x, (size, *x.shape)) for x, on in zip(args, mapped, strict=True)]
        out = call(*spread)
        return out, jax.tree.map(lambda _: True, out)

    return call
