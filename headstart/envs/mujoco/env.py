"""MuJoCo's walkers, stepped as pure functions inside the jitted program.

headstart train mujoco:Walker2d-v3 --learner ppo
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, UInt

from headstart.core.env import Scene, VectorEnv
from headstart.core.errors import log_only_unknown_errors
from headstart.core.part import part
from headstart.core.ranges import Count, Natural
from headstart.core.types import Field, RoleSpec, TeamSpec, TimeStep
from headstart.envs.mujoco import picture
from headstart.envs.mujoco.simulator import Simulator
from headstart.envs.mujoco.tasks import Range, task_of
from headstart.envs.mujoco.words import Words

ROLE, AGENT = "agent", "agent_0"
log_only_unknown_errors()


class BodyState(NamedTuple):
    """The state between two steps. `physics` has a row of float64 numbers (see `simulator`), each as two words of 32 bits.

    Whole numbers keep every bit, with or without JAX_ENABLE_X64; a float that is no number could lose some.
    """

    physics: Any  # [W] uint32
    time: Any  # [] int32, env-steps of the episode so far
    over: Any  # [] bool, whether the episode has ended


class Told(NamedTuple):
    """What the host answers to a step."""

    state: Any  # BodyState
    obs: Any  # [O], of the next episode after an end, if environments restart
    final_obs: Any  # [O]
    reward: Any  # []
    fell: Any  # []
    late: Any  # []


@part("env")
class MuJoCo:
    """MuJoCo's Walker2d and Humanoid with the rules of v3, v4 or v5, as in mujoco:Humanoid-v3.

    The whole state of the physics is part of the training state, and the host steps all environments of all seeds in one
    call. An interrupted run therefore resumes bitwise, in the middle of its episodes. The episode ends with a fall, which
    terminates it, or at the horizon, which truncates it; the event `success` is an episode that reaches the horizon.
    """

    id: str = "Walker2d-v3"
    """Walker2d or Humanoid, and its version."""
    healthy_z: Range | None = None
    """Heights in metres between which the body has not fallen; without it, the id's own: 0.8 and 2, or 1 and 2."""
    healthy_angle: Range | None = None
    """The same for the angle in radians of Walker2d; without it, -1 and 1."""
    observed: Natural = 0
    """The first numbers of an observation that the agent sees, e.g. 45 of a Humanoid: positions and velocities. 0 for all."""
    actuators: tuple[str, ...] = ()
    """Names of the actuators that the agent moves, in this order; the others exert no force. Without names, all."""
    horizon: Count = 1000
    """Env-steps after which an episode is cut off."""
    threads: Natural = 0
    """Threads that step; 0 for one per core. Results do not depend on it."""

    def __post_init__(self):
        task_of(self.id, self.healthy_z, self.healthy_angle)

    @property
    def simulator(self) -> Simulator:
        """The physics; HeadstartError if a package is missing, or if the body has no such actuators or numbers."""
        return _simulator(self)

    @property
    def spec(self) -> TeamSpec:
        """One agent, with a field for each joint's position, each joint's velocity, .., and a number for each actuator."""
        body = self.simulator
        fields = tuple(Field(name, 1, size, own=True) for name, size in body.fields)
        return TeamSpec({ROLE: RoleSpec(1, fields, body.actions, (AGENT,))}, self.horizon, body.observed)

    def reset(self, key: Array) -> tuple[BodyState, TimeStep]:
        """A fresh episode: the initial posture and noise. The key is consumed."""
        shapes = (self._shapes().state, self._shapes().obs)
        state, obs = jax.pure_callback(self._begin, shapes, _seed(key), vmap_method="broadcast_all")
        return state, self.begun(obs)

    def begun(self, obs: Float[Array, " O"]) -> TimeStep:
        """The time step of a reset."""
        no = jnp.zeros((), bool)
        return _time_step(obs, obs, jnp.zeros(()), no, no)

    def step(self, state: BodyState, action: dict[str, Array], key: Array) -> tuple[BodyState, TimeStep]:
        """One step. An episode that has ended rests: its state stays, and so does `terminated`."""
        told = self._ask(self._step, state, action)
        return told.state, _time_step(told.obs, told.final_obs, told.reward, told.fell, told.late)

    def vectorised(self, num_envs: int) -> VectorEnv:
        """`num_envs` environments that restart themselves, in the host's one call of a step."""
        split = lambda key: jr.split(key, num_envs)
        reset, step = jax.vmap(self.reset), jax.vmap(self._step_on)
        return VectorEnv(
            self.spec, num_envs, lambda key: reset(split(key)), lambda state, action, key: step(state, action, split(key))
        )

    def _step_on(self, state: BodyState, action: dict[str, Array], key: Array) -> tuple[BodyState, TimeStep]:
        told = self._ask(self._step_and_restart, state, action, _seed(key))
        return told.state, _time_step(told.obs, told.final_obs, told.reward, told.fell, told.late)

    def _ask(self, host: Any, state: BodyState, action: dict[str, Array], *seed: Array) -> Told:
        # Every mapped axis, of environments and of lanes, becomes a leading axis of one call, with one array each way.
        asked = (state, action[ROLE][0].astype(jnp.float32), *seed)
        sent, told = Words(jax.eval_shape(lambda: asked)), Words(self._shapes())
        call = lambda words: told.host_pack(host(*sent.host_unpack(np.asarray(words))), words.shape[:-1])
        return told.unpack(jax.pure_callback(call, told.shape, sent.pack(asked), vmap_method="broadcast_all"))

    def _shapes(self) -> Told:
        shape, body = jax.ShapeDtypeStruct, self.simulator
        obs, number, flag = shape((body.observed,), jnp.float32), shape((), jnp.float32), shape((), bool)
        state = BodyState(shape((2 * body.size,), jnp.uint32), shape((), jnp.int32), flag)
        return Told(state, obs, obs, number, flag, flag)

    # ------------------------------------------------------------------ on the host: NumPy, with any leading axes

    def _begin(self, seed: Any) -> tuple[BodyState, np.ndarray]:
        seed = np.asarray(seed)
        lead = seed.shape[:-1]
        rows, obs = self.simulator.begin(seed.reshape(-1, 2))
        return _state(rows, lead), obs.reshape((*lead, -1))

    def _step(self, state: BodyState, action: np.ndarray) -> Told:
        return self._stepped(state, action, None)

    def _step_and_restart(self, state: BodyState, action: np.ndarray, seed: np.ndarray) -> Told:
        return self._stepped(state, action, seed)

    def _stepped(self, state: BodyState, action: np.ndarray, seed: np.ndarray | None) -> Told:
        physics, time, over = state
        body, lead = self.simulator, time.shape
        rows = physics.reshape(-1, physics.shape[-1]).view(np.float64)
        out = body.step(rows, action.reshape(len(rows), -1), over.reshape(-1))
        time = time.reshape(-1) + ~over.reshape(-1)
        late = ~out.fell & (time >= self.horizon)
        ended, rows, obs = out.fell | late, out.rows, out.obs
        if seed is not None and ended.any():
            rows, obs, time = rows.copy(), obs.copy(), np.where(ended, 0, time)
            rows[ended], obs[ended] = body.begin(seed.reshape(-1, 2)[ended])
        after = _state(rows, lead, time, None if seed is not None else ended)
        each = lambda x: x.reshape((*lead, *x.shape[1:]))
        return Told(after, each(obs), each(out.obs), each(out.reward), each(out.fell), each(late))

    # ------------------------------------------------------------------ pictures

    @property
    def entities(self) -> list[dict[str, Any]]:
        """Marks on the ground, and the body as a row of circles along each of its capsules."""
        return picture.entities(self.simulator)

    def scene(self, state: BodyState) -> Scene:
        """The body from its right side, with the torso in the middle."""
        count = len(self.entities)
        shape = jax.ShapeDtypeStruct((count, 2), jnp.float32)
        place = jax.pure_callback(self._places, shape, state.physics, vmap_method="broadcast_all")
        return Scene(place, jnp.full(count, -1, jnp.int32), jnp.zeros(count, jnp.int32))

    def _places(self, physics: Any) -> np.ndarray:
        physics = np.asarray(physics)
        places = picture.places(self.simulator, physics.reshape(-1, physics.shape[-1]).view(np.float64))
        return places.reshape((*physics.shape[:-1], *places.shape[1:]))


@functools.cache
def _simulator(env: MuJoCo) -> Simulator:
    task = task_of(env.id, env.healthy_z, env.healthy_angle)
    return Simulator(task, env.observed, env.actuators, env.threads)


def _seed(key: Array) -> UInt[Array, "2"]:
    return jr.bits(key, (2,), jnp.uint32)


def _state(rows: np.ndarray, lead: tuple[int, ...], time: Any = None, over: Any = None) -> BodyState:
    """The host's rows [n D] as a state with its leading axes; at its beginning, unless it is told otherwise."""
    physics = np.ascontiguousarray(rows).view(np.uint32).reshape((*lead, -1))
    steps = np.zeros(lead, np.int32) if time is None else time.astype(np.int32).reshape(lead)
    return BodyState(physics, steps, np.zeros(lead, bool) if over is None else over.reshape(lead))


def _time_step(obs: Array, final_obs: Array, reward: Array, fell: Array, late: Array) -> TimeStep:
    return TimeStep(
        obs={ROLE: obs[None]},
        final_obs={ROLE: final_obs[None]},
        state=obs,
        final_state=final_obs,
        reward={ROLE: reward[None]},
        terminated=fell,
        truncated=late,
        alive={ROLE: jnp.ones(1, bool)},
        events={"success": late.astype(jnp.float32)},
    )


PRESETS = {"mujoco": MuJoCo()}
"""`mujoco:ID` on the command line; without an id, Walker2d-v3."""
