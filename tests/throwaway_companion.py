"""A second learner on another task, which shares the actors' hidden layer, in one short file. Not what users get."""

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from headstart.core.guidance import Guidance
from headstart.core.part import part
from headstart.core.ranges import Unit
from headstart.core.trainer import make_trainer
from headstart.learners.ppo import PPO


@part("guidance")
class Companion:
    """Train a companion alongside: its hidden layer takes the place of the learner's, or its gradient joins as momentum."""

    env: Any = None
    learner: Any = dataclasses.field(default_factory=PPO)
    mode: Literal["tie", "momentum"] = "tie"
    coefficient: Unit = 0.5

    def make(self, spec, learner):
        trainer = make_trainer(self.env, self.learner.make(self.env.spec), Guidance(), 10**6)
        layer = lambda net: (net.net.body if hasattr(net.net, "body") else net.net).layers[1]
        shared = lambda params: {role: layer(net) for role, net in params["actor"].items()}
        mix = lambda own, theirs: jax.tree.map(lambda a, b: (1 - self.coefficient) * a + self.coefficient * b, own, theirs)

        def put(params, layers):
            nets = {role: eqx.tree_at(layer, net, layers[role]) for role, net in params["actor"].items()}
            return {**params, "actor": nets}

        def init(key, seed):
            state = trainer.init(key, seed)
            return {"state": state, "momentum": jax.tree.map(jnp.zeros_like, shared(state.params))}

        def observe(g, params, key, rollout, clock, data):
            state, metrics = trainer.update(g["state"], clock.age)
            ended = metrics["episodes"]
            total = sum(x.sum() for x in ended["returns"].values()) / jnp.maximum(ended["count"], 1)
            return {**g, "state": state}, rollout, {"companion_return": total}

        def grads(g, params, grads):
            moved = jax.tree.map(lambda v, new: 0.9 * v + 0.1 * new, g["momentum"], shared(grads))
            return {**g, "momentum": moved}, put(grads, mix(shared(grads), moved))

        tie = lambda g, params: put(params, mix(shared(params), shared(g["state"].params)))
        return Guidance(init=init, observe=observe, **({"tie": tie} if self.mode == "tie" else {"grads": grads}))


PRESETS = {"throwaway-companion": Companion()}
