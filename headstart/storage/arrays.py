"""Arrays on disk as safetensors: numbers and a JSON header, so nothing in such a file is ever executed."""

import hashlib
import os
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Interval
from jaxtyping import PyTree

from headstart.core.checks import HeadstartError
from headstart.storage import files
from headstart.storage.conform import Misfit, conform, shown

LARGEST_HEADER = 2**24
Place = Annotated[int, Interval(ge=0, le=2**53)]
CODES = {"bool": "BOOL", "bfloat16": "BF16"} | {
    f"{name}{bits}": f"{code}{bits}"
    for name, code in (("int", "I"), ("uint", "U"), ("float", "F"))
    for bits in (8, 16, 32, 64)
    if (name, bits) != ("float", 8)
}
"""The file format's names of dtypes."""


class Entry(TypedDict):
    """One array in the header."""

    dtype: str
    shape: tuple[Place, ...]
    data_offsets: tuple[Place, Place]


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """{path: leaf} in tree order."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def save_tree(path: Path, tree: PyTree, note: dict[str, str] | None = None) -> str:
    """Write a pytree's arrays (random keys as their numbers) and a note of strings, atomically; returns the digest of both."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = _plain(tree)
    digest = _digest(arrays, note or {})
    with files.replacing(path) as temporary:
        try:
            save_file(arrays, temporary, metadata={**(note or {}), "digest": digest})
        except SafetensorError as error:
            raise OSError(str(error)) from None
    return digest


def digest_of_tree(tree: PyTree) -> str:
    """The digest that `save_tree` would return for a pytree's arrays without a note."""
    return _digest(_plain(tree), {})


def _plain(tree: PyTree) -> dict[str, np.ndarray]:
    plain = {name: jax.random.key_data(x) if _is_key(x) else x for name, x in named_leaves(tree).items()}
    return {name: np.ascontiguousarray(x) for name, x in plain.items()}


def load_tree(path: Path, like: PyTree, digest: str | None = None, finite: bool = False) -> PyTree:
    """Read a pytree shaped like `like` (arrays or their shapes); see `load_arrays`."""
    arrays = load_arrays(path, like, digest, finite)
    # A copy, since the program that reads an array may reuse its memory; by NumPy, so that no program is compiled for it.
    leaves = [jax.device_put(np.array(x)) for x in arrays]
    keys = [jax.random.wrap_key_data(x) if _is_key(want) else x for x, want in zip(leaves, jax.tree.leaves(like), strict=True)]
    return jax.tree.unflatten(jax.tree.structure(like), keys)


def load_arrays(path: Path, like: PyTree, digest: str | None = None, finite: bool = False) -> list[np.ndarray]:
    """Read the leaves of a pytree shaped like `like` (arrays or their shapes) into NumPy, random keys as their numbers.

    Nothing is read before the header, the dtypes, the shapes and the file's size are those that `like` needs. Raises
    HeadstartError if they are not, or if a number is not finite but has to be, and `Changed` for a digest other than that in
    the file or the given one.
    """
    wanted = {name: jax.eval_shape(jax.random.key_data, x) if _is_key(x) else x for name, x in named_leaves(like).items()}
    with files.opened(path) as file:
        entries, note, size = _header(file, path)
        if entries.keys() != wanted.keys():
            odd = sorted(entries.keys() ^ wanted.keys())[0]
            raise _foreign(path, f"only one of them has the parameter {shown(odd)}")
        for name, want in wanted.items():
            _compare(path, name, entries[name], want, size)
        if size != (needed := sum(_nbytes(want) for want in wanted.values())):
            raise _damaged(path, f"{size:,} bytes of numbers and not {needed:,}")
        data = np.fromfile(file, np.uint8, size)
    if data.size != size:
        raise _damaged(path, "its end is missing")
    cut = lambda name: data[slice(*entries[name]["data_offsets"])].view(wanted[name].dtype).reshape(wanted[name].shape)
    arrays = {name: cut(name) for name in wanted}
    found = note.get("digest")
    if (found and found != _digest(arrays, note)) or (digest and digest != found):
        files.refuse_change(f"{path} was changed after it had been written, or is another team's (its digest does not match)")
    for name, x in arrays.items():
        if finite and jnp.issubdtype(x.dtype, jnp.floating) and not np.isfinite(x).all():
            raise _damaged(path, f"{shown(name)} holds NaN or infinity")
    return [arrays[name] for name in wanted]


def read_note(path: Path) -> dict[str, str]:
    """The note of strings that `save_tree` wrote beside the arrays."""
    with files.opened(path) as file:
        return _header(file, path)[1]


def _header(file: BufferedReader, path: Path) -> tuple[dict[str, Any], dict[str, str], int]:
    """({name: `Entry`}, note, bytes of all numbers); leaves the file at the first number."""
    whole = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(LARGEST_HEADER, whole - 8):
        raise _damaged(path, "its header does not fit")
    try:
        header = files.parse_json(file.read(length), path)
        conform(header, dict[str, Any])
        note = header.pop("__metadata__", {})
        conform(note, dict[str, str], "__metadata__")
        conform(header, dict[str, Entry])
    except Misfit as error:
        raise _damaged(path, error) from None
    return header, note, whole - 8 - length


def _compare(path: Path, name: str, entry: Any, want: Any, size: int) -> None:
    if tuple(entry["shape"]) != tuple(want.shape):
        there = tuple(entry["shape"])
        raise _foreign(path, f"{shown(name)} is {shown(there)} there, {tuple(want.shape)} here")
    if entry["dtype"] != CODES.get(want.dtype.name):
        raise _foreign(path, f"{shown(name)} holds {shown(entry['dtype'])} there, {CODES.get(want.dtype.name)} here")
    start, end = entry["data_offsets"]
    if end - start != _nbytes(want) or end > size:
        raise _damaged(path, f"{shown(name)} does not lie within it")


def _nbytes(x: Any) -> int:
    return int(np.prod(x.shape, dtype=object)) * x.dtype.itemsize


def _digest(arrays: dict[str, np.ndarray], note: dict[str, str]) -> str:
    about = {name: [x.dtype.name, list(x.shape)] for name, x in arrays.items()}
    made = hashlib.sha256(files.canonical([about, {name: x for name, x in note.items() if name != "digest"}]))
    for name in sorted(arrays):
        made.update(arrays[name].reshape(-1).view(np.uint8).data)
    return made.hexdigest()


def _damaged(path: Path, why: object) -> HeadstartError:
    return HeadstartError(f"{path} is damaged or truncated ({why}): restore it")


def _foreign(path: Path, why: str) -> HeadstartError:
    return HeadstartError(f"{path} does not belong to these settings: {why}")
