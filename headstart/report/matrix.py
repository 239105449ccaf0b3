"""A transfer matrix in a report: teachers × students, a cell for each, by method.

Transfer between tasks is drawn like this for continual learners, e.g. by Díaz-Rodríguez et al. 2018, "Don't forget, there is
more than forgetting: new metrics for Continual Learning". Here a column is a task, and its entries compare a student of that
task with a team that learns it alone. Gains are shares of what the team alone improves by, since tasks differ in their returns.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from headstart.report.figures import COLOURS, layout
from headstart.report.plain import interval_text, text
from headstart.report.transfer import improvement, time_bounds

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from rich.console import Console

QUANTITIES = {
    "jump_start": ("Jump start", "of what the team alone improves by"),
    "time_ratio_interval": ("Time ratio", "env-steps to the threshold over those of the team alone"),
    "time_ratio_with_teacher_interval": ("Time ratio, teacher charged", "the same with the teacher's env-steps added"),
    "asymptotic_gain": ("Final gain", "of what the team alone improves by"),
}
"""{quantity of an arm: (name, meaning)}."""
GAINS = ("jump_start", "asymptotic_gain")
WORST, BEST = COLOURS[1], COLOURS[0]


class Cell(NamedTuple):
    """An arm's place in the matrix."""

    arm: str
    method: str
    teacher: str
    student: str


def summary(cells: Sequence[Cell]) -> list[dict[str, str]]:
    """The entry "matrix" of report.json."""
    return [cell._asdict() for cell in cells]


def cells_of(report: Mapping[str, Any]) -> list[Cell]:
    """The cells of a report; none if it has no matrix."""
    return [Cell(**cell) for cell in report.get("matrix", ())]


def value(report: Mapping[str, Any], arm: Mapping[str, Any], quantity: str) -> dict[str, Any]:
    """{"iqm", "low", "high"} of a quantity in `QUANTITIES`; unknown if the team alone did not improve."""
    found = arm.get(quantity) or {"iqm": None, "low": None, "high": None}
    if quantity not in GAINS:
        return found
    alone = report["arms"][arm["versus"]]
    improved = improvement(alone["curve"]["iqm"][0], alone["final"]["iqm"], alone["fluctuation"])
    share = lambda x: None if x is None or improved is None else x / improved
    return {side: share(found[side]) for side in ("iqm", "low", "high")}


def helped(report: Mapping[str, Any], arm: Mapping[str, Any], quantity: str) -> bool | None:
    """Whether the teacher helped (True) or harmed (False); None if the interval allows both.

    An upper bound of a time that is null means "never", as in the verdicts on claims, and where too few seeds arrive, bounds
    decide as there. A teacher's env-steps only add to a time, so that a lower bound holds with them as well.
    """
    found, gain = value(report, arm, quantity), quantity in GAINS
    low, high, neutral = found["low"], found["high"], 0.0 if gain else 1.0
    if not gain and found["iqm"] is None:
        bounds = time_bounds(arm, report["arms"][arm["versus"]])
        low, high = bounds if quantity == "time_ratio_interval" else (low or bounds[0], None)
    above, below = low is not None and low > neutral, high is not None and high < neutral
    return None if not above and not below else above == gain


def tables(report: Mapping[str, Any]) -> Iterator[tuple[str, list[list[str]]]]:
    """(caption, rows) for every method and quantity; the first row has the students, the others begin with a teacher.

    A number whose interval excludes "no effect" has a + if the teacher helped and a − if it harmed.
    """
    cells = cells_of(report)
    for method in dict.fromkeys(cell.method for cell in cells):
        own = {(cell.teacher, cell.student): report["arms"][cell.arm] for cell in cells if cell.method == method}
        teachers, students = (list(dict.fromkeys(pair[i] for pair in own)) for i in (0, 1))
        for quantity, (name, meaning) in QUANTITIES.items():
            rows = [["teacher \\ student", *students]]
            for teacher in teachers:
                arms = [own.get((teacher, student)) for student in students]
                rows.append([teacher, *("–" if arm is None else _told(report, arm, quantity) for arm in arms)])
            yield f"{method}: {name[0].lower()}{name[1:]}, {meaning}", rows


def _told(report: Mapping[str, Any], arm: Mapping[str, Any], quantity: str) -> str:
    mark = {True: " +", False: " −", None: ""}[helped(report, arm, quantity)]
    return _words(report, arm, quantity) + mark


def _words(report: Mapping[str, Any], arm: Mapping[str, Any], quantity: str) -> str:
    """A number with its interval, or how many seeds of the student and of the team alone arrive, if too few of them do.

    A team alone that does not improve sets no threshold.
    """
    found = value(report, arm, quantity)
    if quantity in GAINS or found["iqm"] is not None:
        return interval_text(found)
    if arm.get("reached") == 0:
        return "never"
    alone, seeds = report["arms"][arm["versus"]], report["seeds"]
    mine, theirs = (who.get("reached") for who in (arm, alone))
    if mine is None or theirs is None:
        return "no threshold"
    return f"{round(mine * seeds)} of {seeds} seeds arrive, {round(theirs * seeds)} alone"


def markdown(report: Mapping[str, Any]) -> str:
    """The tables of a page of results."""
    parts = []
    for caption, (head, *rows) in tables(report):
        lines = ["| " + " | ".join(head) + " |", "|---|" + "---|" * (len(head) - 1)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        parts.append(f"{caption[0].upper()}{caption[1:]}:\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def print_matrix(report: Mapping[str, Any], console: "Console") -> None:
    """The same tables in a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    for caption, (head, *rows) in tables(report):
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title=Text(caption), title_justify="left")
        for i, name in enumerate(head):
            table.add_column(Text(name), justify="right" if i else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)


def headline(report: Mapping[str, Any]) -> str:
    """In how many cells each method helped and harmed, by the intervals of the final gain and of the time ratio."""
    cells, parts = cells_of(report), []
    for method in dict.fromkeys(cell.method for cell in cells):
        arms = [report["arms"][cell.arm] for cell in cells if cell.method == method]
        counted = []
        for quantity, better, worse in (("time_ratio_interval", "sooner", "later"), ("asymptotic_gain", "higher", "lower")):
            found = [helped(report, arm, quantity) for arm in arms]
            counted.append(f"{better} in {found.count(True)}, {worse} in {found.count(False)}")
        parts.append(f"{method} of {len(arms)}: arrives {counted[0]}; ends {counted[1]}")
    return f"Students beside teams that learn alone, cells whose interval decides. {'. '.join(parts)}."


def matrix_figure(report: Mapping[str, Any]) -> "Figure | None":
    """A heat map for each method (rows) and quantity (columns): blue where the teacher helped, red where it harmed."""
    cells = cells_of(report)
    if not cells:
        return None
    from plotly.subplots import make_subplots

    methods = list(dict.fromkeys(cell.method for cell in cells))
    titles = [f"{method}: {name.lower()}" for method in methods for name, _ in QUANTITIES.values()]
    figure = make_subplots(
        len(methods),
        len(QUANTITIES),
        subplot_titles=titles,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.12,
    )
    teachers = list(dict.fromkeys(cell.teacher for cell in cells))
    figure.update_layout(layout(len(methods) * (90 + 40 * len(teachers)) + 60), hovermode="closest")
    figure.update_xaxes(showgrid=False, type="category")
    figure.update_xaxes(title="student", row=len(methods))
    figure.update_yaxes(showgrid=False, type="category", autorange="reversed")
    figure.update_yaxes(title="teacher", col=1)
    figure.update_annotations(font={"size": 12})
    for row, method in enumerate(methods, 1):
        own = [cell for cell in cells if cell.method == method]
        for column, quantity in enumerate(QUANTITIES, 1):
            figure.add_trace(_heat_map(report, own, quantity), row=row, col=column)
    return figure


def _heat_map(report: Mapping[str, Any], cells: Sequence[Cell], quantity: str) -> Any:
    import plotly.graph_objects as go

    arms = [report["arms"][cell.arm] for cell in cells]
    found = [value(report, arm, quantity) for arm in arms]
    middles = [x["iqm"] for x in found]
    gone = lambda arm: "never" if quantity not in GAINS and arm.get("reached") == 0 else "–"
    shown = [gone(arm) if x is None else text(float(f"{x:.2g}")) for x, arm in zip(middles, arms, strict=True)]
    (low, high), middle = ((WORST, BEST), 0.0) if quantity in GAINS else ((BEST, WORST), 1.0)
    return go.Heatmap(
        x=[escape(cell.student, quote=False) for cell in cells],
        y=[escape(cell.teacher, quote=False) for cell in cells],
        z=middles,
        text=shown,
        texttemplate="%{text}",
        customdata=[
            [escape(cell.arm, quote=False), _words(report, arm, quantity)] for cell, arm in zip(cells, arms, strict=True)
        ],
        hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
        colorscale=[[0, low], [0.5, "rgba(138,147,160,0.12)"], [1, high]],
        zmin=middle - 1,
        zmax=middle + 1,
        xgap=2,
        ygap=2,
        showscale=False,
    )
