"""How each primitive of a jaxpr is written: {its name: rule(writer, equation, values) -> value, or a list of them}."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from headstart.plain.listing import NotPlain, Value, Writer, constant

KINDS = ("float32", "int32", "bool")
"""Types of numbers that the lists know."""


def full(variable: Any) -> tuple[int, ...]:
    """The shape of a variable in JAX."""
    return tuple(variable.aval.shape)


def entry(writer: Writer, x: Value, index: int, shape: tuple[int, ...]) -> Value:
    """x[index] along the first axis."""
    return writer.reshaped(_cut(writer, x, 0, index, index + 1), shape)


def _cut(writer: Writer, x: Value, axis: int, start: int, end: int) -> Value:
    if (start, end) == (0, x.shape[axis]):
        return x
    shape = [end - start if i == axis else n for i, n in enumerate(x.shape)]
    return writer.emit("slice", x, shape=shape, axis=axis, start=start, end=end)


def _each(name: str) -> Callable:
    """An operation of each number, which stretches shapes as NumPy does."""
    return lambda writer, eqn, *xs: writer.emit(name, *xs, shape=np.broadcast_shapes(*(x.shape for x in xs)))


def _only(kind: str, name: str) -> Callable:
    """`_each` if its result is of this kind of numbers."""

    def rule(writer: Writer, eqn: Any, *xs: Value) -> Value:
        if eqn.outvars[0].aval.dtype.kind != kind:
            raise NotPlain(f"NumPy has no counterpart here for {name} of {eqn.outvars[0].aval.dtype}")
        return _each(name)(writer, eqn, *xs)

    return rule


def _reduced(name: str) -> Callable:
    def rule(writer: Writer, eqn: Any, x: Value) -> Value:
        axes = [int(i) for i in eqn.params["axes"]]
        x = writer.whole(x, full(eqn.invars[0]))
        return writer.emit(name, x, shape=full(eqn.outvars[0]), axes=axes) if axes else x

    return rule


def _power(writer: Writer, eqn: Any, x: Value) -> Value:
    y = eqn.params["y"] if eqn.primitive.name == "integer_pow" else 2
    if y < 1:
        raise NotPlain(f"NumPy has no counterpart here for the power {y}")
    out = x
    for _ in range(y - 1):
        out = writer.emit("mul", out, x, shape=x.shape)
    return out


def _rsqrt(writer: Writer, eqn: Any, x: Value) -> Value:
    return writer.emit("div", constant(np.float32(1)), writer.emit("sqrt", x, shape=x.shape), shape=x.shape)


def _cast(writer: Writer, eqn: Any, x: Value) -> Value:
    before, after = eqn.invars[0].aval.dtype.name, eqn.params["new_dtype"].name
    if after not in KINDS:
        raise NotPlain(f"NumPy has no counterpart here for numbers of {after}")
    return x if before == after else writer.emit("cast", x, shape=x.shape, dtype=after)


def _select(writer: Writer, eqn: Any, which: Value, *cases: Value) -> Value:
    if len(cases) != 2 or eqn.invars[0].aval.dtype != bool:
        raise NotPlain("NumPy has no counterpart here for a choice of more than two arrays")
    values = (which, cases[1], cases[0])
    return writer.emit("where", *values, shape=np.broadcast_shapes(*(x.shape for x in values)))


def _clamp(writer: Writer, eqn: Any, low: Value, x: Value, high: Value) -> Value:
    return _each("min")(writer, eqn, _each("max")(writer, eqn, x, low), high)


def _broadcast(writer: Writer, eqn: Any, x: Value, *sizes: Value) -> Value:
    """Only the axes are put in place: what uses the array stretches it."""
    shape = [1] * len(eqn.params["shape"])
    for i, n in zip(eqn.params["broadcast_dimensions"], x.shape, strict=True):
        shape[i] = n
    return writer.reshaped(x, shape)


def _reshape(writer: Writer, eqn: Any, x: Value, *sizes: Value) -> Value:
    if eqn.params.get("dimensions") is not None:
        raise NotPlain("NumPy has no counterpart here for a reshape of transposed axes")
    return writer.reshaped(writer.whole(x, full(eqn.invars[0])), full(eqn.outvars[0]))


def _squeeze(writer: Writer, eqn: Any, x: Value) -> Value:
    left = [n for i, n in enumerate(x.shape) if i not in eqn.params["dimensions"]]
    return writer.reshaped(x, left)


def _transpose(writer: Writer, eqn: Any, x: Value) -> Value:
    return _moved(writer, x, eqn.params["permutation"])


def _moved(writer: Writer, x: Value, axes: Any) -> Value:
    axes = [int(i) for i in axes]
    if axes == list(range(len(axes))):
        return x
    return writer.emit("transpose", x, shape=[x.shape[i] for i in axes], axes=axes)


def _concatenate(writer: Writer, eqn: Any, *xs: Value) -> Value:
    whole = [writer.whole(x, full(variable)) for x, variable in zip(xs, eqn.invars, strict=True)]
    return writer.emit("concatenate", *whole, shape=full(eqn.outvars[0]), axis=int(eqn.params["dimension"]))


def _stack(writer: Writer, eqn: Any, *xs: Value) -> Value:
    axis, shape = int(eqn.params["axis"]), list(full(eqn.outvars[0]))
    one = [1 if i == axis else n for i, n in enumerate(shape)]
    rows = [writer.reshaped(writer.whole(x, full(variable)), one) for x, variable in zip(xs, eqn.invars, strict=True)]
    return writer.emit("concatenate", *rows, shape=shape, axis=axis)


def _slice(writer: Writer, eqn: Any, x: Value) -> Value:
    if any(step != 1 for step in eqn.params["strides"] or ()):
        raise NotPlain("NumPy has no counterpart here for a slice with gaps")
    x = writer.whole(x, full(eqn.invars[0]))
    for axis, (start, end) in enumerate(zip(eqn.params["start_indices"], eqn.params["limit_indices"], strict=True)):
        x = _cut(writer, x, axis, int(start), int(end))
    return x


def _split(writer: Writer, eqn: Any, x: Value) -> list[Value]:
    x, axis, start, out = writer.whole(x, full(eqn.invars[0])), int(eqn.params["axis"]), 0, []
    for size in map(int, eqn.params["sizes"]):
        out.append(_cut(writer, x, axis, start, start + size))
        start += size
    return out


def _pad(writer: Writer, eqn: Any, x: Value, value: Value) -> Value:
    widths = [(int(a), int(b)) for a, b, _ in eqn.params["padding_config"]]
    odd = any(min(low, high) < 0 or inside for low, high, inside in eqn.params["padding_config"])
    if odd or value.constant is None:
        raise NotPlain("NumPy has no counterpart here for padding inside an array")
    x = writer.whole(x, full(eqn.invars[0]))
    if not any(map(any, widths)):
        return x
    return writer.emit("pad", x, shape=full(eqn.outvars[0]), widths=widths, value=float(value.constant))


def _iota(writer: Writer, eqn: Any) -> Value:
    shape, axis = eqn.params["shape"], eqn.params["dimension"]
    along = np.arange(shape[axis], dtype=eqn.params["dtype"])
    return constant(along.reshape([n if i == axis else 1 for i, n in enumerate(shape)]))


def _argmax(writer: Writer, eqn: Any, x: Value) -> Value:
    (axis,) = eqn.params["axes"]
    x = writer.whole(x, full(eqn.invars[0]))
    return writer.emit("argmax", x, shape=full(eqn.outvars[0]), axis=int(axis))


def _sort(writer: Writer, eqn: Any, *xs: Value) -> list[Value]:
    if eqn.params["num_keys"] != 1:
        raise NotPlain("NumPy has no counterpart here for sorting by several keys")
    axis, shape = int(eqn.params["dimension"]), full(eqn.invars[0])
    whole = [writer.whole(x, shape) for x in xs]
    order = writer.emit("argsort", whole[0], shape=shape, axis=axis)
    return [writer.emit("take_along", x, order, shape=shape, axis=axis) for x in whole]


def _gather(writer: Writer, eqn: Any, x: Value, starts: Value) -> Value:
    """Numbers of the flat array at Σ_d stride_d·index_d; an index is one of `starts`, an offset, or a batch's own number."""
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    shape, out = full(eqn.invars[0]), full(eqn.outvars[0])
    starts, many = writer.whole(starts, full(eqn.invars[1])), len(out)
    strides = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    batch = [d for d in range(many) if d not in numbers.offset_dims]  # of the output: the axes of `starts` but the last
    offsets = [d for d in range(len(shape)) if d not in (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)]
    along = lambda n, d: np.arange(n, dtype=np.int32).reshape([-1 if i == d else 1 for i in range(many)])
    fixed = np.zeros([1] * many, np.int32)
    for d, place in zip(offsets, numbers.offset_dims, strict=True):
        fixed = fixed + strides[d] * along(sizes[d], place)
    for d, place in zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True):
        fixed = fixed + strides[d] * along(shape[d], batch[place])
    index = constant(fixed.astype(np.int32))
    for k, d in enumerate(numbers.start_index_map):
        one = _cut(writer, starts, len(starts.shape) - 1, k, k + 1)
        placed = [out[i] if i in batch else 1 for i in range(many)]
        scaled = _each("mul")(writer, eqn, writer.reshaped(one, placed), constant(np.int32(strides[d])))
        index = _each("add")(writer, eqn, index, scaled)
    flat = writer.reshaped(writer.whole(x, shape), (math.prod(shape),))
    return writer.emit("take", flat, writer.whole(index, out), shape=out)


def _dot(writer: Writer, eqn: Any, left: Value, right: Value) -> Value:
    """Both as stacks of matrices [batch, rows, columns]; the stack is left out if there is no batch."""
    (left_in, right_in), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    left_shape, right_shape = full(eqn.invars[0]), full(eqn.invars[1])
    left, right = writer.whole(left, left_shape), writer.whole(right, right_shape)
    rows = [i for i in range(len(left_shape)) if i not in (*left_in, *left_batch)]
    columns = [i for i in range(len(right_shape)) if i not in (*right_in, *right_batch)]
    size = lambda shape, axes: math.prod(shape[i] for i in axes)
    batch, inner = [left_shape[i] for i in left_batch], size(left_shape, left_in)
    height, width = [left_shape[i] for i in rows], size(right_shape, columns)
    many = height if not batch else [math.prod(height)]  # without a batch all further axes stay, as in x @ W
    left = writer.reshaped(_moved(writer, left, [*left_batch, *rows, *left_in]), [*batch, *many, inner])
    right = writer.reshaped(_moved(writer, right, [*right_batch, *right_in, *columns]), [*batch, inner, width])
    if not many:
        left, many = writer.reshaped(left, [1, inner]), [1]
    out = writer.emit("matmul", left, right, shape=[*batch, *many, width])
    return writer.reshaped(out, full(eqn.outvars[0]))


def _identity(writer: Writer, eqn: Any, *xs: Value) -> list[Value]:
    return list(xs)


RULES: dict[str, Callable[..., Value | list[Value]]] = {
    **{name: _each(name) for name in ("add", "sub", "mul", "max", "min", "neg", "abs", "exp", "log", "sqrt")},
    **{name: _each(name) for name in ("tanh", "logistic", "eq", "ne", "lt", "le", "gt", "ge")},
    **{name: _only("b", name) for name in ("and", "or", "not")},
    **{name: _only("f", name) for name in ("div", "pow")},
    **{f"reduce_{name}": _reduced(known) for name, known in (("sum", "sum"), ("max", "largest"), ("min", "smallest"))},
    **{f"reduce_{name}": _reduced(known) for name, known in (("or", "any"), ("and", "all"))},
    **dict.fromkeys(("stop_gradient", "copy", "copy_p", "optimization_barrier", "name"), _identity),
    **dict.fromkeys(("square", "integer_pow"), _power),
    "rsqrt": _rsqrt,
    "convert_element_type": _cast,
    "select_n": _select,
    "clamp": _clamp,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "stack": _stack,
    "slice": _slice,
    "split": _split,
    "pad": _pad,
    "iota": _iota,
    "argmax": _argmax,
    "sort": _sort,
    "gather": _gather,
    "dot_general": _dot,
}
