"""`python -m benchmarks [NAME ..] [--quick]`: one JSON line a row; names are those in `ALL`.

`--jaxmarl CHECKOUT`, `--imitation PYTHON` and `--sb3 PYTHON` say where peers are that cannot be installed beside headstart.
"""

import argparse

from benchmarks import (
    agents,
    battles,
    dagger,
    floor,
    gail,
    gail_memory,
    graphs,
    ippo,
    lanes,
    maac,
    maddpg,
    mujoco,
    smax,
    soak,
    stepping,
    sweep,
    walker2d,
)
from benchmarks.common import Options

ALL = {
    "stepping": stepping,
    "smax": smax,
    "battles": battles,
    "mujoco": mujoco,
    "maddpg": maddpg,
    "maac": maac,
    "agents": agents,
    "ippo": ippo,
    "lanes": lanes,
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
    """Run the named benchmarks, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast headstart is, beside its peers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"which of: {', '.join(ALL)} (all of them by default)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter timings; the numbers are rough")
    parser.add_argument("--jaxmarl", metavar="CHECKOUT", help="a checkout of JaxMARL, to time its training scripts as well")
    parser.add_argument(
        "--imitation",
        metavar="PYTHON",
        help="a Python that has the package imitation, to time its methods as well",
    )
    parser.add_argument("--sb3", metavar="PYTHON", help="a Python that has Stable-Baselines3, to time its PPO as well")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in ALL]
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(ALL)}")
    for name in asked.names or ALL:
        ALL[name].main(Options(asked.quick, asked.jaxmarl, asked.imitation, asked.sb3))


if __name__ == "__main__":
    main()
