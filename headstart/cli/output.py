"""The output at a command's end: errors in one line, results as a table."""

import sys
from pathlib import Path
from typing import Any

from headstart.core.checks import HeadstartError


def fail(message: str) -> None:
    """Print a message in one line on stderr."""
    print(f"headstart: {message}", file=sys.stderr)


def exit_code(error: HeadstartError) -> int:
    """2 for a mistake that the user can mend, 130 after Ctrl-C or SIGTERM, 1 for a run that diverged."""
    return {"Interrupted": 130, "Diverged": 1}.get(type(error).__name__, 2)


def finish(out: Path) -> None:
    """Report the run at `out`; print which teams it keeps, and the command for a replay or why there can be none."""
    from headstart.experiments.report import report_runs
    from headstart.storage import files, schema
    from headstart.teams.saved import load

    show_report(report_runs([out], out), out)
    own = lambda path: files.kind(path.parent) == "a directory"  # and no link out of the run
    for path in filter(own, sorted(out.glob("*/kept.json"))):
        kept = files.read_json(path, schema.Kept)
        print(f"kept: {path.parent}, the team after {kept['env_steps']:,} env-steps, return {kept['return']:.2f}")
    if (env := load(out).env) is not None:
        print(_replay(env, out))


def _replay(env: Any, out: Path) -> str:
    """The line about a replay of the run at `out`."""
    from headstart.registry import command
    from headstart.replay.record import check_drawable

    try:
        check_drawable(env)
    except HeadstartError as error:
        return f"no replay: {' '.join(str(error).split())}"
    return f"replay: {command('render', out)}"


def show_report(made: dict[str, Any], out: Path) -> None:
    """Print a report as a table, and the path of its page."""
    from headstart.report import print_report

    print_report(made)
    print(f"report: {out / 'report.html'}")
