"""A team seen as one agent: the observations and actions of a centralised controller, and each agent's share of them.

Lin et al. 2019 (CESMA), §4.2. The controller observes the observations of all agents side by side, and moves all of them. It
has no use for messages: message fields are not observed and message heads stay silent.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from headstart.core.checks import HeadstartError
from headstart.core.spec import Continuous, Discrete, Field, RoleSpec, TeamSpec, idle
from headstart.views.meaning import sizes_of, translations

Actions = Literal["heads", "joint", "one_at_a_time"]
TEAM = "team"
LARGEST_JOINT = 4096
"""Largest number of joint actions for one head; their number is the product over all agents' heads."""


class View(NamedTuple):
    """The team of `team` as one agent; make it with `view`."""

    team: TeamSpec
    actions: Actions
    spec: TeamSpec
    """One role, "team", with one agent."""

    def observe(self, obs: dict[str, Array]) -> dict[str, Array]:
        """{role: [*n A O]} -> {"team": [*n 1 J]}: every agent's fields but messages, in the order of `spec`."""
        blocks = []
        for role, role_spec in self.team.roles.items():
            cuts = np.cumsum([field.width for field in role_spec.obs])[:-1].tolist()
            kept = [
                block
                for field, block in zip(role_spec.obs, jnp.split(obs[role], cuts, -1), strict=True)
                if not _is_message(self.team, role, field)
            ]
            if kept:  # an agent may observe nothing but messages
                seen = jnp.concatenate(kept, -1)
                blocks.append(seen.reshape(*seen.shape[:-2], 1, -1))
        return {TEAM: jnp.concatenate(blocks, -1)}

    def act(self, action: dict[str, Array]) -> dict[str, Array]:
        """{"team": [*n 1 U]} -> {role: [*n A U]}: each agent's action; message heads get zeros (silence).

        Soft vectors are allowed: an agent gets its marginal of `joint` actions. In `one_at_a_time`, the weight of all
        choices that are not an agent's own goes to its option that does nothing (see `spec.idle`).
        """
        vector = action[TEAM][..., 0, :]
        if self.actions == "joint":
            vector = vector @ jnp.asarray(_decoding(self.team))
        out, at = {}, 0
        for role, role_spec in self.team.roles.items():
            rows = []
            for _ in range(role_spec.agents):
                row = []
                for head, (size, physical) in enumerate(self.team.heads(role)):
                    if not physical:
                        row.append(jnp.zeros((*vector.shape[:-1], size), vector.dtype))
                        continue
                    block = vector[..., at : at + size]
                    at += size
                    if self.actions == "one_at_a_time":
                        rest, k = 1.0 - block.sum(-1, keepdims=True), _idle(role_spec, head)
                        block = jnp.concatenate([block[..., :k], block[..., k : k + 1] + rest, block[..., k + 1 :]], -1)
                    row.append(block)
                rows.append(jnp.concatenate(row, -1))
            out[role] = jnp.stack(rows, -2)
        return out

    def available(self, legal: dict[str, Array] | None) -> dict[str, Array] | None:
        """{role: [*n A U]} of every agent -> {"team": [*n 1 U]}; None stays None."""
        if legal is None:
            return None
        parts = []
        for role, role_spec in self.team.roles.items():
            for agent in range(role_spec.agents):
                at = 0
                for size, physical in self.team.heads(role):
                    if physical:
                        parts.append(legal[role][..., agent, at : at + size])
                    at += size
        whole = jnp.concatenate(parts, -1)
        if self.actions == "joint":  # legal if the choice of every head is legal
            whole = ~((~whole).astype(jnp.float32) @ jnp.asarray(_decoding(self.team).T) > 0)
        return {TEAM: whole[..., None, :]}


def view(team: TeamSpec, actions: Actions = "heads") -> View:
    """`team` as one agent that acts by

    heads          one head for each head of each agent: outputs grow linearly with the team
    joint          one choice among all combinations: outputs grow exponentially
    one_at_a_time  one choice of one agent, while all others do nothing

    Raises HeadstartError if there are too many joint actions, or if kinds of actions do not fit.
    """
    fields, sizes, continuous, meant = [], [], set(), []
    for role, names in team.names.items():
        role_spec = team.roles[role]
        continuous.add(isinstance(role_spec.actions, Continuous))
        for name in names:
            kept = [f for f in role_spec.obs if not _is_message(team, role, f)]
            fields += [f._replace(name=f"{name}/{f.name}", follows=f.follows and f"{name}/{f.follows}") for f in kept]
            sizes += [size for size, physical in team.heads(role) if physical]
            meant += [
                (name, words) for words, (_, physical) in zip(_words(role_spec), team.heads(role), strict=True) if physical
            ]
    if len(continuous) > 1:
        raise HeadstartError("a team of which some act by choices and some by numbers cannot be seen as one agent")
    if True in continuous:
        if actions != "heads":
            raise HeadstartError(f"continuous actions can only be centralised as heads, not as {actions}")
        space = _numbers(team, meant)
    elif actions == "heads":
        space = Discrete(tuple(sizes), options=tuple(words for _, words in meant) if any(words for _, words in meant) else ())
    elif actions == "one_at_a_time":
        space = Discrete((sum(sizes),), options=_one_head([f"{name} {word}" for name, words in meant for word in words], meant))
    else:
        joint = int(np.prod(sizes, dtype=object))
        if joint > LARGEST_JOINT:
            advice = "choose actions heads or one_at_a_time"
            raise HeadstartError(f"{len(sizes)} heads have {joint:,} joint actions, more than {LARGEST_JOINT:,}: {advice}")
        space = Discrete((joint,), options=_one_head(map(" ".join, itertools.product(*(words for _, words in meant))), meant))
    spec = TeamSpec({TEAM: RoleSpec(1, tuple(fields), space)}, team.horizon, team.state_size)
    return View(team, actions, spec)


def _idle(role: RoleSpec, head: int) -> int:
    return idle(role.actions, head) if isinstance(role.actions, Discrete) else 0


def _words(role: RoleSpec) -> Sequence[tuple[str, ...]]:
    """The names of each head's options (or of the numbers, which are one head); () for a head without names."""
    if isinstance(role.actions, Continuous):
        return [role.actions.names]
    return role.actions.options or [()] * len(role.actions.heads)


def _one_head(options: Iterable[str], meant: list[tuple[str, tuple[str, ...]]]) -> tuple[tuple[str, ...], ...]:
    """The names of one head's options that are made of the names of all; () if some have none."""
    return (tuple(options),) if all(words for _, words in meant) else ()


def _numbers(team: TeamSpec, meant: list[tuple[str, tuple[str, ...]]]) -> Continuous:
    """All agents' numbers side by side; with their bounds if they have names, to translate them by."""
    spaces = [role.actions for role in team.roles.values() for _ in range(role.agents) if isinstance(role.actions, Continuous)]
    size = sum(space.size for space in spaces)
    if not all(words for _, words in meant):
        return Continuous(size)
    signed = lambda name, word: f"-{name} {word[1:]}" if word.startswith("-") else f"{name} {word}"
    names = tuple(signed(name, word) for name, words in meant for word in words)
    joined = lambda values: tuple(itertools.chain.from_iterable(values))
    bounded, measured = any(space.low for space in spaces), any(space.units for space in spaces)
    low = joined(space.low or (-1.0,) * space.size for space in spaces) if bounded else ()
    high = joined(space.high or (1.0,) * space.size for space in spaces) if bounded else ()
    return Continuous(size, low, high, names, joined(s.units or ("",) * s.size for s in spaces) if measured else ())


def view_of(team: TeamSpec, controller: TeamSpec, actions: Actions | None = None) -> View | None:
    """The view of `team` in which a controller of that spec acts and observes, if there is one; its actions may have to be
    translated by name.

    Two views may have equal sizes (two agents with two options each): `actions` picks one, if it is known.
    """
    kinds: tuple[Actions, ...] = ("heads", "joint", "one_at_a_time") if actions is None else (actions,)
    for actions in kinds:
        try:
            seen = view(team, actions)
        except HeadstartError:
            continue
        if _alike(seen.spec.roles, controller.roles):
            return seen
    return None


def _alike(ours: dict[str, RoleSpec], theirs: dict[str, RoleSpec]) -> bool:
    """Whether both are the same roles, up to actions that can be translated."""
    size = lambda roles: {name: role._replace(actions=sizes_of(role.actions)) for name, role in roles.items()}
    if size(ours) != size(theirs):
        return False
    try:
        translations(theirs, ours, [(name, name) for name in ours])
    except HeadstartError:
        return False
    return True


def _is_message(team: TeamSpec, role: str, field: Field) -> bool:
    return any(route.listener == role and route.field == field.name for route in team.messages)


def _decoding(team: TeamSpec) -> np.ndarray:
    """[J ΣU]: for each joint action the one-hot choices of all heads side by side."""
    sizes = [
        size
        for role, role_spec in team.roles.items()
        for _ in range(role_spec.agents)
        for size, moves in team.heads(role)
        if moves
    ]
    eyes = [np.eye(size, dtype=np.float32) for size in sizes]
    return np.stack([np.concatenate([eye[i] for eye, i in zip(eyes, combination, strict=True)]) for combination in
                     itertools.product(*(range(size) for size in sizes))])  # fmt: skip
