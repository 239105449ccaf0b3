"""An environment whose team is one agent, for controllers that see and move all agents.

headstart train centralized:navigation --learner ddpg --out runs/expert
"""

from dataclasses import field
from typing import Generic, TypeVar

import jax.numpy as jnp
from jaxtyping import Array

from headstart.core.env import Env
from headstart.core.part import part
from headstart.core.types import TeamSpec, TimeStep
from headstart.envs.particle.spread import Spread
from headstart.envs.wrapper import Wrapper
from headstart.views.central import TEAM, Actions, View, view

Inner = TypeVar("Inner")


@part("env")
class Centralized(Wrapper, Generic[Inner]):
    """Any environment with its team as one agent that sees and moves all agents: centralized:ENV.

    Its reward is the team's, the mean over all agents.
    """

    env: Inner = field(default_factory=Spread)  # pyright: ignore[reportAssignmentType]
    """The environment."""
    actions: Actions = "heads"
    """One head for each agent; one choice among all joint actions; or one agent's move while the others do nothing."""

    @property
    def view(self) -> View:
        """The view that translates between the team and the one agent."""
        return view(self.inner.spec, self.actions)

    @property
    def spec(self) -> TeamSpec:
        """One role, `team`, with one agent."""
        return self.view.spec

    def sent(self, action: dict[str, Array]) -> dict[str, Array]:
        """The one agent's action as each agent's action."""
        return self.view.act(action)

    def shown(self, step: TimeStep) -> TimeStep:
        """The time step of the one agent: all agents' observations and the team's reward."""
        seen = self.view
        reward = jnp.concatenate(list(step.reward.values()), -1).mean(-1, keepdims=True)
        return TimeStep(
            obs=seen.observe(step.obs),
            final_obs=seen.observe(step.final_obs),
            state=step.state,
            final_state=step.final_state,
            reward={TEAM: reward},
            terminated=step.terminated,
            truncated=step.truncated,
            alive={TEAM: jnp.ones_like(reward, bool)},
            available=seen.available(step.available),
            final_available=seen.available(step.final_available),
            events=step.events,
        )


def centralized(env: Env, actions: Actions = "heads") -> Centralized:
    """`env` with its team as one agent; see `Centralized`. Raises HeadstartError if there are too many joint actions."""
    view(env.spec, actions)
    return Centralized(env, actions)


PRESETS = {"centralized": Centralized()}
"""`centralized:ENV` on the command line; without ENV, cooperative navigation."""
