"""Networks as stem → backbone → head, and which parameters two learners have in common.

The stem is what reads observations, the head puts out the numbers of an action or a value, and the backbone lies between them
(Guo and Duan, "Improve the Training Efficiency for Multi-Agent RL using Master-Slave Framework", §3.2.2).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_leaves_with_path, tree_map_with_path
from jaxtyping import PyTree

from headstart.core.checks import HeadstartError
from headstart.core.guidance import SHARED, Rows
from headstart.core.learner import Params
from headstart.core.networks import RoleNet
from headstart.core.types import Field

Paths = Mapping[str, str]
"""{name of a coupled parameter: its path in a tree of parameters}."""
Values = dict[str, Any]
"""{name of a coupled parameter: its value, its gradient, or its shape; None for an empty place}."""
OWN = ("inputs", "stats", "mixer")
"""Networks that are never coupled: statistics, which no gradient moves, and mixers, which read the global state of a task."""


class Layer(NamedTuple):
    """A layer of a network, or a parameter that belongs to none."""

    place: Literal["stem", "backbone", "head"]
    reads: tuple[Field, ...]
    """The observed fields that a stem reads."""
    shapes: dict[str, tuple[int, ...]]
    """{path of a parameter: its shape}."""


def in_common(ours: Params, theirs: Params, roles: Iterable[tuple[str, str]], stem: bool) -> dict[str, str]:
    """{path of a parameter of ours: the path of theirs that it is coupled with}, layer by layer.

    `roles` are pairs (theirs, ours). Two layers are coupled if they have one path in their networks and the same shapes, and
    if they are of the backbone or, with `stem`, of the stem and read the same fields. Raises HeadstartError if there is none.
    """
    pairs, found = list(roles), {}
    for network in (name for name in ours if name in theirs and name not in OWN):
        for other, own in pairs:
            given = dict(_layers(theirs[network][other]))
            for path, layer in _layers(ours[network][own]):
                if _coupled(layer, given.get(path), stem):
                    found |= {f"['{network}']['{own}']{x}": f"['{network}']['{other}']{x}" for x in layer.shapes}
    if not found:
        raise HeadstartError(
            "no layer between the first and the last of the companion's networks has the shape of the student's: give both "
            "learners one kind of network with the same two or more --learner.hidden, and let agents share networks "
            "(--learner.shared) if the teams differ in size"
        )
    return found


def shared_rows(ours: Params, common: Paths, roles: Iterable[str], stem: bool) -> Rows:
    """[(NETWORK/ROLE, SHARED, how much)] of these roles' networks: how many weights are coupled, and if stems are apart."""
    found: Rows = []
    for network in (name for name in ours if name not in OWN):
        for role in roles:
            layers = [(f"['{network}']['{role}']{x}", layer) for _, layer in _layers(ours[network][role]) for x in layer.shapes]
            count = sum(name in common for name, _ in layers)
            apart = any(layer.place == "stem" and name not in common for name, layer in layers)
            why = f" (stems {'differ' if stem else 'left apart'})" if count and apart else ""
            found.append((f"{network}/{role}", SHARED, f"{count} of {len(layers)} weights{why}" if count else "nothing"))
    return found


def _layers(net: RoleNet) -> Iterator[tuple[str, Layer]]:
    """(path in the network, layer) of all layers."""
    for path, layer in tree_leaves_with_path(net, is_leaf=lambda x: hasattr(x, "reads")):
        reads = getattr(layer, "reads", ())
        last = getattr(layer, "last", False) or keystr(path).endswith(".log_std")
        shapes = {keystr((*path, *inner)): tuple(x.shape) for inner, x in tree_leaves_with_path(layer)}
        yield keystr(path), Layer("head" if last else "stem" if reads else "backbone", reads, shapes)


def _coupled(own: Layer, other: Layer | None, stem: bool) -> bool:
    return own == other and (own.place == "backbone" or (own.place == "stem" and stem))


def take(tree: PyTree, paths: Paths) -> Values:
    """The values of coupled parameters in a tree of parameters or of gradients; None for an empty place."""
    leaves = {keystr(path): x for path, x in tree_leaves_with_path(tree, is_leaf=lambda x: x is None)}
    return {name: leaves[path] for name, path in paths.items()}


def put(tree: PyTree, paths: Paths, values: Mapping[str, Any]) -> PyTree:
    """The tree with these values in the places of coupled parameters; None leaves a place empty, and may be filled again."""
    given = {path: values[name] for name, path in paths.items()}
    pick = lambda path, x: given.get(keystr(path), x)
    return tree_map_with_path(pick, tree, is_leaf=lambda x: x is None)


def mixed(beta: Any, momentum: Values, grads: Values) -> Values:
    """β·V + (1 − β)·S."""
    return {name: beta * v + (1 - beta) * grads[name] for name, v in momentum.items()}


def zeros(values: Mapping[str, Any]) -> Values:
    """Zeros of the same shapes."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), dict(values))
