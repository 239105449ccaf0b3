"""What must not be in an ONNX model of a stranger's: the names of other files, which a runtime would read."""

from collections.abc import Iterator
from typing import Any

from headstart.core.checks import HeadstartError
from headstart.storage import files


def check_whole(data: bytes, name: str) -> None:
    """Raise HeadstartError for what is no ONNX model, and for a model that keeps numbers in other files."""
    import onnx

    try:
        model = onnx.load_model_from_string(data)
        outside = [tensor for tensor in _tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    except Exception as error:
        raise HeadstartError(f"{name} is no ONNX model that can be read: {files.shown(' '.join(str(error).split()))}") from None
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
