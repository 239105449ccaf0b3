"""Many host environments, stepped by a few worker processes."""

import json
import os
import threading
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.spec import TeamSpec, decode_spec, encode_spec
from headstart.envs.host import layout
from headstart.envs.host.crew import Crew
from headstart.envs.host.frames import DRAW, LONGEST_JSON, OPEN, PICTURE, RESET, ROWS, SPEC, STEP, STEP_ON
from headstart.envs.host.pictures import LONGEST, SIZE

BEATS = 4
"""How often a worker with many environments says that it is at work, in a timeout of one."""


class Pool:
    """`lanes` environments in worker processes. Workers start with the first reset and end with the pool.

    `timeout`: seconds that opening, resetting or stepping ONE environment may take. `stop` is set if no more is wanted.
    """

    def __init__(
        self, opener: str, settings: dict[str, Any], spec: TeamSpec, lanes: int, workers: int = 0, timeout: float = 60.0,
        stop: threading.Event | None = None,
    ):  # fmt: skip
        self.order = {"opener": opener, "settings": settings, "tried": False, "beat": timeout / BEATS}
        self.spec, self.timeout, self.stop = spec, timeout, stop
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.parts = np.array_split(np.arange(lanes), max(1, min(workers or cores, lanes)))
        self.crew: Crew | None = None
        self.lock, self.closed = threading.Lock(), False

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Rows [N W] of fresh episodes from the seeds [N]."""
        return self._ask(RESET, seeds, None)

    def step(self, actions: np.ndarray, seeds: np.ndarray, restart: bool) -> np.ndarray:
        """Rows [N W] after the actions [N _]; [N 2W] with `restart` (see `worker`). `seeds` [N] are for new episodes."""
        return self._ask(STEP_ON if restart else STEP, seeds, actions)

    def picture(self) -> bytes:
        """A picture of the first environment, between two steps (see `pictures`)."""
        with self.lock:
            if self.closed or self.crew is None:
                raise HeadstartError(f"the environment {self.order['settings']['id']} is closed and cannot be drawn")
            count = len(self.crew.processes)
            return self.crew.ask(DRAW, [b""] * count, PICTURE, [(SIZE.size, LONGEST)] * count, "drawing")[0]

    def close(self) -> None:
        """End the workers for good. A thread that waits for them gets a HeadstartError."""
        self.closed = True
        while not self.lock.acquire(timeout=0.1):
            if crew := self.crew:
                crew.close(busy=True)
        try:
            if self.crew:
                self.crew.close()
            self.crew = None
        finally:
            self.lock.release()

    def _ask(self, kind: bytes, seeds: np.ndarray, actions: np.ndarray | None) -> np.ndarray:
        width = layout.width(self.spec) * (1 + (kind == STEP_ON))
        with self.lock:
            if self.closed:
                raise HeadstartError(f"the environment {self.order['settings']['id']} is closed: its run or evaluation is over")
            try:
                if self.crew is None:
                    self._open()
                assert self.crew is not None
                bodies = [seeds[part].astype(np.int32).tobytes() for part in self.parts]
                if actions is not None:
                    numbers = np.ascontiguousarray(actions, np.float32)
                    bodies = [body + numbers[part].tobytes() for body, part in zip(bodies, self.parts, strict=True)]
                sizes = [(4 * len(part) * width, 4 * len(part) * width) for part in self.parts]
                answers = self.crew.ask(kind, bodies, ROWS, sizes, "a reset" if kind == RESET else "a step")
            except BaseException:
                if self.crew:
                    self.crew.close()
                self.crew = None  # the next reset starts new workers
                raise
        return np.concatenate([np.frombuffer(rows, np.float32) for rows in answers]).reshape(-1, width)

    def _open(self) -> None:
        self.crew = Crew(len(self.parts), self.order["settings"]["id"], self.timeout, self.stop)
        for found in opened(self.crew, self.order, [len(part) for part in self.parts]):
            if found != self.spec or list(found.roles) != list(self.spec.roles):  # their order is that of a row
                raise HeadstartError(
                    f"the environment {self.order['settings']['id']} has other agents or spaces in each process that opens it "
                    f"({_told(found)}, not {_told(self.spec)}): list its agents in a fixed order, not from a set"
                )


def opened(crew: Crew, order: dict[str, Any], lanes: list[int]) -> list[TeamSpec]:
    """The specs that the workers read from the environments that they open, `lanes` each."""
    bodies = [json.dumps({**order, "lanes": count}).encode() for count in lanes]
    answers = crew.ask(OPEN, bodies, SPEC, [(2, LONGEST_JSON)] * len(lanes), "opening")
    try:
        return [decode_spec(json.loads(answer)) for answer in answers]
    except (ValueError, KeyError, TypeError) as error:
        raise HeadstartError(f"the environment {crew.label} has agents or spaces that cannot be used: {error}") from None


def look(opener: str, settings: dict[str, Any], timeout: float, tried: bool = False) -> TeamSpec:
    """The spec of an environment, read in a worker process, in which it may be `tried`: begun, and played for a step.

    HeadstartError names anything unsupported, and what goes wrong.
    """
    crew = Crew(1, settings["id"], timeout)
    try:
        return opened(crew, {"opener": opener, "settings": settings, "tried": tried, "beat": timeout / BEATS}, [1])[0]
    finally:
        crew.close()


def _told(spec: TeamSpec) -> str:
    text = json.dumps(encode_spec(spec)["roles"])
    names = ", ".join(name for names in spec.names.values() for name in names)
    return names if len(names) < 200 else text[:200]
