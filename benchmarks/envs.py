"""How the cost of a step grows with the number of environments: spread of three agents in 1 to 4096 environments.

The rows of growth compare one step of all environments with one step of a single environment. VMAS simulates its copy of
the task in batches as well, with PyTorch, and has a Python of its own: `--vmas PYTHON`. Both draw random actions, restart
their episodes, and add up observations and rewards.
"""

import contextlib
from collections.abc import Iterator

from benchmarks.common import Options, Program, alternate, elsewhere, row, spread_of
from benchmarks.stepping import stepped
from headstart.envs.particle.spread import Spread

PEERS = ("vmas",)
COUNTS = (1, 16, 256, 4096)
WORK = 400_000
"""Env-steps of one timing of ours, where that is not fewer than `FEWEST` steps or more than `MOST`."""
FEWEST, MOST = 100, 20_000


def main(options: Options) -> None:
    """A row of growth for each number of environments but one, then a row beside VMAS for each."""
    programs: dict[int, Program] = {}
    with _vmas(options) as peers:
        for count in COUNTS:
            steps = min(max(WORK // count, FEWEST), MOST) // (10 if options.quick else 1)
            programs[count] = Program(stepped(Spread(agents=3), count, steps), count * steps)
        alternate([*programs.values(), *peers.values()], options.repeats)
    one = programs[1]
    for count in COUNTS[1:]:
        microseconds = [1e6 * envs / programs[envs].rate for envs in (count, 1)]
        about = {"num_envs": count, **spread_of(programs[count])}
        row(f"envs-{count}", *microseconds, "one environment", "µs/step", (programs[count], one), **about)
    for count, program in programs.items():
        peer = peers.get(count)
        name = "VMAS" if peer else options.without("vmas", "VMAS")
        told = {"num_envs": count, **spread_of(program)} | ({"peer_speed": spread_of(peer)} if peer else {})
        row(f"vmas-{count}", program.rate, peer.rate if peer else None, name, "env-steps/s", (program, peer), **told)


@contextlib.contextmanager
def _vmas(options: Options) -> Iterator[dict[int, Program]]:
    """{environments: their program}, all in one process; none without a Python that has VMAS."""
    if not options.vmas:
        yield {}
        return
    steps = 20 if options.quick else 100
    with elsewhere(options.vmas, "envs_vmas", "VMAS") as ask:
        yield {n: Program(lambda n=n: ask(f"{n} {steps}"), n * steps) for n in COUNTS}
