"""Pages of benchmarks are made from kept rows, and peers are made once, in directories of their own."""

import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import common, page, peers
from headstart.core.checks import HeadstartError

ROOT = Path(__file__).parent.parent
MACHINE = {"processor": "P", "cores": 2, "device": "cpu", "versions": {"JAX": "1"}}


def row(name, ratio=2.0, quick=False, machine=MACHINE, **other):
    made = {"name": name, "benchmark": "stepping", "command": "python -m benchmarks stepping", "quick": quick, "ours": 3.0}
    made |= {"peer": 1.5, "peer_name": "peer", "unit": "env-steps/s", "ratio": ratio, "spread": [1.5, 2.5], "settings": {}}
    return made | {"machine": machine} | other


@pytest.mark.parametrize("name", ["docs/benchmarks.md", "README.md"])
def test_a_page_is_what_the_rows_make_of_it(name):
    content = (ROOT / name).read_text(encoding="utf-8")
    assert page.BLOCK.search(content)
    assert page.fill(content, ROOT / name) == content


@pytest.mark.parametrize("name", ["docs/benchmarks.md", "README.md"])
def test_every_row_that_a_block_names_is_kept(name):
    """A name without a row would leave the table without a word."""
    for block in page.BLOCK.finditer((ROOT / name).read_text(encoding="utf-8")):
        kept = {row["name"] for row in page.read((ROOT / name).parent / block["file"])}
        assert set(block["names"].split()) <= kept


def test_kept_rows_are_of_benchmarks_that_there_are():
    kept = page.read(ROOT / "docs/benchmarks.json")
    assert kept and {row["benchmark"] for row in kept} <= set(benchmarks.ALL)


def test_a_later_row_replaces_the_one_of_its_name_and_no_other(tmp_path):
    at, file = tmp_path / "speed.md", tmp_path / "speed.json"
    page.keep([row("a-16"), row("a-2", 7.0)], [at])
    other = {**MACHINE, "processor": "Q"}
    assert page.keep([row("a-2", 5.0, machine=other)], [at]) == []
    assert [(r["name"], r["ratio"], r["machine"]["processor"]) for r in page.read(file)] == [
        ("a-2", 5.0, "Q"),
        ("a-16", 2.0, "P"),
    ]
    lines = file.read_text().splitlines()
    assert len(lines) == 4 and '"a-2"' in lines[1] and '"a-16"' in lines[2]
    text = at.read_text()
    assert "| `a-2` | **5.00 ×** as fast | peer | 1.50 … 2.50 | env-steps/s |" in text
    assert "Machine 1: Q" in text and "Machine 2: P" in text


def test_a_row_that_says_less_replaces_none(tmp_path):
    at = tmp_path / "speed.md"
    page.keep([row("a"), row("b")], [at])
    lost = {"peer": None, "ratio": None, "spread": None, "peer_name": "peer: not installed"}
    stay = page.keep([row("a", 9.0, quick=True), row("b", **lost)], [at])
    assert len(stay) == 2 and [r["ratio"] for r in page.read(tmp_path / "speed.json")] == [2.0, 2.0]


def test_a_number_typed_into_the_kept_rows_is_refused(tmp_path, capsys):
    at = tmp_path / "speed.md"
    page.keep([row("a")], [at])
    file = tmp_path / "speed.json"
    file.write_text(file.read_text().replace('"ratio": 2.0', '"ratio": 20.0'))
    with pytest.raises(HeadstartError, match="digest"):
        page.check([at])
    with pytest.raises(SystemExit) as end:
        page.main([str(at)])
    assert end.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_peers_are_made_once_and_what_others_made_is_refused(tmp_path, monkeypatch, capsys):
    """The commands of git are recorded and not run."""
    ran = []
    monkeypatch.setattr(peers, "_run", lambda *command: ran.append(command))
    found = peers.provide(tmp_path / "peers", ["jaxmarl"])
    assert found.places == {"jaxmarl": str(tmp_path / "peers/jaxmarl")} and len(ran) == 3
    assert peers.provide(tmp_path / "peers", ["jaxmarl"]) == found and len(ran) == 3
    made = tmp_path / "peers/jaxmarl" / peers.MADE
    monkeypatch.setattr(peers, "COMMIT", "another")
    with pytest.raises(HeadstartError, match="other versions"):
        peers.provide(tmp_path / "peers", ["jaxmarl"])
    made.unlink()
    with pytest.raises(HeadstartError, match="half-made: delete it"):
        peers.provide(tmp_path / "peers", ["jaxmarl"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(HeadstartError, match="did not make"):
        peers.provide(tmp_path / "mine", ["jaxmarl"])
    assert len(ran) == 3


def test_a_peer_that_cannot_be_made_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "REPOSITORY", str(tmp_path / "nowhere"))
    found = peers.provide(tmp_path / "peers", ["jaxmarl"])
    assert not found.places and found.lacking == {"jaxmarl": "it could not be made"}
    assert len(capsys.readouterr().err.splitlines()) == 2 and not (tmp_path / "peers/jaxmarl").exists()
    assert benchmarks.Options(lacking=found.lacking).without("jaxmarl", "JaxMARL") == "JaxMARL: it could not be made"


def test_a_peer_that_fails_says_why_and_its_row_that_it_failed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(common, "__file__", str(tmp_path / "common.py"))
    (tmp_path / "good.py").write_text("import json, sys\nprint('warming up')\nprint(json.dumps(sys.argv[1:]))")
    (tmp_path / "bad.py").write_text("raise ValueError('no such wheel')")
    (tmp_path / "mute.py").write_text("raise SystemExit(3)")
    assert common.answer(None, "good") is None and common.answer(sys.executable, "good", "1", "two") == ["1", "two"]
    assert not capsys.readouterr().err
    assert common.answer(sys.executable, "bad") is None and common.answer(sys.executable, "mute") is None
    assert capsys.readouterr().err.splitlines() == ["ValueError: no such wheel", "exit status 3"]
    assert benchmarks.Options(imitation="python").without("imitation", "imitation") == "imitation: it failed"
    assert "pass --imitation PYTHON or --peers DIR" in benchmarks.Options().without("imitation", "imitation")


def test_a_mistake_ends_before_anything_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "ippo", "--peers", str(tmp_path / "file")])
    with pytest.raises(SystemExit) as end:
        benchmarks.main()
    out = capsys.readouterr()
    assert end.value.code == 2 and "is a file: name a directory" in out.err and not out.out
