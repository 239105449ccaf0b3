"""The benchmarks still run: speed itself is never a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_row_of_every_benchmark_without_peers():
    root = Path(__file__).parent.parent
    code = "from benchmarks import common, maddpg; maddpg.main(common.Options(quick=True, jaxmarl=None))"
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows
    for row in rows:
        assert {"name", "ours", "peer", "peer_name", "unit", "ratio", "settings"} == set(row)
        assert row["ours"] > 0
