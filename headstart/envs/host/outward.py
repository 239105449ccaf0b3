"""Headstart environments as PettingZoo environments."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.env import Env
from headstart.core.spec import ActionSpace, Continuous


def outward(env: Env) -> Any:
    """`env` as a `ParallelEnv`; see `to_pettingzoo`."""
    from gymnasium import spaces
    from pettingzoo import ParallelEnv

    spec = env.spec
    homes = {name: (role, i) for role, names in spec.names.items() for i, name in enumerate(names)}

    class Outward(ParallelEnv):
        """A headstart environment."""

        metadata = {"name": f"headstart_{type(env).__name__.lower()}", "render_modes": []}

        def __init__(self):
            box = lambda size: spaces.Box(-np.inf, np.inf, (size,), np.float32)
            self.possible_agents, self.agents = list(homes), []
            self.observation_spaces = {name: box(spec.roles[role].obs_size) for name, (role, _) in homes.items()}
            self.action_spaces = {name: _space(spaces, spec.roles[role].actions) for name, (role, _) in homes.items()}
            self.max_cycles = spec.horizon
            self.key: Any = None
            self._reset, self._step = jax.jit(env.reset), jax.jit(env.step)

        def observation_space(self, agent):
            """The Box of the agent's observation."""
            return self.observation_spaces[agent]

        def action_space(self, agent):
            """The agent's action space."""
            return self.action_spaces[agent]

        def action_meanings(self, agent):
            """The names of an agent's options, head by head, or of its numbers; empty if they have none."""
            space = spec.roles[homes[agent][0]].actions
            return space.names if isinstance(space, Continuous) else space.options

        def reset(self, seed=None, options=None):
            """A fresh episode; without a seed, the next one in the sequence of the last seed or of a random one."""
            if seed is not None or self.key is None:
                self.key = jr.key(int(np.random.default_rng(seed).integers(2**31)))
            self.key, key = jr.split(self.key)
            self.inner, now = self._reset(key)
            self.agents = list(homes)
            self._state = np.asarray(now.state)
            return self._seen(now.obs), self._infos(now)

        def step(self, actions):
            """One joint step of the agents in `agents`."""
            self.key, key = jr.split(self.key)
            vectors = {role: np.zeros((s.agents, s.actions.size), np.float32) for role, s in spec.roles.items()}
            for name in self.agents:
                role, i = homes[name]
                vectors[role][i] = _vector(spec.roles[role].actions, actions[name], name)
            self.inner, now = self._step(self.inner, {r: jnp.asarray(x) for r, x in vectors.items()}, key)
            self._state = np.asarray(now.final_state)
            of = lambda values, name: np.asarray(values[homes[name][0]])[homes[name][1]]
            over, cut = bool(now.terminated), bool(now.truncated)
            dead = {n: not of(now.alive, n) for n in self.agents}
            gone = {n: now.agent_terminated is not None and bool(of(now.agent_terminated, n)) for n in self.agents}
            result = (
                self._seen(now.final_obs),
                {n: float(of(now.reward, n)) for n in self.agents},
                {n: over or gone[n] or (dead[n] and not cut) for n in self.agents},
                {n: cut and not gone[n] for n in self.agents},
                self._infos(now),
            )
            self.agents = [] if over or cut else [n for n in self.agents if not (dead[n] or gone[n])]
            return result

        def state(self):
            """The global state."""
            return self._state

        def _seen(self, obs):
            obs = {role: np.asarray(x, np.float32) for role, x in obs.items()}
            return {name: obs[homes[name][0]][homes[name][1]] for name in self.agents}

        def _infos(self, now):
            masks = now.available
            legal = lambda name: {"action_mask": np.asarray(masks[homes[name][0]][homes[name][1]], np.int8)} if masks else {}
            return {name: legal(name) for name in self.agents}

    return Outward()


def _space(spaces: Any, space: ActionSpace) -> Any:
    if isinstance(space, Continuous):
        low, high = space.low or (-1.0,) * space.size, space.high or (1.0,) * space.size
        return spaces.Box(np.asarray(low, np.float32), np.asarray(high, np.float32))
    starts = space.start or (0,) * len(space.heads)
    if len(space.heads) == 1:
        return spaces.Discrete(space.heads[0], start=starts[0])
    return spaces.MultiDiscrete(space.heads, start=starts)


def _vector(space: ActionSpace, action: Any, name: str) -> np.ndarray:
    """A PettingZoo action as an action vector [U]."""
    if isinstance(space, Continuous):
        return space.vector(np.asarray(action, np.float32).reshape(space.size))
    try:
        return space.vector(np.atleast_1d(action))
    except ValueError:
        raise HeadstartError(f"the action of {name} must be a choice of each of {space.heads}, not {action}") from None
