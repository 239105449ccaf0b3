"""A team in an environment in which it can play: the same agents, its actions translated; and teams mixed agent by agent."""

from collections.abc import Sequence

import jax.numpy as jnp
import jax.random as jr

from headstart.core.checks import HeadstartError, require
from headstart.core.env import Env
from headstart.core.episodes import Actor
from headstart.core.learner import Learner
from headstart.core.types import TeamSpec
from headstart.teams.policy import TeamPolicy


def in_env(team: TeamPolicy, env: Env, sample: bool = False) -> tuple[TeamPolicy, Learner]:
    """The team with its agents in the order of an environment, and its learner with actions in the environment's terms.

    A line on stderr says which actions are translated. Raises HeadstartError if the team does not fit the environment, and
    for samples of a team that was fitted by `adapt`.
    """
    if isinstance(env, type) or not isinstance(env, Env):
        raise HeadstartError(f"env must be an environment, e.g. headstart.Spread(), not {env!r}")
    if not team.same_sizes(env.spec):
        sizes = f"{_sizes(team.spec)} and this environment has {_sizes(env.spec)}"
        raise HeadstartError(f"the team was trained for {sizes}: fit it by --adapt, or team.adapt(env.spec) in Python")
    if sample and team.trained is not None:
        raise HeadstartError(
            "a team that was fitted to other agents has greedy actions only: leave --sample out, or record with --greedy"
        )
    team = team.seated(env.spec)
    return team, team.learner_in(env.spec)


def mixed(spec: TeamSpec, actors: Sequence[Actor]) -> Actor:
    """A team whose agent k acts as agent k of the k-th actor does; agents are counted through all roles, in their order.

    Raises HeadstartError unless there is an actor for each agent.
    """
    agents = sum(role.agents for role in spec.roles.values())
    require(len(actors) == agents, "the number of seeds", len(actors), f"1, or that of the agents, {agents}")

    def act(carry, step, key):
        keys = jr.split(key, len(actors))
        acted = [actor.act(own, step, k) for actor, own, k in zip(actors, carry, keys, strict=True)]
        action, each = {}, iter(acted)
        for name, role in spec.roles.items():
            action[name] = jnp.stack([next(each)[1][name][:, i] for i in range(role.agents)], 1)
        return tuple(own for own, _ in acted), action

    return Actor(lambda count: tuple(actor.start(count) for actor in actors), act)


def _sizes(spec: TeamSpec) -> str:
    return ", ".join(f"{r.agents} × {name} observing {r.obs_size} numbers" for name, r in spec.roles.items())
