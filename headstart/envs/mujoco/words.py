"""Arrays as one array of 32-bit words, on both sides of a call of the host.

JAX spends time on every array that it hands over. If states, actions and results went one by one, that would be more than the
physics of a walker takes. Words are bits: no number changes on the way, not even one that is no number.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, UInt


class Words:
    """The layout of arrays of certain shapes and of 32 bits a number, or flags: end to end, in K words."""

    def __init__(self, shapes: PyTree):
        self.leaves, self.form = jax.tree.flatten(shapes)
        ends = [0, *itertools.accumulate(math.prod(x.shape) for x in self.leaves)]
        self.places = [slice(*pair) for pair in itertools.pairwise(ends)]
        self.shape = jax.ShapeDtypeStruct((ends[-1],), jnp.uint32)

    def pack(self, tree: PyTree) -> UInt[Array, " K"]:
        """Arrays of these shapes as words."""
        word = lambda x: x.astype(jnp.uint32) if x.dtype.kind == "b" else jax.lax.bitcast_convert_type(x, jnp.uint32)
        return jnp.concatenate([word(x).reshape(-1) for x in jax.tree.leaves(tree)])

    def unpack(self, words: UInt[Array, " K"]) -> PyTree:
        """Words as arrays."""
        taken = lambda x, dtype: x != 0 if dtype.kind == "b" else jax.lax.bitcast_convert_type(x, dtype)
        parts = zip(self.places, self.leaves, strict=True)
        return self.form.unflatten([taken(words[place], x.dtype).reshape(x.shape) for place, x in parts])

    def host_pack(self, tree: Any, lead: tuple[int, ...]) -> np.ndarray:
        """[*lead K] of NumPy arrays [*lead ..]."""
        words = np.empty((*lead, self.shape.shape[0]), np.uint32)
        for place, x in zip(self.places, self.form.flatten_up_to(tree), strict=True):
            words[..., place] = (x if x.dtype.kind == "b" else x.view(np.uint32)).reshape((*lead, -1))
        return words

    def host_unpack(self, words: np.ndarray) -> Any:
        """NumPy arrays [*n ..] of words [*n K]."""
        lead = words.shape[:-1]
        taken = lambda x, dtype: x != 0 if dtype.kind == "b" else np.ascontiguousarray(x).view(dtype)
        parts = zip(self.places, self.leaves, strict=True)
        return self.form.unflatten([taken(words[..., place], x.dtype).reshape((*lead, *x.shape)) for place, x in parts])
