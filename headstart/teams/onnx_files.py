"""ONNX models: how they are asked, and what must not be in one of a stranger's, the names of other files."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.learner import Outputs
from headstart.core.spec import RoleSpec
from headstart.teams.programs import need, told


class OnnxModel:
    """An ONNX model as a `Program`, on one core."""

    outputs: Outputs = "logits"

    def __init__(self, data: bytes, name: str):
        for package in ("onnx", "onnxruntime"):
            need(package, "onnx", name)
        import onnxruntime

        check_whole(data, name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the cores are the run's
        options.log_severity_level = 4
        options.add_session_config_entry("session.load_model_format", "ONNX")  # what `check_whole` has read
        self.name = name
        try:
            self.session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise HeadstartError(f"{name} is no ONNX model that can be read: {told(error)}") from None

    def check(self, role: RoleSpec) -> None:
        """Raise HeadstartError for inputs that are not one array of such observations."""
        given, size = self.session.get_inputs(), role.obs_size
        if len(given) != 1 or given[0].type != "tensor(float)":
            takes = ", ".join(f"{x.name} {x.type}" for x in given)
            raise HeadstartError(f"{self.name} takes {takes or 'nothing'}: a teacher takes one array of float32 observations")
        shape = given[0].shape
        if len(shape) != 2 or isinstance(shape[0], int):
            raise HeadstartError(f"{self.name} takes {shape}, not (N, {size}): export it with a dynamic first axis")
        if isinstance(shape[1], int) and shape[1] != size:
            raise HeadstartError(f"{self.name} observes {shape[1]} numbers, and an agent of this team {size}")

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[N O] -> the model's first output."""
        return np.asarray(self.session.run(None, {self.session.get_inputs()[0].name: rows})[0])


def check_whole(data: bytes, name: str) -> None:
    """Raise HeadstartError for what is no ONNX model, and for a model that keeps numbers in other files."""
    import onnx

    try:
        model = onnx.load_model_from_string(data)
        outside = [tensor for tensor in _tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    except Exception as error:
        raise HeadstartError(f"{name} is no ONNX model that can be read: {told(error)}") from None
    if outside:
        raise HeadstartError(f"{name} keeps numbers in other files: export it as one file")


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in a message, however deep: initial values, attributes of nodes, those of subgraphs and of functions."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _tensors(part)
