"""Teachers whose files may run code: they are opened only if the user says so, also by a run that goes on."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_foreign_teachers import team
from test_runs import ENV, eager, stop_at

from headstart import registry
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.trust import trusting
from headstart.core.types import Continuous, Discrete
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.storage import files, schema
from headstart.teams import foreign
from headstart.teams.saved_demos import load_teacher
from headstart.training import run, session

assert eager  # a fixture
ENTRIES = {"zip": ("data", "policy.pth"), "pt": ("m/code/__torch__.py", "m/constants.pkl", "m/data.pkl")}
"""The names in an archive by which it is known."""


def archive(path: Path, names: tuple[str, ...]) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name in names:
            made.writestr(name, "{}")
    return path


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that would have run code; each plays by the first numbers that it observes."""

    class Opened(list):
        def __call__(self, data, name):
            self.append(name)
            return self.Program()

        class Program:
            outputs = "logits"

            def check(self, role):
                self.size = role.actions.size

            def __call__(self, rows):
                return rows[:, : self.size]

    made = Opened()
    monkeypatch.setattr(foreign, "StableBaselines3", made)
    monkeypatch.setattr(foreign, "TorchScript", made)
    return made


@pytest.mark.parametrize("suffix", ENTRIES)
def test_a_file_that_may_run_code_is_opened_only_if_it_is_trusted(opened, suffix, tmp_path):
    spec, path = team(Discrete((2,))), archive(tmp_path / f"expert.{suffix}", ENTRIES[suffix])
    with pytest.raises(HeadstartError, match=r"may run any code when it is opened: pass --trust .*trust=True") as told:
        load_teacher(path, spec)
    assert "\n" not in str(told.value) and not opened
    teacher = load_teacher(path, spec, trust=True)
    assert opened == [str(path)] and teacher.trusted
    (tmp_path / "kept").mkdir()
    digest = teacher.write(tmp_path / "kept")
    with pytest.raises(HeadstartError, match="pass --trust"):
        load_teacher(tmp_path / "kept", digest=digest)
    assert len(opened) == 1
    assert load_teacher(tmp_path / "kept", trust=True, digest=digest).spec == spec
    about = files.read_json(tmp_path / "kept/foreign.json", schema.Foreign)
    for program, says in (("onnx", "no ONNX model"), ({"zip": "torchscript", "pt": "sb3"}[suffix], "it is no file of")):
        files.write_json(tmp_path / "kept/foreign.json", about | {"program": program}, schema.Foreign)
        shutil.copy(path, tmp_path / "kept" / foreign.MODELS[program])
        with pytest.raises(HeadstartError, match=says):
            load_teacher(tmp_path / "kept")
    assert len(opened) == 2


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_and_other_archives_are_not_read_even_if_they_are_trusted(tmp_path):
    """Old and new files of `torch.save`, an archive of something else, and one that unpacks to too much."""
    spec, sprung = team(Discrete((2,))), tmp_path / "sprung"
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Trap(sprung)))
    with zipfile.ZipFile(tmp_path / "new.pt", "w") as made:
        made.writestr("new/data.pkl", pickle.dumps(Trap(sprung)))
    archive(tmp_path / "other.zip", ("readme.txt",))
    for name, says in (
        ("old.pth", r"is a pickle of PyTorch, which is not read: export its policy as ONNX .* or as TorchScript"),
        ("new.pt", "is a pickle of PyTorch"),
        ("other.zip", "is no model of Stable-Baselines3 and no TorchScript"),
    ):
        with pytest.raises(HeadstartError, match=says):
            load_teacher(tmp_path / name, spec, trust=True)
    assert not sprung.exists()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(HeadstartError, match="unpacks to more than 3 bytes"):
        patch.setattr("headstart.teams.torch_files.LARGEST", 3)
        load_teacher(archive(tmp_path / "bomb.zip", ENTRIES["zip"]), spec, trust=True)


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("headstart.teams.programs.installed", lambda package: False)
    for suffix, package, extra in (("zip", "stable-baselines3", "sb3"), ("pt", "torch", "torch")):
        path = archive(tmp_path / f"expert.{suffix}", ENTRIES[suffix])
        with pytest.raises(HeadstartError, match=rf"needs the package {package}: pip install 'headstart\[{extra}\]'"):
            load_teacher(path, team(Discrete((2,))), trust=True)


def test_the_command_line_asks_for_trust(opened, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    archive(tmp_path / "expert.zip", ENTRIES["zip"])
    words = ["train", "spread", "--guidance", "knowru", "--teacher", "expert.zip", "--steps", "100", "--out", "run"]
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    err = capsys.readouterr().err
    assert end.value.code == 2 and "pass --trust" in err and err.count("\n") == 1 and not opened
    assert not (tmp_path / "run").exists()

    def stop(config, *rest):
        run.with_teachers(config)
        raise HeadstartError(registry.command("resume", tmp_path))

    monkeypatch.setattr(run, "train", stop)
    with pytest.raises(SystemExit):
        cli.main([*words, "--trust"])
    assert opened == ["expert.zip"]
    assert capsys.readouterr().err.strip().endswith("--trust")


@pytest.mark.slow
def test_a_strangers_run_opens_its_teacher_only_if_it_is_trusted_again(opened, tmp_path, eager):
    """That it was trusted is in run.json, where a stranger could have written it."""
    path = archive(tmp_path / "expert.zip", ENTRIES["zip"])
    learner = DDPG(hidden=(4,), warmup=40, batch=8, train_every=4, num_envs=4, capacity=200)
    config = run.Config(ENV, learner, (Distill(str(path)),), steps=160, evaluations=2, episodes=2, worth=0)
    with trusting(True), pytest.raises(session.Interrupted, match=r"headstart resume .* --trust"):
        run.train(config, tmp_path / "cut", stop_at(80))
    guide = json.loads((tmp_path / "cut/run.json").read_text())["config"]["guidance"][0]
    assert guide["teacher"] is guide["trusted"] is True
    before = len(opened)
    with pytest.raises(HeadstartError, match=r"teacher-0/model.zip .* pass --trust"):
        run.resume(tmp_path / "cut")
    assert len(opened) == before
    assert run.resume(tmp_path / "cut", trust=True).env_steps is None  # what the teacher took is not known
    assert json.loads((tmp_path / "cut/run.json").read_text())["finished"]
    assert len(opened) == before + 1
    run.resume(tmp_path / "cut")  # it has ended, and needs no teacher


# ------------------------------------------------------------------ the programs themselves, if they are installed


def said(teacher, obs) -> np.ndarray:
    return np.asarray(jax.jit(lambda x: teacher.policy((), (), {"agent": x})[1]["agent"])(jnp.asarray(obs)))


OBS = np.random.default_rng(1).normal(size=(3, 2, 4)).astype(np.float32)


def test_torchscript_is_asked_for_all_agents_and_environments(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 5))
    torch.jit.trace(module, torch.zeros(2, 4)).save(str(tmp_path / "expert.pt"))
    weights = [x.detach().numpy() for x in module.parameters()]
    wanted = np.tanh(OBS @ weights[0].T + weights[1]) @ weights[2].T + weights[3]
    teacher = load_teacher(tmp_path / "expert.pt", team(Discrete((5,))), trust=True)
    np.testing.assert_allclose(said(teacher, OBS), wanted, rtol=1e-5, atol=1e-6)
    for spec, says in (
        (team(Discrete((5,)), size=3), "cannot be asked about 3 numbers: .*shapes cannot be multiplied"),
        (team(Discrete((4,))), r"outputs float32 \(1, 5\), but this team needs float32 \(1, 4\)"),
    ):
        with pytest.raises(HeadstartError, match=says) as told:
            load_teacher(tmp_path / "expert.pt", spec, trust=True)
        assert "\n" not in str(told.value)
    torch.jit.script(torch.nn.Dropout()).save(str(tmp_path / "dropout.pt"))  # at play it does nothing
    got = said(load_teacher(tmp_path / "dropout.pt", team(Discrete((4,))), True), OBS)
    np.testing.assert_array_equal(got, OBS)


def test_a_teacher_that_draws_random_numbers_is_refused(opened, tmp_path, monkeypatch):
    drawn = lambda self, rows: np.random.default_rng().normal(size=(len(rows), self.size))
    monkeypatch.setattr(opened.Program, "__call__", drawn)
    with pytest.raises(HeadstartError, match="gives two answers to one observation"):
        load_teacher(archive(tmp_path / "expert.pt", ENTRIES["pt"]), team(Discrete((5,))), trust=True)


SB3 = [
    ("PPO", Discrete((5,))),
    ("A2C", Discrete((2, 3))),
    ("DQN", Discrete((5,))),
    ("PPO", Continuous(2, (0.0, -10.0), (4.0, 10.0))),
    ("SAC", Continuous(2, (0.0, -10.0), (4.0, 10.0))),
    ("TD3", Continuous(2)),
]


@pytest.mark.parametrize(("algorithm", "actions"), SB3, ids=[f"{a}-{type(s).__name__}-{s.size}" for a, s in SB3])
def test_a_policy_of_stable_baselines3_says_what_its_model_predicts(algorithm, actions, tmp_path):
    """As its own `predict` does; and the log-probabilities are those that it would have learned from."""
    sb3, torch = pytest.importorskip("stable_baselines3"), pytest.importorskip("torch")
    model = getattr(sb3, algorithm)("MlpPolicy", gym_of(actions), seed=3, device="cpu")
    model.save(tmp_path / "expert.zip")
    teacher = load_teacher(tmp_path / "expert.zip", team(actions), trust=True)
    got = said(teacher, OBS)
    wanted = model.predict(OBS.reshape(-1, 4), deterministic=True)[0]
    assert teacher.outputs == ("values" if algorithm == "DQN" else "logits")
    if isinstance(actions, Continuous):
        np.testing.assert_allclose(actions.in_units(got).reshape(-1, 2), wanted, rtol=1e-4, atol=1e-5)
    else:
        heads = np.split(got.reshape(6, -1), np.cumsum(actions.heads)[:-1], -1)
        np.testing.assert_array_equal(np.stack([x.argmax(-1) for x in heads], -1), wanted.reshape(6, -1))
        if algorithm != "DQN":
            choices = torch.from_numpy(np.array(wanted))
            log_prob = model.policy.evaluate_actions(torch.from_numpy(OBS.reshape(-1, 4)), choices)[1].detach().numpy()
            np.testing.assert_allclose(sum(x.max(-1) for x in heads), log_prob, rtol=1e-4, atol=1e-5)
    other = Continuous(2, (-7.0, -7.0), (7.0, 7.0)) if isinstance(actions, Continuous) else Discrete((7,))
    for spec, says in (
        (team(actions, size=3), "observes 4 numbers, and an agent of this team 3"),
        (team(other), "acts (by choices|from) .*, and an agent of this team (by choices among 7|from .*7.0)"),
        (team(Continuous(3)), r"and an agent of this team by 3 numbers"),
    ):
        with pytest.raises(HeadstartError, match=says):
            load_teacher(tmp_path / "expert.zip", spec, trust=True)


def gym_of(actions):
    """An environment with four observed numbers and such actions."""
    import gymnasium
    from gymnasium import spaces

    class Still(gymnasium.Env):
        observation_space = spaces.Box(-1.0, 1.0, (4,))

        def reset(self, **options):
            return np.zeros(4, np.float32), {}

        def step(self, action):
            return np.zeros(4, np.float32), 0.0, False, True, {}

    made = Still()
    if isinstance(actions, Continuous):
        low, high = actions.low or (-1.0,) * actions.size, actions.high or (1.0,) * actions.size
        made.action_space = spaces.Box(np.array(low, np.float32), np.array(high, np.float32))
    else:
        made.action_space = spaces.Discrete(actions.size) if len(actions.heads) == 1 else spaces.MultiDiscrete(actions.heads)
    return made


def test_statistics_of_observations_beside_a_model_are_told_of(opened, tmp_path, capsys):
    path = archive(tmp_path / "expert.zip", ENTRIES["zip"])
    load_teacher(path, team(Discrete((2,))), trust=True)
    assert not capsys.readouterr().err
    (tmp_path / "vecnormalize.pkl").write_bytes(b"")
    load_teacher(path, team(Discrete((2,))), trust=True)
    err = capsys.readouterr().err
    assert "VecNormalize" in err and "headstart.Scripted" in err and err.count("\n") == 1
