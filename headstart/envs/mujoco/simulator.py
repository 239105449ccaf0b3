"""MuJoCo on the host: states come in as rows of numbers, and a few threads step them all.

A row is everything that the next step depends on: MuJoCo's integration state (mjSTATE_INTEGRATION, which has the solver's
warm start in it) and the x of the last step, of which the speed is made. Nothing is kept here from one call to the next.
"""

import importlib.util
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.named import named
from headstart.core.own import installed
from headstart.envs.host.spaces import native
from headstart.envs.mujoco import names
from headstart.envs.mujoco.tasks import Task


class Outcome(NamedTuple):
    """What a step of n bodies led to."""

    rows: np.ndarray  # [n D]
    obs: np.ndarray  # [n O]
    reward: np.ndarray  # [n]
    fell: np.ndarray  # [n]


class Simulator:
    """A task's physics. Calls may come from several threads at once."""

    def __init__(self, task: Task, observed: int, actuators: Sequence[str], threads: int):
        self.task, self.mujoco = task, _package(task)
        self.model = model = self.mujoco.MjModel.from_xml_path(str(_model(task)))
        self.whole_state = self.mujoco.mjtState.mjSTATE_INTEGRATION  # begins with the time, the positions and the velocities
        self.size = self.mujoco.mj_stateSize(model, self.whole_state) + 1
        self.step_s = model.opt.timestep * task.frames
        self.fields = names.observed(model, task, observed)
        self.observed = sum(size for _, size in self.fields)
        self.outer = model.nq - task.hidden + model.nv  # the first numbers of an observation, which are in the state
        self.actuators, self.actions = names.moved(model, actuators)
        self._free: list[Any] = []
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.threads = threads or cores
        self._pool = ThreadPoolExecutor(self.threads, "headstart-mujoco")
        # A warning of MuJoCo is a fall here, see `step`; its own way is to write a file into the working directory.
        if self.mujoco.get_mju_user_warning() is None:
            self.mujoco.set_mju_user_warning(_ignored)

    def begin(self, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows [n D] and observations [n O] of fresh episodes, whose noise follows from seeds [n 2] of 32 bits each."""
        noise = np.stack([self._noise(seed) for seed in seeds])
        return self.place(self.model.qpos0 + noise[:, : self.model.nq], noise[:, self.model.nq :])

    def place(self, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows [n D] and observations [n O] of episodes that begin with positions [n nq] and velocities [n nv]."""
        rows, inner = self._room(len(qpos))

        def one(d: Any, i: int) -> None:
            self.mujoco.mj_resetData(self.model, d)
            d.qpos[:], d.qvel[:] = qpos[i], qvel[i]
            self.mujoco.mj_forward(self.model, d)
            self._keep(d, rows[i], inner[i])

        self._each(len(rows), one)
        return rows, self._obs(rows, inner)

    def step(self, rows: np.ndarray, action: np.ndarray, resting: np.ndarray) -> Outcome:
        """An env-step of rows [n D] with actions [n U], which are clipped to [-1, 1]; those that rest [n] stay as they are.

        If a simulation diverges, MuJoCo puts the body back to its beginning: that is a fall, and its forward reward is 0.
        """
        mujoco, model, task = self.mujoco, self.model, self.task
        control = np.asarray(native(self.actions, action), np.float64)
        sent, contact, (after, inner) = np.nan_to_num(control), np.zeros(len(rows)), self._room(len(rows))

        def one(d: Any, i: int) -> None:
            if resting[i]:
                after[i] = rows[i]
                return
            mujoco.mj_setState(model, d, rows[i, :-1], self.whole_state)
            d.ctrl[self.actuators] = sent[i]
            mujoco.mj_step(model, d, nstep=task.frames)
            if task.contacts:
                mujoco.mj_rnePostConstraint(model, d)
                contact[i] = np.square(d.cfrc_ext).sum() if task.contact_cost else 0.0
            self._keep(d, after[i], inner[i])

        self._each(len(rows), one)
        diverged = after[:, 0] < rows[:, 0] + 0.9 * self.step_s  # the time began anew
        well = ~diverged & self._healthy(after)
        speed = np.where(diverged, 0.0, (after[:, -1] - rows[:, -1]) / self.step_s)
        paid = task.forward * speed + task.alive * (well | task.paid_as_it_falls)
        cost = task.control * np.square(control).sum(-1) + np.minimum(task.contact_cost * contact, 10.0)
        reward, obs = (paid - cost).astype(np.float32), self._obs(after, inner)
        reward[resting], obs[resting] = 0.0, 0.0
        return Outcome(after, obs, reward, ~well | resting)

    def _room(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows to fill, and the numbers of observations that are not in them."""
        return np.empty((count, self.size)), np.empty((count, max(self.observed - self.outer, 0)), np.float32)

    def _keep(self, d: Any, row: np.ndarray, inner: np.ndarray) -> None:
        """Write the state, and what is seen of it beside positions and velocities."""
        self.mujoco.mj_getState(self.model, d, row[:-1], self.whole_state)
        row[-1] = d.qpos[0]
        if self.task.whole:
            mass = self.model.body_mass[:, None]
            row[-1] = ((mass * d.xipos).sum(0) / mass.sum())[0]
        if len(inner):
            part, force = self.task.first_part, self.task.first_force
            blocks = d.cinert[part:].ravel(), d.cvel[part:].ravel(), d.qfrc_actuator[force:], d.cfrc_ext[part:].ravel()
            inner[:] = np.concatenate(blocks)[: len(inner)]

    def _obs(self, rows: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """Observations [n O] of rows [n D]."""
        begin, end, task = 1 + self.model.nq, 1 + self.model.nq + self.model.nv, self.task
        blocks = rows[:, 1 + task.hidden : begin], np.clip(rows[:, begin:end], -task.fastest, task.fastest)
        return np.concatenate([*(block.astype(np.float32) for block in blocks), inner], 1)[:, : self.observed]

    def _healthy(self, rows: np.ndarray) -> np.ndarray:
        """[n]: whether a body has not fallen."""
        between = lambda x, ends: (ends[0] < x) & (x < ends[1])
        height, angle = rows[:, 1 + self.task.height], rows[:, 2 + self.task.height]
        well = between(height, self.task.healthy_z)
        return well if self.task.healthy_angle is None else well & between(angle, self.task.healthy_angle)

    def _noise(self, seed: np.ndarray) -> np.ndarray:
        """Changes of the initial positions and velocities, made of a generator's raw bits: NumPy keeps those as they are."""
        bits = np.random.Philox(key=seed.astype(np.uint64)).random_raw(self.model.nq + self.model.nv)
        return self.task.noise * (2 * (bits >> np.uint64(11)) * 2.0**-53 - 1)

    def _each(self, count: int, one: Callable[[Any, int], None]) -> None:
        """`one(simulation, i)` for every i < count, by all threads. An error becomes one line."""
        parts = min(self.threads, count)

        def some(first: int) -> None:
            data = self._data()
            for i in range(first, count, parts):
                one(data, i)
            self._free.append(data)

        try:
            if parts == 1:
                some(0)
            else:
                list(self._pool.map(some, range(parts)))
        except Exception as error:
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise HeadstartError(f"mujoco:{self.task.name}-v{self.task.version} failed in a step: {told}") from None

    def _data(self) -> Any:
        """A simulation that no thread uses. It belongs to no thread: those of XLA that call come and go."""
        try:
            return self._free.pop()
        except IndexError:
            return self.mujoco.MjData(self.model)


def _ignored(message: str) -> None:
    """A warning of MuJoCo, which is counted as well."""


def _package(task: Task) -> Any:
    for package in ("mujoco", "gymnasium"):
        if not installed(package):
            needs = f"needs the package {package}, which is not installed: pip install 'headstart[mujoco]'"
            raise HeadstartError(f"mujoco:{task.name}-v{task.version} {needs}")
    return named("mujoco")


def _model(task: Task) -> Path:
    found = importlib.util.find_spec("gymnasium")
    assert found is not None and found.origin is not None
    path = Path(found.origin).parent / "envs/mujoco/assets" / task.model
    if not path.exists():
        raise HeadstartError(f"gymnasium has no model at {path}: pip install 'gymnasium>=1.0'")
    return path
