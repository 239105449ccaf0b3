"""headstart export."""

from pathlib import Path
from typing import Literal

from headstart.cli.flags import directory_of, options_of, read_flags


def export(args: list[str]) -> None:
    """Write a team for machines without JAX, as NumPy or ONNX: headstart export DIR --to numpy|onnx [--out DIR]."""
    from headstart.core.ranges import Natural

    directory, rest = directory_of(args, "export")
    fields = [
        (
            "to",
            Literal["numpy", "onnx"],
            "numpy",
            "numpy: arrays and one Python file that needs NumPy alone. onnx: a model for each agent, with the extra onnx.",
        ),
        ("seed", Natural, 0, "Index of one of the team's seeds, from 0."),
        ("out", Path, Path("exported") / directory.resolve().name, "Directory for the files; must be new or empty."),
    ]
    example = "headstart export runs/four --to onnx --out exported/four"
    choices = ("--use", "--accept-changed")
    options = read_flags(options_of(fields), rest, "headstart export DIR", export.__doc__ or "", choices, example)
    from headstart.teams.exported import export as write
    from headstart.teams.saved import load

    written = write(load(directory), options.out, options.to, options.seed)
    size = sum(path.stat().st_size for path in written)
    print(f"{options.out}: {', '.join(path.name for path in written)}, {size / 1e3:.1f} kB")
