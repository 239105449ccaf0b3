"""What rows of benchmarks ran on: the processor's name, its cores, and versions."""

import os
import platform
import re
from pathlib import Path
from typing import Any

import jax

from benchmarks import peers
from benchmarks.common import Options
from headstart import __version__

PEERS = {
    "JaxMARL": ("", "jaxmarl"),
    "JaxMARL's scripts": ("jaxmarl", None),
    "mpe2": ("", "mpe2"),
    "EnvPool": ("", "envpool"),
    "Gymnasium": ("", "gymnasium"),
    "BenchMARL": ("benchmarl", "benchmarl"),
    "imitation": ("imitation", "imitation"),
    "Stable-Baselines3": ("sb3", "stable-baselines3"),
    "VMAS": ("vmas", "vmas"),
}
"""{first words of a row's peer: the option that names its Python (none: this Python) or its checkout, and its package}."""


def about() -> dict[str, Any]:
    """This machine, as a row keeps it."""
    versions = {"headstart": __version__, "JAX": jax.__version__, "Python": platform.python_version()}
    device = jax.devices()[0]
    kind = device.platform if device.platform == "cpu" else device.device_kind
    return {"processor": _processor(), "cores": os.cpu_count() or 1, "device": kind, "versions": versions}


def _processor() -> str:
    """Its name as the system has it, which Python does not know on Linux."""
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def kept(row: dict[str, Any], benchmark: str, command: str, options: Options, machine: dict[str, Any]) -> dict[str, Any]:
    """A printed row as a page keeps it."""
    elsewhere = ("cores", "jax", "device", "python")
    settings = {name: x for name, x in row["settings"].items() if name not in elsewhere}
    whole = row | {"benchmark": benchmark, "command": command, "quick": options.quick, "settings": settings, "machine": machine}
    title = re.split("[,:]", row["peer_name"])[0]
    if row["peer"] is not None and title in PEERS:
        option, package = PEERS[title]
        place = getattr(options, option) if option else None
        version = peers.versions(place, [package]).get(package) if package else peers.commit(place or "")
        whole |= {"peer_version": version} if version else {}
    return whole
