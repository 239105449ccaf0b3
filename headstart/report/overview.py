"""Tables of all experiments and their verdicts, computed from the reports that are kept beside the pages of results.

A page has them between `<!-- experiments: DIR -->` or `<!-- papers: DIR -->`, and `<!-- end of overview -->`. DIR is the
directory of the pages of results, as the page would link it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from headstart.report import ledger
from headstart.report.schema import Report
from headstart.storage import files

CLOSES = "<!-- end of overview -->"
BLOCK = re.compile(r"<!-- (?P<kind>experiments|papers): (?P<where>[\w./-]+) -->\n.*?" + re.escape(CLOSES), re.DOTALL)
VERDICTS = ("reproduced", "not reproduced", "undecided")
OURS = "ours"
"""The source of claims that are not a paper's."""
PAPERS = {
    "leader": "a leader among novices",
    "cesma": "CESMA: students of a centralised expert",
    "knowru": "KnowRU: policy distillation",
    "master_slave": "master-slave: a companion on an easier task",
    "dm2": "DM²: demonstrations and discriminators",
}
"""What the papers are about, in the order of the tables; others follow under their own names."""


NOT_PAPERS = ("transfer",)
"""Groups of experiments that are not a paper's: they have no row among the papers."""


class Kept(NamedTuple):
    """An experiment, and its report if one is kept."""

    name: str
    title: str
    report: dict[str, Any] | None

    @property
    def paper(self) -> str:
        return self.name.partition("/")[0]


def fill(content: str, page: Path, experiments: Mapping[str, str]) -> str:
    """The page's text with its overviews made anew. `experiments`: the titles of all, by their names PAPER/EXPERIMENT."""

    def block(match: re.Match[str]) -> str:
        where = match["where"]
        kept = [Kept(name, title, _report(page.parent / where / f"{name}.json")) for name, title in experiments.items()]
        rows = _papers(kept, where) if match["kind"] == "papers" else _experiments(kept, where, page)
        return "\n".join([f"<!-- {match['kind']}: {where} -->", *rows, CLOSES])

    return BLOCK.sub(block, content)


def _report(path: Path) -> dict[str, Any] | None:
    return files.read_json(path, Report) if path.exists() else None


def _experiments(kept: Sequence[Kept], where: str, page: Path) -> Iterator[str]:
    """A row for each experiment."""
    yield f"| experiment | scale | seeds | {' | '.join(VERDICTS)} | our own claims | numbers |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in sorted(kept, key=lambda one: (_place(one.paper), one.name)):
        if one.report is None:
            yield f"| `{one.name}`: {one.title} | | | | | | | none kept |"
            continue
        verdicts, ours = _counts([one])
        own = ", ".join(f"{count} {verdict}" for verdict, count in ours.items())
        told = " | ".join(str(verdicts[verdict] or "") for verdict in VERDICTS)
        anchor = _anchor(page.parent / where / f"{one.paper}.md", one.name)
        link = f"[table]({where}/{one.paper}.md{anchor}), [JSON]({where}/{one.name}.json)"
        yield f"| `{one.name}`: {one.title} | {one.report['scale']} | {one.report['seeds']} | {told} | {own} | {link} |"


def _papers(kept: Sequence[Kept], where: str) -> Iterator[str]:
    """A row for each paper: the counts of all its experiments."""
    yield f"| paper | experiments with numbers | its claims: {' | '.join(VERDICTS)} |"
    yield "|---|---|---|---|---|"
    for paper in sorted({one.paper for one in kept} - set(NOT_PAPERS), key=_place):
        own = [one for one in kept if one.paper == paper]
        told = [one for one in own if one.report is not None]
        verdicts, _ = _counts(told)
        name = PAPERS.get(paper, paper)
        name = f"[{name}]({where}/{paper}.md)" if told else name
        yield f"| {name} | {len(told)} of {len(own)} | {' | '.join(str(verdicts[verdict]) for verdict in VERDICTS)} |"


def _counts(kept: Sequence[Kept]) -> tuple[Counter[str], Counter[str]]:
    """How many claims have each verdict: the papers', and our own."""
    claims = [claim for one in kept if one.report for claim in one.report["claims"]]
    of = lambda ours: Counter(claim["verdict"] for claim in claims if (claim["source"] == OURS) == ours)
    return of(False), of(True)


def _place(paper: str) -> tuple[int, str]:
    return list(PAPERS).index(paper) if paper in PAPERS else len(PAPERS), paper


def _anchor(page: Path, name: str) -> str:
    """Of the heading over an experiment's block in a page of results; empty if the page has no such block."""
    before, found, _ = (page.read_text(encoding="utf-8") if page.exists() else "").partition(ledger.OPENS.format(name))
    headings = re.findall(r"^#+ (.+)$", before, re.MULTILINE)
    anchor = re.sub(r"[^\w\- ]", "", headings[-1].lower()).replace(" ", "-") if found and headings else ""
    return anchor and f"#{anchor}"
