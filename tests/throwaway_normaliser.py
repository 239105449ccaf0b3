"""A learner that normalises what its policy sees, in one short file: the contract holds it. Not what users get."""

from typing import Any

import jax.numpy as jnp

from headstart.core.networks import RoleNet
from headstart.core.part import part
from headstart.learners.ddpg import DDPG


@part("learner")
class Normalised:
    """A learner whose policy sees observations less their running mean, which `prepare` moves."""

    inner: Any = DDPG()

    def make(self, spec):
        learner = self.inner.make(spec)
        centred = lambda params, obs: {r: x - jnp.broadcast_to(params["stats"][r].net["mean"], x.shape) for r, x in obs.items()}

        def init(key):
            blank = lambda role: RoleNet({"mean": jnp.zeros(role.obs_size), "count": jnp.zeros(())}, shared=True)
            return learner.init(key) | {"stats": {name: blank(role) for name, role in spec.roles.items()}}

        def prepare(params, carry, rollout):
            stats = {}
            for role, x in rollout.obs.items():
                seen, old = x.reshape(-1, x.shape[-1]), params["stats"][role].net
                count = old["count"] + len(seen)
                stats[role] = RoleNet({"mean": old["mean"] + (seen - old["mean"][None]).sum(0) / count, "count": count}, True)
            return learner.prepare(params | {"stats": stats}, carry, rollout)

        return learner._replace(
            init=init,
            prepare=prepare,
            policy=lambda params, carry, obs: learner.policy(params, carry, centred(params, obs)),
            policy_networks=("actor", "stats"),
        )


PRESETS = {"throwaway-normalised": Normalised()}
