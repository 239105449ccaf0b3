"""Actors with no objective of their own: they learn from guidance alone, on all the data they have collected."""

import jax.numpy as jnp
import jax.random as jr
import optax

from headstart.core.actions import greedy, legal
from headstart.core.learner import Learner, actors, check_replay, replaying, shares
from headstart.core.modules import Activation
from headstart.core.networks import role_net
from headstart.core.optimisers import per_team
from headstart.core.part import part
from headstart.core.ranges import Count, Natural, Positive, Sizes
from headstart.core.types import TeamSpec
from headstart.learners.bodies import mlp_body


@part("learner")
class Imitator:
    """Actors that act greedily and learn from guidance alone: the students of an expert (with guidance dagger)."""

    shared: bool = False
    """One actor for all agents of a role, instead of one each."""
    hidden: Sizes = (128, 128)
    """Units of the hidden layers."""
    activation: Activation = "relu"
    lr: Positive = 1e-3
    batch: Count = 32
    """Env-steps in a batch."""
    capacity: Count = 1_000_000
    """Env-steps kept: the aggregate dataset."""
    warmup: Natural = 1_000
    """Env-steps collected before learning starts."""
    train_every: Count = 32
    """Env-steps between two updates."""
    gradient_steps: Count = 32
    """Gradient steps of an update."""
    num_envs: Count = 32
    """Environments that step together; divides `train_every`."""

    def __post_init__(self):
        check_replay(self)

    def make(self, spec: TeamSpec) -> Learner:
        """The learner for a team, of discrete or continuous actions."""
        return Learner(
            **replaying(self),
            optimizer=per_team({"actor": optax.adam(self.lr)}),
            init=lambda key: {"actor": {name: self._actor(role, key, i) for i, (name, role) in enumerate(spec.roles.items())}},
            policy=lambda params, carry, obs: (carry, actors(spec, params, obs)),
            unroll=lambda params, batch: ((), actors(spec, params, batch.obs)),
            act=lambda params, carry, step, key, progress: (carry, _act(spec, params, step)),
            objective=lambda params, target, batch, key: _nothing(spec),
            share=shares(spec, self.shared),
        )

    def _actor(self, role, key, index):
        body = mlp_body(self.hidden, self.activation)
        return role_net(lambda k: body(k, role.obs, role.actions.size), jr.fold_in(key, index), role.agents, self.shared)


def _act(spec, params, step):
    masks = step.available or dict.fromkeys(spec.roles)
    return {role: greedy(spec.roles[role].actions, legal(x, masks[role])) for role, x in actors(spec, params, step.obs).items()}


def _nothing(spec):
    return {"actor": {name: jnp.zeros(role.agents) for name, role in spec.roles.items()}}, {}


PRESETS = {"imitator": Imitator()}
"""Names on the command line, and the settings each starts from."""
