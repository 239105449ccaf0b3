"""What recurrent PPO of the field has beside PPO's core: value losses, normalised values, layer norms, truncated sequences."""

import jax.numpy as jnp
import numpy as np
import pytest

from headstart.learners.ppo import PPO
from headstart.learners.values import value_loss

# ------------------------------------------------------------------ value losses


@pytest.mark.parametrize("clip", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_value_losses_against_loops(kind, clip):
    rng, delta = np.random.default_rng(0), 0.5
    value, target, before = rng.normal(size=(3, 200)).astype(np.float32)
    before = value + 0.4 * before
    own = PPO(value_loss=kind, huber_delta=delta, value_clip=clip)

    def loss(error):
        linear = kind == "huber" and abs(error) > delta
        return delta * (abs(error) - 0.5 * delta) if linear else 0.5 * error**2

    want, clipped = [], 0
    for v, y, old in zip(value, target, before, strict=True):
        near = min(max(v, old - clip), old + clip)
        clipped += loss(near - y) > loss(v - y)
        want.append(max(loss(v - y), loss(near - y)) if clip else loss(v - y))
    value, target, before = map(jnp.asarray, (value, target, before))
    got = value_loss(own, value, target, before if clip else None)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert not clip or 20 < clipped < 180
