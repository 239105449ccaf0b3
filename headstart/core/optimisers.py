"""Gradient transformations that treat each agent's own parameters separately."""

import jax
import jax.numpy as jnp
import optax

from headstart.core.networks import RoleNet
from headstart.core.ops import Real


def per_team(transforms: dict[str, optax.GradientTransformation]) -> optax.GradientTransformation:
    """`transforms[network]` applied to every role's `RoleNet` of that network, to each agent's own parameters.

    Networks without a transform, such as a normaliser's `stats`, stay as they are. Clipping the norm of a whole stacked tree
    would couple agents: one agent's large gradient would shrink the others'.
    """

    def init(params):
        start = lambda name, t: transforms[name].init(t.net) if t.shared else jax.vmap(transforms[name].init)(t.net)
        return {name: {role: start(name, t) for role, t in params[name].items()} for name in transforms}

    def update(updates, state, params=None):
        assert params is not None
        grads, states = updates, {}
        updates = {name: jax.tree.map(jnp.zeros_like, roles) for name, roles in params.items() if name not in transforms}
        for name in transforms:
            step, roles = transforms[name].update, params[name]
            outs = {
                role: (step if t.shared else jax.vmap(step))(grads[name][role].net, state[name][role], t.net)
                for role, t in roles.items()
            }
            updates[name] = {role: RoleNet(out[0], roles[role].shared) for role, out in outs.items()}
            states[name] = {role: out[1] for role, out in outs.items()}
        return updates, states

    return optax.GradientTransformation(init, update)


def clip_per_variable(limit: Real) -> optax.GradientTransformation:
    """Each array's gradient scaled down to norm `limit` on its own, as openai/maddpg does (tf.clip_by_norm)."""

    def update(updates, state, params=None):
        clip = lambda g: g * jnp.minimum(1.0, limit / (jnp.sqrt((g * g).sum()) + 1e-12))
        return jax.tree.map(clip, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
