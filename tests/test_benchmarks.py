"""The benchmarks still run: speed itself is never a test."""

import functools
import importlib
import json
from pathlib import Path

import pytest

from benchmarks import common, maddpg
from headstart.learners.ddpg import DDPG

ROOT = Path(__file__).parent.parent
NO_ROWS = {
    "common",
    "dagger_imitation",
    "earlier",
    "gail_imitation",
    "jaxmarl_scripts",
    "sb3_ppo",
    "semantics",
    "treasure_python",
    "walker2d_sb3",
}
"""What benchmarks share, peers that other Pythons run, and comparisons of returns."""


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


@pytest.mark.slow
def test_rows_of_the_maddpg_benchmark_without_peers(capsys, monkeypatch):
    """With a learner small enough that its training takes no time."""
    settings = {"hidden": (8,), "batch": 16, "num_envs": 4, "train_every": 4, "warmup": 16, "capacity": 64}
    monkeypatch.setattr(maddpg, "DDPG", functools.partial(DDPG, **settings))
    maddpg.main(common.Options(quick=True, jaxmarl=None))
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == ["maddpg", "maddpg-4-seeds"]
    for row in rows:
        assert {"name", "ours", "peer", "peer_name", "unit", "ratio", "settings"} == set(row)
        assert row["ours"] > 0
    assert [row["settings"]["seeds"] for row in rows] == [1, 4]
