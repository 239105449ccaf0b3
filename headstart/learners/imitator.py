"""Actors with no objective of their own: they learn from guidance alone, on all the data they have collected."""

from typing import Literal

import jax.numpy as jnp
import jax.random as jr
import optax

from headstart.core.actions import greedy, legal
from headstart.core.learner import Learner, shares, squashed
from headstart.core.modules import Activation
from headstart.core.networks import role_net
from headstart.core.optimisers import per_team
from headstart.core.part import part
from headstart.core.ranges import Count, Natural, NonNegative, Positive, Sizes
from headstart.core.types import TeamSpec
from headstart.learners.bodies import mlp_body, recurrent_body
from headstart.learners.recurrent import along, check_sequences, collecting, policy


@part("learner")
class Imitator:
    """Actors that act greedily and learn from guidance alone: the students of an expert (with guidance dagger)."""

    core: Literal["mlp", "gru"] = "mlp"
    """Feed-forward, or recurrent (an encoder, a GRU and a head). A recurrent network learns from sequences of train_every /
    num_envs env-steps, each of one environment."""
    shared: bool = False
    """One actor for all agents of a role, instead of one each."""
    hidden: Sizes = (128, 128)
    """Units of the hidden layers. A GRU takes the last number as its size, and its encoder the others, or that one if it is
    the only one."""
    activation: Activation = "relu"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    """Factor on the parameters, added to the gradient (an L2 penalty)."""
    batch: Count = 32
    """Env-steps in a batch; with recurrent networks, sequences."""
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
        check_sequences(self)

    def make(self, spec: TeamSpec) -> Learner:
        """The learner for a team, of discrete or continuous actions."""
        decay = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        return Learner(
            **collecting(self, spec, "actor"),
            optimizer=per_team({"actor": optax.chain(*decay, optax.adam(self.lr))}),
            init=lambda key: {"actor": {name: self._actor(role, key, i) for i, (name, role) in enumerate(spec.roles.items())}},
            policy=lambda params, carry, obs: _policy(spec, params, carry, obs),
            unroll=lambda params, batch: _unroll(spec, params, batch),
            act=lambda params, carry, step, key, progress: _act(spec, params, carry, step),
            objective=lambda params, target, batch, key: _nothing(spec),
            share=shares(spec, self.shared),
        )

    def _actor(self, role, key, index):
        body = mlp_body(self.hidden, self.activation) if self.core == "mlp" else recurrent_body(self.hidden)
        return role_net(lambda k: body(k, role.obs, role.actions.size), jr.fold_in(key, index), role.agents, self.shared)


def _policy(spec, params, carry, obs):
    carry, out = policy("actor", params, carry, obs)
    return carry, squashed(spec, out)


def _unroll(spec, params, batch):
    carries, out = along("actor", params, batch, spec)
    return carries, squashed(spec, out)


def _act(spec, params, carry, step):
    carry, out = _policy(spec, params, carry, step.obs)
    masks = step.available or dict.fromkeys(spec.roles)
    return carry, {role: greedy(spec.roles[role].actions, legal(x, masks[role])) for role, x in out.items()}


def _nothing(spec):
    return {"actor": {name: jnp.zeros(role.agents) for name, role in spec.roles.items()}}, {}


PRESETS = {"imitator": Imitator()}
"""Names on the command line, and the settings each starts from."""
