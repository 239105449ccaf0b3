"""Overviews of all experiments: computed from the kept reports, in the README as in the results."""

import dataclasses
import json
from pathlib import Path

import pytest

from headstart import registry
from headstart.cli import main as cli
from headstart.report import Claim, judge, overview

ROOT = Path(__file__).parent.parent
REPORTS = ROOT / "docs/results"


@pytest.fixture(scope="module")
def titles():
    return {name: make("laptop").title for name, make in registry.experiments().items()}


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_a_page_is_what_the_reports_make_of_it(page, titles):
    content = (ROOT / page).read_text(encoding="utf-8")
    assert overview.BLOCK.search(content)
    assert overview.fill(content, ROOT / page, titles) == content


@pytest.mark.parametrize("path", sorted(REPORTS.glob("*/*.json")), ids=lambda path: path.stem)
def test_kept_verdicts_are_those_of_the_rule_today(path):
    """Of the rule as it is, not as it was when the report was made."""
    report = json.loads(path.read_text())
    fields = [field.name for field in dataclasses.fields(Claim)]
    for claim in report["claims"]:
        assert judge(Claim(**{name: claim[name] for name in fields}), report) == claim


def cells(lines, name):
    (line,) = (line for line in lines if line.startswith("|") and name in line.split("|")[1])
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_counts_are_those_of_the_reports(tmp_path, titles):
    """Counted again from the JSON text alone, for two papers, one of which has an experiment without a report."""
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- papers: results -->\nold\n<!-- end of overview -->\n\n<!-- experiments: results -->\n<!-- end of overview -->\n"
    )
    (tmp_path / "results").symlink_to(REPORTS)
    cli.main(["report", "--ledger", str(page)])
    lines = page.read_text().splitlines()
    assert "old" not in lines
    for paper in ("knowru", "dm2"):
        names = [name for name in titles if name.startswith(f"{paper}/")]
        texts = [path.read_text() for name in names if (path := REPORTS / f"{name}.json").exists()]
        claims = [claim for text in texts for claim in json.loads(text)["claims"] if claim["source"] != "ours"]
        counts = [str(sum(claim["verdict"] == verdict for claim in claims)) for verdict in overview.VERDICTS]
        assert cells(lines, overview.PAPERS[paper]) == [f"{len(texts)} of {len(names)}", *counts]
        for name in names:
            row = cells(lines, f"`{name}`")
            assert (row[-1] == "none kept") == (not (REPORTS / f"{name}.json").exists())
            if row[-1] != "none kept":
                report = json.loads((REPORTS / f"{name}.json").read_text())
                assert row[:2] == [report["scale"], str(report["seeds"])] and f"results/{name}.json" in row[-1]
    assert {paper.partition("/")[0] for paper in titles} == {*overview.PAPERS, *overview.NOT_PAPERS}
