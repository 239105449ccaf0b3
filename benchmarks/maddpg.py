"""MADDPG on simple_spread as `headstart train` runs it: batch 1024, one update a 100 env-steps, 100 environments, 2×64."""

import importlib.util

from benchmarks.common import Options, alternate, row, spread_of, training
from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG


def main(options: Options) -> None:
    """Rows: env-steps/s of one seed, and what four seeds side by side cost against one."""
    env, learner = Spread(semantics="openai"), DDPG()
    one, trainer = training(env, learner, 50 if options.quick else 300)
    four, _ = training(env, learner, 20 if options.quick else 100, seeds=4)
    alternate([one, four], options.repeats)
    settings = {
        "agents": env.agents,
        "batch": learner.batch,
        "train_every": learner.train_every,
        "num_envs": learner.num_envs,
        "hidden": learner.hidden,
        "capacity": learner.capacity,
    }
    installed = importlib.util.find_spec("benchmarl") is not None
    peer = "BenchMARL: installed, but not driven by this benchmark" if installed else "BenchMARL: not installed"
    row("maddpg", one.rate, None, peer, "env-steps/s", **settings, seeds=1, **spread_of(one))
    step = trainer.steps_per_update * 1e3
    note = {"meaning": "ms an update of 4 seeds side by side; peer: of one seed; below 4 is better than in a row"}
    row("maddpg-4-seeds", step / four.rate, step / one.rate, "one seed", "ms/update", (four, one), **settings, seeds=4, **note)
