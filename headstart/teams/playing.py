"""A team in an environment in which it can play: the same agents, its actions translated."""

from headstart.core.checks import HeadstartError
from headstart.core.env import Env
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
        raise HeadstartError("a team that was fitted to other agents has greedy actions only: leave --sample out")
    team = team.seated(env.spec)
    return team, team.learner_in(env.spec)


def _sizes(spec: TeamSpec) -> str:
    return ", ".join(f"{r.agents} × {name} observing {r.obs_size} numbers" for name, r in spec.roles.items())
