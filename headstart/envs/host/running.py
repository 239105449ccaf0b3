"""The host's side of the JAX functions in `bridge`: which environments a call means, and whether it may go on from there."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.scope import Scope
from headstart.core.spec import TeamSpec
from headstart.envs.host import layout
from headstart.envs.host.crew import GivenUp
from headstart.envs.host.pictures import Film
from headstart.envs.host.pool import Pool

_tokens = itertools.count(1)


class Running:
    """One pool for each number of environments, from the first reset to `close`.

    A `film` gets the pictures of one environment that is played alone, until its episode ends.
    """

    def __init__(
        self,
        make: Callable[[int, threading.Event | None], Pool],
        spec: TeamSpec,
        restart: bool,
        scope: Scope | None,
        film: Film | None = None,
    ):
        self.film, self.filming = film, False
        self.make, self.spec, self.restart, self.scope, self.width = make, spec, restart, scope, layout.width(spec)
        self.pools: dict[int, Pool] = {}
        self.given: dict[int, int] = {}
        self.lock, self.closed = threading.Lock(), False

    def reset(self, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Token and row of fresh episodes."""
        self.given.pop(seed.size, None)
        rows = self._patient(lambda: self._pool(seed.size).reset(seed.reshape(-1)))
        self.filming = self.film is not None and not len(self.film)
        self._look(rows)
        return self._token(seed.shape), rows.reshape(*seed.shape, self.width)

    def step(self, token: np.ndarray, shown: np.ndarray, action: np.ndarray, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Token and rows of a step. HeadstartError unless the token is that of the last call."""
        lanes = token.size
        pool, last = self._pool(lanes), self.given.get(lanes)
        if last is None and self.restart:
            fresh = self._patient(lambda: pool.reset(seed.reshape(-1)))
            rows = self._resumed(shown.reshape(lanes, self.width), fresh)
        elif last is None or (token != last).any():
            raise HeadstartError("a host environment can only go on from its last state: reset it first")
        else:
            del self.given[lanes]  # if the step fails, there is no state to go on from
            rows = self._patient(lambda: pool.step(action.reshape(lanes, -1), seed.reshape(-1), self.restart))
            self._look(rows)
        return self._token(token.shape), rows.reshape(*token.shape, -1)

    def close(self) -> None:
        """End all workers for good."""
        with self.lock:
            self.closed, pools, self.pools = True, list(self.pools.values()), {}
        for pool in pools:
            pool.close()

    def _look(self, rows: np.ndarray) -> None:
        """Take a picture, if the episode is filmed, and for the last time after its end."""
        if self.film is not None and self.filming:
            pool = self._pool(len(rows))
            self.film.add(self._patient(pool.picture))
            self.filming = not (rows[0, [layout.TERMINATED, layout.TRUNCATED]] > 0.5).any()

    def _pool(self, lanes: int) -> Pool:
        with self.lock:
            if self.closed:
                raise HeadstartError("this environment is closed: its run, its evaluation or the object itself has ended")
            if lanes not in self.pools:
                self.pools[lanes] = self.make(lanes, self.scope.stop if self.scope else None)
            return self.pools[lanes]

    def _patient(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except GivenUp as error:
            if self.scope:
                self.scope.abandoned = True
            raise HeadstartError(str(error)) from None

    def _resumed(self, before: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Rows in place of the first step after a resume: the old episode is truncated with reward 0, and a new one begins."""
        final = before.copy()
        rewards = layout.unpack(self.spec, final).reward.values()
        for reward in rewards:
            reward[...] = 0.0
        final[:, layout.TERMINATED], final[:, layout.TRUNCATED] = 0.0, 1.0
        return np.concatenate([final, fresh], -1)

    def _token(self, shape: tuple[int, ...]) -> np.ndarray:
        lanes = int(np.prod(shape))
        self.given[lanes] = next(_tokens) % 2**31
        return np.full(shape, self.given[lanes], np.int32)
