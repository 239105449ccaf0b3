"""What a person sees of a run while it trains: a bar for each stage."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.training.session import Progress


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
