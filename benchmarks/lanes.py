"""What several seeds cost, as a multiple of one seed alone: a call for each seed, beside one call for all of them.

`lanes-ippo-8` has eight seeds of IPPO. headstart calls the compiled program once for each seed, from as many threads as there
are cores; the other side calls a program whose arrays have all seeds side by side. Both take turns with one seed alone, and a
row quotes the median over rounds of their ratio to the one seed of their round: what slows the machine down for longer than a
round then cancels out.
"""

import statistics
from functools import partial

import jax

from benchmarks.common import Options, Program, alternate, row, training
from headstart.core.learner import LearnerConfig
from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.training import cores

LEARNERS: dict[str, tuple[LearnerConfig, int]] = {
    "ippo": (PPO(), 4),
    "maddpg": (DDPG(capacity=20_000, warmup=2000), 30),
    "gru": (PPO(core="gru", hidden=(64,)), 2),
}
"""Learners, and the updates of one timing."""


def main(options: Options) -> None:
    """A row for each learner and number of seeds."""
    counts = (2, 4) if options.quick else (2, 4, 8, 16)
    for name, (learner, updates) in LEARNERS.items():
        make = partial(_training, learner, updates)
        one = make(1)
        apart, mapped = {n: make(n) for n in counts}, {n: make(n, one_call=True) for n in counts}
        alternate([one, *apart.values(), *mapped.values()], options.repeats)
        for count in counts:
            ours, peer = _cost(apart[count], one), _cost(mapped[count], one)
            spread = {"quartiles": _quartiles(apart[count], one), "peer_quartiles": _quartiles(mapped[count], one)}
            compiled = {"compile_s": round(apart[count].compile_s, 1), "peer_compile_s": round(mapped[count].compile_s, 1)}
            seen = {"seeds": count, "threads": min(count, cores.usable()), **spread, **compiled}
            between = (apart[count], mapped[count])
            row(f"lanes-{name}-{count}", ours, peer, "one call of all seeds", "× one seed", between, **seen)
        del one, apart, mapped
        jax.clear_caches()


def _training(learner: LearnerConfig, updates: int, seeds: int, one_call: bool = False) -> Program:
    return training(Spread(), learner, updates, seeds, one_call=one_call)[0]


def _ratios(program: Program, one: Program) -> list[float]:
    return [a / b for a, b in zip(program.seconds, one.seconds, strict=True)]


def _cost(program: Program, one: Program) -> float:
    return statistics.median(_ratios(program, one))


def _quartiles(program: Program, one: Program) -> list[float]:
    quarters = statistics.quantiles(_ratios(program, one), n=4)
    return [round(quarters[0], 2), round(quarters[2], 2)]
