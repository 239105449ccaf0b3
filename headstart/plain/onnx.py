"""Write a `Listing` as an ONNX model: each operation is one node, or a few."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headstart.plain.listing import Listing

OPSET, IR = 18, 8
"""Versions of ONNX's operators and of its files: those of 2022, which every runtime of today reads."""

PLAIN = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "max": "Max", "min": "Min", "neg": "Neg",
    "abs": "Abs", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh", "logistic": "Sigmoid", "eq": "Equal",
    "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "and": "And", "or": "Or", "not": "Not",
    "where": "Where", "matmul": "MatMul",
}  # fmt: skip
"""Operations that ONNX has, with NumPy's rules for shapes."""


def helper() -> Any:
    """The module of the package `onnx` that makes the parts of a model."""
    from onnx import helper

    return helper


class Graph:
    """Nodes and constants in the making. `shapes` and `dtypes` are those of every array of the listing."""

    def __init__(self, listing: Listing, examples: Sequence[np.ndarray]):
        arrays = listing.program().arrays(*examples)
        self.shapes, self.dtypes = [np.shape(x) for x in arrays], [np.asarray(x).dtype for x in arrays]
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **settings: Any) -> str:
        """A node with one output; returns its name."""
        output = output or f"part_{len(self.nodes)}"
        self.nodes.append(helper().make_node(kind, list(inputs), [output], **settings))
        return output

    def constant(self, value: Any) -> str:
        """An array of the file; returns its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
        return name

    def whole(self, *numbers: int) -> str:
        """Whole numbers as ONNX takes them for shapes and axes."""
        return self.constant(np.array(numbers, np.int64))

    def cast(self, x: str, dtype: Any, output: str = "") -> str:
        """The numbers of `x` in another type."""
        return self.node("Cast", [x], output, to=helper().np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _truth(kind: str) -> Callable:
    """any and all, by the largest and the smallest of whole numbers."""

    def write(graph: Graph, xs: list[str], out: str, shape: tuple[int, ...], axes: list[int]) -> None:
        found = graph.node(kind, [graph.cast(xs[0], np.int32), graph.whole(*axes)], keepdims=0)
        graph.cast(found, bool, out)

    return write


def _reduce(kind: str) -> Callable:
    return lambda graph, xs, out, shape, axes: graph.node(kind, [xs[0], graph.whole(*axes)], out, keepdims=0)


def _argsort(graph: Graph, xs: list[str], out: str, shape: tuple[int, ...], axis: int) -> None:
    """TopK of all numbers, the smallest first; equal ones stay in their order."""
    parts = [f"{out}_sorted", f"{out}_order"]
    settings = {"axis": axis, "largest": 0, "sorted": 1}
    graph.nodes.append(helper().make_node("TopK", [xs[0], graph.whole(shape[axis])], parts, **settings))
    graph.cast(parts[1], np.int32, out)


def _pad(graph: Graph, xs: list[str], out: str, shape: tuple[int, ...], widths: list[Any], value: float) -> None:
    pads = graph.whole(*(low for low, _ in widths), *(high for _, high in widths))
    graph.node("Pad", [xs[0], pads, graph.constant(np.float32(value))], out)


def _slice(graph: Graph, xs: list[str], out: str, shape: tuple[int, ...], axis: int, start: int, end: int) -> None:
    graph.node("Slice", [xs[0], graph.whole(start), graph.whole(end), graph.whole(axis)], out)


WRITERS: dict[str, Callable[..., Any]] = {
    "ne": lambda graph, xs, out, shape: graph.node("Not", [graph.node("Equal", xs)], out),
    "cast": lambda graph, xs, out, shape, dtype: graph.cast(xs[0], dtype, out),
    "reshape": lambda graph, xs, out, shape, to: graph.node("Reshape", [xs[0], graph.whole(*to)], out),
    "transpose": lambda graph, xs, out, shape, axes: graph.node("Transpose", xs, out, perm=axes),
    "broadcast": lambda graph, xs, out, shape, to: graph.node("Expand", [xs[0], graph.whole(*to)], out),
    "concatenate": lambda graph, xs, out, shape, axis: graph.node("Concat", xs, out, axis=axis),
    "slice": _slice,
    "pad": _pad,
    "sum": _reduce("ReduceSum"),
    "largest": _reduce("ReduceMax"),
    "smallest": _reduce("ReduceMin"),
    "any": _truth("ReduceMax"),
    "all": _truth("ReduceMin"),
    "argmax": lambda graph, xs, out, shape, axis: graph.cast(graph.node("ArgMax", xs, axis=axis, keepdims=0), np.int32, out),
    "argsort": _argsort,
    "take_along": lambda graph, xs, out, shape, axis: graph.node("GatherElements", xs, out, axis=axis),
    "take": lambda graph, xs, out, shape: graph.node("Gather", xs, out, axis=0),
}
"""{operation: write(graph, names of its inputs, name of its output, shape of the first input, settings)}."""


def model(listing: Listing, inputs: dict[str, np.ndarray], outputs: Sequence[str], name: str, about: dict[str, str]) -> Any:
    """An ONNX model of a listing. Inputs and outputs without numbers are left out.

    inputs: {name: an example, whose shape and type the model asks for}. about: what the file says of itself.
    """
    from onnx import checker

    make = helper()
    graph = Graph(listing, list(inputs.values()))
    names = list(inputs) + [graph.constant(x) for x in listing.constants]
    for kind, needs, settings in listing.steps:
        xs, out = [names[i] for i in needs], f"array_{len(names)}"
        if kind in PLAIN:
            graph.node(PLAIN[kind], xs, out)
        else:
            WRITERS[kind](graph, xs, out, graph.shapes[needs[0]], **settings)
        names.append(out)
    described = lambda name, i: make.make_tensor_value_info(
        name, make.np_dtype_to_tensor_dtype(graph.dtypes[i]), graph.shapes[i]
    )
    given = [described(x, i) for i, x in enumerate(inputs) if graph.shapes[i] != (0,)]
    told = [described(x, i) for x, i in zip(outputs, listing.outputs, strict=True) if graph.shapes[i] != (0,)]
    for x, i in zip(outputs, listing.outputs, strict=True):
        if graph.shapes[i] != (0,):
            graph.node("Identity", [names[i]], x)
    used = {x for node in graph.nodes for x in node.input}  # a runtime warns of others
    made = make.make_graph(graph.nodes, name, given, told, [x for x in graph.constants if x.name in used])
    opsets = [make.make_opsetid("", OPSET)]
    out = make.make_model(made, producer_name="headstart", opset_imports=opsets, ir_version=IR)
    make.set_model_props(out, about)
    checker.check_model(out)
    return out
