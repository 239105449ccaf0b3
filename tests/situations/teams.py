"""Small environments and untrained teams for the situations."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from gymnasium import spaces as gym
from toy_envs import Toy, box

import headstart as hs
from headstart.core.spec import Continuous, Discrete, Field, RoleSpec, TeamSpec
from headstart.envs.host import layout
from headstart.envs.host.roles import Naming
from headstart.envs.host.team import HostTeam
from headstart.teams.policy import TeamPolicy

TINY = hs.DDPG(hidden=(8,), num_envs=2, train_every=2, batch=2, warmup=2, capacity=16)
OPENAI, MPE2 = hs.Spread(agents=2, horizon=5, semantics="openai"), hs.Spread(agents=2, horizon=5)


class Pair(Toy):
    """Two agents that see one number and have three options; what they are sent is written down."""

    spaces_of = {name: (box(1), gym.Discrete(3)) for name in ("agent_0", "agent_1")}

    def begin(self, seed):
        self.sent = []

    def look(self, agent):
        return np.float32([0.5])

    def move(self, agent, action):
        self.sent.append((self.time, agent, action))
        return 1.0


def opened(kind=Pair, limit=0, roles=(), fields=(), **changes) -> HostTeam:
    """A team of an environment, some of whose attributes are changed, as a worker opens it."""
    return HostTeam(type(kind.__name__, (kind,), changes)(), limit, kind.__name__, Naming(roles, fields))


def played(team: HostTeam, choose: Any = None) -> layout.Shown:
    """An episode by one action vector (zeros): what each step shows."""
    size = layout.actions(team.spec)
    action = np.zeros(size, np.float32) if choose is None else np.resize(np.float32(choose), size)
    rows = [team.reset(0)]
    while not team.over:
        rows.append(team.step(action))
    return layout.unpack(team.spec, np.stack(rows))


def spec_of(actions: Discrete | Continuous, agents: int = 2, names: tuple[str, ...] = (), size: int = 4) -> TeamSpec:
    """One role."""
    return TeamSpec({"agent": RoleSpec(agents, (Field("numbers", 1, size),), actions, names)}, 5, agents * size)


def team(spec: TeamSpec, config: Any = TINY, env: Any = None) -> TeamPolicy:
    """An untrained team of one seed, whose agents differ and whose logits are far apart."""
    params = jax.vmap(config.make(spec).init)(jr.split(jr.key(7), 1))
    return TeamPolicy(spec, config, jax.tree.map(lambda x: 3 * x + 0.3 * jr.normal(jr.key(5), x.shape), params), (0,), env)


def seen(spec: TeamSpec) -> dict[str, jax.Array]:
    """Some observations [16 A O]."""
    return {name: jr.normal(jr.key(8), (16, role.agents, role.obs_size)) for name, role in spec.roles.items()}


def words(spec: TeamSpec, logits: Any) -> list[str]:
    """The names of the chosen options of the first head, for each observation and agent of the role "agent"."""
    names = spec.roles["agent"].actions.options[0]  # pyright: ignore
    return [names[i] for i in np.asarray(logits["agent"])[..., : len(names)].argmax(-1).ravel()]


def said(policy: Any, params: Any, spec: TeamSpec, obs: Any = None) -> list[str]:
    """What a policy chooses, in words."""
    return words(spec, policy(params, (), seen(spec) if obs is None else obs)[1])


def hot(place: int, size: int) -> np.ndarray:
    """A choice as a vector."""
    return np.asarray(jnp.eye(size)[place])
