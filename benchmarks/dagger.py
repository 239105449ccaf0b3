"""Multi-agent DAgger: act, label, and one gradient step for each step of 32 environments of three agents.

The peer is the package imitation, which knows single agents: CartPole, with networks of the same sizes. It does not go with
today's versions of what headstart uses, so it is timed in a Python of its own: `--imitation PYTHON`.
"""

import jax
import jax.random as jr

from benchmarks.common import Options, alternate, answer, row, spread_of, training
from headstart.envs.centralized import centralized
from headstart.guidance.dagger import Dagger
from headstart.learners.ddpg import DDPG
from headstart.learners.imitator import Imitator
from headstart.papers.cesma import navigation
from headstart.teams.policy import TeamPolicy

PEERS = ("imitation",)


def main(options: Options) -> None:
    """One row: env-steps a second, all three agents' labels and updates included."""
    env = navigation(3)
    expert_env, config = centralized(env), DDPG(hidden=(225, 225))
    params = jax.vmap(config.make(expert_env.spec).init)(jr.split(jr.key(0), 1))
    expert = TeamPolicy(expert_env.spec, config, params, (0,), expert_env)
    learner = Imitator(gradient_steps=1, num_envs=32, train_every=32, capacity=100_000)
    ours, _ = training(env, learner, 200 if options.quick else 2000, guides=(Dagger(expert),))
    alternate([ours], options.repeats)
    found = answer(options.imitation, "dagger_imitation", str(500 if options.quick else 5_000))
    peer = found["env_steps_per_second"] if found else None
    name = "imitation, CartPole, one agent" if peer else options.without("imitation", "imitation")
    row("dagger-32", ours.rate, peer, name, "env-steps/s", agents=3, num_envs=32, **spread_of(ours))
