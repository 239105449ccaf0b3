"""Fit a team to another task or team size: observations by field name, agents by pairing, actions by name."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from headstart.core.checks import HeadstartError, notice
from headstart.core.networks import RoleNet
from headstart.core.ranges import Select
from headstart.core.types import Field, TeamSpec
from headstart.views.meaning import translations


def adapt(
    obs: Float[Array, "*n O"],
    from_fields: tuple[Field, ...],
    to_fields: tuple[Field, ...],
    select: Select = "nearest",
    numbered: Collection[str] = (),
) -> Float[Array, "*n P"]:
    """An observation of one task as an observation of another, field by field.

    A field of the same count is copied. A larger one keeps its `count` nearest entities, nearest first (or simply the first
    ones); a smaller or missing one is filled up with zeros. Entities are ranked by the norm of their first two numbers; a
    field that `follows` another takes that field's ranks. Entities of zeros, such as units out of sight, come last if more than
    their position is known. Fields in `numbered`, and those of the same entities, always keep their first ones, in their order:
    actions may choose them by their numbers (`Discrete.aims`). Kinds (`Field.kinds`) are paired as agents are: kind j of many
    is kind j mod k of few, and few are filled up with kinds that never occur. Raises HeadstartError if entities of one name
    differ in size otherwise.
    """
    if from_fields == to_fields:
        return obs
    have, first = _entities(obs, from_fields), _leaders(from_fields, numbered)
    blocks = []
    for want in to_fields:
        field, entities = have.get(want.name, (want, jnp.zeros((*obs.shape[:-1], want.count, want.size), obs.dtype)))
        if field.count > want.count:
            kept = entities[..., : want.count, :]
            if select == "nearest" and not first & _leaders(from_fields, [field.name]):
                kept = jnp.take_along_axis(entities, _nearest(have, field)[..., : want.count, None], -2)
            entities = kept
        if field.size != want.size:
            entities = _with_kinds(entities, field, want)
        missing = want.count - entities.shape[-2]
        padding = [(0, 0)] * (entities.ndim - 2) + [(0, max(missing, 0)), (0, 0)]
        blocks.append(jnp.pad(entities, padding).reshape(*obs.shape[:-1], want.width))
    return jnp.concatenate(blocks, -1)


def describe_adaptation(
    role: str,
    from_fields: tuple[Field, ...],
    to_fields: tuple[Field, ...],
    select: Select = "nearest",
    numbered: Collection[str] = (),
) -> list[str]:
    """The changes that `adapt` makes to each field, in words; HeadstartError if the tasks have no field in common."""
    have, lines, first = {field.name: field for field in from_fields}, [], _leaders(from_fields, numbered)
    if not have.keys() & {field.name for field in to_fields}:
        here, there = (", ".join(field.name for field in fields) for fields in (from_fields, to_fields))
        raise HeadstartError(f"role '{role}' would see nothing: it observes {here} here and {there} there, no field in common")
    for want in to_fields:
        count = have[want.name].count if want.name in have else 0
        few = f"filled up with zeros to {want.count}" if count else f"all zeros ({want.width} numbers)"
        which = "first" if select == "first" or first & _leaders(from_fields, [want.name]) else "nearest"
        if count != want.count:
            lines.append(f"{want.name} {f'the {which} {want.count} of {count}' if count > want.count else few}")
        if want.name in have and (kinds := have[want.name].kinds) != want.kinds:
            lines.append(f"{want.name} of {max(kinds, default=0)} kinds as of {max(want.kinds, default=0)}")
    wanted = {field.name for field in to_fields}
    return lines + [f"{field.name} left out" for field in from_fields if field.name not in wanted]


def _leaders(fields: tuple[Field, ...], names: Collection[str]) -> set[str]:
    """The fields that rank the entities of the named ones."""
    known = {field.name for field in fields}
    return {field.follows if field.follows in known else field.name for field in fields if field.name in names}


def _entities(obs: Array, fields: tuple[Field, ...]) -> dict[str, tuple[Field, Array]]:
    """{name: (field, its entities [.. N size])} of an observation."""
    cuts = np.cumsum([field.width for field in fields])[:-1].tolist()
    blocks = zip(fields, jnp.split(obs, cuts, -1), strict=True)
    return {field.name: (field, block.reshape(*obs.shape[:-1], field.count, field.size)) for field, block in blocks}


def _nearest(have: dict[str, tuple[Field, Array]], field: Field) -> Int[Array, "*n N"]:
    """The entities of a field, those last of which all numbers are 0, with those of fields that follow the same one. An entity
    of which only the position is known may be at 0."""
    (leader,) = _leaders(tuple(each for each, _ in have.values()), [field.name])
    distance = jnp.square(have[leader][1][..., :2]).sum(-1)
    known = [x for each, x in have.values() if leader in (each.name, each.follows) and each.count == field.count]
    if sum(x.shape[-1] for x in known) > 2:
        there = jnp.concatenate(known, -1).any(-1)
        distance = jnp.where(there, distance, jnp.inf)
    return jnp.argsort(distance, -1)


def _with_kinds(entities: Array, field: Field, want: Field) -> Array:
    """Entities [.. N size] with one-hot vectors of the widths `want.kinds`; HeadstartError if they differ in more than that."""
    plain = field.size - sum(field.kinds)
    if plain != want.size - sum(want.kinds) or len(field.kinds) != len(want.kinds):
        raise HeadstartError(f"field '{want.name}' has entities of {field.size} numbers here and of {want.size} there")
    numbers, *kinds = jnp.split(entities, np.cumsum([plain, *field.kinds])[:-1].tolist(), -1)
    blocks = [numbers]
    for block, have, wide in zip(kinds, field.kinds, want.kinds, strict=True):
        filled = jnp.pad(block, [(0, 0)] * (block.ndim - 1) + [(0, -have % wide)])
        blocks.append(filled.reshape(*block.shape[:-1], -1, wide).sum(-2))  # entry j of every `wide`: kind j mod wide
    return jnp.concatenate(blocks, -1)


def pairing(students: int, teachers: int) -> np.ndarray:
    """[students]: the teacher of each student, repeated cyclically, e.g. 6 from 4: 0 1 2 3 0 1 (Gao et al. 2021, §3.3)."""
    return np.arange(students) % teachers


def seats(students: TeamSpec, teachers: TeamSpec, role: str, theirs: str = "") -> np.ndarray:
    """[students of a role]: each one's teacher (of the role `theirs` if that has another name), the one of its own name if
    there is one, else by `pairing`."""
    mine, taught = students.names[role], teachers.names[theirs or role]
    cyclic = pairing(len(mine), len(taught)).tolist()
    return np.array([taught.index(name) if name in taught else i for name, i in zip(mine, cyclic, strict=True)])


def by_place(students: TeamSpec, teachers: TeamSpec, role: str, theirs: str = "") -> list[str]:
    """The pairs of `seats` that have different names, as "student ← teacher"."""
    mine, taught = students.names[role], teachers.names[theirs or role]
    pairs = zip(mine, seats(students, teachers, role, theirs).tolist(), strict=True)
    return [f"{name} ← {taught[i]}" for name, i in pairs if taught[i] != name]


def select_agents(team: RoleNet, index: np.ndarray) -> RoleNet:
    """The role's network for other agents: agent i gets the parameters of agent `index[i]`."""
    return team if team.shared else RoleNet(jax.tree.map(lambda x: x[index], team.net), False)


def resized(trained: TeamSpec, spec: TeamSpec, roles: tuple[str, ...]) -> TeamSpec:
    """`trained` with these roles only and with as many agents as in `spec`: the spec of a team's networks once paired."""
    kept = {role: trained.roles[role]._replace(agents=spec.roles[role].agents, names=()) for role in roles}
    return trained._replace(roles=kept)


def pair_params(params: Any, networks: tuple[str, ...], trained: TeamSpec, spec: TeamSpec, roles: tuple[str, ...]) -> Any:
    """The acting networks' parameters of these roles, one set for each agent of `spec` by name or cyclic pairing."""
    pairs = {role: seats(spec, trained, role) for role in roles}
    return {net: {role: select_agents(params[net][role], pairs[role]) for role in roles} for net in networks}


def pair_carry(carry: Any, networks: tuple[str, ...], trained: TeamSpec, spec: TeamSpec, roles: tuple[str, ...]) -> Any:
    """The carry {network: {role: [E A H]}} of the recurrent policy networks, one row for each agent of `spec`; () stays."""
    pairs = {role: seats(spec, trained, role) for role in roles}
    moved = lambda net: {role: carry[net][role][:, pairs[role]] for role in roles}
    return {net: moved(net) for net in networks if net in carry} if carry else carry


def reordered(learner: Any, theirs: TeamSpec, ours: TeamSpec) -> Any:
    """A learner for observations of equal sizes whose fields may stand in another order in `ours`, which a line on stderr says.

    Fields without a name ("obs"), and of other names, are taken in their order. Raises HeadstartError if fields of the same
    names have other sizes.
    """
    moved = {}
    for role, there in theirs.roles.items():
        here, names = ours.roles[role].obs, tuple(field.name for field in there.obs)
        if {field.name for field in here} == set(names):
            if sorted(map(size_of, here)) != sorted(map(size_of, there.obs)):
                raise HeadstartError(f"the fields of '{role}' have other sizes here than there: fit the team by --adapt")
            if [field.name for field in here] != list(names):
                moved[role] = here, there.obs
                notice(
                    f"the team's '{role}' observes the same in another order, which is translated by name: {', '.join(names)}"
                )
        elif "obs" not in (names[0], here[0].name):
            odd = ", ".join(field.name for field in here)
            notice(f"the team's '{role}' learned from {', '.join(names)} and observes {odd} here: taken in their order")
    if not moved:
        return learner
    seen = lambda obs: {role: adapt(x, *moved[role]) if role in moved else x for role, x in obs.items()}
    return learner._replace(
        policy=lambda params, carry, obs: learner.policy(params, carry, seen(obs)),
        act=lambda params, carry, step, key, progress: learner.act(
            params, carry, dataclasses.replace(step, obs=seen(step.obs)), key, progress
        ),
    )


def size_of(field: Field) -> tuple[str, int, int]:
    """A field's name, entities and numbers of each: fields of equal ones may stand in another order."""
    return field.name, field.count, field.size


def adapted_policy(
    policy: Callable, trained: TeamSpec, spec: TeamSpec, roles: tuple[str, ...], select: Select = "nearest"
) -> Callable:
    """`policy(params, carry, obs)` of a team trained on one spec, for agents of another: observations are adapted field by
    field, and actions translated by name.

    Raises HeadstartError if a role has no field in common, or if its actions cannot be translated.
    """
    here, there = spec.roles, trained.roles
    for role in roles:
        describe_adaptation(role, here[role].obs, there[role].obs)
    found = translations(trained.roles, spec.roles, [(role, role) for role in roles])

    def seen(params, carry, obs):
        shown = {role: adapt(obs[role], here[role].obs, there[role].obs, select, there[role].aimed) for role in roles}
        carry, out = policy(params, carry, shown)
        return carry, {role: found[role](x) for role, x in out.items()}

    return seen
