"""The report as one HTML file that needs no network: plotly.js, data and replays are inside it."""

from importlib.resources import files
from typing import Any

from headstart.report.figures import attention, colours, effects, learning_curves
from headstart.report.matrix import matrix_figure
from headstart.report.metric import label
from headstart.report.plain import interval_text, plain, script_json, text
from headstart.report.summary import headline, leading_arm, shown_arms
from headstart.report.sweep import grid_rows, sweep_figure
from headstart.report.table import STYLES, filled, of_unknown_cost, reasons
from headstart.report.transfer import teacher_steps

MOVE_DIGITS = 4  # decimals kept of a replay's positions: finer than a pixel


def render_html(report: dict[str, Any], replays: list[dict[str, Any]], provenance: dict[str, Any]) -> str:
    """The page of a report: verdict, claims, curves, effects, replays, transfer table, cost, how to read it, settings.

    report: the result of `build_report`; empty parts (no claims, no arm with a teacher) are left out.
    replays: {"title", "subtitle", "extent", "entities": [{"name", "kind", "radius", "colors": [..], "labels": [..]}, ...],
    "frames": [T][M][2], "score": [T]}: world coordinates within ±extent (None if an entity is hidden), return so far
    in each frame; if they change, also "shades" [T][M], the index of an entity's colour, "words" [T][M], -1 for silence,
    "health" [T][M], the share that is left, "hits" [T][M], whom an entity has just hit or -1, and "links" [T][M][L], whom it
    is joined to or -1. They play side by side under one control. provenance: settings and versions, nested in any way;
    shown folded.

    Every string is escaped, also inside scripts, and the page's own policy forbids it to load anything.
    """
    import jinja2
    from plotly.offline import get_plotlyjs

    here = files("headstart.report")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(here.joinpath("template.html.jinja").read_text("utf-8"))
    data = {"figures": _figures(report), "replays": plain(replays, MOVE_DIGITS)}
    return template.render(
        **_view(report),
        replays=replays,
        provenance=_flat(provenance),
        style=here.joinpath("style.css").read_text("utf-8"),
        script=here.joinpath("page.js").read_text("utf-8"),
        plotly_js=get_plotlyjs(),
        data=script_json(data),
        figures=data["figures"],
    )


def _figures(report: dict[str, Any]) -> dict[str, Any]:
    made = {"sweep": sweep_figure(report), "matrix": matrix_figure(report), "attention": attention(report)}
    if "matrix" not in report:  # it has too many arms for lines
        made |= {"curves": learning_curves(report), "effects": effects(report)}
    return {name: figure.to_plotly_json() for name, figure in made.items() if figure is not None}


def _view(report: dict[str, Any]) -> dict[str, Any]:
    """The template's values as text: it computes nothing itself."""
    columns, rows = filled(report)
    palette = colours(report)
    return {
        "report": report,
        "title": str(report.get("title") or report["experiment"]),
        "headline": headline(report),
        "metric": label(str(report["metric"])),
        "facts": _facts(report),
        "tiles": _tiles(report),
        "claims": [{**claim, "mark": STYLES[claim["verdict"]][0]} for claim in report["claims"]],
        "columns": columns,
        "rows": [{"colour": palette[row[0]], "name": row[0], "cells": [_split(c) for c in row[1:]]} for row in rows],
        "grid": grid_rows(report) if "sweep" in report else None,
        "stages": _stages(report),
        "measures": [(_sentence(name.replace("_", " ")), _sentence(x)) for name, x in report.get("measures", {}).items()],
        "uncharged": [name for name, arm in report["arms"].items() if teacher_steps(arm["stages"]) is None],
        "charged": any(teacher_steps(arm["stages"]) for arm in report["arms"].values()),
        "reasons": [_sentence(reason) for reason in reasons(report)],
        "threshold": text(report["threshold"]) if report["threshold"] is not None else None,
    }


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _facts(report: dict[str, Any]) -> list[str]:
    seeds = report["seeds"]
    shown = [str(report["experiment"])] if report.get("title") else []
    shown += [f"{report['scale']} scale"] if report.get("scale") else []
    return [*shown, f"{seeds} seed" + "s" * (seeds != 1), label(str(report["metric"]))]


def _tiles(report: dict[str, Any]) -> list[dict[str, str]]:
    """The few numbers to see first: those of the leading arm, or of the run if there is nothing to compare."""
    if len(several := shown_arms(report)) > 1:
        shown = [(f"{name}: gain", interval_text(report["arms"][name]["asymptotic_gain"])) for name in several]
        return [{"label": label, **_split(value)} for label, value in shown]
    name = leading_arm(report)
    arm = report["arms"][name] if name else next(iter(report["arms"].values()))
    if not arm.get("versus"):
        run = arm["stages"][-1] if arm["stages"] else {}
        shown = [("Before training", text(arm["curve"]["iqm"][0])), ("Final", interval_text(arm["final"]))]
        shown += [("Env-steps", f"{arm['curve']['env_steps'][-1]:,}")]
        shown += [("Run time", f"{text(run['run_s'])} s")] if run.get("run_s") is not None else []
    else:
        shown = [
            ("Jump start", interval_text(arm["jump_start"])),
            ("Time ratio", interval_text(arm["time_ratio_interval"])),
        ]
        if arm["time_ratio_with_teacher"] != arm["time_ratio"]:
            unknown = of_unknown_cost(report, arm)
            shown += [("Teacher charged", "unknown" if unknown else interval_text(arm["time_ratio_with_teacher_interval"]))]
        shown += [("Asymptotic gain", interval_text(arm["asymptotic_gain"]))]
    return [{"label": label, **_split(value)} for label, value in shown]


def _split(cell: str) -> dict[str, str]:
    middle, bracket, bounds = cell.partition(" [")
    return {"middle": middle, "bounds": bracket.strip() + bounds}


def _stages(report: dict[str, Any]) -> list[list[str]]:
    out = []
    for name, arm in report["arms"].items():
        for stage in arm["stages"]:
            steps, run = stage.get("env_steps"), stage.get("run_s")
            speed = text(float(f"{steps / run:.3g}")) if steps and run else "–"
            seconds = [text(x) for x in (run, stage.get("compile_s"))]
            steps = f"{steps:,}" if steps is not None else "unknown"
            out.append([name, str(stage.get("name", "")), str(stage.get("env", "")), steps, *seconds, speed])
    return out


def _flat(settings: Any, path: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text), so that one table shows them all."""
    if isinstance(settings, dict):
        return [row for k, v in settings.items() for row in _flat(v, f"{path}.{k}" if path else str(k))]
    if isinstance(settings, list | tuple):
        return [(path, ", ".join(str(v) for v in settings))]
    return [(path, str(settings))]
