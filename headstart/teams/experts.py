"""A team or a centralised controller as the expert of a student team: greedy moves on the students' own observations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from headstart.core import actions
from headstart.core.checks import HeadstartError
from headstart.core.types import TeamSpec
from headstart.envs.centralized import Centralized
from headstart.teams.fit import check_teacher
from headstart.views.central import View, view_of
from headstart.views.meaning import Translations, tell, translations


class Expert(NamedTuple):
    """An expert's pure functions."""

    start: Callable[[int], Any]
    """number of environments -> carry at an episode's start; () if it is not recurrent."""
    step: Callable[..., tuple[Any, dict[str, Array]]]
    """params, carry, obs {role: [*n A O]}, available -> carry, {role: [*n A U]}: its greedy legal actions, zeros on message
    heads."""


def expert_of(teacher: Any, spec: TeamSpec) -> Expert:
    """The teacher as an expert for a team: a controller of the whole team, or a team with its roles.

    A line on stderr says which of its actions are translated. Raises HeadstartError if it is neither.
    """
    check_teacher(teacher)
    if (seen := controlled(teacher, spec)) is not None:
        found = _found(teacher, seen.spec)
        tell(found, "the teacher's")
        return controller(teacher, seen, found)
    roles = teacher.spec.roles
    outside = {name: role._replace(actions=None) for name, role in roles.items()}
    if outside != {name: role._replace(actions=None) for name, role in spec.roles.items()}:
        if roles.keys() == spec.roles.keys():
            sizes, ours = teacher.spec.sizes, spec.sizes
            other = f"has {sizes} and the team {ours}" if sizes != ours else "observes other fields"
            raise HeadstartError(f"the teacher {other}: knowru (Distill) fits it to the team, or train one of this size")
        raise HeadstartError(
            f"the teacher ({', '.join(roles)}) neither is a controller of this team nor has its roles: train one on "
            "centralized:ENV with the same environment settings"
        )
    found = _found(teacher, spec)
    tell(found, "the teacher's")
    ask = _asked(teacher, spec, found)

    def peer(params, carry, obs, available):
        carry, action = ask(params, carry, obs, available)
        return carry, {role: silenced(spec, role, x) for role, x in action.items()}

    return Expert(teacher.learner.start, peer)


def controlled(teacher: Any, spec: TeamSpec) -> View | None:
    """The view in which the teacher is a controller of the whole team, if there is one."""
    env = getattr(teacher, "env", None)
    return view_of(spec, teacher.spec, env.actions if isinstance(env, Centralized) else None)


def controller(teacher: Any, seen: View, found: Translations | None = None) -> Expert:
    """The expert that observes and moves the team in a view."""
    ask = _asked(teacher, seen.spec, _found(teacher, seen.spec) if found is None else found)

    def step(params, carry, obs, available):
        carry, action = ask(params, carry, seen.observe(obs), seen.available(available))
        return carry, seen.act(action)

    return Expert(teacher.learner.start, step)


def _found(teacher: Any, spec: TeamSpec) -> Translations:
    return translations(teacher.spec.roles, spec.roles, [(role, role) for role in spec.roles])


def _asked(teacher: Any, spec: TeamSpec, found: Translations) -> Callable[..., tuple[Any, dict[str, Array]]]:
    def ask(params, carry, obs, available):
        carry, logits = teacher.learner.policy(params, carry, obs)
        logits = {role: found[role](x) for role, x in logits.items()}
        legal = {role: actions.legal(x, available and available[role]) for role, x in logits.items()}
        return carry, {role: actions.greedy(spec.roles[role].actions, x) for role, x in legal.items()}

    return ask


def silenced(spec: TeamSpec, role: str, action: Array) -> Array:
    """A role's actions with zeros on its message heads."""
    silent = jnp.concatenate([jnp.full(size, float(moves)) for size, moves in spec.heads(role)])
    return action * jnp.broadcast_to(silent, action.shape)
