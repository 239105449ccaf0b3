"""Teams for machines without JAX: what the exported files do is what `team.act` does."""

import dataclasses
import importlib.util
import io
import json
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
from probes import Mixed, drawn, small

from headstart import registry
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.types import Continuous, Discrete, Field, RoleSpec, TeamSpec
from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.teams.exported import export
from headstart.teams.policy import TeamPolicy

STEPS, LENGTH = 1000, 10
"""Observations of each agent, and steps of an episode."""
NUMBERED = TeamSpec({"agent": RoleSpec(2, (Field("obs", 1, 3),), Discrete((3, 2), (1, 5)))}, LENGTH, 6)
ARM = TeamSpec({"arm": RoleSpec(2, (Field("obs", 1, 3),), Continuous(2, (0.0, -10.0), (4.0, 10.0)))}, LENGTH, 6)
TEAMS = {
    "two roles": (Mixed().spec, DDPG(hidden=(16,))),
    "bounds": (ARM, PPO(hidden=(16,))),
    "numbered heads": (NUMBERED, PPO(hidden=(16,), shared=False)),
    "recurrent": (Spread(2).spec, PPO(core="gru", hidden=(16,), obs_norm=True, layer_norm=True)),
    "values": (Spread(2).spec, small(registry.preset("learner", "qmix"))),
    "graph": (Spread(2).spec, DDPG(actor="agp", embedding=8)),
}


def made(name) -> TeamPolicy:
    """A team with parameters, statistics of observations among them, that are no team's first."""
    spec, config = TEAMS[name]
    params = jax.tree.map(lambda x: 1.5 * x + 0.1, drawn(config, spec, 2))
    if "inputs" in params:
        params["inputs"] = jax.tree.map(abs, params["inputs"])  # variances
    return TeamPolicy(spec, config, params, (0, 1))


def fitted() -> TeamPolicy:
    return made("values").adapt(Spread(4).spec)


def steps_of(team: TeamPolicy):
    """(obs, masks, the team's actions) along episodes, by agents' names."""
    rng, memory = np.random.default_rng(0), None
    for step in range(STEPS):
        memory = None if step % LENGTH == 0 else memory
        obs, masks = {}, {}
        for role, about in team.spec.roles.items():
            for name in team.spec.names[role]:
                obs[name] = (3 * rng.normal(size=about.obs_size)).astype(np.float32)
                if isinstance(about.actions, Discrete) and rng.random() < 0.5:
                    masks[name] = np.concatenate([np.arange(n) != rng.integers(n) for n in about.actions.heads])
        actions, memory = team.act(obs, memory, masks, seed=1)
        yield step % LENGTH == 0, obs, masks, actions


def robot(directory):
    """The exported module, found by its file."""
    found = importlib.util.spec_from_file_location("exported_team", directory / "team.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.Team(directory / "team.npz")


def compare(got, want):
    assert np.shape(got) == np.shape(want) and isinstance(got, int) == isinstance(want, int)
    if np.asarray(want).dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    else:
        assert np.array_equal(got, want)


@pytest.mark.parametrize("name", [*TEAMS, "fitted"])
def test_the_numpy_form_acts_as_the_team(name, tmp_path):
    team = fitted() if name == "fitted" else made(name)
    export(team, tmp_path / "out", seed=1)
    alone, memories, met = robot(tmp_path / "out"), {}, set()
    for first, obs, masks, actions in steps_of(team):
        memories = {} if first else memories
        for agent, x in obs.items():
            action, memories[agent] = alone.act(agent, x, memories.get(agent), masks.get(agent))
            compare(action, actions[agent])
            met.add(str(action))
    assert len(met) > 1


@pytest.mark.parametrize("name", [*TEAMS, "fitted"])
def test_the_onnx_form_acts_as_the_team(name, tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    team = fitted() if name == "fitted" else made(name)
    export(team, tmp_path / "out", "onnx", seed=1)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {
        agent: runtime.InferenceSession(tmp_path / "out" / f"{agent}.onnx", options)
        for names in team.spec.names.values()
        for agent in names
    }
    for agent in sessions:
        graph = onnx.load(str(tmp_path / "out" / f"{agent}.onnx")).graph
        read = {x for node in graph.node for x in node.input}
        assert {x.name for x in graph.initializer} <= read  # a runtime warns of those that nothing reads
    memories = {}
    for first, obs, masks, actions in steps_of(team):
        for agent, x in obs.items():
            needs, outputs = ([x.name for x in get()] for get in (sessions[agent].get_inputs, sessions[agent].get_outputs))
            about = sessions[agent].get_modelmeta().custom_metadata_map
            given = {"obs": x}
            if "memory" in needs:
                given["memory"] = np.float32(json.loads(about["start"])) if first else memories[agent]
            if "available" in needs:
                given["available"] = masks.get(agent, np.ones(json.loads(about["choices"]), bool))
            found = dict(zip(outputs, sessions[agent].run(None, given), strict=True))
            memories[agent] = found.get("next_memory")
            assert ("memory" in needs) == ("next_memory" in found) == (getattr(team.config, "core", "mlp") == "gru")
            compare(int(found["action"][0]) if json.loads(about["single"]) else found["action"], actions[agent])


def test_a_robot_needs_numpy_and_nothing_of_ours(tmp_path):
    team = made("recurrent")
    export(team, tmp_path / "out")
    obs = np.arange(12) / 12
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from team import Team; import numpy\n"
        "action, memory = Team(sys.argv[1] + '/team.npz').act('agent_1', numpy.arange(12) / 12)\n"
        "print(action, memory.shape, {'jax', 'headstart', 'onnx'} & {*sys.modules})"
    )
    words = [sys.executable, "-I", "-c", code, str(tmp_path / "out")]
    told = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert told.strip() == f"{team.act({'agent_1': obs})[0]['agent_1']} (32,) set()"


def test_agents_that_share_a_network_store_it_once(tmp_path):
    shared, own = (TeamPolicy(s, c, drawn(c, s, 1), (0,)) for s, c in [(Spread(3).spec, PPO(shared=x)) for x in (True, False)])
    export(shared, tmp_path / "shared")
    export(own, tmp_path / "own")
    size = lambda name: (tmp_path / name / "team.npz").stat().st_size
    assert size("shared") * 2 < size("own")


BAD = [
    ({"name": "agent_9"}, "there is no agent 'agent_9'"),
    ({"obs": np.zeros(3)}, "obs must be 12 numbers"),
    ({"obs": ["left"] * 12}, "obs must be 12 numbers"),
    ({"obs": np.full(12, np.nan)}, "obs must be finite numbers"),
    ({"memory": np.zeros(1)}, "memory must be 32 numbers"),
    ({"available": [True]}, "available must be 5 numbers"),
    ({"available": [False] * 5}, "available allows nothing"),
]


@pytest.mark.parametrize(("given", "says"), BAD, ids=[says for _, says in BAD])
def test_what_does_not_fit_is_refused(given, says, tmp_path):
    export(made("recurrent"), tmp_path / "out")
    with pytest.raises(ValueError, match=says):
        robot(tmp_path / "out").act(**({"name": "agent_0", "obs": np.zeros(12)} | given))


def lying(name, path):
    """Make an exported file one that claims to hold more than it does, or that is none."""
    if name == "text":
        return path.write_text("a team")
    if name == "compressed":
        with np.load(path) as file:
            return np.savez_compressed(path, **file)
    with zipfile.ZipFile(path, "a") as packed:
        if name == "shape":
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
            packed.writestr("array_0.npy", header.getvalue())
        if name == "objects":
            data = io.BytesIO()
            np.save(data, np.array([{}]), allow_pickle=True)
            packed.writestr("array_0.npy", data.getvalue())
        if name == "same bytes many times":
            packed.writestr("more.npy", bytes(1000))
            packed.filelist += packed.filelist[-1:] * 1000
    return None


LIES = {
    "text": "not a zip file", "compressed": "bytes, and .* are there", "shape": "does not hold the numbers",
    "objects": "does not hold the numbers", "same bytes many times": "bytes, and .* are there",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", LIES)
def test_a_file_that_lies_is_refused_before_an_array_is_made(name, tmp_path):
    export(made("recurrent"), tmp_path / "out")
    lying(name, tmp_path / "out/team.npz")
    with pytest.raises(ValueError, match=LIES[name]) as caught:
        robot(tmp_path / "out")
    assert "team.npz is no exported team: " in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_is_overwritten_and_nothing_is_left_behind(as_users, tmp_path, monkeypatch):
    team = made("values")
    export(team, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(HeadstartError, match="already holds something: choose another --out"):
        export(team, tmp_path / "out", "numpy")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    with pytest.raises(HeadstartError, match="unknown form 'torch'"):
        export(team, tmp_path / "other", "torch")
    monkeypatch.setattr("headstart.teams.exported.installed", lambda package: False)
    with pytest.raises(HeadstartError, match=r"pip install 'headstart\[onnx\]'"):
        export(team, tmp_path / "other", "onnx")
    monkeypatch.undo()
    odd = dataclasses.replace(team)
    odd.__dict__["learner"] = team.learner
    monkeypatch.setattr(type(team.config), "make", lambda self, spec: team.learner._replace(policy=counted))
    with pytest.raises(HeadstartError, match=r"the policy of 'agent_0' cannot be exported: .* cumsum"):
        export(odd, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def counted(params, carry, obs):
    """A policy with an operation that NumPy's list does not have."""
    return carry, {role: jax.numpy.cumsum(x, -1)[..., :5] for role, x in obs.items()}


def test_the_command_writes_both_forms(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    team = made("two roles")
    team.save("runs/mine")
    cli.main(["export", "runs/mine", "--seed", "1"])
    cli.main(["export", "runs/mine", "--to", "onnx", "--out", "robots"])
    names = {path.name for path in (tmp_path / "robots").iterdir()}
    assert names == {f"{name}.onnx" for members in team.spec.names.values() for name in members}
    assert {path.name for path in (tmp_path / "exported/mine").iterdir()} == {"team.py", "team.npz"}
    assert "exported/mine: team.npz, team.py, " in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        cli.main(["export", "runs/mine", "--seed", "2", "--out", "more"])
    assert end.value.code == 2 and "seed must be between 0 and 1, not 2" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()
