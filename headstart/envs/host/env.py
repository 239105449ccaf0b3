"""Host environments as JAX ones: seeds and environments are folded into ONE call of the host a step.

The state holds the last observation and a token from the host, which makes XLA keep the calls in order. A run that is resumed
in another process starts with fresh environments: its running episodes are truncated there.
"""

import functools
import itertools
import json
import logging
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.custom_batching import custom_vmap
from jax.experimental import io_callback
from jaxtyping import Array

from headstart.core.checks import HeadstartError
from headstart.core.env import VectorEnv
from headstart.core.named import options_text
from headstart.core.part import part
from headstart.core.ranges import Natural
from headstart.core.spec import TeamSpec
from headstart.core.types import TimeStep
from headstart.envs.host import layout
from headstart.envs.host.pool import Pool
from headstart.envs.host.worker import open_team

_tokens = itertools.count(1)

# JAX also logs the traceback of every error in a callback; a HeadstartError needs only its own line.
_is_ours = lambda record: record.exc_info is not None and isinstance(record.exc_info[1], HeadstartError)
logging.getLogger("jax._src.callback").addFilter(lambda record: not _is_ours(record))


class HostState(NamedTuple):
    """`token`: number of the last reset or step of this process's host; `shown`: the row that it returned."""

    token: Array
    shown: Array


class Host:
    """A host environment's two JAX functions. It keeps one pool for each number of environments."""

    def __init__(self, opener: str, settings: dict[str, Any], spec: TeamSpec, workers: int = 0, restart: bool = False):
        self.spec, self.restart, self.width = spec, restart, layout.width(spec)
        self._pool = functools.cache(lambda lanes: Pool(opener, settings, spec, lanes, workers))
        self._given: dict[int, int] = {}
        shape = jax.ShapeDtypeStruct
        rows = self.width * (1 + restart)
        self._reset = _folded(self._host_reset, lambda n: (shape(n, jnp.int32), shape((*n, self.width), jnp.float32)))
        self._step = _folded(self._host_step, lambda n: (shape(n, jnp.int32), shape((*n, rows), jnp.float32)))

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

    def _host_reset(self, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._given.pop(seed.size, None)
        rows = self._pool(seed.size).reset(seed.reshape(-1))
        return self._token(seed.shape), rows.reshape(*seed.shape, self.width)

    def _host_step(self, token, shown, action, seed) -> tuple[np.ndarray, np.ndarray]:
        lanes = token.size
        pool, last = self._pool(lanes), self._given.get(lanes)
        if last is None and self.restart:
            rows = self._resumed(shown.reshape(lanes, self.width), pool.reset(seed.reshape(-1)))
        elif last is None or (token != last).any():
            raise HeadstartError("a host environment can only go on from its last state: reset it first")
        else:
            del self._given[lanes]  # if the step fails, there is no state to go on from
            rows = pool.step(action.reshape(lanes, -1), seed.reshape(-1), self.restart)
        return self._token(token.shape), rows.reshape(*token.shape, -1)

    def _resumed(self, before: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Rows in place of the first step after a resume: the old episode is truncated with reward 0, and a new one begins."""
        final = before.copy()
        rewards = layout.unpack(self.spec, final).reward.values()
        for reward in rewards:
            reward[...] = 0.0
        final[:, -2:] = 0.0, 1.0
        return np.concatenate([final, fresh], -1)

    def _token(self, shape: tuple[int, ...]) -> np.ndarray:
        lanes = int(np.prod(shape))
        self._given[lanes] = next(_tokens) % 2**31
        return np.full(shape, self._given[lanes], np.int32)


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
    def _(size, mapped, *args):
        spread = [x if on else jnp.broadcast_to(x, (size, *x.shape)) for x, on in zip(args, mapped, strict=True)]
        out = call(*spread)
        return out, jax.tree.map(lambda _: True, out)

    return call


@part("env")
class HostEnv:
    """Base of environments that run on the host; a subclass defines the meaning of `id` and the opener."""

    opener: ClassVar[str]
    """ "module:function" of this package that makes a `HostTeam` of `settings`."""
    id: str = ""
    options: Any = "{}"
    """Options of its constructor: a JSON object, or a dict from Python."""
    horizon: Natural = 0
    """Env-steps after which an episode is cut off; 0 takes the environment's own limit."""
    workers: Natural = 0
    """Worker processes; 0 for one per core."""

    def __post_init__(self):
        object.__setattr__(self, "options", options_text(self.options))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the opener takes in a worker."""
        return {"id": self.id, "options": json.loads(self.options), "horizon": self.horizon}

    @property
    def spec(self) -> TeamSpec:
        """Roles, spaces and horizon, read from one opened environment; HeadstartError names anything unsupported."""
        return _looked_at(self)

    def reset(self, key: Array) -> tuple[HostState, TimeStep]:
        """A fresh episode, from a seed drawn by the key."""
        return _host(self).reset(key)

    def step(self, state: HostState, action: dict[str, Array], key: Array) -> tuple[HostState, TimeStep]:
        """One joint step. Does not start a new episode: `vectorised` environments do."""
        return _host(self).step(state, action, key)

    def vectorised(self, num_envs: int) -> VectorEnv:
        """`num_envs` environments that restart themselves in their workers."""
        host = Host(self.opener, self.settings, self.spec, self.workers, restart=True)
        reset, step = jax.vmap(host.reset), jax.vmap(host.step)
        split = lambda key: jr.split(key, num_envs)
        return VectorEnv(
            self.spec,
            num_envs,
            lambda key: reset(split(key)),
            lambda state, action, key: step(state, action, split(key)),
        )


@functools.cache
def _looked_at(env: HostEnv) -> TeamSpec:
    team = open_team(env.opener, env.settings)
    try:
        return team.spec
    finally:
        team.close()


@functools.cache
def _host(env: HostEnv) -> Host:
    return Host(env.opener, env.settings, env.spec, env.workers)
