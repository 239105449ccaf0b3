"""The command line. Nothing heavy is imported until a command needs it."""

import dataclasses
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from headstart._version import __version__
from headstart.checks import HeadstartError, known
from headstart.console import fail, progress, read_flags, spread

OVERVIEW = """headstart: give a team of agents a head start

usage: headstart COMMAND [ARGUMENTS]     headstart COMMAND --help explains one
       headstart COMMAND --use MODULE    parts of a module of your own join those of headstart list

{commands}

first steps: headstart demo
"""


def main(args: list[str] | None = None) -> None:
    """Entry point: runs a command; exits with 2 and one line on stderr where the user can mend something."""
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        about = {name: (command.__doc__ or "").split("\n")[0] for name, command in COMMANDS.items()}
        print(OVERVIEW.format(commands="\n".join(f"  {name:<{width}}  {text}" for name, text in about.items())).strip())
        return
    if args[0] in ("-V", "--version", "version"):
        print(f"headstart {__version__}")
        return
    try:
        known("command", args[0], COMMANDS)
        COMMANDS[args[0]](_used(args[1:]))
    except HeadstartError as error:
        fail(" ".join(str(error).split()))
        sys.exit(_exit_code(error))
    except BrokenPipeError:  # whoever read along has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        fail(f"{error.filename or 'a file'}: {error.strerror or error}; check the path, its permissions and the free space")
        sys.exit(2)
    except KeyboardInterrupt:
        fail("stopped")
        sys.exit(130)


def _used(args: list[str]) -> list[str]:
    """The arguments without `--use MODULE`, whose parts are known from now on."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # modules beside the user, found after everything that is installed
    given, rest = _take(args, ("--use",))
    if given["--use"]:
        from headstart.registry import use

        for module in given["--use"]:
            use(module)
    return rest


def _exit_code(error: HeadstartError) -> int:
    """2 for what the user can mend, 130 after Ctrl-C or SIGTERM, 1 for a run that diverged."""
    return {"Interrupted": 130, "Diverged": 1}.get(type(error).__name__, 2)


def list_parts(args: list[str]) -> None:
    """What there is: environments, learners, guidance, experiments, with one line each."""
    read_flags(dataclasses.make_dataclass("Options", []), args, "headstart list", list_parts.__doc__ or "")
    from headstart import papers, registry

    kinds = {"environments": "env", "learners": "learner", "guidance": "guidance"}
    groups = {title: registry.described(kind) for title, kind in kinds.items()}
    groups["experiments"] = [(name, make("smoke").title) for name, make in sorted(papers.experiments().items())]
    width = max(len(names) for lines in groups.values() for names, _ in lines)
    for title, lines in groups.items():
        print(title)
        for names, text in lines:
            print(f"  {names:<{width}}  {text}")


def train(args: list[str]) -> None:
    """Train a team: headstart train ENV --learner L [--guidance G --teacher RUN] --steps N --seeds S --out DIR."""
    from headstart import registry, run
    from headstart.config import Config

    given, rest = _take(args, ("--learner", "--guidance", "--teacher"))
    if (not rest or rest[0].startswith("-")) and not {"-h", "--help"} & set(rest):
        raise HeadstartError("say which environment: headstart train ENV (headstart list names them)")
    name = rest.pop(0) if rest and not rest[0].startswith("-") else "spread"
    learner = given["--learner"][-1] if given["--learner"] else "maddpg"
    guides = [registry.preset("guidance", guide) for guide in given["--guidance"]]
    if given["--teacher"] and not guides:
        raise HeadstartError("--teacher needs --guidance: how should the team learn from it? (headstart list names them)")
    if len(given["--teacher"]) > len(guides):
        count = f"{len(given['--teacher'])} teachers but {len(guides)} guidance"
        raise HeadstartError(f"{count}: give each --guidance one --teacher")
    fields: list[Any] = [
        ("steps", int, 500_000, "Env-steps of each seed."),
        ("seeds", int, 1, "Independent teams, trained side by side."),
        ("first_seed", int, 0, "Number of the first seed."),
        ("evaluations", int, 20, "How often to evaluate along the run."),
        ("episodes", int, 100, "Episodes of an evaluation."),
        ("until", float | None, None, "Stop at the first evaluation whose mean return over seeds has reached this."),
        ("out", Path, Path("runs") / re.sub(r"\W+", "-", f"{name}-{learner}"), "Directory for the run; must be new or empty."),
        ("env", None, registry.preset("env", name), ""),
        ("learner", None, registry.preset("learner", learner), ""),
    ]
    one = len(guides) == 1
    fields += [("guidance" if one else f"guidance{i}", None, guide, "") for i, guide in enumerate(guides)]
    options = read_flags(_options(fields), rest, f"headstart train {name}", train.__doc__ or "")
    chosen = [options.guidance] if one else [getattr(options, f"guidance{i}") for i in range(len(guides))]
    teachers = given["--teacher"] or [None]
    taught = [dataclasses.replace(g, teacher=teachers[min(i, len(teachers) - 1)]) for i, g in enumerate(chosen)]
    scalars = {f: getattr(options, f) for f in ("steps", "seeds", "first_seed", "evaluations", "episodes", "until")}
    config = Config(options.env, options.learner, tuple(taught), **scalars)
    with progress() as watch:
        run.train(config, options.out, lambda now: watch(options.out.name, now))
    _finish(options.out)


def reproduce(args: list[str]) -> None:
    """Run a paper's experiment and judge its claims: headstart reproduce PAPER/EXPERIMENT --scale laptop --out DIR."""
    from headstart import papers
    from headstart.papers.base import SCALES

    names = sorted(papers.experiments())
    if (not args or args[0].startswith("-")) and not {"-h", "--help"} & set(args):
        raise HeadstartError(f"say which experiment: headstart reproduce NAME; there are: {', '.join(names)}")
    name = args[0] if args and not args[0].startswith("-") else names[0]
    known("experiment", name, names)
    fields: list[Any] = [
        (
            "scale",
            Literal[SCALES],
            "laptop",
            "smoke: a minute or two, to see that it runs; laptop: five to twenty on two cores; paper: as published.",
        ),
        ("arms", str, "", "Only these arms, separated by commas."),
        ("seeds", int, 0, "Seeds; 0 for as many as the scale says."),
        ("out", Path, Path("runs") / name.replace("/", "-"), "Directory for stages and report; must be new or empty."),
    ]
    rest = [arg for i, arg in enumerate(args) if i or arg.startswith("-")]
    options = read_flags(_options(fields), rest, f"headstart reproduce {name}", reproduce.__doc__ or "")
    if options.seeds < 0:
        raise HeadstartError(f"seeds must be at least 1, not {options.seeds}")
    _reproduce(name, options.scale, options.out, tuple(filter(None, options.arms.split(","))), options.seeds or None)


def demo(args: list[str]) -> None:
    """The main job in three minutes: four agents teach six on cooperative navigation, with a report."""
    fields: list[Any] = [("out", Path, Path("runs/demo"), "Directory for stages and report; must be new or empty.")]
    options = read_flags(_options(fields), args, "headstart demo", demo.__doc__ or "")
    _reproduce("knowru/spread-6", "demo", options.out, (), None)


def _reproduce(name: str, scale: Any, out: Path, arms: tuple[str, ...], seeds: int | None) -> None:
    from headstart import papers
    from headstart.papers import base

    with progress() as watch:
        report = base.reproduce(name, papers.experiments()[name], scale, out, arms, seeds, watch)
    _told(report, out)


def resume(args: list[str]) -> None:
    """Go on with a run or an experiment that was interrupted: headstart resume DIR."""
    from headstart import run
    from headstart.papers import base

    directory = _directory(args, "resume", resume.__doc__ or "")[0]
    if (directory / "experiment.json").exists():
        with progress() as watch:
            report = base.resume(directory, watch)
        return _told(report, directory)
    with progress() as watch:
        run.resume(directory, lambda now: watch(directory.name, now))
    _finish(directory)


def evaluate(args: list[str]) -> None:
    """Score a trained team on fresh episodes with greedy actions: headstart evaluate DIR [--env ENV] [--adapt]."""
    from headstart import files, registry
    from headstart.adapt import understood
    from headstart.policy import load
    from headstart.run import score

    given, rest = _take(args, ("--env",))
    directory, rest = _directory(rest, "evaluate", evaluate.__doc__ or "", more=True)
    team = load(directory) if "--help" not in rest else None
    env = registry.preset("env", given["--env"][-1] if given["--env"] else "spread")
    if team and not given["--env"]:
        env = team.env
    if env is None:
        trained_in = files.read_json(directory / "policy.json").get("env")
        if trained_in:
            registry.decode("env", trained_in)  # says which module is missing
        raise HeadstartError(f"{directory} does not say where its team was trained: pass --env ENV")
    fields = [
        ("episodes", int, 1000, "Episodes of each seed."),
        ("adapt", bool, False, "Fit the team to an environment of another size: agents paired, observations by field."),
        ("env", None, env, ""),
    ]
    options = read_flags(_options(fields), rest, "headstart evaluate DIR", evaluate.__doc__ or "")
    assert team is not None  # --help has ended the command
    if options.episodes < 1:
        raise HeadstartError(f"episodes must be at least 1, not {options.episodes}")
    if options.adapt:
        there = options.env.spec
        for role in there.roles:
            known("role of this team", role, team.spec.roles)
            told = understood(role, there.roles[role].obs, (team.trained or team.spec).roles[role].obs)
            agents = f"{there.roles[role].agents} agents by {team.spec.roles[role].agents} policies"
            print(f"adapted {role}: {', '.join([agents, *told])}")
        team = team.adapt(there)
    returns = score(team, options.env, options.episodes)
    for seed, value in zip(team.seeds, returns, strict=True):
        print(f"seed {seed}: return {value:.2f}")
    print(f"return {spread(returns)} over {len(returns)} seeds, {options.episodes} greedy episodes each")


def render(args: list[str]) -> None:
    """Draw an episode of a trained team as a GIF or a video: headstart render DIR [--out FILE.gif|FILE.mp4]."""
    from rich.console import Console
    from rich.progress import Progress

    from headstart.policy import load
    from headstart.replay import animate, encoder, record

    directory, rest = _directory(args, "render", render.__doc__ or "", more=True)
    fields = [
        ("out", Path, directory / "replay.gif", "File to write: .gif, or .mp4 where there is an ffmpeg."),
        ("seed", int, 0, "Which of the team's seeds, from 0."),
        ("episode", int, 0, "Which start; the same number starts alike for every team."),
    ]
    options = read_flags(_options(fields), rest, "headstart render DIR", render.__doc__ or "")
    encoder(options.out)  # refuses what cannot be written before the episode is played
    team = load(directory)
    if not 0 <= options.episode < 2**31:
        raise HeadstartError(f"episode must be a number from 0 on, not {options.episode}")
    if not 0 <= options.seed < len(team.seeds):
        raise HeadstartError(f"seed must be between 0 and {len(team.seeds) - 1}, not {options.seed}")
    if team.env is None:
        raise HeadstartError(f"{directory} does not say where its team was trained, so there is nothing to draw")
    replay = record(team, team.env, options.seed, options.episode, directory.resolve().name)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        animate(replay, options.out, watch=lambda frames: bar.track(frames, description="drawing"))
    print(f"wrote {options.out}")


def report(args: list[str]) -> None:
    """Make a report again: headstart report DIR [DIR ...] [--out DIR] (an experiment, or runs to compare)."""
    from headstart.papers import base

    given, rest = _take(args, ("--out",))
    if {"-h", "--help"} & set(rest):
        print(report.__doc__)
        sys.exit(0)
    for flag in rest:
        if flag.startswith("-"):
            raise HeadstartError(f"unknown flag {flag}: headstart report DIR [DIR ...] [--out DIR]")
    directories = [Path(arg) for arg in rest]
    for path in directories:
        _exists(path)
    if not directories:
        raise HeadstartError("say which directory: headstart report DIR")
    out = Path(given["--out"][-1]) if given["--out"] else directories[0]
    if (directories[0] / "experiment.json").exists():
        if len(directories) > 1 or given["--out"]:
            raise HeadstartError("an experiment is reported alone and in its own directory; runs can be compared")
        return _told(base.report_again(directories[0]), out)
    if len(directories) > 1 and not given["--out"]:
        raise HeadstartError("say where the comparison goes: headstart report RUN RUN --out DIR")
    if out not in directories and any((out / name).exists() for name in ("run.json", "experiment.json")):
        raise HeadstartError(f"{out} is a run with a report of its own: choose another --out for the comparison")
    if len(directories) > 1 and out in directories:
        raise HeadstartError(f"{out} has a report of its own: choose another --out for the comparison")
    _told(base.report_runs(directories, out), out)


def _finish(out: Path) -> None:
    from headstart.envs.base import Drawable
    from headstart.papers import base
    from headstart.policy import load
    from headstart.registry import used

    _told(base.report_runs([out], out), out)
    if isinstance(load(out).env, Drawable):
        print(f"replay: headstart render {out}" + "".join(f" --use {module}" for module in sorted(used)))


def _told(made: dict[str, Any], out: Path) -> None:
    from headstart.report import print_report

    print_report(made)
    print(f"report: {out / 'report.html'}")


def _take(args: list[str], names: tuple[str, ...]) -> tuple[dict[str, list[str]], list[str]]:
    """Values of the flags that decide which other flags there are (`--flag value` or `--flag=value`), and the rest."""
    given: dict[str, list[str]] = {name: [] for name in names}
    rest, left = [], list(args)
    while left:
        flag, _, value = left.pop(0).partition("=")
        if flag not in names:
            rest.append(f"{flag}={value}" if value else flag)
        elif value or (left and not left[0].startswith("--")):
            given[flag].append(value or left.pop(0))
        else:
            raise HeadstartError(f"{flag} needs a value")
    return given, rest


def _directory(args: list[str], command: str, about: str, more: bool = False) -> tuple[Path, list[str]]:
    """The command's directory and its further arguments; with --help and nothing more to explain, that is printed."""
    if args and args[0] in ("-h", "--help"):
        if more:
            return Path("DIR"), ["--help"]
        print(about)
        sys.exit(0)
    if not args or args[0].startswith("-"):
        raise HeadstartError(f"say which directory: headstart {command} DIR")
    if len(args) > 1 and not more:
        raise HeadstartError(f"headstart {command} takes one directory; '{args[1]}' is too much")
    return _exists(Path(args[0])), args[1:]


def _exists(directory: Path) -> Path:
    if not directory.is_dir():
        raise HeadstartError(f"{directory} is not a directory: pass the --out directory of a run")
    return directory


def _options(fields: list[Any]) -> Any:
    """A dataclass of flags: (name, type or None for the default's, default, help)."""
    from typing import Annotated

    import tyro

    made = []
    for name, kind, default, text in fields:
        kind = kind or type(default)
        if getattr(kind, "__parameters__", ()):  # an environment around another: its flags are those of both
            kind = kind[type(default.env)]  # pyright: ignore[reportIndexIssue]
        kind = Annotated[kind, tyro.conf.arg(help=text)] if text else kind
        made.append((name, kind, dataclasses.field(default=default)))
    return dataclasses.make_dataclass("Options", made, frozen=True)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "demo": demo,
    "list": list_parts,
    "train": train,
    "reproduce": reproduce,
    "resume": resume,
    "evaluate": evaluate,
    "render": render,
    "report": report,
}

if __name__ == "__main__":
    main()
