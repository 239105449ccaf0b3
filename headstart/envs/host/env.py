"""`HostEnv`, the base of environments that run on the host."""

import functools
import json
import weakref
from typing import Any, ClassVar

import jax
import jax.random as jr
from jaxtyping import Array

from headstart.core import scope
from headstart.core.env import VectorEnv
from headstart.core.named import options_text
from headstart.core.part import part
from headstart.core.ranges import Natural, Positive
from headstart.core.spec import TeamSpec
from headstart.core.types import TimeStep
from headstart.envs.host.bridge import Host, HostState
from headstart.envs.host.pictures import Film
from headstart.envs.host.pool import Pool, look


@part("env")
class HostEnv:
    """Base of environments that run on the host; a subclass defines the meaning of `id` and the opener.

    Its worker processes end with the run, evaluation or replay that uses it. If it is stepped directly, they end with this
    object, or with the functions of `vectorised`.
    """

    opener: ClassVar[str]
    """ "module:function" of this package that makes a `HostTeam` of `settings`."""
    id: str = ""
    options: Any = "{}"
    """Options of its constructor: a JSON object, or a dict from Python."""
    horizon: Natural = 0
    """Env-steps after which an episode is cut off; 0 takes the environment's own limit."""
    workers: Natural = 0
    """Worker processes; 0 for one per core."""
    timeout: Positive = 60.0
    """Seconds that opening, a reset or a step of one environment may take."""
    roles: tuple[str, ...] = ()
    """Roles of agents that are not to be grouped by their names: leader=drone-1 others=drone-2,drone-3."""
    fields: tuple[str, ...] = ()
    """Parts of an observation, in order: velocity=2 mates=3x2 (3 entities of 2 numbers); ROLE:NAME=SIZE for one role."""
    tried: ClassVar[bool] = True
    """Whether a step is played when its spec is read, so that one that fails does so before anything is compiled."""
    at_once: ClassVar[int] = 100
    """Most environments of one seed that an evaluation opens at once; each takes the memory that it takes."""

    def __post_init__(self):
        object.__setattr__(self, "options", options_text(self.options))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the opener takes in a worker."""
        return {"id": self.id, "options": json.loads(self.options), "horizon": self.horizon} | self._naming

    @property
    def _naming(self) -> dict[str, Any]:
        return {name: list(given) for name in ("roles", "fields") if (given := getattr(self, name))}

    @property
    def spec(self) -> TeamSpec:
        """Roles, spaces and horizon, read in a worker process; HeadstartError names anything unsupported."""
        return _looked_at(self)

    def reset(self, key: Array) -> tuple[HostState, TimeStep]:
        """A fresh episode, from a seed drawn by the key."""
        return self._host().reset(key)

    def step(self, state: HostState, action: dict[str, Array], key: Array) -> tuple[HostState, TimeStep]:
        """One joint step. Does not start a new episode: `vectorised` environments do."""
        return self._host().step(state, action, key)

    def vectorised(self, num_envs: int) -> VectorEnv:
        """`num_envs` environments that restart themselves in their workers."""
        host = self._new_host(restart=True)
        reset, step = jax.vmap(host.reset), jax.vmap(host.step)
        split = lambda key: jr.split(key, num_envs)
        return VectorEnv(
            self.spec,
            num_envs,
            lambda key: reset(split(key)),
            lambda state, action, key: step(state, action, split(key)),
        )

    def filmed(self) -> Film:
        """A film of the episode that this environment is played for in the current scope, from its next reset on."""
        film = Film()
        scope.innermost().own(self, lambda: self._new_host(film=film))
        return film

    def check_drawn(self) -> None:
        """Raise HeadstartError unless it can be opened to be drawn; it is opened once in a worker to find out."""
        look(self.opener, self._opening(draws=True), self.timeout)

    def _opening(self, draws: bool) -> dict[str, Any]:
        """The settings with the length of an episode, which need not be found again."""
        return self.settings | {"found": self.spec.horizon} | ({"draws": True} if draws else {})

    def _new_host(self, restart: bool = False, film: Film | None = None) -> Host:
        opener, spec, workers, timeout = self.opener, self.spec, self.workers, self.timeout
        settings = self._opening(draws=film is not None)
        return Host(lambda lanes, stop: Pool(opener, settings, spec, lanes, workers, timeout, stop), spec, restart, film)

    def _host(self) -> Host:
        """This environment's host in the current scope; without one, the host that belongs to this object."""
        if (now := scope.current()) is not None:
            return now.own(self, self._new_host)
        if id(self) not in _direct:
            _direct[id(self)] = self._new_host()
            weakref.finalize(self, _direct.pop, id(self), None)
        return _direct[id(self)]


_direct: dict[int, Host] = {}
"""The hosts of environments that are stepped directly, by the object: equal environments may be stepped by two threads."""


@functools.cache
def _looked_at(env: HostEnv) -> TeamSpec:
    return look(env.opener, env.settings, env.timeout, env.tried)
