"""TorchScript models, and what other files of PyTorch and Stable-Baselines3 are. TorchScript may run code when it is asked."""

import contextlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.learner import Outputs
from headstart.core.spec import RoleSpec
from headstart.teams.programs import need, told

LARGEST = 2**30
"""Bytes of an archive when it is unpacked."""


def archive_kind(data: bytes, name: str) -> Literal["sb3", "torchscript"]:
    """Which program has written a .zip, .pt or .pth file: only the names in the archive are read, and nothing is unpacked.

    Raises HeadstartError for pickles, which are not read, and for all other files.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError):
        entries = []
    if sum(entry.file_size for entry in entries) > LARGEST:
        raise HeadstartError(f"{name} unpacks to more than {LARGEST:,} bytes: a teacher is a smaller network")
    names = {entry.filename for entry in entries}
    if {"data", "policy.pth"} <= names:
        return "sb3"
    if any("/code/" in entry for entry in names) and any(entry.endswith("/constants.pkl") for entry in names):
        return "torchscript"
    if data[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or any(x.endswith("/data.pkl") for x in names):
        raise HeadstartError(f"{name} is a pickle of PyTorch, which is not read: {EXPORT}")
    raise HeadstartError(f"{name} is no model of Stable-Baselines3 and no TorchScript: {EXPORT}")


EXPORT = "export its policy as ONNX (torch.onnx.export) or as TorchScript (torch.jit.trace(module, obs).save(FILE))"


class TorchScript:
    """A TorchScript module as a `Program`, on one core."""

    outputs: Outputs = "logits"

    def __init__(self, data: bytes, name: str):
        need("torch", "torch", name)
        import torch  # pyright: ignore[reportMissingImports]

        try:
            with warnings.catch_warnings():  # PyTorch's wish that files were of torch.export
                warnings.simplefilter("ignore", DeprecationWarning)
                self.module: Any = torch.jit.load(io.BytesIO(data), map_location="cpu")
            if getattr(self.module, "training", False):
                self.module.eval()
        except Exception as error:
            raise HeadstartError(f"{name} is no TorchScript that can be read: {told(error)}") from None

    def check(self, role: RoleSpec) -> None:
        """A module does not say what it observes."""

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[N O] -> the module's output, or the first one of several."""
        import torch  # pyright: ignore[reportMissingImports]

        with one_core(), torch.jit.optimized_execution(False):  # optimised, the first calls would differ from later ones
            out = self.module(torch.from_numpy(rows))
        return (out[0] if isinstance(out, tuple | list) else out).numpy()


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """PyTorch without gradients on one core, as the others are the run's; afterwards it has its cores back."""
    import torch  # pyright: ignore[reportMissingImports]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(before)
