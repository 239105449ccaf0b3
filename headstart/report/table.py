"""The transfer table and the verdicts: rich prints the same rows that the page shows."""

from typing import TYPE_CHECKING, Any

from headstart.report.metric import label
from headstart.report.plain import interval_text, text
from headstart.report.summary import caution

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

COLUMNS = (
    "arm",
    "initial",
    "jump start",
    "steps to threshold",
    "time ratio",
    "with teacher",
    "final",
    "gain",
)
STYLES = {"reproduced": ("✓", "green"), "not reproduced": ("✗", "red"), "undecided": ("?", "yellow")}


def rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row of text for each arm, in the order of `COLUMNS`; `–` if an arm has no such number."""
    return [
        (
            name,
            interval_text(arm["initial"]),
            interval_text(arm.get("jump_start")),
            _reaching(arm) if report["kind"] != "run" else "–",  # a run alone has no baseline
            interval_text(arm.get("time_ratio_interval")),
            interval_text(arm.get("time_ratio_with_teacher_interval")),
            interval_text(arm["final"]),
            interval_text(arm.get("asymptotic_gain")),
        )
        for name, arm in report["arms"].items()
    ]


def _reaching(arm: dict[str, Any]) -> str:
    return interval_text(arm["steps_to_threshold"]) if arm.get("reached") != 0 else "never"


def filled(report: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The columns in which some arm has a value, and the rows with only these columns."""
    found = rows(report)
    kept = [i for i in range(len(COLUMNS)) if any(row[i] != "–" for row in found)]
    return tuple(COLUMNS[i] for i in kept), [tuple(row[i] for i in kept) for row in found]


def transfer_table(report: dict[str, Any]) -> "Table":
    """The transfer table for a terminal: interquartile means with 95 % intervals over seeds."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=Text(str(report["experiment"])), title_justify="left")
    columns, found = filled(report)
    # Quantities are rows and arms are columns: a few arms fit a narrow terminal, and all the quantities would not.
    for i, heading in enumerate(("", *(row[0] for row in found))):
        table.add_column(Text(heading), justify="right" if i else "left", overflow="fold")
    for i, quantity in enumerate(columns[1:], 1):
        table.add_row(quantity, *(Text(row[i]) for row in found))
    return table


def caption(report: dict[str, Any]) -> str:
    """What the table's numbers are, and the threshold."""
    threshold, seeds = report.get("threshold"), report["seeds"]
    told = f"{label(str(report['metric']))}, interquartile mean [95 % interval] over {seeds} seed{'s' * (seeds != 1)}"
    return told + (f"; threshold {text(threshold)}" if threshold is not None else "")


def print_report(report: dict[str, Any], console: "Console | None" = None) -> None:
    """Print the transfer table and, below it, every claim with its verdict and evidence."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = console or Console()
    console.print(transfer_table(report))
    console.print(Text(caption(report)))  # below and not in the table, which may be narrow
    if caution(report):
        console.print(caution(report), style="yellow")
    if not report["claims"]:
        return
    claims = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for claim in report["claims"]:
        mark, style = STYLES[claim["verdict"]]
        words = Text(claim["claim"]).append(f" ({claim['source']})", "dim").append(f"\n{claim['evidence']}", "dim")
        claims.add_row(Text(f"{mark} {claim['verdict']}", style), words)
    console.print(claims)
