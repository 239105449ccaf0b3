"""The transfer table and the verdicts: rich prints the same rows that the page shows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from headstart.report.matrix import print_matrix
from headstart.report.metric import label
from headstart.report.plain import interval_text, over_seeds, text
from headstart.report.summary import caution
from headstart.report.sweep import sweep_caption, sweep_headline, sweep_table
from headstart.report.transfer import bounds_text, flat, teacher_steps, time_bounds

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
MEANINGS = {
    "initial": "initial: the mean of the evaluations in the first tenth of learning, else the first; none before it counts",
    "jump start": "jump start: initial less the baseline's",
    "steps to threshold": "steps to threshold: env-steps until three evaluations in a row reach it on average (never: no seed)",
    "time ratio": "time ratio: steps to threshold over the baseline's; a bound of 0 means that the baseline may never reach it",
    "with teacher": "with teacher: the same with the env-steps of the teacher's training, or of companions until then, charged",
    "final": "final: the mean of the last tenth of the evaluations",
    "gain": "gain: final less the baseline's",
}
"""What the quantities are, for the caption below a table."""
STYLES = {"reproduced": ("✓", "green"), "not reproduced": ("✗", "red"), "undecided": ("?", "yellow")}


def headings(report: dict[str, Any]) -> tuple[str, ...]:
    """`COLUMNS`, then the measures of the report's own."""
    return (*COLUMNS, *(name.replace("_", " ") for name in report.get("measures", {})))


def meanings(report: dict[str, Any]) -> dict[str, str]:
    """{heading: what it is} of the quantities."""
    own = {name.replace("_", " "): meaning for name, meaning in report.get("measures", {}).items()}
    return MEANINGS | {name: f"{name}: {meaning}" for name, meaning in own.items()}


def rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row of text for each arm, in the order of `headings`; `–` if an arm has no such number."""
    return [
        (
            name,
            interval_text(arm["initial"]),
            interval_text(arm.get("jump_start")),
            _reaching(arm, "steps_to_threshold", report["seeds"]) if report["kind"] != "run" else "–",  # alone: no baseline
            _ratio(report, arm),
            "unknown" if of_unknown_cost(report, arm) else _reaching(arm, "time_ratio_with_teacher_interval", report["seeds"]),
            interval_text(arm["final"]),
            interval_text(arm.get("asymptotic_gain")),
            *(interval_text(arm.get(quantity)) for quantity in report.get("measures", {})),
        )
        for name, arm in report["arms"].items()
    ]


def of_unknown_cost(report: dict[str, Any], arm: dict[str, Any]) -> bool:
    """Whether there is a time ratio, but nobody knows what the training of the arm's, or of its baseline's, teacher took."""
    compared = [arm, report["arms"][arm["versus"]]] if arm.get("time_ratio") is not None else []
    return any(teacher_steps(each["stages"]) is None for each in compared)


def _ratio(report: dict[str, Any], arm: dict[str, Any]) -> str:
    """The time ratio, or its bounds where too few seeds arrive."""
    found = arm.get("time_ratio_interval")
    if found and found["iqm"] is None and (bounds := bounds_text(*time_bounds(arm, report["arms"][arm["versus"]]))):
        return bounds
    return _reaching(arm, "time_ratio_interval", report["seeds"])


def _reaching(arm: dict[str, Any], quantity: str, seeds: int) -> str:
    """A time until the threshold. There is none if the middle half of the seeds does not reach it."""
    time = arm.get(quantity)
    if arm.get("reached") == 0 and quantity == "steps_to_threshold":
        return "never"
    if time and time["iqm"] is None and time["low"] is not None and arm.get("reached") is not None:
        return f"only {round(arm['reached'] * seeds)} of {seeds} seeds reach it"
    return interval_text(time)


def filled(report: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The columns in which some arm has a value, and the rows with only these columns."""
    found, columns = rows(report), headings(report)
    kept = [i for i in range(len(columns)) if any(row[i] != "–" for row in found)]
    return tuple(columns[i] for i in kept), [tuple(row[i] for i in kept) for row in found]


def transfer_tables(report: dict[str, Any], console: "Console") -> Iterator["Table"]:
    """The transfer table for a terminal, in as many parts as its width asks for, so that no number is broken."""
    wide, start, arms = console.options.update(max_width=10_000), 0, len(report["arms"])
    fits = lambda table: console.measure(table, options=wide).maximum <= console.width
    while start < arms:
        ends = range(arms, start, -1)
        end = next((end for end in ends if fits(transfer_table(report, slice(start, end)))), start + 1)
        yield transfer_table(report, slice(start, end))
        start = end


def transfer_table(report: dict[str, Any], arms: slice = slice(None)) -> "Table":
    """The transfer table of all arms, or of some: interquartile means with 95 % intervals over seeds."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    title = None if arms.start else Text(str(report["experiment"]))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    columns, found = filled(report)
    found = found[arms]
    # Quantities are rows and arms are columns: a few arms fit a narrow terminal, and all the quantities would not.
    for i, heading in enumerate(("", *(row[0] for row in found))):
        table.add_column(Text(heading), justify="right" if i else "left", overflow="fold")
    for i, quantity in enumerate(columns[1:], 1):
        table.add_row(quantity, *(Text(row[i]) for row in found))
    return table


def reasons(report: dict[str, Any]) -> list[str]:
    """Why a report has no times, or no time ratio; empty if it has, or has nothing to compare."""
    threshold, columns = report.get("threshold"), filled(report)[0]
    if report["kind"] == "run":
        return []
    if threshold is None:
        baseline = report["baseline"]
        return [f"no threshold, and so no times to it: the return of {baseline} {flat(report['arms'][baseline])}"]
    if "time ratio" not in columns and any(arm.get("versus") for arm in report["arms"].values()):
        return [f"no time ratio: too few seeds of {report['baseline']}, or of all others, reach the threshold"]
    return []


def caption(report: dict[str, Any]) -> str:
    """What the table's numbers are: a line about all, one about the threshold, and one for each quantity."""
    threshold = report.get("threshold")
    lines = [f"{label(str(report['metric']))}, {over_seeds(report['seeds'])}"]
    if threshold is not None and report["kind"] != "run":
        improved = f"the return of {report['baseline']} before training and 90 % of its improvement"
        lines.append(f"threshold {text(threshold)}: {'stated by the experiment' if 'goal' in report else improved}")
    meant, columns = meanings(report), filled(report)[0]
    return "\n".join([*lines, *reasons(report), *(meant[column] for column in columns if column in meant)])


def print_report(report: dict[str, Any], console: "Console | None" = None) -> None:
    """Print the transfer table and, below it, every claim with its verdict and evidence; or a sweep's grid."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = console or Console()
    if "sweep" in report:
        for part in (sweep_table(report), Text(sweep_caption(report)), Text(sweep_headline(report))):
            console.print(part)
        return
    if "matrix" in report:
        print_matrix(report, console)
    else:
        for table in transfer_tables(report, console):
            console.print(table)
        console.print(Text(caption(report)))  # below and not in the table, which may be narrow
    if caution(report):
        console.print(Text(caution(report), "yellow"))
    if not report["claims"]:
        return
    claims = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for claim in report["claims"]:
        mark, style = STYLES[claim["verdict"]]
        words = Text(claim["claim"]).append(f" ({claim['source']})", "dim").append(f"\n{claim['evidence']}", "dim")
        claims.add_row(Text(f"{mark} {claim['verdict']}", style), words)
    console.print(claims)
