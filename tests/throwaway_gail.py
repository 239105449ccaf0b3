"""A discriminator for each agent, in one short file: the contract holds it. Not the method that users get."""

import jax
import jax.numpy as jnp
import jax.random as jr
import optax

from headstart.core.guidance import Guidance
from headstart.core.modules import mlp
from headstart.core.networks import role_net
from headstart.core.ops import masked_mean
from headstart.core.optimisers import per_team
from headstart.core.part import part


@part("guidance")
class Gail:
    """Pay agents for what a discriminator takes for the demonstrations, which are random."""

    coefficient: float = 0.3
    steps: int = 2
    batch: int = 8

    def make(self, spec, learner):
        optimizer = per_team({"discriminator": optax.adam(1e-3)})
        demos = {name: jr.normal(jr.key(0), (64, role.agents, role.obs_size)) for name, role in spec.roles.items()}
        logit = lambda d, obs: {r: net(obs[r])[..., 0] for r, net in d["discriminator"].items()}

        def init(key, seed):
            make = lambda role: lambda k: mlp(k, (role.obs_size, 16, 1), "tanh")
            nets = {name: role_net(make(role), key, role.agents, False) for name, role in spec.roles.items()}
            return {"d": {"discriminator": nets}, "opt": optimizer.init({"discriminator": nets})}

        def loss(d, real, fake, alive):
            bce, one, zero = optax.sigmoid_binary_cross_entropy, logit(d, real), logit(d, fake)
            return sum((bce(one[r], 1.0).mean(0) + masked_mean(bce(zero[r], 0.0), alive[r], 0)).sum() for r in one)

        def observe(g, params, key, rollout, clock, data):
            seen = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (rollout.obs, rollout.alive))
            pick = lambda tree, k: jax.tree.map(lambda x: x[jr.randint(k, (self.batch,), 0, x.shape[0])], tree)

            def step(carry, k):
                (d, opt), (a, b) = carry, jr.split(k)
                value, grads = jax.value_and_grad(loss)(d, pick(data, a), *pick(seen, b))
                updates, opt = optimizer.update(grads, opt, d)
                return (optax.apply_updates(d, updates), opt), value

            (d, opt), losses = jax.lax.scan(step, (g["d"], g["opt"]), jr.split(key, self.steps))
            return {"d": d, "opt": opt}, rollout, {"discriminator_loss": losses[-1]}

        def reward(g, now):
            paid = {r: self.coefficient * jnp.where(now.alive[r], x, 0.0) for r, x in logit(g["d"], now.obs).items()}
            return {r: x + jax.lax.stop_gradient(paid[r]) for r, x in now.reward.items()}

        return Guidance(init=init, observe=observe, reward=reward, data=demos)


PRESETS = {"throwaway-gail": Gail()}
