"""headstart merge."""

import itertools
from pathlib import Path

from headstart.cli.flags import existing, options_of, read_flags


def merge(args: list[str]) -> None:
    """Join runs that differ in their seeds only into one run: headstart merge DIR DIR [DIR ...] --out DIR."""
    from headstart.core.checks import HeadstartError

    given = list(itertools.takewhile(lambda arg: not arg.startswith("-"), args))
    fields = [("out", Path, Path("runs/merged"), "Directory for the run; must be new or empty.")]
    example = "headstart merge runs/seeds-0-3 runs/seeds-4-7 --out runs/all"
    prog, choices = "headstart merge DIR DIR [DIR ...]", ("--use", "--accept-changed")
    options = read_flags(options_of(fields), args[len(given) :], prog, merge.__doc__ or "", choices, example)
    if len(given) < 2:
        raise HeadstartError("say which runs: headstart merge DIR DIR [DIR ...] --out DIR")
    from headstart.cli.output import finish
    from headstart.training.merge import merge as join

    join([existing(arg) for arg in given], options.out)
    finish(options.out)
