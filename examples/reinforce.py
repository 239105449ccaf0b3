"""A custom learner: REINFORCE, with one actor for all agents of a role and the discounted return after each action.

headstart train spread --use examples.reinforce --learner reinforce --steps 200000 --out runs/reinforce
"""

import dataclasses

import jax.numpy as jnp
import jax.random as jr
import optax

from headstart.core import actions, ops
from headstart.core.learner import Learner, actors, flatten, shares
from headstart.core.memory import latest
from headstart.core.networks import role_net
from headstart.core.optimisers import per_team
from headstart.core.part import part
from headstart.core.ranges import Count, Positive, Unit
from headstart.learners.bodies import mlp_body


@part("learner")
class Reinforce:
    """REINFORCE (Williams 1992): make actions that a high return followed more likely. Discrete actions."""

    lr: Positive = 3e-3
    gamma: Unit = 0.95
    num_envs: Count = 64
    rollout: Count = 25

    def make(self, spec) -> Learner:
        """Pure functions, without a loop over env-steps, a buffer or logging."""
        body = mlp_body((64, 64), "tanh")
        role_key = lambda key, name: jr.fold_in(key, list(spec.roles).index(name))
        actor = lambda key, name, role: role_net(lambda k: body(k, role.obs, role.actions.size), key, role.agents, True)

        def act(params, carry, step, key, progress):
            logits = actors(spec, params, step.obs)
            return carry, {r: actions.sample(spec.roles[r].actions, role_key(key, r), x) for r, x in logits.items()}

        def prepare(params, carry, rollout):
            over, zero = rollout.terminated | rollout.truncated, lambda x: jnp.zeros_like(x)
            after = lambda x: ops.gae(x, zero(x), zero(x), over[..., None], over[..., None], self.gamma, 1.0)
            extras = rollout.extras | {"after": {role: after(x) for role, x in rollout.reward.items()}}
            return params, flatten(dataclasses.replace(rollout, extras=extras))

        def objective(params, target, batch, key):
            terms = {}
            for role, logits in actors(spec, params, batch.obs).items():
                paid = batch.extras["after"][role]
                better = (paid - paid.mean(0, keepdims=True)) / (paid.std(0, keepdims=True) + 1e-6)
                likely = actions.log_prob(spec.roles[role].actions, logits, batch.action[role])
                terms[role] = -ops.masked_mean(likely * better, batch.alive[role], 0) / logits.shape[-2]
            return {"actor": terms}, {}

        return Learner(
            num_envs=self.num_envs, rollout=self.rollout, warmup=0,
            memory=latest(self.num_envs * self.rollout, epochs=1, minibatches=1),
            optimizer=per_team({"actor": optax.adam(self.lr)}),
            init=lambda key: {"actor": {name: actor(role_key(key, name), name, role) for name, role in spec.roles.items()}},
            start=lambda num_envs: (),
            policy=lambda params, carry, obs: (carry, actors(spec, params, obs)),
            unroll=lambda params, items: ((), actors(spec, params, items.obs)),
            act=act, prepare=prepare, objective=objective, share=shares(spec, shared=True),
        )  # fmt: skip


PRESETS = {"reinforce": Reinforce()}
