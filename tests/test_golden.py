"""Golden sums: the parameters of short guided runs are what they were before the code was moved and its contracts changed.

Each number is the sum of the absolute values of all parameters and targets of two seeds after five updates on `Lengths`, as
the code printed it before. The joint critic sums in another order now, hence the tolerance.
"""

import dataclasses

import jax
import jax.random as jr
import numpy as np
import pytest
from probes import Lengths, loop, small

from headstart import registry
from headstart.teams.policy import TeamPolicy

TINY = {"num_envs": 4, "rollout": 4, "train_every": 4, "batch": 8, "warmup": 8, "capacity": 12, "hidden": (8,), "epochs": 1}
CONFIGS = {name: registry.preset("learner", name) for name in ("ddpg", "independent-ddpg", "ppo", "vdn", "imitator")}
CONFIGS["gru"] = dataclasses.replace(CONFIGS["ppo"], core="gru")
GOLDEN = {
    ("ddpg", "distill"): 276.2130222573178,
    ("independent-ddpg", "dagger"): 208.76868005099823,
    ("ppo", "distill"): 69.69121258546511,
    ("gru", "distill"): 591.2171639607272,
    ("vdn", "warm_start"): 105.05652888584882,
    ("imitator", "dagger"): 117.1864862551447,
}
"""{(learner, guidance): sum}."""


@pytest.mark.slow
@pytest.mark.parametrize("name,guide", GOLDEN)
def test_the_sum_of_parameters_is_what_it_was(name, guide):
    env, config = Lengths(), small(CONFIGS[name], **TINY)
    params = jax.jit(jax.vmap(config.make(env.spec).init))(jr.split(jr.key(5), 2))
    taught = dataclasses.replace(registry.preset("guidance", guide), teacher=TeamPolicy(env.spec, config, params, (0, 1), env))
    state, _ = loop(env, config, 5, (taught,)).run((0, 1))
    total = sum(np.abs(np.asarray(x, np.float64)).sum() for x in jax.tree.leaves((state.params, state.target)))
    np.testing.assert_allclose(total, GOLDEN[name, guide], rtol=1e-6)
