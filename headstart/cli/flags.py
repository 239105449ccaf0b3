"""Flags of a command: tyro reads them from dataclasses, and a mistake becomes one line."""

import ast
import contextlib
import dataclasses
import inspect
import io
import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

from headstart.core.checks import HeadstartError
from headstart.storage.places import absent, found, located

CHOICES = {
    "--learner NAME": "The learner, by its name in headstart list; --learner.* below are its settings. (default: maddpg)",
    "--guidance NAME": "How to learn from a teacher, by its name in headstart list; may be given several times.",
    "--teacher DIR": "A run or team that teaches, zoo:NAME, or a model (.onnx, .zip, .pt); one for each --guidance.",
    "--trust": "Open a teacher that may run any code: a .zip of Stable-Baselines3, a .pt of TorchScript.",
    "--guidance.learner NAME": "The learner of a companion (--guidance companion:ENV), if it is not to be the student's.",
    "--over NAME=VALUE,VALUE..": "A setting and its values, e.g. learner.gamma=0.9,0.99; may be given several times.",
    "--env NAME": "Another environment than that of the training; with it, --help lists its settings --env.*, too.",
    "--expert ENV": "In place of DIR: the expert that this environment brings with it; --env.* are the environment's settings.",
    "--use MODULE": "Add the parts of your own module to those of headstart list; may be given several times.",
    "--accept-changed": "Go on although files in DIR were changed, or do not belong together.",
}
"""Flags that are taken before tyro reads the others, since they decide which others there are."""
ON: Any = (
    "on",
    str,
    "",
    "Where to train: local:N (N processes on this machine), ray or ray://HOST:PORT, slurm; see docs/cluster.md. This process "
    "if empty.",
)
"""The flag --on."""
DEVICES: Any = ("devices", str, "all", "Devices of this machine to spread the seeds over: all, or a number.")
"""The flag --devices."""


def read_flags(
    options: Any, args: list[str], prog: str, description: str = "", choices: Sequence[str] = (), example: str = ""
) -> Any:
    """Parse `args` into the dataclass `options` by tyro; a mistake becomes one HeadstartError line.

    `choices`: those of `CHOICES` that the command knows beside the options.
    """
    import tyro

    known = {flag: text for flag, text in CHOICES.items() if flag.split()[0] in choices}
    description = _explained(description, known, example)

    _check_given(args)
    told, errors = io.StringIO(), io.StringIO()
    helps = bool({"-h", "--help"} & set(args))
    try:
        with contextlib.redirect_stderr(errors), contextlib.nullcontext() if helps else _no_terminal(told):
            made = tyro.cli(options, args=args, prog=prog, description=description, registry=_parts())
    except SystemExit as end:
        if end.code in (0, None):
            print(told.getvalue(), end="")
            raise
        told = _one_line(errors.getvalue(), [flag.split()[0] for flag in known], _takes_options(options))
        raise HeadstartError(f"{told} (see {prog} --help)") from None
    paths = {f.name: x for f in dataclasses.fields(made) if isinstance(x := getattr(made, f.name), Path)}
    return dataclasses.replace(made, **{name: located(path) for name, path in paths.items()})


def _explained(description: str, choices: dict[str, str], example: str) -> str:
    """A command's description, with the flags that tyro does not know and an example."""
    width = max(map(len, choices), default=0)
    parts = [description + "\n" * bool(choices), *(f"    {flag:<{width}}  {text}" for flag, text in choices.items())]
    return "\n".join(parts + ([f"\nExample: {example}"] if example else []))


@contextlib.contextmanager
def _no_terminal(told: io.StringIO) -> Iterator[None]:
    """Tyro looks at standard output to decide how it draws an error: here it finds a wide one without colours."""
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100000"
    try:
        with contextlib.redirect_stdout(told):
            yield
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns


def _check_given(args: list[str]) -> None:
    """Refuse a flag that is given twice, and a path that is empty."""
    names = [arg.partition("=")[0].replace("_", "-") for arg in args if arg.startswith("--") and arg != "--"]
    for name in names:
        if names.count(name) > 1:
            raise HeadstartError(f"{name} is given twice: leave one out")
    if "--out=" in args or ("--out", "") in pairwise(args):
        raise HeadstartError("--out needs a value")


def require_text(arg: str) -> None:
    """Raise HeadstartError for an argument that no file could hold: bytes outside the terminal's encoding, or a NUL."""
    if "\0" in arg or any(0xD800 <= ord(c) <= 0xDFFF for c in arg):
        raise HeadstartError(f"the argument {arg!a} is not text in the terminal's encoding: write it in other letters")


def _takes_options(options: Any) -> bool:
    """Whether the environment has settings of its own making, which are no flags."""
    return any(field.name == "env" and hasattr(field.default, "options") for field in dataclasses.fields(options))


def _one_line(boxed: str, choices: Sequence[str] = (), foreign: bool = False) -> str:
    """The message and the first suggestion inside the box that tyro draws around an error.

    `choices`: further flags that may have been meant. `foreign`: whether the environment is made with --env.options.
    """
    lines = [line.strip("│╭╮╰╯─ ").strip() for line in boxed.splitlines()]
    body = [line for line in lines[1:] if line.strip("-")]  # in a pipe the box is drawn with dashes
    parts, suggestion = [], ""
    for i, line in enumerate(body):
        if line.startswith("Perhaps you meant"):
            suggestion = f"; did you mean {body[i + 1].split()[0]}?" if i + 1 < len(body) else ""
        if line.startswith(("Perhaps you meant", "Argument helptext", "For full helptext")):
            break
        parts.append(line)
    told = _plainly(" ".join(parts or ["the flags could not be read"]))
    unknown = re.match(r"Unrecognized options: (--[^\s,=.]+)(?:[,=]|$)", told)
    if unknown and (near := get_close_matches(unknown[1], choices, 1, 0.75)):
        suggestion = f"; did you mean {near[0]}?"
    learners = re.match(r"Unrecognized options: (--learner\.[\w.-]+)", told)
    if learners and (having := _learners_with(learners[1])):
        suggestion = f"; {having} {'have' if ',' in having else 'has'} it"
    if foreign and (own := re.match(r"Unrecognized options: --env\.([^\s,=]+)(?:,\s*|=)([^\s,]+)$", told)):
        value = own[2] if re.fullmatch(r"-?\d+(\.\d+)?|true|false|null", own[2]) else f'"{own[2]}"'
        suggestion = f"; the environment is made with --env.options '{{\"{own[1]}\": {value}}}'"
    elif re.match(r"Unrecognized options: [^-]", told):
        suggestion = "; a flag such as --use takes one value: repeat it for another"
    return told + suggestion


def _learners_with(flag: str) -> str:
    """The names of the learners that have the setting of a flag --learner.SETTING; "" for other flags."""
    from headstart import registry

    part, _, setting = flag.removeprefix("--").partition(".")
    setting = setting.removeprefix("no-").replace("-", "_")
    presets = registry.presets("learner").items() if part == "learner" else ()
    return ", ".join(name for name, made in presets if setting in {field.name for field in dataclasses.fields(made)})


def _plainly(told: str) -> str:
    """A text that is no number in the words of the command line, and what a part says of its settings as it is."""
    number = re.match(r"Error parsing (--\S+): (invalid literal for int|could not convert string to float).*: '(.*)'$", told)
    number = number or re.match(r"Error parsing (--\S+): no type matching \{None\}\|(INT|FLOAT) .* from \['(.*?)'\]", told)
    if not number:
        return re.sub(r"^Error parsing (?!--)\S+: ", "", told)
    flag, whole, given = number[1], number[2] in ("INT", "invalid literal for int"), number[3]
    short = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([kKmM])", given)
    usual = (20000 if "steps" in flag else 3) if whole else 0.5
    meant = float(short[1]) * (1000 if short[2] in "kK" else 10**6) if short else usual
    example = f"{meant:.0f}" if whole else f"{meant:g}"
    return f"{flag} must be a {'whole ' * whole}number such as {example}, not '{given}'"


REPEATED = ("--use", "--guidance", "--teacher", "--over")
"""Flags that may be given several times."""


def take(args: list[str], names: tuple[str, ...]) -> tuple[dict[str, list[str]], list[str]]:
    """Values of the flags `names` (`--flag value` or `--flag=value`), which decide the other flags, and the rest."""
    given: dict[str, list[str]] = {name: [] for name in names}
    rest, left = [], list(args)
    while left:
        arg = left.pop(0)
        flag, joined, value = arg.partition("=")
        if flag not in names:
            rest.append(arg)
            continue
        if not joined and left and not left[0].startswith("--"):
            value = left.pop(0)
        if not value:
            raise HeadstartError(f"{flag} needs a value")
        if given[flag] and flag not in REPEATED:
            raise HeadstartError(f"{flag} is given twice: leave one out")
        given[flag].append(value)
    return given, rest


OF_TEAMS = ("evaluate", "record", "render", "export")
"""Commands whose directory may be a team of the zoo, which has no run."""


def directory_of(args: list[str], command: str) -> tuple[Path, list[str]]:
    """The command's directory and its further arguments."""
    if {"-h", "--help"} & set(args[:2]):
        return Path("DIR"), ["--help"]
    if not args or not args[0] or args[0].startswith("-"):
        raise HeadstartError(f"say which directory: headstart {command} DIR")
    if len(args) > 1 and not args[1].startswith("-"):
        from headstart.registry import used

        more = "; for another module, repeat --use" if used else ""
        raise HeadstartError(f"headstart {command} takes one directory: leave out '{args[1]}'{more}")
    return existing(args[0], zoo=command in OF_TEAMS), args[1:]


def existing(named: str, zoo: bool = False) -> Path:
    """A directory that the user named, if it exists; with `zoo`, "zoo:NAME" is that of a team which comes with headstart."""
    directory = found(named) if zoo else located(named)
    if not directory.is_dir():
        raise HeadstartError(absent(directory, "the --out directory of a run"))
    return directory


def engine_of(on: str) -> Any:
    """The engine that --on names; None if it names none."""
    from headstart.training.cluster.address import engine

    return engine(on) if on else None


def on_devices(text: str) -> Any:
    """A context in which as many devices are used as --devices says."""
    from headstart.training import devices

    return devices.limited(devices.read(text))


def options_of(fields: list[Any]) -> Any:
    """A dataclass of the flags `fields`: (name, type or None for that of the default, default, help)."""
    from typing import Annotated

    import tyro

    made = []
    for name, kind, default, text in fields:
        kind = kind or type(default)
        kind = Annotated[kind, tyro.conf.arg(help=_with_range(text, kind))] if text else kind
        made.append((name, kind, dataclasses.field(default=default)))
    return dataclasses.make_dataclass("Options", made, frozen=True)


def _parts() -> Any:
    """Tyro's rules for parts: help texts with the ranges of fields, and flags for the parts inside as well."""
    from typing import get_type_hints

    from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec

    from headstart.core.part import kind_of

    registry = ConstructorRegistry()

    @registry.struct_rule
    def flags(info: Any) -> StructConstructorSpec | None:
        if not kind_of(info.default):
            return None
        cls, fields = type(info.default), []
        hints, texts = get_type_hints(cls, include_extras=True), _docstrings(cls)
        for field in dataclasses.fields(cls):
            value = getattr(info.default, field.name)
            hint = type(value) if kind_of(value) else hints[field.name]  # a part's own class has more fields than its hint
            text = _with_range(texts.get(field.name, ""), hint)
            fields.append(StructFieldSpec(field.name, hint, value, text))
        return StructConstructorSpec(cls, tuple(fields))

    return registry


def _with_range(text: str, hint: Any) -> str:
    from headstart.core.ranges import in_words

    words = in_words(hint)
    return f"{text} ({words})".strip() if words else text


def _docstrings(cls: type) -> dict[str, str]:
    """{field: the docstring below it} of a class and its base classes."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        try:
            body: Any = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError, SyntaxError):  # a built-in class, or one from an interactive session
            continue
        for field, below in pairwise(body.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                text = ast.literal_eval(below.value) if isinstance(below.value, ast.Constant) else ""
                found[field.target.id] = " ".join(str(text).split())
    return found
