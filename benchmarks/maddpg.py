"""MADDPG on simple_spread as `headstart train` runs it: batch 1024, one update a 100 env-steps, 100 environments, 2×64.

BenchMARL's MADDPG takes turns with it, at the same settings on VMAS's simple_spread: `--benchmarl PYTHON`. What differs:

    actions       BenchMARL's MADDPG has continuous ones only, of two numbers; headstart's are five moves, by Gumbel-softmax
    environment   VMAS, which steps all environments as one batch in PyTorch
    threads       as many as there are cores, on both sides
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from benchmarks.common import Options, Program, alternate, elsewhere, row, spread_of, training
from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG

PEERS = ("benchmarl",)


def main(options: Options) -> None:
    """Rows: env-steps/s of one seed, and what four seeds side by side cost against one."""
    env, learner = Spread(semantics="openai"), DDPG()
    updates = 50 if options.quick else 300
    one, trainer = training(env, learner, updates)
    four, _ = training(env, learner, 20 if options.quick else 100, seeds=4)
    names = ("batch", "train_every", "num_envs", "hidden", "capacity")
    settings = {"agents": env.agents, **{name: getattr(learner, name) for name in names}}
    own = {"lr": learner.critic_lr, "gamma": learner.gamma, "tau": learner.tau, "warmup": learner.warmup}
    with _theirs(options.benchmarl, settings | own, updates // 10) as peer:
        alternate([one, four, *([peer] if peer else [])], options.repeats, longest=30.0)
    said = "BenchMARL, continuous actions" if peer else options.without("benchmarl", "BenchMARL")
    told = {**settings, "seeds": 1, **spread_of(one)} | ({"peer_speed": spread_of(peer)} if peer else {})
    row("maddpg", one.rate, peer.rate if peer else None, said, "env-steps/s", (one, peer), **told)
    step = trainer.steps_per_update * 1e3
    note = {"meaning": "ms an update of 4 seeds side by side; peer: of one seed; below 4 is better than in a row"}
    row("maddpg-4-seeds", step / four.rate, step / one.rate, "one seed", "ms/update", (four, one), **settings, seeds=4, **note)


@contextlib.contextmanager
def _theirs(python: str | None, settings: dict[str, Any], updates: int) -> Iterator[Program | None]:
    """So many updates of theirs, in a process that waits for its turns; None without a Python that has it."""
    if not python:
        yield None
        return
    with elsewhere(python, "maddpg_benchmarl", "BenchMARL") as ask:
        ask(json.dumps(settings))
        yield Program(lambda: ask(str(updates)), updates * settings["train_every"])
