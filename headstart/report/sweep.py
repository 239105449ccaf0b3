"""A sweep's part of its report: the grid of points, the best of them, and the metric over each setting."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.report.figures import COLOURS, GREY, layout
from headstart.report.metric import label
from headstart.report.plain import interval_text, over_seeds, plain
from headstart.report.stats import as_json, interval, versus
from headstart.report.transfer import Curve, final

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from rich.table import Table

SERIES = 12
"""Combinations of the other settings that have a line of their own; with more, only the best has one."""


def sweep_summary(points: Sequence[Mapping[str, Any]], curves: Mapping[str, Curve]) -> dict[str, Any]:
    """The entry "sweep" of report.json, ready for JSON.

    points: [{"name", "values": {setting: value}, "diverged": text or None}, ..]. curves: by name, of those that have not
    diverged, at least one. The best point has the highest interquartile mean of `final`. Each other point has `behind`: the
    best one's final less its own, and `level`, whether that interval contains 0 (null for one seed).
    """
    ends = {name: final(curve) for name, curve in curves.items()}
    found = {name: interval(x) for name, x in ends.items()}
    known = {name: float(x["iqm"]) for name, x in found.items() if np.isfinite(x["iqm"])}
    best = max(known, key=lambda name: known[name]) if known else next(iter(curves))
    rows = []
    for point in points:
        row: dict[str, Any] = {"name": point["name"], "values": plain(dict(point["values"]))}
        row |= {"diverged": point.get("diverged"), "final": None, "behind": None, "level": None}
        if row["name"] in ends:
            behind = as_json(versus(ends[best], ends[row["name"]]))
            row |= {"final": as_json(found[row["name"]]), "behind": behind, "level": _around_0(behind)}
        rows.append(row)
    return {"settings": list(points[0]["values"]), "best": best, "points": rows}


def _around_0(gap: Mapping[str, Any]) -> bool | None:
    low, high = gap["low"], gap["high"]
    return None if low is None or high is None else low <= 0 <= high


def sweep_headline(report: dict[str, Any]) -> str:
    """The best point in one sentence, and which others are level with it."""
    swept = report["sweep"]
    points, name = {point["name"]: point for point in swept["points"]}, swept["best"]
    level = [other for other, point in points.items() if point["level"] and other != name]
    lost = sum(point["diverged"] is not None for point in points.values())
    beside = f"; {len(level)} of {len(points) - 1} others are level with it: {', '.join(level[:6])}" if level else ""
    beside += ", .." if len(level) > 6 else ""
    words = f"The best of {len(points)} points is {name} with {interval_text(points[name]['final'])}{beside}."
    return f"{words} {lost} diverged." if lost else words


def grid_rows(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row of text for each point, the best first."""
    swept = report["sweep"]
    score = lambda point: -np.inf if point["final"] is None or point["final"]["iqm"] is None else point["final"]["iqm"]
    rows = []
    for point in sorted(swept["points"], key=score, reverse=True):
        values = [_text(point["values"][name]) for name in swept["settings"]]
        rank = "best" if point["name"] == swept["best"] else {True: "level", False: "below", None: "–"}[point["level"]]
        rows.append([*values, *(["diverged", "–"] if point["diverged"] else [interval_text(point["final"]), rank])])
    return [*swept["settings"], "final", "beside the best"], rows


def _text(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def sweep_table(report: dict[str, Any]) -> "Table":
    """The grid for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=Text(str(report["experiment"])), title_justify="left")
    headings, rows = grid_rows(report)
    for heading in headings:
        table.add_column(Text(heading), justify="right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def sweep_caption(report: dict[str, Any]) -> str:
    """What the numbers of the grid are."""
    mean = f"{label(str(report['metric']))}, {over_seeds(report['seeds'])}, of the last tenth of the evaluations"
    level = "level: it cannot be told from the best, since the interval of their difference contains 0"
    return mean if report["seeds"] == 1 else f"{mean}\n{level}"


def sweep_figure(report: dict[str, Any]) -> "Figure | None":
    """The final metric over each setting, a panel each; a line joins points that differ in this setting alone.

    The lines through the best point are in colour. None if there is no sweep.
    """
    if "sweep" not in report:
        return None
    from plotly.subplots import make_subplots

    swept = report["sweep"]
    names = swept["settings"]
    figure = make_subplots(1, len(names), shared_yaxes=True, horizontal_spacing=0.04)
    figure.update_layout(layout(360), showlegend=False, hovermode="closest")
    figure.update_yaxes(zeroline=False, automargin=True)
    figure.update_yaxes(title=escape(label(str(report["metric"])), quote=False), col=1)
    for column, name in enumerate(names, 1):
        places = _axis(figure, name, [point["values"][name] for point in swept["points"]], column)
        for series in _series(swept, name):
            figure.add_trace(_line(name, series, swept["best"], places), row=1, col=column)
    return figure


def _axis(figure: "Figure", name: str, values: list[Any], column: int) -> dict[str, float]:
    """Lay out the horizontal axis of a setting; returns the place of each of its values, by its text."""
    numbers = all(type(value) in (int, float) for value in values)
    title: dict[str, Any] = {"title": escape(name, quote=False), "row": 1, "col": column, "zeroline": False}
    if not numbers:
        texts = list(dict.fromkeys(map(_text, values)))
        figure.update_xaxes(**title, tickmode="array", tickvals=list(range(len(texts))), ticktext=[escape(t) for t in texts])
        return {text: float(place) for place, text in enumerate(texts)}
    wide = min(values) > 0 and max(values) >= 10 * min(values)
    figure.update_xaxes(**title, type="log" if wide else "linear")
    return {_text(value): float(value) for value in values}


def _series(swept: dict[str, Any], name: str) -> list[list[dict[str, Any]]]:
    """The points in lines along a setting: those whose other settings are equal. The line through the best comes last."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for point in swept["points"]:
        if point["final"] is not None and point["final"]["iqm"] is not None:
            others = [_text(value) for setting, value in point["values"].items() if setting != name]
            lines.setdefault("|".join(others), []).append(point)
    ordered = sorted(lines.values(), key=lambda line: any(point["name"] == swept["best"] for point in line))
    return ordered if len(ordered) <= SERIES else ordered[-1:]


def _line(name: str, points: list[dict[str, Any]], best: str, places: dict[str, float]) -> Any:
    import plotly.graph_objects as go

    points = sorted(points, key=lambda point: places[_text(point["values"][name])])
    ends = [point["final"] for point in points]
    ours = any(point["name"] == best for point in points)
    colour = COLOURS[0] if ours else GREY
    bar = lambda side, sign: [0 if end[side] is None else sign * (end[side] - end["iqm"]) for end in ends]
    return go.Scatter(
        x=[places[_text(point["values"][name])] for point in points],
        y=[end["iqm"] for end in ends],
        mode="lines+markers",
        opacity=1.0 if ours else 0.5,
        line={"color": colour, "width": 2.2 if ours else 1},
        marker={"color": colour, "size": [13 if point["name"] == best else 7 for point in points]},
        error_y={"array": bar("high", 1), "arrayminus": bar("low", -1), "color": colour, "thickness": 1.4, "width": 4},
        customdata=[[escape(point["name"], quote=False), interval_text(point["final"])] for point in points],
        hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
    )
