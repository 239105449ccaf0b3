"""The command line. Nothing heavy is imported until a command needs it."""

import dataclasses
import io
import os
import sys
from collections.abc import Callable

from headstart._version import __version__
from headstart.cli.evaluate import evaluate, record, render
from headstart.cli.experiments import demo, report, reproduce
from headstart.cli.export import export
from headstart.cli.flags import read_flags, require_text, take
from headstart.cli.merge import merge
from headstart.cli.output import exit_code, fail
from headstart.cli.stopping import Interrupts, sentence
from headstart.cli.train import resume, sweep, train
from headstart.cli.zoo import zoo
from headstart.core.checks import HeadstartError, check_known
from headstart.core.trust import trusting
from headstart.storage.files import accepting

OVERVIEW = """headstart: give a team of agents a head start

usage: headstart COMMAND [ARGUMENTS]     headstart COMMAND --help explains a command
       headstart COMMAND --use MODULE    adds the parts of your own module to those of headstart list
       headstart COMMAND DIR --accept-changed    goes on although files in DIR were changed

{commands}

first steps: headstart demo
"""


def main(args: list[str] | None = None) -> None:
    """Entry point: runs a command; exits with 2 and one line on stderr for a mistake that the user can mend."""
    args = sys.argv[1:] if args is None else args
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")  # a terminal or pipe of another encoding still gets all that it can show
    with Interrupts() as interrupts:
        try:
            _run(args)
        except HeadstartError as error:
            fail(" ".join(str(error).split()))
            sys.exit(exit_code(error))
        except BrokenPipeError:  # the reader of a pipe has closed it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (Exception, KeyboardInterrupt) as error:
            if interrupts.asked or isinstance(error, KeyboardInterrupt):
                fail(sentence())
                sys.exit(130)
            if isinstance(error, MemoryError):
                fail("there is not enough memory: lower the number of seeds, of episodes, or the capacity of the memory")
            elif isinstance(error, OSError):
                told = error.strerror or error
                fail(f"{error.filename or 'a file'}: {told}; check the path, its permissions and the free space")
            else:
                raise
            sys.exit(2)


def _run(args: list[str]) -> None:
    if not args or args[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        lines = {name: (command.__doc__ or "").split("\n")[0] for name, command in COMMANDS.items()}
        print(OVERVIEW.format(commands="\n".join(f"  {name:<{width}}  {text}" for name, text in lines.items())).strip())
        return
    if args[0] in ("-V", "--version", "version"):
        print(f"headstart {__version__}")
        return
    for arg in args:
        require_text(arg)
    check_known("command", args[0], COMMANDS)
    accept = args[0] in ACCEPTING and ACCEPT in args
    trust = args[0] in TRUSTING and TRUST in args
    with accepting(accept), trusting(trust):
        COMMANDS[args[0]](_used([arg for arg in args[1:] if not ((accept and arg == ACCEPT) or (trust and arg == TRUST))]))


def _used(args: list[str]) -> list[str]:
    """Register the parts of every `--use MODULE`; returns the other arguments."""
    given, rest = take(args, ("--use",))
    if given["--use"]:
        from headstart.core.own import open_directory
        from headstart.registry import use

        open_directory(os.getcwd())
        for module in given["--use"]:
            use(module)
    return rest


def list_parts(args: list[str]) -> None:
    """List environments, learners, guidance and experiments, with one line each."""
    read_flags(dataclasses.make_dataclass("Options", []), args, "headstart list", list_parts.__doc__ or "")
    from headstart import registry

    kinds = {"environments": "env", "learners": "learner", "guidance": "guidance"}
    groups = {title: registry.described(kind) for title, kind in kinds.items()}
    groups["experiments"] = [(name, make("smoke").title) for name, make in sorted(registry.experiments().items())]
    width = max(len(names) for lines in groups.values() for names, _ in lines)
    for title, lines in groups.items():
        print(title)
        for names, text in lines:
            print(f"  {names:<{width}}  {text}")


ACCEPT, ACCEPTING = "--accept-changed", ("resume", "evaluate", "record", "render", "export", "merge", "report")
"""The flag to read files although their digests do not match, and the commands that know it."""

TRUST, TRUSTING = "--trust", ("train", "sweep", "resume")
"""The flag to open teachers that may run code, and the commands that know it."""

COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "demo": demo,
    "list": list_parts,
    "zoo": zoo,
    "train": train,
    "sweep": sweep,
    "reproduce": reproduce,
    "resume": resume,
    "evaluate": evaluate,
    "record": record,
    "render": render,
    "export": export,
    "merge": merge,
    "report": report,
}
