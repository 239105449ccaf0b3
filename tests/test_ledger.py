"""Pages of results: blocks are made from reports, prose stays, and what is no report of an experiment is refused."""

import json
import shutil
from pathlib import Path

import pytest

from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.report import ledger

REPORTS = Path(__file__).parent.parent / "docs/results/leader"


@pytest.fixture
def experiment(tmp_path):
    """A directory with the report of an experiment."""
    where = tmp_path / "three"
    where.mkdir()
    shutil.copy(REPORTS / "three-prey.json", where / "report.json")
    return where


def test_a_report_becomes_a_block_and_prose_stays(experiment, tmp_path, capsys):
    page = tmp_path / "pages/leader.md"
    page.parent.mkdir()
    page.write_text("# Mine\n\n<!-- report: leader/three-prey -->\nof yesterday\n<!-- end of report -->\n\nAfter it.\n")
    cli.main(["report", str(experiment), "--ledger", str(page)])
    assert "results:" in capsys.readouterr().out
    written, saved = page.read_text(), json.loads((page.parent / "leader/three-prey.json").read_text())
    assert written.startswith("# Mine\n") and written.endswith("\n\nAfter it.\n") and "of yesterday" not in written
    gain = saved["arms"]["lldr"]["asymptotic_gain"]
    row = next(line for line in written.splitlines() if line.startswith("| gain |"))
    assert row.split("|")[-2].strip() == f"{gain['iqm']:.2f} [{gain['low']:.2f}, {gain['high']:.2f}]"
    for claim in saved["claims"]:
        assert f"| {claim['claim']} | {claim['source']} | **{claim['verdict']}** |" in written


def test_the_block_follows_the_report(experiment, tmp_path):
    page = tmp_path / "leader.md"
    ledger.keep(experiment / "report.json", page)
    assert "**not reproduced**" not in page.read_text()
    data = tmp_path / "leader/three-prey.json"
    changed = json.loads(data.read_text())
    changed["claims"][0]["verdict"] = "not reproduced"
    data.write_text(json.dumps(changed))
    cli.main(["report", "--ledger", str(page)])
    written = page.read_text()
    assert written.count("**not reproduced**") == 1 and "0 of 2 claims reproduced, 1 not reproduced" in written


def test_what_is_no_report_of_an_experiment_is_refused(experiment, tmp_path, capsys):
    report, page = experiment / "report.json", tmp_path / "leader.md"
    whole = json.loads(report.read_text())
    for name, odd, why in (
        ("scale", None, "not the report of a paper's experiment"),
        ("experiment", "../up", "not the report of a paper's experiment"),
        ("arms", {"lldr": {"stages": []}}, "damaged"),
        ("seeds", "six", "seeds must be"),
    ):
        report.write_text(json.dumps(whole | {name: odd}))
        with pytest.raises(HeadstartError, match=why):
            ledger.keep(report, page)
        assert not page.exists() and not (tmp_path / "leader").exists()
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", "--ledger", str(page)])
    assert stop.value.code == 2 and "does not exist" in capsys.readouterr().err
