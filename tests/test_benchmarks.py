"""The benchmarks still run: speed itself is never a test."""

import functools
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import common, maddpg, soak
from headstart.learners.ddpg import DDPG
from headstart.training.watch import Progress

ROOT = Path(__file__).parent.parent
NO_ROWS = {
    "common",
    "dagger_imitation",
    "earlier",
    "envs_vmas",
    "gail_imitation",
    "jaxmarl_scripts",
    "machine",
    "maddpg_benchmarl",
    "page",
    "peers",
    "sb3_ppo",
    "semantics",
    "treasure_python",
    "walker2d_sb3",
    "zoo",
}
"""What benchmarks share, peers that other Pythons run, what makes peers, pages and the zoo, and comparisons of returns."""


def test_every_benchmark_is_listed_and_can_be_called():
    """The rest of this file runs one of them, so at least their modules must import: they use the library's own names."""
    from benchmarks import __main__ as benchmarks  # it imports the libraries of all peers

    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("__")}
    assert set(benchmarks.ALL) == modules - NO_ROWS
    for name, module in benchmarks.ALL.items():
        assert module is importlib.import_module(f"benchmarks.{name}") and callable(module.main)


def test_a_row_says_what_was_compared(capsys):
    row = common.row("name", 3.0, 2.0, "peer", "env-steps/s", seeds=1)
    assert json.loads(capsys.readouterr().out) == row
    assert row["ratio"] == 1.5 and row["settings"]["seeds"] == 1 and row["settings"]["cores"] >= 1
    assert common.row("name", 3.0, None, "no peer", "env-steps/s")["ratio"] is None


def test_the_spread_of_a_ratio_is_that_of_its_turns():
    """The turns have ratios 2, 3 and 5, and the two programs count their work in different units."""
    ours, peer = (common.Program(lambda: None, work, seconds=s) for work, s in ((10, [1.0, 1.0, 1.0]), (4, [2.0, 3.0, 5.0])))
    speed = common.row("a", 3.0, 1.0, "peer", "env-steps/s", (ours, peer))
    assert speed["spread"] == [2.0, 5.0]
    time = common.row("b", 1.0, 3.0, "peer", "ms", (ours, peer))
    assert time["spread"] == pytest.approx([1 / 5, 1 / 2], rel=1e-3)
    assert common.row("c", 2.0, None, "none", "s", turns=[1.0, 2.0, 4.0])["spread"] == [1.0, 4.0]
    assert common.row("d", 2.0, None, "lost", "s", (ours, None))["spread"] is None


def test_what_a_peers_libraries_print_is_no_answer(tmp_path):
    """Each answer belongs to its own question, or a peer would be timed by the one before."""
    peer = tmp_path / "python"
    peer.write_text('#!/bin/sh\necho loading\nwhile read line; do echo noise; echo "answer: $line!"; echo more; done\n')
    peer.chmod(0o755)
    with common.elsewhere(str(peer), "none", "Peer") as ask:
        assert [ask(word).strip() for word in ("one", "two", "three")] == ["one!", "two!", "three!"]
    peer.write_text("#!/bin/sh\nread line; echo bye\n")
    with pytest.raises(RuntimeError, match="Peer has ended"), common.elsewhere(str(peer), "none", "Peer") as ask:
        ask("one")


@pytest.mark.slow
def test_rows_of_the_maddpg_benchmark_without_peers(capsys, monkeypatch):
    """With a learner small enough that its training takes no time."""
    settings = {"hidden": (8,), "batch": 16, "num_envs": 4, "train_every": 4, "warmup": 16, "capacity": 64}
    monkeypatch.setattr(maddpg, "DDPG", functools.partial(DDPG, **settings))
    maddpg.main(common.Options(quick=True, jaxmarl=None))
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == ["maddpg", "maddpg-4-seeds"]
    for row in rows:
        assert {"name", "ours", "peer", "peer_name", "unit", "ratio", "spread", "settings"} == set(row)
        assert row["ours"] > 0
    assert [row["settings"]["seeds"] for row in rows] == [1, 4]


def test_memory_grows_if_it_rises_beyond_noise():
    """Against numbers whose line is known, and a reader that sees them along a run."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.2, 10)
    leak = soak.growth(10**7, list(900 + 3 * (np.arange(10) + 0.5) + noise))  # 3 MB in each tenth, a million env-steps
    assert leak.grows is True and leak.low < 3 < leak.high and leak.high - leak.low < 0.3
    for still in (noise, np.zeros(10), -noise, np.r_[-500, noise[1:]]):  # the first tenth, which compiles, does not count
        assert not soak.growth(10**7, list(900 + still)).grows


def test_a_soak_reads_memory_in_every_tenth(capsys, monkeypatch):
    seen = iter(range(10**6, 41 * 10**6, 10**6))
    monkeypatch.setattr(soak.footprint, "resident", lambda: next(seen))
    reader = soak.Reader()
    for done in range(1, 41):
        reader.progress(Progress(25 * done, 1000, None, 1.0))
    assert reader.medians == [2.5 + 4 * tenth for tenth in range(10)]
    assert capsys.readouterr().out.splitlines()[3] == "400 env-steps: 14.5 MB resident"
