"""The field's small equations, each once: unbatched if they run over time, else elementwise."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

Real = float | Float[Array, ""]
"""A setting: a number, or in a sweep's program a traced one."""


def gae(
    reward: Float[Array, "*n"],
    value: Float[Array, "*n"],
    next_value: Float[Array, "*n"],
    terminated: Bool[Array, "*#n"],
    ended: Bool[Array, "*#n"],
    gamma: Real,
    lam: Real,
) -> Float[Array, "*n"]:
    """Generalised advantage estimates, over the first axis [T ..].

    δ_t = r_t + γ·(1 − terminated_t)·V(s'_t) − V(s_t) and A_t = δ_t + γλ·(1 − ended_t)·A_{t+1}
    (Schulman et al. 2016, eq. 16). `next_value` is the value of the state the step led to, before any reset. `ended` is
    true if the episode terminated or was truncated: a truncated episode bootstraps from `next_value`, and no sum crosses it.
    """
    delta = reward + gamma * next_value * ~terminated - value

    def back(later, now):
        error, end = now
        advantage = error + gamma * lam * ~end * later
        return advantage, advantage

    return jax.lax.scan(back, jnp.zeros_like(value[0]), (delta, ended), reverse=True)[1]


def td_target(reward: Array, next_value: Array, terminated: Array, gamma: Real) -> Array:
    """One-step target y = r + γ·(1 − terminated)·V(s'), with no gradient."""
    return jax.lax.stop_gradient(reward + gamma * next_value * ~terminated)


def masked_mean(x: Float[Array, "*n"], mask: Bool[Array, "*n"], axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
    """Mean over `axis` of the entries whose mask is true; 0 if there are none."""
    return jnp.where(mask, x, 0.0).sum(axis, keepdims=keepdims) / jnp.maximum(mask.sum(axis, keepdims=keepdims), 1)


def shown(values: dict[str, Array], alive: dict[str, Array] | None) -> dict[str, Array]:
    """{role: [*n A X]}: the values of living agents, and zeros for the others, so that nothing of theirs reaches a network.
    All live if `alive` {role: [*n A]} is None."""
    if alive is None:
        return values
    return {name: jnp.where(alive[name][..., None], x, 0) for name, x in values.items()}


def polyak(params: PyTree, target: PyTree, tau: Real) -> PyTree:
    """Target tracking θ' ← (1 − τ)·θ' + τ·θ (Lillicrap et al. 2016, Algorithm 1)."""
    return jax.tree.map(lambda new, old: (1 - tau) * old + tau * new, params, target)


def linear_schedule(start: Real, end: Real) -> Callable[[Array], Array]:
    """`start` at progress 0, `end` at progress 1, linear in between."""
    return lambda progress: start + (end - start) * jnp.clip(progress, 0.0, 1.0)


class Cell(NamedTuple):
    """One step `(carry, x) -> carry, y` of a recurrent network, in three parts.

    Only `advance` needs the step before, so that `unroll` computes the other parts for all steps at once.
    """

    enter: Callable[[PyTree], PyTree]
    """x [*n ..] -> what the memory takes in."""
    advance: Callable[[PyTree, PyTree], PyTree]
    """carry, what it takes in -> carry. A network without memory returns the carry as it is."""
    leave: Callable[[PyTree, PyTree], Any]
    """carry after the step, what the memory took in -> y."""

    def __call__(self, carry: PyTree, x: PyTree) -> tuple[PyTree, Any]:
        """A single step."""
        taken = self.enter(x)
        carry = self.advance(carry, taken)
        return carry, self.leave(carry, taken)


def feed_forward(function: Callable[[PyTree], Any]) -> Cell:
    """`function` of x as a `Cell` without memory."""
    return Cell(function, lambda carry, taken: carry, lambda carry, taken: taken)


def unroll(
    step: Cell | Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    carry: PyTree,
    xs: PyTree,
    first: Bool[Array, "T E"],
    fresh: PyTree,
) -> tuple[PyTree, PyTree, PyTree]:
    """A recurrent `step(carry, x) -> carry, y` along xs [T E ..], starting again from `fresh` [E ..] if `first`.

    Returns the last carry, the carry after each step [T E ..], and the outputs [T E ..]. If the carry is empty, all of xs
    goes through `step` at once; of a `Cell`, only the part that needs the step before goes through one at a time.
    """
    if not jax.tree.leaves(carry):
        carry, ys = step(carry, xs)
        return carry, carry, ys

    if isinstance(step, Cell):
        taken = step.enter(xs)
        last, carries, _ = unroll(lambda carry, x: (step.advance(carry, x), ()), carry, taken, first, fresh)
        return last, carries, step.leave(carries, taken)

    def body(carry, now):
        x, begins = now
        carry, y = step(chosen_where(begins, fresh, carry), x)
        return carry, (carry, y)

    last, (carries, ys) = jax.lax.scan(body, carry, (xs, first))
    return last, carries, ys


def chosen_where(mask: Bool[Array, " E"], new: PyTree, old: PyTree) -> PyTree:
    """Leaves of `new` where `mask`, else of `old`; the mask is [E] and every leaf [E ...]."""
    return jax.tree.map(lambda n, o: jnp.where(mask.reshape(mask.shape + (1,) * (n.ndim - 1)), n, o), new, old)
