"""Operations on a policy's outputs: greedy actions, samples, log-probabilities and divergences of both kinds of action.

A policy puts out `logits` [.. U] for discrete heads, or means in [-1, 1] for continuous actions. Everything here works on
action vectors (see `types`): a log-probability is a dot product with a one-hot vector, so nothing is gathered.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from headstart.core.ops import Real
from headstart.core.types import ActionSpace, Continuous, Discrete

ILLEGAL = -1e9
"""Logit of an action that is not available: its probability is exactly 0, and the gradient stays finite."""


def over_heads(function, space: Discrete, *xs: Float[Array, "*n U"]) -> Float[Array, "*n _"]:
    """Apply `function` to each head's block of every `x` and put the results side by side."""
    if len(space.heads) == 1:
        return function(*xs)
    cuts = np.cumsum(space.heads)[:-1].tolist()
    return jnp.concatenate([function(*blocks) for blocks in zip(*(jnp.split(x, cuts, -1) for x in xs), strict=True)], -1)


def legal(logits: Float[Array, "*n U"], available: Array | None) -> Float[Array, "*n U"]:
    """Logits with `ILLEGAL` in place of every choice that is not available."""
    return logits if available is None else jnp.where(available, logits, ILLEGAL)


def legal_by_role(logits: dict[str, Array], available: dict[str, Array] | None) -> dict[str, Array]:
    """`legal` for every role of a team."""
    return {role: legal(x, None if available is None else available[role]) for role, x in logits.items()}


def _choice(logits: Array) -> Array:
    return jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=logits.dtype)


def greedy(space: ActionSpace, logits: Float[Array, "*n U"]) -> Float[Array, "*n U"]:
    """The most likely action: one-hot heads, or the mean itself."""
    return logits if isinstance(space, Continuous) else over_heads(_choice, space, logits)


def even(space: ActionSpace) -> np.ndarray:
    """[U]: every option of a head alike, or zeros: an action that says nothing."""
    if isinstance(space, Continuous):
        return np.zeros(space.size, np.float32)
    return np.concatenate([np.full(n, 1 / n, np.float32) for n in space.heads])


def gumbel_softmax(
    space: Discrete, key: Key[Array, ""], logits: Float[Array, "*n U"], temperature: Real = 1.0
) -> Float[Array, "*n U"]:
    """A differentiable sample softmax((logits + g)/τ), g ~ Gumbel(0, 1), head by head (Jang et al. 2017, eq. 2)."""
    noisy = (logits + jr.gumbel(key, logits.shape, logits.dtype)) / temperature
    return over_heads(lambda block: jax.nn.softmax(block, -1), space, noisy)


def sample(space: Discrete, key: Key[Array, ""], logits: Float[Array, "*n U"]) -> Float[Array, "*n U"]:
    """A one-hot sample of every head (Gumbel-max)."""
    return over_heads(_choice, space, logits + jr.gumbel(key, logits.shape, logits.dtype))


def log_softmax(space: Discrete, logits: Float[Array, "*n U"]) -> Float[Array, "*n U"]:
    """Log-probabilities of every option, head by head."""
    return over_heads(lambda block: jax.nn.log_softmax(block, -1), space, logits)


def log_prob(space: Discrete, logits: Float[Array, "*n U"], action: Float[Array, "*n U"]) -> Float[Array, "*n"]:
    """log π(a) = Σ_heads log softmax(logits)·a, for a one-hot `action`; soft vectors give the cross-entropy."""
    return (log_softmax(space, logits) * action).sum(-1)


def entropy(space: Discrete, logits: Float[Array, "*n U"]) -> Float[Array, "*n"]:
    """Entropy in nats, summed over heads."""
    log_p = log_softmax(space, logits)
    return -(jnp.exp(log_p) * log_p).sum(-1)


def normal_log_prob(mean: Array, log_std: Array, action: Float[Array, "*n U"]) -> Float[Array, "*n"]:
    """log N(action; mean, exp(log_std)²), summed over U."""
    log_std = jnp.broadcast_to(log_std, mean.shape)
    z = (action - mean) * jnp.exp(-log_std)
    return -(0.5 * z * z + log_std + 0.5 * np.log(2 * np.pi)).sum(-1)


def cross_entropy(space: Discrete, teacher: Float[Array, "*n U"], student: Float[Array, "*n U"]) -> Float[Array, "*n"]:
    """H(teacher, student) = −Σ softmax(teacher)·log softmax(student), summed over heads; both are logits."""
    return -(jnp.exp(log_softmax(space, teacher)) * log_softmax(space, student)).sum(-1)


def kl(space: Discrete, teacher: Float[Array, "*n U"], student: Float[Array, "*n U"]) -> Float[Array, "*n"]:
    """KL(teacher ‖ student), summed over heads; both are logits."""
    return cross_entropy(space, teacher, student) - entropy(space, teacher)
