"""Read the arrays of a .npz file of another program: numbers only, and no more than the file really holds."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.storage import files

LARGEST = 2**36
"""Bytes of all arrays."""
MOST_PACKED = 2000
"""Bytes of an array for each byte in the file: what Deflate can do at most, with some room."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """{name: array}; HeadstartError for a file that is damaged, holds other things than numbers, or claims to be huge."""
    with files.opened(path) as file:
        try:
            with zipfile.ZipFile(file) as packed:
                _check_sizes(path, packed)
                return {entry.filename.removesuffix(".npy"): _array(path, packed, entry) for entry in packed.infolist()}
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            if isinstance(error, HeadstartError):
                raise
            raise HeadstartError(f"{path} is no .npz file that can be read: {files.shown(str(error))}") from None


def _check_sizes(path: Path, packed: zipfile.ZipFile) -> None:
    sizes = [(entry.file_size, entry.compress_size) for entry in packed.infolist()]
    if sum(size for size, _ in sizes) > LARGEST or any(size > MOST_PACKED * (inside + 1) for size, inside in sizes):
        raise HeadstartError(f"{path} is damaged: it claims to hold more than a file of its size can")


def _array(path: Path, packed: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with packed.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read: Any = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}.get(version[0])
        if read is None:
            raise HeadstartError(f"{path} is of another version of NumPy's format: save it with numpy.savez")
        shape, fortran, kind = read(file)
        if kind.kind not in "biuf":
            raise HeadstartError(f"{path}: {files.shown(entry.filename)} holds {kind}, not numbers")
        data = file.read()
    if len(data) != kind.itemsize * int(np.prod(shape, dtype=object)):
        raise HeadstartError(f"{path} is damaged: {files.shown(entry.filename)} does not hold as many numbers as it says")
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
