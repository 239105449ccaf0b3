"""MAAC on treasure and spread: batch 1024, 12 environments, 4 gradient steps for every 100 env-steps, and its floor.

The floor is what the gradient of the objective spends on matrix products, at the shapes and in the layout that the networks
have (agents first). What counts:

    target      actors and critics forward, on the next observations
    critic      encoders, queries, keys, values, scores, weighted sums and heads: forward, and backward to all weights
    actor       forward, and backward to its weights; on its actions the critic forward, but for the encoding of observations
                and the queries, which are those of the last pass

It leaves out everything else: softmax, biases, activations, normalisation, samples, losses, and products to an input.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from benchmarks.common import Options, Program, alternate, gradient, row, spread_of, training
from headstart.core.types import TeamSpec
from headstart.envs.particle.spread import Spread
from headstart.envs.particle.treasure import Treasure
from headstart.learners.maac import MAAC

ENVS = {"treasure": Treasure(), "spread": Spread(semantics="openai")}
AUTHORS = {"treasure": 80.0, "spread": 290.0}
"""Env-steps/s of the authors' PyTorch code on two cores, measured once and quoted here."""
CAPACITY = 100_000
"""A tenth of the default, which would take gigabytes; the time of an update does not depend on it."""


def main(options: Options) -> None:
    """Two rows for each environment: env-steps/s, and ms of a gradient beside its matrix products."""
    config = MAAC(capacity=CAPACITY)
    note = {"batch": config.batch, "num_envs": config.num_envs, "hidden": config.hidden, "capacity": CAPACITY}
    for name, env in ENVS.items():
        one, trainer = training(env, config, 1 if options.quick else 4)
        alternate([one], min(options.repeats, 5))
        steps = {"gradients_per_env_step": config.gradient_steps / trainer.steps_per_update, **spread_of(one)}
        row(f"maac-{name}", one.rate, AUTHORS[name], "the authors' PyTorch code, quoted", "env-steps/s", **note, **steps)
        ours, products = gradient(env, config), _products(config, env.spec)
        alternate([ours, products], options.repeats)
        times = [1e3 / program.rate for program in (ours, products)]
        row(
            f"maac-{name}-floor",
            *times,
            "its matrix products alone",
            "ms/gradient",
            (ours, products),
            **note,
            **spread_of(ours),
        )


def _weights(key: Array, *shapes: tuple[int, ...]) -> list[Array]:
    return [jr.normal(jr.fold_in(key, i), shape) / shape[-2] ** 0.5 for i, shape in enumerate(shapes)]


def _through(weights: list[Array], x: Array) -> Array:
    """[A B I] -> [A B O]: one layer after another."""
    for w in weights:
        x = x @ w
    return x


def _each(weights: dict[str, list[Array]], x: dict[str, Array]) -> dict[str, Array]:
    return {name: _through(weights[name], x[name]) for name in weights}


def _attended(weights: dict, heads: int, query: Array, does: dict[str, Array]) -> Array:
    """Scores of all pairs and weighted sums: query [N B E], does {role: [A B E]} -> [N B E]."""
    apart = lambda x: x.reshape(*x.shape[:-1], heads, -1)
    key, value = (apart(jnp.concatenate(list(does.values())) @ w) for w in weights["team"][1:])
    scores = jnp.einsum("ibhd,jbhd->ibhj", apart(query), key)
    return jnp.einsum("ibhj,jbhd->ibhd", scores, value).reshape(query.shape)


def _values(weights: dict, sees: Array, attended: Array) -> dict[str, Array]:
    """[N B E] each -> {role: [A B U]}."""
    both, out, at = jnp.concatenate([sees, attended], -1), {}, 0
    for name, layers in weights["head"].items():
        agents = len(layers[0])
        out[name], at = _through(layers, both[at : at + agents]), at + agents
    return out


def _products(config: MAAC, spec: TeamSpec) -> Program:
    size, batch, hidden = config.embedding, config.batch, config.hidden
    keys = iter(jr.split(jr.key(0), 6 * len(spec.roles) + 1))
    weights: dict = {"actor": {}, "sees": {}, "does": {}, "head": {}, "team": _weights(next(keys), *[(size, size)] * 3)}
    obs, acted = {}, {}
    for name, role in spec.roles.items():
        n, seen, moves = role.agents, role.obs_size, role.actions.size
        layers = zip((seen, *hidden), (*hidden, moves), strict=True)
        weights["actor"][name] = _weights(next(keys), *[(n, *layer) for layer in layers])
        weights["sees"][name] = _weights(next(keys), (n, seen, size))
        weights["does"][name] = _weights(next(keys), (n, seen + moves, size))
        weights["head"][name] = _weights(next(keys), (n, 2 * size, size), (n, size, moves))
        obs[name], acted[name] = jr.normal(next(keys), (n, batch, seen)), jr.normal(next(keys), (n, batch, seen + moves))

    def critic(weights, obs, acted):
        sees = jnp.concatenate(list(_each(weights["sees"], obs).values()))
        query = sees @ weights["team"][0]
        attended = _attended(weights, config.heads, query, _each(weights["does"], acted))
        return _values(weights, sees, attended), (sees, query)

    def update(weights, obs, acted):
        older = jax.tree.map(lambda w: 0.99 * w, weights)  # the targets' weights, and other observations
        other, other_acted = (jax.tree.map(lambda x: 0.99 * x, tree) for tree in (obs, acted))
        next_logits, (next_q, _) = _each(older["actor"], other), critic(older, other, other_acted)
        judged = {name: weights[name] for name in weights if name != "actor"}
        q, back, (sees, query) = jax.vjp(lambda w: critic(w, obs, acted), judged, has_aux=True)
        to_critic = back(jax.tree.map(jnp.add, q, next_q))
        logits, back = jax.vjp(lambda actor: _each(actor, obs), weights["actor"])
        fresh = {name: x.at[..., -logits[name].shape[-1] :].add(logits[name]) for name, x in acted.items()}
        own = _values(weights, sees, _attended(weights, config.heads, query, _each(weights["does"], fresh)))
        return to_critic, back(jax.tree.map(jnp.add, own, next_logits))

    compiled = jax.jit(update)
    return Program(lambda: jax.block_until_ready(compiled(weights, obs, acted)), 1)
