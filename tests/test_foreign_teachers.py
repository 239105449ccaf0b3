"""An ONNX model as a teacher: what it says, what does not fit, and a run that learns from it and resumes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_runs import ENV, eager, identical, stop_at

from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.types import Continuous, Discrete, Field, RoleSpec, TeamSpec
from headstart.guidance.dagger import Dagger
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.learners.imitator import Imitator
from headstart.teams.experts import expert_of
from headstart.teams.foreign import foreign, kept
from headstart.teams.saved import load
from headstart.teams.saved_demos import load_teacher
from headstart.training import run, session

assert eager  # a fixture
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
WEIGHT = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)


def team(actions, agents: int = 2, size: int = 4) -> TeamSpec:
    return TeamSpec({"agent": RoleSpec(agents, (Field("obs", 1, size),), actions)}, 10, 8)


def model(path, weight=WEIGHT, first="N", output="float", more=()):
    """obs [N O] @ weight, or the number of the largest, written by the package itself."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [helper.make_node("MatMul", ["obs", "weight"], ["logits"])]
    result = ("logits", kinds.FLOAT, [first, weight.shape[1]])
    if output == "choice":
        nodes.append(helper.make_node("ArgMax", ["logits"], ["choice"], axis=1, keepdims=0))
        result = ("choice", kinds.INT64, [first])
    inputs = [helper.make_tensor_value_info("obs", kinds.FLOAT, [first, weight.shape[0]])]
    inputs += [helper.make_tensor_value_info(name, kinds.FLOAT, [1]) for name in more]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info(*result)], [onnx.numpy_helper.from_array(weight, "weight")]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


def said(teacher, obs) -> np.ndarray:
    return np.asarray(jax.jit(lambda x: teacher.policy((), (), {"agent": x})[1]["agent"])(jnp.asarray(obs)))


OBS = np.random.default_rng(1).normal(size=(3, 2, 4)).astype(np.float32)


def test_logits_are_those_of_the_model(tmp_path):
    got = said(foreign(model(tmp_path / "expert.onnx"), team(Discrete((5,)))), OBS)
    np.testing.assert_allclose(got, OBS @ WEIGHT, rtol=1e-5, atol=1e-6)


def test_choices_become_nearly_certain_logits_in_the_environments_counting(tmp_path):
    teacher = foreign(model(tmp_path / "expert.onnx", output="choice"), team(Discrete((5,))))
    got = said(teacher, OBS)
    assert np.array_equal(got.argmax(-1), (OBS @ WEIGHT).argmax(-1)) and set(np.unique(got)) == {0.0, 10.0}
    with pytest.raises(HeadstartError, match="chooses options that this team does not have"):
        foreign(model(tmp_path / "expert.onnx", output="choice"), team(Discrete((5,), (1,))))


def test_continuous_actions_are_read_in_the_environments_units(tmp_path):
    path = model(tmp_path / "arm.onnx", WEIGHT[:, :2])
    got = said(foreign(path, team(Continuous(2, (0.0, -10.0), (4.0, 10.0)))), OBS)
    np.testing.assert_allclose((got + 1) / 2 * [4.0, 20.0] + [0.0, -10.0], OBS @ WEIGHT[:, :2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(said(foreign(path, team(Continuous(2))), OBS), OBS @ WEIGHT[:, :2], rtol=1e-5, atol=1e-6)


def test_all_agents_environments_and_seeds_are_one_call(tmp_path):
    teacher = foreign(model(tmp_path / "expert.onnx"), team(Discrete((5,))))
    sizes, inner = [], teacher.function
    object.__setattr__(teacher, "function", lambda obs: sizes.append(obs["agent"].shape) or inner(obs))
    seeds = jax.jit(jax.vmap(lambda x: teacher.policy((), (), {"agent": x})[1]["agent"]))(np.stack([OBS, -OBS]))
    np.testing.assert_allclose(seeds[1], -OBS @ WEIGHT, rtol=1e-5, atol=1e-6)
    assert sizes == [(2, 3, 2, 4)]


BAD = [
    ({"weight": WEIGHT[:3]}, "observes 3 numbers, and an agent of this team 4"),
    (
        {"weight": WEIGHT[:, :3]},
        r"outputs float32 \(1, 3\), but this team needs float32 \(1, 5\) or whole numbers \(1, 1\)",
    ),
    ({"first": 1}, r"takes \[1, 4\], not \(N, 4\): export it with a dynamic first axis"),
    ({"more": ("memory",)}, r"takes obs tensor\(float\), memory tensor\(float\): a teacher takes one array"),
]


@pytest.mark.parametrize(("changes", "says"), BAD, ids=[says[:20] for _, says in BAD])
def test_a_model_of_another_team_is_refused(changes, says, tmp_path):
    with pytest.raises(HeadstartError, match=says) as told:
        foreign(model(tmp_path / "expert.onnx", **changes), team(Discrete((5,))))
    assert "\n" not in str(told.value) and str(told.value).startswith(str(tmp_path))


def test_other_files_are_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.onnx").write_bytes(b"not a model")
    (tmp_path / "expert.zip").write_bytes(b"PK")
    for teacher, says in (
        ("damaged.onnx", "damaged.onnx is no ONNX model that can be read"),
        ("missing.onnx", "missing.onnx"),
        ("expert.zip", "expert.zip is no model of Stable-Baselines3 and no TorchScript: export its policy as ONNX"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["train", "spread", "--guidance", "knowru", "--teacher", teacher, "--steps", "100000", "--out", "run"])
        err = capsys.readouterr().err
        assert end.value.code == 2 and says in err and err.count("\n") == 1
    with pytest.raises(HeadstartError, match="teaches teams of one role, and this one has a, b"):
        role = team(Discrete((5,))).roles["agent"]
        foreign(model(tmp_path / "expert.onnx"), TeamSpec({"a": role, "b": role}, 10))
    monkeypatch.setattr("headstart.teams.programs.installed", lambda package: False)
    with pytest.raises(HeadstartError, match=r"pip install 'headstart\[onnx\]'"):
        foreign(model(tmp_path / "expert.onnx"), team(Discrete((5,))))
    assert not (tmp_path / "run").exists()


def test_a_model_that_would_read_other_files_is_refused(tmp_path, monkeypatch):
    """Wherever it names them: as an initial value, or in a constant of a branch."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    for nested in (False, True):
        made = onnx.load(model(tmp_path / "expert.onnx"))
        outside = made.graph.initializer[0]
        if nested:
            branch = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["x"], value=outside)], "b", [], [])
            made.graph.node.append(onnx.helper.make_node("If", ["obs"], ["y"], then_branch=branch, else_branch=branch))
            outside = made.graph.node[-1].attribute[0].g.node[0].attribute[0].t
        outside.ClearField("raw_data")
        outside.data_location = onnx.TensorProto.EXTERNAL
        outside.external_data.add(key="location", value="secret.bin")
        (tmp_path / "expert.onnx").write_bytes(made.SerializeToString())
        with pytest.raises(HeadstartError, match=r"expert.onnx keeps numbers in other files: export it as one file$"):
            foreign(tmp_path / "expert.onnx", team(Discrete((5,))))


def test_a_model_of_all_agents_is_a_controller(tmp_path):
    """It observes them side by side: two roles, or two agents; it moves each by heads of its own, or by one joint choice."""
    role = RoleSpec(1, (Field("obs", 1, 4),), Discrete((5,)))
    teams = TeamSpec({"a": role, "b": role}, 10, 8), team(Discrete((5,)))
    obs = {"a": OBS[:, :1], "b": OBS[:, 1:]}, {"agent": OBS}
    rng = np.random.default_rng(3)
    for spec, seen in zip(teams, obs, strict=True):
        for size in (10, 25):
            weight = rng.normal(size=(8, size)).astype(np.float32)
            expert = expert_of(foreign(model(tmp_path / "expert.onnx", weight), spec), spec)
            moves = expert.step((), (), {name: jnp.asarray(x) for name, x in seen.items()}, None)[1]
            moves = np.concatenate(list(moves.values()), 1)
            logits = OBS.reshape(3, 8) @ weight
            joint, heads = np.divmod(logits.argmax(-1), 5), logits.reshape(3, -1, 5).argmax(-1)
            assert moves.shape == (3, 2, 5)
            np.testing.assert_array_equal(moves.argmax(-1), np.stack(joint, -1) if size == 25 else heads)
    with pytest.raises(HeadstartError, match=r"of one role, .* a, b; nor is it a controller of the whole team: .* observes 9"):
        foreign(model(tmp_path / "expert.onnx", np.zeros((9, 10), np.float32)), teams[0])


@pytest.mark.slow
def test_students_do_what_a_model_says(tmp_path):
    """DAgger leaves students who choose as the model does where episodes begin; before, few choices agree."""
    role = ENV.spec.roles["agent"]
    weight = np.random.default_rng(2).normal(size=(role.obs_size, role.actions.size)).astype(np.float32)
    learner = Imitator(hidden=(32,), warmup=64, batch=64, lr=1e-2)
    guide = Dagger(str(model(tmp_path / "expert.onnx", weight)))
    trained = run.train(run.Config(ENV, learner, (guide,), steps=3200, evaluations=2, episodes=2, worth=0), tmp_path / "run")
    obs = np.asarray(jax.vmap(ENV.reset)(jax.random.split(jax.random.key(4), 200))[1].obs["agent"])
    greedy = lambda params: trained.learner.policy(params, (), {"agent": jnp.asarray(obs)})[1]["agent"].argmax(-1)
    both = trained.learner.init(jax.random.key(0)), trained.place(0)
    before, after = (float((np.asarray(greedy(params)) == (obs @ weight).argmax(-1)).mean()) for params in both)
    assert before < 0.5 and after > 0.75, (before, after)


@pytest.mark.slow
def test_a_run_learns_from_a_model_and_resumes_without_its_file(tmp_path, eager):
    """Bitwise, and the model that it has kept is bound to it."""
    role = next(iter(ENV.spec.roles.values()))
    weight = np.random.default_rng(2).normal(size=(role.obs_size, role.actions.size)).astype(np.float32)
    path = model(tmp_path / "expert.onnx", weight)
    learner = DDPG(hidden=(4,), warmup=40, batch=8, train_every=4, num_envs=4, capacity=200)
    config = run.Config(ENV, learner, (Distill(str(path)),), steps=160, evaluations=2, episodes=2, worth=0)
    run.train(config, tmp_path / "whole")
    with pytest.raises(session.Interrupted):
        run.train(config, tmp_path / "cut", stop_at(80))
    path.unlink()
    run.resume(tmp_path / "cut")
    identical(tmp_path / "cut", tmp_path / "whole")
    manifest = json.loads((tmp_path / "whole/run.json").read_text())
    assert manifest["config"]["guidance"][0]["teacher"] is True
    assert [each["env_steps"] for each in manifest["teachers"]] == [None]
    assert load(tmp_path / "whole").env_steps is None  # a team costs what its teacher cost as well
    assert load_teacher(tmp_path / "cut/teacher-0").spec == ENV.spec
    (tmp_path / "cut/teacher-0/model.onnx").write_bytes(b"another")
    with pytest.raises(HeadstartError, match="is not the one that"):
        kept(tmp_path / "cut/teacher-0")
