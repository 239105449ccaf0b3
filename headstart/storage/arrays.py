"""Arrays on disk as safetensors: numbers and a JSON header, so nothing in such a file is ever executed."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from headstart.core.checks import HeadstartError
from headstart.storage.files import replacing


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """{path: leaf} in tree order."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def save_tree(path: Path, tree: PyTree, note: dict[str, str] | None = None) -> None:
    """Write a pytree's arrays (random keys as their numbers) and a note of strings, atomically."""
    from safetensors.numpy import save_file

    plain = {name: jax.random.key_data(x) if _is_key(x) else x for name, x in named_leaves(tree).items()}
    with replacing(path) as temporary:
        save_file({name: np.ascontiguousarray(x) for name, x in plain.items()}, temporary, metadata=note)


def load_tree(path: Path, like: PyTree) -> PyTree:
    """Read a pytree shaped like `like` (arrays or their shapes); HeadstartError if the file holds another one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        stored = load_file(path)
    except FileNotFoundError:
        raise HeadstartError(f"{path} is missing: was the run written completely?") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise HeadstartError(f"{path} is damaged or truncated ({error})") from None
    wanted = named_leaves(like)
    if stored.keys() != wanted.keys():
        odd = sorted(stored.keys() ^ wanted.keys())[0]
        raise HeadstartError(f"{path} does not belong to these settings: only one of them has the parameter {odd}")
    leaves = []
    for name, want in wanted.items():
        data = stored[name]
        shape = (*want.shape, *jax.random.key_data(jax.random.key(0)).shape) if _is_key(want) else want.shape
        if data.shape != tuple(shape):
            raise HeadstartError(f"{path} does not belong to these settings: {name} is {data.shape} there, {tuple(shape)} here")
        leaves.append(jax.random.wrap_key_data(jnp.asarray(data)) if _is_key(want) else jnp.asarray(data, want.dtype))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def read_note(path: Path) -> dict[str, str]:
    """The note of strings that `save_tree` wrote beside the arrays."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise HeadstartError(f"{path} is damaged or truncated ({error})") from None
