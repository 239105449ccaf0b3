"""Interactive figures. The page sets the colours of text and grid, since it may be dark or light."""

from html import escape
from typing import TYPE_CHECKING, Any

from headstart.report.metric import RETURN, label, name_in_report
from headstart.report.transfer import teacher_cost

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Distinguishable by colour-blind readers and on both backgrounds; arms without a teacher are grey.
COLOURS = ("#2f7ed8", "#e4572e", "#1a9f77", "#b558a8", "#d99a1c", "#3fb0c9")
GREY = "#8a93a0"
GAP = 74
"""Pixels between two heat maps, for their titles and the names under them."""
EFFECTS = (
    ("jump_start", "Jump start", 0),
    ("asymptotic_gain", "Asymptotic gain", 0),
    ("time_ratio_interval", "Time ratio", 1),
    ("time_ratio_with_teacher_interval", "Time ratio, teacher charged", 1),
)


def colours(report: dict[str, Any]) -> dict[str, str]:
    """A colour for each arm: grey for arms without a baseline, the palette in turn for the rest (all, if none has one)."""
    arms = report["arms"]
    taught = [name for name, arm in arms.items() if arm.get("versus")] or list(arms)
    return {name: COLOURS[taught.index(name) % len(COLOURS)] if name in taught else GREY for name in arms}


def learning_curves(report: dict[str, Any]) -> "Figure":
    """The metric over env-steps: the interquartile mean of each arm as a line, its 95 % interval as a band.

    Each trace carries `meta.teacher_steps` and `meta.companion_rate`: the page moves it to the right by these, to charge the
    teacher's steps, after it has stretched it by a companion's for each of its own.
    """
    import plotly.graph_objects as go

    figure = go.Figure(layout=layout(440))
    for name, colour in colours(report).items():
        arm = report["arms"][name]
        figure.add_traces(_band(name, arm, colour))
        for worth in arm.get("worth", ()) if report["metric"] == name_in_report(RETURN) else ():
            if _known(worth["teacher"]) and "roles" not in worth:  # else it is not a return of the whole team
                note = {"text": f"teacher of {escape(name, quote=False)}", "font": {"size": 11}, "xanchor": "right", "x": 1}
                line = {"dash": "dot", "width": 1, "color": colour}
                figure.add_hline(worth["teacher"]["iqm"], line=line, annotation=note | {"yanchor": "bottom"})
    if report.get("threshold") is not None:
        figure.add_hline(
            report["threshold"],
            line={"dash": "dash", "width": 1, "color": GREY},
            annotation={"text": "threshold", "font": {"size": 11}, "xanchor": "left", "x": 0, "yanchor": "bottom"},
        )
    figure.update_xaxes(title="env-steps", rangemode="tozero")
    figure.update_yaxes(title=escape(label(str(report["metric"])), quote=False))
    return figure


def effects(report: dict[str, Any]) -> "Figure | None":
    """The teacher's effects, a panel for each quantity: a dot and its interval for each arm that has a baseline."""
    from plotly.subplots import make_subplots

    taught = {name: arm for name, arm in report["arms"].items() if arm.get("versus")}
    panels = [p for p in EFFECTS if any(_known(arm.get(p[0])) for arm in taught.values())]
    if not panels:
        return None
    titles = [title for _, title, _ in panels]
    figure = make_subplots(1, len(panels), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.04)
    figure.update_layout(layout(80 + 44 * len(taught)), showlegend=False, hovermode="closest")
    figure.update_layout(margin={"b": 28}, font={"size": 12})
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False, automargin=True, range=[-0.6, len(taught) - 0.4])
    figure.update_annotations(font={"size": 13})
    palette = colours(report)
    for column, (quantity, title, reference) in enumerate(panels, start=1):
        for name, arm in reversed(taught.items()):
            if _known(arm.get(quantity)):
                figure.add_trace(_dot(name, title, arm[quantity], palette[name]), row=1, col=column)
        # plotly's type annotation asks for words here, but its documentation and its code take numbers.
        place: dict[str, Any] = {"row": 1, "col": column}
        figure.add_vline(reference, line={"dash": "dash", "width": 1, "color": GREY}, **place)
        if reference == 1:
            figure.update_xaxes(rangemode="tozero", row=1, col=column)
    return figure


def attention(report: dict[str, Any]) -> "Figure | None":
    """Whom the critics attend to, a heat map for each arm whose critics attend: rows judge, columns are judged by weight."""
    from plotly.subplots import make_subplots

    arms = {name: arm["attention"] for name, arm in report["arms"].items() if arm.get("attention")}
    if not arms:
        return None
    heights = [34 * len(found["agents"]) for found in arms.values()]
    whole = sum(heights) + GAP * len(arms)
    gap = GAP / whole if len(arms) > 1 else 0
    titles = [escape(name, quote=False) for name in arms]
    figure = make_subplots(len(arms), 1, subplot_titles=titles, row_heights=heights, vertical_spacing=gap)
    figure.update_layout(layout(whole + 60), hovermode="closest")
    figure.update_xaxes(showgrid=False, automargin=True)
    figure.update_yaxes(showgrid=False, automargin=True, autorange="reversed")
    figure.update_annotations(font={"size": 13})
    for row, found in enumerate(arms.values(), start=1):
        figure.add_trace(_heat_map(found), row=row, col=1)
        for update, names in ((figure.update_xaxes, found["vertices"]), (figure.update_yaxes, found["agents"])):
            shown = [escape(name, quote=False) for name in names]
            update(tickmode="array", tickvals=list(range(len(names))), ticktext=shown, row=row, col=1)
    return figure


def _heat_map(found: dict[str, Any]) -> Any:
    import plotly.graph_objects as go

    names = [[(escape(agent, quote=False), escape(vertex, quote=False)) for vertex in found["vertices"]]
             for agent in found["agents"]]  # fmt: skip
    return go.Heatmap(
        z=found["weights"],
        text=[["" if x is None else f"{x:.2f}" for x in row] for row in found["weights"]],
        texttemplate="%{text}",
        customdata=names,
        hovertemplate="%{customdata[0]} attends to %{customdata[1]} by %{z:.3f}<extra></extra>",
        colorscale=[[0, "rgba(47,126,216,0)"], [1, "rgba(47,126,216,1)"]],
        zmin=0,
        zmax=1,
        xgap=2,
        ygap=2,
        showscale=False,
    )


def _known(interval: dict[str, Any] | None) -> bool:
    return interval is not None and interval.get("iqm") is not None


def _band(name: str, arm: dict[str, Any], colour: str) -> list[Any]:
    """Upper edge, lower edge filled up to it, and the line with the hover text; they share one legend entry."""
    import plotly.graph_objects as go

    curve, label = arm["curve"], escape(name, quote=False)
    steps = curve["env_steps"]
    before, rate = teacher_cost(arm["stages"])
    common = {"x": steps, "legendgroup": label, "meta": {"teacher_steps": before, "companion_rate": rate, "arm": label}}
    edge = {**common, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    fill = f"rgba({int(colour[1:3], 16)},{int(colour[3:5], 16)},{int(colour[5:7], 16)},0.18)"
    bounds = list(zip(curve["low"], curve["high"], strict=True))
    spread = any(low is not None for low, _ in bounds)
    hover = "%{y:.4g} [%{customdata[0]:.4g}, %{customdata[1]:.4g}]" if spread else "%{y:.4g}"
    line = go.Scatter(
        **common,
        y=curve["iqm"],
        name=label,
        mode="lines" if len(steps) > 1 else "markers",
        line={"color": colour, "width": 2.2},
        customdata=bounds,
        hovertemplate=hover,
    )
    if not spread:
        return [line]
    return [
        go.Scatter(**edge, y=curve["high"]),
        go.Scatter(**edge, y=curve["low"], fill="tonexty", fillcolor=fill),
        line,
    ]


def _dot(name: str, title: str, found: dict[str, Any], colour: str) -> Any:
    import plotly.graph_objects as go

    middle, low, high = found["iqm"], found["low"], found["high"]
    return go.Scatter(
        x=[middle],
        y=[escape(name, quote=False)],
        name=escape(name, quote=False),
        mode="markers",
        marker={"color": colour, "size": 11},
        error_x={
            "array": [0 if high is None else high - middle],
            "arrayminus": [0 if low is None else middle - low],
            "color": colour,
            "thickness": 2.2,
            "width": 5,
        },
        customdata=[[low, high]],
        hovertemplate=title + " %{x:.4g} [%{customdata[0]:.4g}, %{customdata[1]:.4g}]",
    )


def layout(height: int) -> dict[str, Any]:
    """What all figures have in common; pixels high."""
    return {
        "template": "none",
        "height": height,
        "margin": {"l": 64, "r": 16, "t": 36, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "x unified",
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": {"automargin": True, "zeroline": False},
        "yaxis": {"automargin": True, "zeroline": False},
    }
