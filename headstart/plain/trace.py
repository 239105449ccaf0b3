"""Trace a JAX function to a `Listing`: the function's jaxpr, one rule for each primitive of `rules`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from headstart.plain.listing import MOST_STEPS, Listing, NotPlain, Value, Writer, constant
from headstart.plain.rules import RULES, entry

INLINED = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "remat2", "checkpoint")
"""Primitives that stand for the function inside them."""


class Traced:
    """A function of parameters and of further arrays, traced once: `listing` is made for each set of parameters.

    The function takes pytrees of arrays, and so may its result be.
    """

    def __init__(self, function: Callable, params: PyTree, *examples: PyTree):
        self.jaxpr = jax.make_jaxpr(function)(params, *examples)
        self.inputs = len(jax.tree.leaves(examples))

    def listing(self, params: PyTree) -> Listing:
        """The operations for these parameters; raises NotPlain if NumPy has no counterpart for one of them."""
        writer = Writer(self.inputs)
        known = [constant(np.asarray(x)) for x in jax.tree.leaves(params)]
        shapes = [variable.aval.shape for variable in self.jaxpr.jaxpr.invars[len(known) :]]
        given = [Value(shape, None, i) for i, shape in enumerate(shapes)]
        outputs = _walk(writer, self.jaxpr.jaxpr, [constant(np.asarray(x)) for x in self.jaxpr.consts], [*known, *given])
        whole = [writer.whole(x, v.aval.shape) for x, v in zip(outputs, self.jaxpr.jaxpr.outvars, strict=True)]
        return writer.finish(whole)


def _walk(writer: Writer, jaxpr: Any, constants: Sequence[Value], inputs: Sequence[Value]) -> list[Value]:
    found: dict[Any, Value] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs], strict=True))
    literal = lambda x: constant(np.asarray(x.val, x.aval.dtype))
    read = lambda x: literal(x) if hasattr(x, "val") else found[x]
    for eqn in jaxpr.eqns:
        out = _said(writer, eqn, [read(x) for x in eqn.invars])
        found |= dict(zip(eqn.outvars, out, strict=True))
    return [read(x) for x in jaxpr.outvars]


def _said(writer: Writer, eqn: Any, values: list[Value]) -> list[Value]:
    """The results of one equation of a jaxpr."""
    name = eqn.primitive.name
    if name in INLINED:
        return _inside(writer, eqn.params, values)
    if name == "scan":
        return _unrolled(writer, eqn.params, values)
    if name not in RULES:
        raise NotPlain(f"NumPy has no counterpart for {name}")
    out = RULES[name](writer, eqn, *values)
    return out if isinstance(out, list) else [out]


def _inside(writer: Writer, params: dict[str, Any], values: list[Value]) -> list[Value]:
    inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
    jaxpr, constants = (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, ())
    return _walk(writer, jaxpr, [constant(np.asarray(x)) for x in constants], values)


def _unrolled(writer: Writer, params: dict[str, Any], values: list[Value]) -> list[Value]:
    """A loop of known length, one round after another."""
    if params["reverse"]:
        raise NotPlain("NumPy has no counterpart for a loop that runs backwards")
    inner, length = params["jaxpr"], params["length"]
    if length > MOST_STEPS:
        raise NotPlain(f"it takes {length:,} rounds of a loop")
    consts, carried = params["num_consts"], params["num_carry"]
    fixed, carry, along = values[:consts], values[consts : consts + carried], values[consts + carried :]
    full = [variable.aval.shape for variable in inner.jaxpr.invars[consts + carried :]]
    rows = [writer.whole(x, (length, *shape)) for x, shape in zip(along, full, strict=True)]
    kept: list[list[Value]] = []
    for i in range(length):
        now = [entry(writer, x, i, shape) for x, shape in zip(rows, full, strict=True)]
        out = _inside(writer, {"jaxpr": inner}, [*fixed, *carry, *now])
        carry = out[:carried]
        kept.append(out[carried:])
    shapes = [variable.aval.shape for variable in inner.jaxpr.outvars[carried:]]
    stacked = []
    for n, shape in enumerate(shapes):
        each = [writer.reshaped(writer.whole(row[n], shape), (1, *shape)) for row in kept]
        stacked.append(writer.emit("concatenate", *each, shape=(length, *shape), axis=0))
    return [*carry, *stacked]
