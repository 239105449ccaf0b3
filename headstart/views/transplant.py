"""Copy the parameters of another team's networks, matched by tree path; first layers row by row, by observed field."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from headstart.core.checks import HeadstartError
from headstart.core.modules import LayerNorm, Linear, PerNumber
from headstart.core.networks import RoleNet
from headstart.core.types import Field
from headstart.views.adapt import adapt, select_agents, size_of


def transplant(
    team: RoleNet, donor: RoleNet, pairs: np.ndarray, network: str, resize: bool = True
) -> tuple[RoleNet, list[tuple[str, str, str]]]:
    """`team` with those of the donor's parameters that fit, and a table [(parameter, outcome, shapes)].

    Parameters are matched by tree path. Equal shapes are loaded. A first layer that reads other fields than the donor's is
    adapted field by field, if they have any in common and `resize` allows it; rows of entities that the donor never saw start
    at zero. So are statistics of an observation; those of numbers that the donor never saw keep their fresh values. All other
    parameters keep their fresh values. `pairs` [agents of the role]: each one's donor, as from `seats`.

    Raises HeadstartError for a layer norm of an observation with fields of other sizes: the mean and deviation of one with more
    numbers are others, so that the layers behind it would read other numbers than they learned from.
    """
    donor = select_agents(donor, pairs)
    if donor.shared and not team.shared:
        donor = RoleNet(jax.tree.map(lambda x: jnp.broadcast_to(x, (len(pairs), *x.shape)), donor.net), False)
    elif team.shared and not donor.shared:
        donor = RoleNet(jax.tree.map(lambda x: x.mean(0), donor.net), True)
    theirs = dict(jax.tree_util.tree_leaves_with_path(donor.net))
    read, donor_read = _first_layers(team.net), _first_layers(donor.net)
    normed, donor_normed = _input_norms(team.net), _input_norms(donor.net)
    counted, donor_counted = _per_number(team.net), _per_number(donor.net)
    table, leaves = [], []
    for path, mine in jax.tree_util.tree_leaves_with_path(team.net):
        given, name = theirs.pop(path, None), network + jax.tree_util.keystr(path)
        fields, donor_fields = read.get(path, ()), donor_read.get(path, ())
        rows = None
        if given is not None and resize and fields and fields != donor_fields:  # without fields, it is behind another layer
            rows = _by_field(mine, given, fields, donor_fields)
        elif given is not None and resize and path in normed and path in donor_normed:
            rows = _norm_by_field(given, normed[path], donor_normed[path], network)
        elif given is not None and resize and path in counted and path in donor_counted:
            rows = _numbers_by_field(mine, given, counted[path], donor_counted[path])
        fits = given is not None and rows is None and given.shape == mine.shape
        kept = given if fits else mine if rows is None else rows
        happened = "loaded" if fits else "re-initialised" if rows is None else "adapted"
        shapes = f"{tuple(mine.shape)}" if fits or given is None else f"{tuple(given.shape)} → {tuple(mine.shape)}"
        table.append((name, happened, shapes))
        leaves.append(kept)
    table += [(network + jax.tree_util.keystr(path), "dropped", f"{tuple(x.shape)}") for path, x in theirs.items()]
    return RoleNet(jax.tree.unflatten(jax.tree.structure(team.net), leaves), team.shared), table


def _first_layers(net: Any) -> dict[Any, tuple[Field, ...]]:
    """{path of a weight: the fields of its rows} of every layer that reads an input."""
    layers = jax.tree_util.tree_leaves_with_path(net, is_leaf=lambda x: isinstance(x, Linear))
    weight = (jax.tree_util.GetAttrKey("weight"),)
    return {path + weight: x.reads for path, x in layers if isinstance(x, Linear) and x.reads}


def _input_norms(net: Any) -> dict[Any, tuple[Field, ...]]:
    """{path of a scale or shift: the fields of its numbers} of every layer norm of an input."""
    norms = jax.tree_util.tree_leaves_with_path(net, is_leaf=lambda x: isinstance(x, LayerNorm))
    parts = [(jax.tree_util.GetAttrKey(part),) for part in ("scale", "shift")]
    return {path + part: x.reads for path, x in norms if isinstance(x, LayerNorm) and x.reads for part in parts}


def _per_number(net: Any) -> dict[Any, tuple[Field, ...]]:
    """{path of an array: the fields of its numbers} of everything that has an entry for each observed number."""
    whole = lambda x: isinstance(x, PerNumber)
    modules = [(path, x) for path, x in jax.tree_util.tree_leaves_with_path(net, is_leaf=whole) if whole(x) and x.reads]
    return {path + inner: x.reads for path, x in modules for inner, _ in jax.tree_util.tree_leaves_with_path(x)}


def _numbers_by_field(mine: Array, given: Array, fields: tuple[Field, ...], donor_fields: tuple[Field, ...]) -> Array | None:
    """An array [.. I] with the given numbers of fields that both have; None if there are none or sizes differ, or if all fields
    are the same."""
    if fields == donor_fields or not _share_fields(fields, donor_fields):
        return None
    known = adapt(jnp.ones(given.shape), donor_fields, fields, "first")
    return jnp.where(known > 0, adapt(given, donor_fields, fields, "first"), mine)


def _share_fields(fields: tuple[Field, ...], donor_fields: tuple[Field, ...]) -> bool:
    """Whether two tasks have fields in common, all of them of the same sizes."""
    names = {field.name: field.size for field in donor_fields}
    common = any(names.get(field.name) == field.size for field in fields)
    return common and all(names.get(field.name, field.size) == field.size for field in fields)


def _norm_by_field(given: Array, fields: tuple[Field, ...], donor_fields: tuple[Field, ...], network: str) -> Array | None:
    """A layer norm's vector [.. I] with the same fields in another order; None if they are the same, or have no name in common
    and are taken by their places."""
    here, there = ({field.name for field in each} for each in (fields, donor_fields))
    if fields == donor_fields or not here & there:
        return None
    if sorted(map(size_of, fields)) != sorted(map(size_of, donor_fields)):
        raise HeadstartError(
            f"{network} normalises all numbers of an observation together (layer_norm), and the teacher's has others: take "
            "a teacher without layer_norm, or let the student learn its first layers anew (--guidance.no-resize)"
        )
    return adapt(given, donor_fields, fields, "first")


def _by_field(mine: Array, given: Array, fields: tuple[Field, ...], donor_fields: tuple[Field, ...]) -> Array | None:
    """First-layer weights [.. I H] with the rows of fields that both read; None if there are none, or if sizes differ."""
    if not _share_fields(fields, donor_fields) or mine.shape[-1] != given.shape[-1]:
        return None
    columns = jnp.swapaxes(given, -1, -2)  # each hidden unit's weights read like one observation
    return jnp.swapaxes(adapt(columns, donor_fields, fields, "first"), -1, -2)
