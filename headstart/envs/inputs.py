"""What an agent did last and which agent it is, as further fields of its observation: no learner knows of either.

headstart train inputs:spread --env.agent-id --env.last-action
"""

import dataclasses
from dataclasses import field
from typing import Any, Generic, TypeVar

import jax.numpy as jnp
from jaxtyping import Array

from headstart.core.checks import HeadstartError
from headstart.core.part import part
from headstart.core.types import Field, TeamSpec, TimeStep
from headstart.envs.particle.spread import Spread
from headstart.envs.wrapper import Wrapper

Inner = TypeVar("Inner")
Obs = dict[str, Array]


@part("env")
class Inputs(Wrapper, Generic[Inner]):
    """Any environment with more to observe: inputs:ENV.

    Agents that share a network can differ only in what they observe: `agent_id` lets them. A team that observes it fits teams
    of its own size only.
    """

    env: Inner = field(default_factory=Spread)  # pyright: ignore[reportAssignmentType]
    """The environment."""
    agent_id: bool = True
    """The agent's place in its role, a one-hot vector: the field `agent_id`."""
    last_action: bool = False
    """The agent's last action, zeros as an episode begins: the field `last_action`."""

    @property
    def spec(self) -> TeamSpec:
        """The wrapped team's spec with the fields `agent_id` and `last_action` at the end of each observation.

        Raises HeadstartError if the environment has a field of such a name.
        """
        inner, roles = self.inner.spec, {}
        for name, role in inner.roles.items():
            sizes = {"agent_id": self.agent_id * role.agents, "last_action": self.last_action * role.actions.size}
            more = tuple(Field(extra, 1, size, own=True) for extra, size in sizes.items() if size)
            if taken := {f.name for f in role.obs} & {f.name for f in more}:
                raise HeadstartError(f"agents of role '{name}' observe a field '{min(taken)}' already")
            roles[name] = role._replace(obs=(*role.obs, *more))
        return inner._replace(roles=roles)

    def shown(self, step: TimeStep) -> TimeStep:
        """The time step of a reset."""
        none = {name: jnp.zeros((*x.shape[:-1], self.inner.spec.roles[name].actions.size)) for name, x in step.obs.items()}
        return dataclasses.replace(step, obs=self._with(step.obs, none), final_obs=self._with(step.final_obs, none))

    def sent(self, action: dict[str, Array]) -> dict[str, Array]:
        """The action itself."""
        return action

    def shown_after(self, step: TimeStep, action: dict[str, Array]) -> TimeStep:
        """The time step with the action as the last one, but in `obs` none if an episode ended."""
        ended = (step.terminated | step.truncated)[..., None, None]
        last = {name: jnp.where(ended, 0.0, x) for name, x in action.items()}
        return dataclasses.replace(step, obs=self._with(step.obs, last), final_obs=self._with(step.final_obs, action))

    def _with(self, obs: Obs, last: Obs) -> Obs:
        """{role: [*n A O]} with the further fields of each agent."""

        def beside(name: str, x: Array) -> Array:
            own = jnp.broadcast_to(jnp.eye(x.shape[-2]), (*x.shape[:-1], x.shape[-2]))
            more = [own] * self.agent_id + [last[name]] * self.last_action
            return jnp.concatenate([x, *more], -1)

        return {name: beside(name, x) for name, x in obs.items()}


def inputs(env: Any, agent_id: bool = True, last_action: bool = False) -> Inputs:
    """`env` with an agent's place in its role, its last action, or both among what it observes; see `Inputs`."""
    out = Inputs(env, agent_id, last_action)
    _ = out.spec  # refuses a name that is taken
    return out


PRESETS = {"inputs": Inputs()}
"""`inputs:ENV` on the command line; without ENV, spread."""
