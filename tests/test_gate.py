"""Whose code runs: installed packages', and the user's own where it was named; never what happens to lie in a directory."""

import importlib
import json
import os
import subprocess
import sys

import pytest

from headstart import registry
from headstart.core import named, own
from headstart.core.checks import HeadstartError

TRAP = "import os\nwith open(os.environ['TRAPPED'], 'a') as file:\n    file.write(__name__ + ' ')\n"
TRAPS = ["json", "typing", "dataclasses", "struct", "numpy", "jaxmarl", "mpe2", "gymnasium", "libtpu", "portpicker", "IPython"]
TRAPS += ["ipywidgets", "orjson", "shtab", "sitecustomize", "usercustomize", "jax_plugins/x/__init__", "headstart_parts"]
MINE = """
import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv
import beside

class Const(ParallelEnv):
    metadata = {"name": "const"}
    possible_agents = ["agent_0"]
    max_cycles = 4
    def observation_space(self, agent): return Box(-1, 1, (2,), np.float32)
    def action_space(self, agent): return Discrete(2)
    def reset(self, seed=None, options=None):
        self.agents, self.time = ["agent_0"], 0
        return {"agent_0": np.zeros(2, np.float32)}, {"agent_0": {}}
    def step(self, action):
        import later
        self.time += 1
        over = self.time >= 4
        self.agents = [] if over else self.agents
        return {"agent_0": np.zeros(2, np.float32)}, {"agent_0": 1.0}, {"agent_0": over}, {"agent_0": False}, {"agent_0": {}}
"""
TINY = ["--learner", "ippo", "--learner.num-envs", "2", "--learner.rollout", "4", "--learner.minibatches", "1", "--steps", "8"]
TINY += ["--learner.hidden", "4", "--evaluations", "1", "--episodes", "2", "--env.workers", "1", "--out", "r"]


@pytest.fixture
def trapped(tmp_path):
    """A directory, with a colon in its name, full of modules that must not be imported, and one that may be."""
    here = tmp_path / "12:30:00"
    for name in TRAPS:
        path = here / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TRAP)
    for name in ("beside", "later"):
        (here / f"{name}.py").write_text("")
    (here / "mine.py").write_text(MINE)
    return here


def command(here, *args: str) -> subprocess.CompletedProcess:
    """`python -m headstart.cli`, which would put the directory first on the path, beside where headstart is installed."""
    root = os.path.dirname(os.path.dirname(registry.__file__))
    env = {**os.environ, "TRAPPED": str(here.parent / "trapped"), "PYTHONPATH": root}
    words = [sys.executable, "-m", "headstart.cli", *args]
    return subprocess.run(words, cwd=here, env=env, capture_output=True, text=True, check=False, timeout=300)


def sprung(here) -> str:
    path = here.parent / "trapped"
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_nothing_in_the_current_directory_is_imported_without_being_named(trapped):
    done = command(trapped, "list")
    assert done.returncode == 0 and "spread" in done.stdout, done.stderr
    done = command(trapped, "train", "pettingzoo:mine:Const", *TINY)
    assert done.returncode == 2 and "pass --use mine if it is in this directory" in done.stderr
    assert sprung(trapped) == "" and not (trapped / "r").exists()


@pytest.mark.slow
def test_a_run_with_a_module_of_ones_own_imports_that_module_and_what_it_imports(trapped):
    done = command(trapped, "train", "pettingzoo:mine:Const", "--use", "mine", *TINY)
    assert done.returncode == 0, done.stderr
    assert sprung(trapped) == "" and json.loads((trapped / "r" / "run.json").read_text())["finished"]


@pytest.fixture
def fresh(monkeypatch):
    """A finder of this test's own in place of the process's."""
    finder = own.OwnModules()
    monkeypatch.setattr(own, "OWN", finder)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(registry, "used", set())
    before = set(sys.modules)
    yield finder
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_package_that_a_file_names_is_imported_only_if_it_is_installed(fresh, tmp_path, monkeypatch):
    """Also if a file of its name lies beside a script or in a directory with a module of one's own."""
    for name in ("hs_gym", "hs_mine"):
        (tmp_path / f"{name}.py").write_text("PRESETS = {}")
    monkeypatch.setitem(named.EXTRAS, "hs_gym", "pettingzoo")
    monkeypatch.syspath_prepend(str(tmp_path))
    own.open_directory(str(tmp_path))
    registry.use("hs_mine")
    with pytest.raises(HeadstartError, match=r"needs the package hs_gym, which is not installed: pip install"):
        named.named("hs_gym")
    assert "hs_gym" not in sys.modules
    registry.use("hs_gym")  # the user's own words
    assert "hs_gym" in sys.modules


def test_in_the_users_directory_only_named_modules_and_their_own_imports_are_found(fresh, tmp_path):
    (tmp_path / "hs_first.py").write_text("import hs_second\ndef later():\n    import hs_third\n    return hs_third.__name__\n")
    for name in ("hs_second", "hs_third", "hs_fourth"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "hs_room").mkdir()
    (tmp_path / "hs_room" / "part.py").write_text("PRESETS = {}")
    with pytest.raises(HeadstartError, match=r"neither in this directory nor installed"):
        registry.use("hs_first")
    own.open_directory(str(tmp_path))
    registry.use("hs_first")
    assert "hs_second" in sys.modules and sys.modules["hs_first"].later() == "hs_third"
    registry.use("hs_room.part")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("hs_fourth")
    there = own.OwnModules()
    own.OWN, before = there, own.OWN
    own.adopt(json.loads(json.dumps({"paths": [], "directories": before.directories, "names": sorted(before.names)})))
    assert there.directories == before.directories and there.names == {"hs_first", "hs_room"}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise RuntimeError('one\\ntwo')", "RuntimeError: one two (TMP/hs_bad.py, line 1)"),
        ("import sys; sys.exit(3)", "SystemExit: 3 (TMP/hs_bad.py, line 1)"),
        ("def f(:", "SyntaxError: invalid syntax (hs_bad.py, line 1)"),
        (
            "import hs_missing",
            "hs_bad needs something that is not installed (No module named 'hs_missing'; TMP/hs_bad.py, line 1)",
        ),
        ("raise __import__('headstart').HeadstartError('no such part')", "hs_bad could not be imported: no such part"),
        ("PRESETS = []", "PRESETS of hs_bad must be a dict"),
    ],
)
def test_a_module_that_cannot_be_used_is_told_in_one_line(fresh, tmp_path, code, says):
    (tmp_path / "hs_bad.py").write_text(code)
    own.open_directory(str(tmp_path))
    with pytest.raises(HeadstartError) as told:
        registry.use("hs_bad")
    assert says.replace("TMP", str(tmp_path)) in str(told.value) and "\n" not in str(told.value)
