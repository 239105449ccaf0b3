"""The engine that the user names by `--on`: `local:2`, `ray`, `ray://HOST:PORT`, `slurm`."""

from collections.abc import Callable, Sequence
from typing import Any

from headstart.core.checks import HeadstartError, check_known
from headstart.training.cluster import on_ray, on_slurm
from headstart.training.cluster.engine import Engine, Make, Wanted
from headstart.training.cluster.local import Local


def engine(text: str) -> Make:
    """What makes the engine of `ADDRESS[,NAME=VALUE..]`, e.g. "slurm,partition=gpu,gpus=1,hours=8".

    Raises HeadstartError for a text of another form, and if the engine's package is not installed.
    """
    address, *given = text.split(",")
    wanted = _wanted(given)
    kind, _, rest = address.partition(":")
    if kind == "local":
        return Make(text, _local(rest, given))
    if kind == "ray":
        return Make(text, on_ray.engine(address, wanted))
    if address in ("slurm", "slurm-here"):
        return Make(text, on_slurm.engine(wanted, here=address == "slurm-here"))
    raise HeadstartError(f"--on must be local:N, ray, ray://HOST:PORT or slurm, not '{address}'")


def _local(count: str, given: Sequence[str]) -> Callable[[], Engine]:
    if given:
        raise HeadstartError(f"--on local:N takes no settings: leave out {', '.join(given)}")
    if not count.isdecimal() or not 1 <= int(count) <= 2**10:
        raise HeadstartError(f"--on local:N needs the number of worker processes, such as local:2, not 'local:{count}'")
    return lambda: Local(int(count))


def _wanted(given: Sequence[str]) -> Wanted:
    kinds: dict[str, Callable[[str], Any]] = {"cpus": int, "gpus": int, "hours": float, "partition": str}
    found: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        check_known("setting of --on", name, kinds)
        try:
            found[name] = kinds[name](value)
        except ValueError:
            equals = ""
        if not equals or not value:
            raise HeadstartError(f"--on {name} needs a number, such as {name}=1, not '{value}'")
    return Wanted(**found)
