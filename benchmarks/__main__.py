"""`python -m benchmarks [NAME ..] [--quick]`: one JSON line a row; names are those in `ALL`.

`--peers DIR` makes what peers need that cannot be installed beside headstart, once, and finds it there from then on.
`--jaxmarl CHECKOUT`, `--imitation PYTHON`, `--sb3 PYTHON`, `--benchmarl PYTHON` and `--vmas PYTHON` name a peer that is
already there.
`--page PAGE` keeps the rows and makes the page's tables of them (see `benchmarks.page`).
"""

import argparse
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType

from benchmarks import (
    agents,
    battles,
    common,
    compile,
    dagger,
    envs,
    floor,
    gail,
    gail_memory,
    graphs,
    ippo,
    lanes,
    maac,
    machine,
    maddpg,
    mujoco,
    page,
    peers,
    smax,
    soak,
    stepping,
    sweep,
    walker2d,
)
from benchmarks.common import Options
from headstart.core.checks import HeadstartError

ALL = {
    "stepping": stepping,
    "envs": envs,
    "smax": smax,
    "battles": battles,
    "mujoco": mujoco,
    "maddpg": maddpg,
    "maac": maac,
    "agents": agents,
    "ippo": ippo,
    "lanes": lanes,
    "compile": compile,
    "dagger": dagger,
    "gail": gail,
    "gail_memory": gail_memory,
    "floor": floor,
    "graphs": graphs,
    "sweep": sweep,
    "walker2d": walker2d,
    "soak": soak,
}


def main() -> None:
    """Run the named benchmarks, or all of them; exits with 2 for a mistake, and with 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast headstart is, beside its peers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"which of: {', '.join(ALL)} (all of them by default)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter timings; the numbers are rough")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="make there what peers need, and use it from then on")
    parser.add_argument("--page", type=Path, metavar="PAGE", action="append", default=[], help="keep the rows for this page")
    parser.add_argument("--jaxmarl", metavar="CHECKOUT", help="a checkout of JaxMARL, to time its training scripts as well")
    parser.add_argument(
        "--imitation",
        metavar="PYTHON",
        help="a Python that has the package imitation, to time its methods as well",
    )
    parser.add_argument("--sb3", metavar="PYTHON", help="a Python that has Stable-Baselines3, to time its PPO as well")
    parser.add_argument("--benchmarl", metavar="PYTHON", help="a Python that has BenchMARL, to time its MADDPG as well")
    parser.add_argument("--vmas", metavar="PYTHON", help="a Python that has VMAS, to time it as well")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in ALL]
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(ALL)}")
    names = list(dict.fromkeys(asked.names)) or list(ALL)
    try:
        page.check(asked.page)
        failed = _run(names, _options(asked, names), asked)
    except HeadstartError as error:
        parser.error(str(error))
    sys.exit(f"failed, so that rows are missing: {', '.join(failed)}" if failed else 0)


def _options(asked: argparse.Namespace, names: list[str]) -> Options:
    """Those of the command, and what `--peers` adds for the benchmarks that run."""
    given = {name: getattr(asked, name) for name in peers.NAMES}
    wanted = {peer for name in names for peer in _peers(ALL[name]) if not given[peer]}
    made = peers.provide(asked.peers, wanted) if asked.peers else peers.Found({}, {})
    return Options(asked.quick, lacking=made.lacking, **(given | made.places))


def _run(names: list[str], options: Options, asked: argparse.Namespace) -> list[str]:
    """Run the benchmarks in order, tell of progress on stderr, and keep each one's rows as soon as it is done."""
    began, failed = time.perf_counter(), []
    about = machine.about() if asked.page else {}
    for i, name in enumerate(names, 1):
        print(f"[{i}/{len(names)}] {name}, after {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        before = len(common.ROWS)
        try:
            ALL[name].main(options)
        except Exception:  # the other benchmarks' rows are worth having all the same
            traceback.print_exc()
            failed.append(name)
        if asked.page:
            command = _command(name, asked)
            rows = [machine.kept(row, name, command, options, about) for row in common.ROWS[before:]]
            for line in page.keep(rows, asked.page):
                print(line, file=sys.stderr)
    print(f"done after {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return failed


def _peers(module: ModuleType) -> tuple[str, ...]:
    """The peers of a benchmark that cannot be installed beside headstart."""
    return getattr(module, "PEERS", ())


def _command(name: str, asked: argparse.Namespace) -> str:
    """The command for a benchmark's rows, without the places of this machine."""
    given = [peer for peer in _peers(ALL[name]) if getattr(asked, peer)]
    made = asked.peers and set(_peers(ALL[name])) - set(given)
    words = [
        *(f"--{peer} {'CHECKOUT' if peer == 'jaxmarl' else 'PYTHON'}" for peer in given),
        *(["--peers DIR"] if made else []),
    ]
    return " ".join(["python -m benchmarks", name, *words, *(["--quick"] if asked.quick else [])])


if __name__ == "__main__":
    main()
