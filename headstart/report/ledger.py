"""Pages of results: Markdown whose numbers are computed from the reports of experiments and are never typed.

A page is prose with blocks. A block stands between `<!-- report: PAPER/EXPERIMENT -->` and `<!-- end of report -->`; its
content is made from `PAPER/EXPERIMENT.json` beside the page, a copy of the experiment's report.json.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headstart.core.checks import HeadstartError
from headstart.report import matrix
from headstart.report.metric import label
from headstart.report.plain import text
from headstart.report.schema import Report
from headstart.report.summary import headline
from headstart.report.table import filled
from headstart.report.transfer import flat, teacher_steps
from headstart.storage import files

OPENS, CLOSES = "<!-- report: {} -->", "<!-- end of report -->"
BLOCK = re.compile(r"<!-- report: (?P<name>[\w-]+/[\w-]+) -->\n.*?" + re.escape(CLOSES), re.DOTALL)


def keep(report: Path, page: Path) -> None:
    """Copy an experiment's report.json beside a page, and add a block for it at the page's end if it has none.

    Raises HeadstartError if the file is missing, damaged, or is not the report of an experiment.
    """
    found = _read(report)
    name, scale = found.get("experiment"), found.get("scale")
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+/[\w-]+", name) or scale is None:
        raise HeadstartError(f"{report} is not the report of a paper's experiment, and only those go into a ledger")
    old = page.read_text(encoding="utf-8") if page.exists() else f"# {name.partition('/')[0]}\n"
    target = _data(page, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(target, json.dumps(found, allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n")
    if OPENS.format(name) not in old:
        old = f"{old.rstrip()}\n\n## {found.get('title') or name}\n\n{OPENS.format(name)}\n{CLOSES}\n"
    files.write_text(page, fill(old, page))


def fill(content: str, page: Path) -> str:
    """The page's text with each of its blocks made anew from the report beside the page."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        return f"{OPENS.format(name)}\n{section(_read(_data(page, name)))}\n{CLOSES}"

    return BLOCK.sub(block, content)


def section(report: dict[str, Any]) -> str:
    """A report in Markdown: the command, the table of its arms, its verdicts."""
    table = matrix.markdown(report) if "matrix" in report else "\n".join(_table(report))
    return "\n\n".join(["\n".join(_command(report)), "\n".join(_about(report)), table, *_claims(report)])


def _data(page: Path, name: str) -> Path:
    return page.parent / f"{name}.json"


def _read(path: Path) -> dict[str, Any]:
    return files.read_json(path, Report)


def _command(report: dict[str, Any]) -> Iterator[str]:
    yield "```text"
    yield f"headstart reproduce {report['experiment']} --scale {report['scale']} --seeds {report['seeds']}"
    yield "```"


def _about(report: dict[str, Any]) -> Iterator[str]:
    yield f"{headline(report)}\n"
    baseline = report["baseline"]
    steps, metric = report["arms"][baseline]["curve"]["env_steps"][-1], label(str(report["metric"])).capitalize()
    of = "interquartile means and 95 % intervals"
    own = "A student's threshold is that of the team that learns its task alone; + is help and − harm that an interval shows"
    level, none = report["threshold"], f"There is no threshold, since {baseline} {flat(report['arms'][baseline])}"
    threshold = own if "matrix" in report else none if level is None else f"The threshold is {text(level)}"
    yield f"{metric}, {steps:,} env-steps: {of} over {report['seeds']} seeds. {threshold}."


def _table(report: dict[str, Any]) -> Iterator[str]:
    """Quantities are rows and arms are columns, as a terminal shows them."""
    columns, rows = filled(report)
    yield "| | " + " | ".join(row[0] for row in rows) + " |"
    yield "|---|" + "---|" * len(rows)
    for i, quantity in enumerate(columns[1:], 1):
        yield f"| {quantity} | " + " | ".join(row[i] for row in rows) + " |"
    own = {name: arm["curve"]["env_steps"][-1] for name, arm in report["arms"].items()}
    if len(set(own.values())) > 1:
        yield "| env-steps | " + " | ".join(f"{own[row[0]]:,}" for row in rows) + " |"
    charged = [teacher_steps(report["arms"][row[0]]["stages"]) for row in rows]
    if any(steps != 0 for steps in charged):
        cells = ("unknown" if steps is None else f"{steps:,}" if steps else "–" for steps in charged)
        yield "| teachers' env-steps | " + " | ".join(cells) + " |"


def _claims(report: dict[str, Any]) -> Iterator[str]:
    if report["claims"]:
        yield "| claim | place | verdict | evidence |\n|---|---|---|---|\n" + "\n".join(map(_claim, report["claims"]))


def _claim(claim: dict[str, Any]) -> str:
    return f"| {claim['claim']} | {claim['source']} | **{claim['verdict']}** | {claim['evidence']} |"
