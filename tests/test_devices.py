"""Lanes over several devices: the same bits as on one, and nothing that the devices exchange."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_runs import identical

from headstart.core.checks import HeadstartError
from headstart.training import devices

CHILD = Path(__file__).parent / "devices_child.py"


@pytest.mark.slow
def test_four_devices_are_one_device_bitwise(tmp_path):
    """A process of its own, as devices are settled when JAX starts. It also looks for exchanges in the compiled programs."""
    env = os.environ | {"PYTHONPATH": str(CHILD.parents[1])}
    child = subprocess.run([sys.executable, str(CHILD), str(tmp_path)], env=env, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert "--devices 5: JAX finds 4 (CPU) on this machine: take --devices all" in child.stdout
    for other in ("four", "resumed"):
        identical(tmp_path / "one", tmp_path / other)


@pytest.mark.parametrize("lanes, count, shares", [(5, 4, [2, 1, 1, 1]), (8, 4, [2] * 4), (2, 4, [1, 1]), (3, 1, [3])])
def test_lanes_are_shared_out_in_blocks(lanes, count, shares):
    assert devices.blocks(lanes, count) == shares


def test_the_number_of_devices_is_read():
    assert devices.read("all") is None and devices.read("3") == 3
    for text in ("0", "-1", "two", "1.5", ""):
        with pytest.raises(HeadstartError, match=r"^--devices must be all, or a number from 1 on, not"):
            devices.read(text)
    with devices.limited(10**6), pytest.raises(HeadstartError, match=r"--devices 1000000: JAX finds"):
        devices.chosen()
