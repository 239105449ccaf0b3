"""headstart reproduce, headstart demo, headstart report."""

from pathlib import Path
from typing import Any, Literal

from headstart.cli.flags import DEVICES, ON, engine_of, existing, on_devices, options_of, read_flags, take
from headstart.cli.output import show_report
from headstart.cli.stopping import works_in
from headstart.core.checks import HeadstartError, check_known
from headstart.storage.places import located


def reproduce(args: list[str]) -> None:
    """Run a paper's experiment and judge its claims: headstart reproduce PAPER/EXPERIMENT --scale laptop --out DIR."""
    from headstart import registry
    from headstart.core.ranges import Natural
    from headstart.experiments.base import SCALES

    names = sorted(registry.experiments())
    if (not args or args[0].startswith("-")) and not {"-h", "--help"} & set(args):
        raise HeadstartError(f"say which experiment: headstart reproduce NAME; there are: {', '.join(names)}")
    named = bool(args) and not args[0].startswith("-")
    name = args[0] if named else names[0]
    check_known("experiment", name, names)
    arms = registry.experiments()[name]("smoke").arms
    fields: list[Any] = [
        (
            "scale",
            Literal[SCALES],
            "laptop",
            "smoke: a minute or two, to see that it runs; laptop: ten minutes to two hours on two cores; paper: as published, "
            "literal: as written where that can hardly be meant; both say first how long they take on this machine.",
        ),
        ("arms", str, "", f"Only these arms, separated by commas: {', '.join(arms)}; all if empty."),
        ("seeds", Natural, 0, "Number of seeds; 0 takes the number of the scale."),
        ON,
        DEVICES,
        ("out", Path, Path("runs") / name.replace("/", "-"), "Directory for stages and report; must be new or empty."),
    ]
    rest = [arg for i, arg in enumerate(args) if i or arg.startswith("-")]
    prog = f"headstart reproduce {name}" if named else "headstart reproduce PAPER/EXPERIMENT"
    example = f"headstart reproduce {name} --arms {next(iter(arms))} --seeds 2"
    options = read_flags(options_of(fields), rest, prog, reproduce.__doc__ or "", example=example)
    if options.seeds < 0:
        raise HeadstartError(f"seeds must be at least 0, not {options.seeds}: 0 takes the number of the scale")
    arms = tuple(filter(None, options.arms.split(",")))
    with on_devices(options.devices):
        _reproduce(name, options.scale, options.out, arms, options.seeds or None, options.on)


def demo(args: list[str]) -> None:
    """The main job in three minutes: four agents teach six on cooperative navigation, with a report."""
    fields: list[Any] = [("out", Path, Path("runs/demo"), "Directory for stages and report; must be new or empty.")]
    options = read_flags(options_of(fields), args, "headstart demo", demo.__doc__ or "")
    _reproduce("knowru/spread-6", "demo", options.out, (), None)


def _reproduce(name: str, scale: Any, out: Path, arms: tuple[str, ...], seeds: int | None, on: str = "") -> None:
    engine = engine_of(on)
    works_in(out)
    from headstart import registry
    from headstart.experiments import estimate, run
    from headstart.training.progress import progress

    before = (lambda experiment, seeds: estimate.tell(name, experiment, seeds)) if scale in estimate.LONG else None
    with progress() as bar:
        report = run.reproduce(name, registry.experiments()[name], scale, out, arms, seeds, bar, before, engine)
    show_report(report, out)


def report(args: list[str]) -> None:
    """Make a report again: headstart report DIR [DIR ...] [--out DIR] (an experiment, a sweep, or runs to compare)."""
    from headstart.experiments.report import report_runs, report_sweep
    from headstart.experiments.run import report_again

    if {"-h", "--help"} & set(args):
        out = "Directory for the report of a comparison; a run or an experiment alone is reported in its own."
        ledger = "Markdown page of results: the reports of experiments are copied beside it, and its tables and overviews made."
        metric = "What runs are judged by: return, return/ROLE, or an event that the environment counts, e.g. win."
        numbers = "A new file for the evaluations of all seeds, as JSON for marl-eval and tools that read its format."
        fields = [
            ("out", Path, Path("DIR"), out),
            ("metric", str, "return", metric),
            ("ledger", Path, Path("PAGE"), ledger),
            ("marl_eval", Path, Path("FILE"), numbers),
        ]
        example = "headstart report runs/alone runs/taught --out runs/compared"
        prog, choices = "headstart report DIR [DIR ...]", ("--use", "--accept-changed")
        read_flags(options_of(fields), ["--help"], prog, report.__doc__ or "", choices, example)
    given, rest = take(args, ("--out", "--metric", "--ledger", "--marl-eval"))
    for flag in rest:
        if flag.startswith("-"):
            raise HeadstartError(f"unknown flag {flag}: headstart report DIR [DIR ...] [--out DIR]")
    directories = [existing(arg) for arg in rest if arg]
    if given["--ledger"]:
        return _keep(directories, located(given["--ledger"][-1]), bool(given["--out"]))
    if not directories or not all(rest):
        raise HeadstartError("say which directory: headstart report DIR")
    if given["--marl-eval"]:
        return _tell_marl_eval(directories, given)
    out = located(given["--out"][-1]) if given["--out"] else directories[0]
    metric = given["--metric"][-1] if given["--metric"] else "return"
    if given["--metric"] and any((directories[0] / name).exists() for name in ("sweep.json", "experiment.json")):
        raise HeadstartError("--metric is for runs: an experiment has its own, and a sweep is judged by its return")
    if (directories[0] / "sweep.json").exists():
        if len(directories) > 1 or given["--out"]:
            raise HeadstartError("a sweep is reported alone and in its own directory; its points can be compared, as runs")
        return show_report(report_sweep(directories[0]), out)
    if (directories[0] / "experiment.json").exists():
        if len(directories) > 1 or given["--out"]:
            raise HeadstartError("an experiment is reported alone and in its own directory; runs can be compared")
        return show_report(report_again(directories[0]), out)
    if len(directories) > 1 and not given["--out"]:
        raise HeadstartError("say where the comparison goes: headstart report RUN RUN --out DIR")
    if out not in directories and any((out / name).exists() for name in ("run.json", "experiment.json", "sweep.json")):
        raise HeadstartError(f"{out} is a run with a report of its own: choose another --out for the comparison")
    if len(directories) > 1 and out in directories:
        raise HeadstartError(f"{out} has a report of its own: choose another --out for the comparison")
    show_report(report_runs(directories, out, metric), out)


def _tell_marl_eval(directories: list[Path], given: dict[str, list[str]]) -> None:
    """Write the evaluations of runs for other tools, and no report."""
    from headstart.experiments.marl_eval import write_marl_eval

    for flag in ("--out", "--metric"):
        if given[flag]:
            raise HeadstartError(f"--marl-eval writes one file with all metrics: leave {flag} out")
    file = located(given["--marl-eval"][-1])
    found = write_marl_eval(directories, file)
    count = sum(len(algorithms) for tasks in found.values() for algorithms in tasks.values())
    print(f"{file}: the evaluations of {count} run{'s' * (count != 1)}")


def _keep(experiments: list[Path], page: Path, out: bool) -> None:
    """Put the reports of experiments into a page of results, or make the tables of the page anew if there are none."""
    from headstart import registry
    from headstart.report import ledger, overview
    from headstart.storage import files

    if out:
        raise HeadstartError("--ledger writes its page and the reports beside it: leave --out out")
    if not experiments and not page.exists():
        raise HeadstartError(f"{page} does not exist: say which experiments go into it, headstart report DIR --ledger PAGE")
    for experiment in experiments:
        ledger.keep(experiment / "report.json", page)
    content = ledger.fill(page.read_text(encoding="utf-8"), page)
    titles = {name: make("laptop").title for name, make in registry.experiments().items()}
    files.write_text(page, overview.fill(content, page, titles))
    print(f"results: {page}")
