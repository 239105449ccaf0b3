"""Discriminators, one for each agent: how likely a sample is a demonstration (label 1) and not the agent's own (label 0).

They are {role: RoleNet} with parameters of their own for every agent. D is the sigmoid of a logit d. The loss of an agent is

    −E log D(x) over demonstrations − E log(1 − D(x)) over its own samples + penalty·E (‖∇d(x̂)‖ − 1)²

with x̂ drawn uniformly between a demonstration and an own sample (Ho and Ermon 2016, "Generative Adversarial Imitation
Learning"; Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", eq. 3). No number of another agent enters it.
Axes are those of `samples`.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Key, PyTree

from headstart.core.modules import mlp
from headstart.core.networks import RoleNet, role_net
from headstart.core.ops import Real
from headstart.core.types import Metrics
from headstart.guidance.samples import Samples, plan, taken

Nets = dict[str, RoleNet]
Form = Literal["logit", "log", "softplus"]
SMALL = 1e-12
"""Under the root of a gradient's norm, whose own gradient is infinite at 0."""


def discriminators(key: Key[Array, ""], sizes: dict[str, tuple[int, int]], hidden: tuple[int, ...]) -> Nets:
    """New ones for {role: (A, X)}: tanh layers, and one logit."""
    make = lambda inputs: lambda key: mlp(key, (inputs, *hidden, 1), "tanh")
    return {r: role_net(make(x), jr.fold_in(key, i), agents, False) for i, (r, (agents, x)) in enumerate(sizes.items())}


def logits(nets: Nets, x: dict[str, Float[Array, "*n A X"]]) -> dict[str, Float[Array, "*n A"]]:
    """d of every agent's samples, by its own discriminator."""
    return {role: net(x[role])[..., 0] for role, net in nets.items()}


def paid(form: Form, logit: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The reward: log D − log(1 − D), which is the logit itself; log D, never above 0; or −log(1 − D), never below 0."""
    if form == "logit":
        return logit
    return -jax.nn.softplus(-logit) if form == "log" else jax.nn.softplus(logit)


def gradient_penalty(net: RoleNet, x: Float[Array, "A B X"]) -> Float[Array, " A"]:
    """E (‖∇d(x)‖ − 1)² over the samples of each agent."""
    slopes = jax.grad(lambda x: net.agent_first(x).sum())(x)
    return jnp.square(jnp.sqrt(jnp.square(slopes).sum(-1) + SMALL) - 1).mean(-1)


def loss(
    net: RoleNet, demos: Float[Array, "A B X"], own: Float[Array, "A B X"], mix: Float[Array, "A B 1"], penalty: Real
) -> tuple[Float[Array, " A"], dict[str, Float[Array, " A"]]]:
    """Each agent's loss, and what its discriminator says of both kinds: mean logits, and the shares that it tells rightly.

    `mix` in [0, 1] is the weight of the demonstration in x̂.
    """
    real, fake = net.agent_first(demos)[..., 0], net.agent_first(own)[..., 0]
    entropy = jax.nn.softplus(-real).mean(-1) + jax.nn.softplus(fake).mean(-1)
    value = entropy + penalty * gradient_penalty(net, mix * demos + (1 - mix) * own)
    said = {"logit/demos": real, "logit/policy": fake, "accuracy/demos": real > 0, "accuracy/policy": fake < 0}
    return value, {name: x.mean(-1) for name, x in said.items()}


def learn(
    optimizer: optax.GradientTransformation, state: PyTree, key: Key[Array, ""], samples: dict[str, Samples],
    steps: int, size: int, penalty: Real,
) -> tuple[PyTree, Metrics]:  # fmt: skip
    """(discriminators, optimiser's state) after `steps` gradient steps on batches of `size` samples of each kind.

    The metrics are means over steps and over the agents that have own samples; the others learn nothing.
    """
    learns = {role: given.valid.any(-1) for role, given in samples.items()}
    plans = {role: plan(jr.fold_in(key, i), given, steps, size) for i, (role, given) in enumerate(samples.items())}

    def total(nets, plans):
        found = {}
        for role, now in plans.items():
            value, said = loss(nets[role], *taken(samples[role], now.demos, now.own), now.mix, penalty)
            found[role] = {"discriminator_loss": jnp.where(learns[role], value, 0.0)} | said
        return sum(said["discriminator_loss"].sum() for said in found.values()), found

    def step(state, plans):
        nets, opt = state
        grads, found = jax.grad(total, has_aux=True)(nets, plans)
        updates: Any = {"discriminator": grads}
        updates, opt = optimizer.update(updates, opt, {"discriminator": nets})
        found = {role: said | {"discriminator_grad_norm": _norms(grads[role])} for role, said in found.items()}
        return (optax.apply_updates(nets, updates["discriminator"]), opt), found

    state, found = jax.lax.scan(step, state, plans)
    return state, _means(found, learns)


def _norms(grads: PyTree) -> Float[Array, " A"]:
    """The norm of each agent's gradient."""
    squares = [jnp.square(x).reshape(len(x), -1).sum(-1) for x in jax.tree.leaves(grads)]
    return jnp.sqrt(jnp.stack(squares).sum(0))


def _means(found: dict[str, dict[str, Float[Array, "G A"]]], learns: dict[str, Array]) -> Metrics:
    """The mean of every number over steps and over the agents that learn, of all roles."""
    among = jnp.concatenate(list(learns.values()))
    total = lambda x: jnp.where(among, x, 0.0).sum() / jnp.maximum(among.sum(), 1)
    names = next(iter(found.values()))
    return {name: total(jnp.concatenate([said[name].mean(0) for said in found.values()])) for name in names}
