"""What a person sees while a command works: flags read, errors in one line, progress, results."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

from headstart.checks import HeadstartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headstart.session import Progress


def read_flags(options: Any, args: list[str], prog: str, about: str = "") -> Any:
    """Parse `args` into the dataclass `options` by tyro; a mistake becomes one HeadstartError line."""
    import tyro

    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(options, args=args, prog=prog, description=about)
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise HeadstartError(f"{_one_line(told.getvalue())} (see {prog} --help)") from None


def _one_line(boxed: str) -> str:
    """The message and the first suggestion inside the box that tyro draws around an error."""
    lines = [line.strip("│╭╮╰╯─ ").strip() for line in boxed.splitlines()]
    body = [line for line in lines[1:] if line]
    parts, suggestion = [], ""
    for i, line in enumerate(body):
        if line.startswith("Perhaps you meant"):
            suggestion = f"; did you mean {body[i + 1].split()[0]}?" if i + 1 < len(body) else ""
        if line.startswith(("Perhaps you meant", "Argument helptext", "For full helptext")):
            break
        parts.append(line)
    return " ".join(parts or ["the flags could not be read"]) + suggestion


def fail(message: str) -> None:
    """One line on stderr."""
    print(f"headstart: {message}", file=sys.stderr)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, "Progress | None"], None]]:
    """A bar for each stage that runs: return with its interval over seeds, env-steps a second, time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(bar_width=20), "{task.percentage:>3.0f}%", TextColumn("{task.fields[said]}"))
    bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(compact=True), console=Console(stderr=True))
    tasks: dict[str, Any] = {}
    try:

        def watch(name: str, now: "Progress | None") -> None:
            if not tasks:
                bar.start()  # not before: a refusal is one line, not one below an empty bar
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=None, said="compiling")
            if now is None:
                total = bar.tasks[tasks[name]].total or 1
                bar.update(tasks[name], completed=total, total=total)
                return
            said = f"return {spread(now.returns)}  {now.steps_per_second:,.0f} steps/s" if now.env_steps else "compiling"
            bar.update(tasks[name], total=now.total_steps, completed=now.env_steps, said=said)

        yield watch
    finally:
        if tasks:
            bar.stop()


def spread(returns: Any) -> str:
    """Returns of the seeds as "interquartile mean [low, high]"."""
    from headstart.report.plain import interval_text
    from headstart.report.stats import as_json, interval

    if returns is None:
        return "–"
    return interval_text(as_json(interval(returns)))
