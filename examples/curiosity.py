"""A custom guidance: agents earn a bonus for novel observations (random network distillation).

headstart train spread --use examples.curiosity --learner ippo --guidance curiosity --steps 200000 --out runs/curious
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import optax

from headstart.core.guidance import Guidance
from headstart.core.modules import mlp
from headstart.core.part import part
from headstart.core.ranges import NonNegative, Positive


@part("guidance")
class Curiosity:
    """The bonus is the error of a network that learns to predict a random one (Burda et al. 2019)."""

    bonus: NonNegative = 0.1
    lr: Positive = 1e-3

    def make(self, spec, learner) -> Guidance:
        """`init` makes its state, `observe` trains the predictor before the learner learns, `reward` adds the bonus."""
        optimizer = optax.adam(self.lr)
        net = lambda key, role: mlp(key, (role.obs_size, 32, 8), "tanh")
        nets = lambda key: {name: net(jr.fold_in(key, i), role) for i, (name, role) in enumerate(spec.roles.items())}

        def init(key, seed):
            fixed, predictor = map(nets, jr.split(key))
            return {"fixed": fixed, "predictor": predictor, "opt": optimizer.init(predictor)}

        def errors(fixed, predictor, obs):
            return {r: jnp.square(predictor[r](x) - jax.lax.stop_gradient(fixed[r](x))).mean(-1) for r, x in obs.items()}

        def observe(g, params, key, rollout, clock, data):
            loss = lambda predictor: sum(x.mean() for x in errors(g["fixed"], predictor, rollout.obs).values())
            value, grads = jax.value_and_grad(loss)(g["predictor"])
            updates, opt = optimizer.update(grads, g["opt"])
            predictor = optax.apply_updates(g["predictor"], updates)
            return {**g, "predictor": predictor, "opt": opt}, rollout, {"novelty": value}

        def reward(g, transition):
            new = jax.lax.stop_gradient(errors(g["fixed"], g["predictor"], transition.next_obs))
            return {r: x + self.bonus * jnp.where(transition.alive[r], new[r], 0.0) for r, x in transition.reward.items()}

        return Guidance(init=init, observe=observe, reward=reward)


PRESETS = {"curiosity": Curiosity()}
