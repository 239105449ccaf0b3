"""The examples of the documents: a page shows the files, and the files do what they say."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import loop
from test_runs import stopper

from headstart import registry
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.envs.pettingzoo import PettingZoo, to_pettingzoo
from headstart.learners.ppo import PPO
from headstart.storage import files
from headstart.training import run, session

ROOT = Path(__file__).parent.parent
PAGES = {"your-own": ["rendezvous", "plates", "lights", "controller"], "learner-and-guidance": ["reinforce", "curiosity"]}


@pytest.fixture
def here(monkeypatch):
    """As from the checkout, with nothing joined before or after."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(registry, "_joined", {kind: {} for kind in registry.KINDS})
    monkeypatch.setattr(registry, "used", set())
    registry.presets.cache_clear()
    yield
    registry.presets.cache_clear()


@pytest.mark.parametrize("page", PAGES)
def test_the_page_shows_the_files(page):
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"```py\n# examples/(\w+)\.py\n(.*?)```", text, re.DOTALL))
    assert list(shown) == PAGES[page]
    for name, code in shown.items():
        assert code == (ROOT / f"examples/{name}.py").read_text(encoding="utf-8")


_kept: list[Path] = []


@pytest.fixture
def met(here, tmp_path_factory):
    """A run of an environment of one's own, trained once; no test knows the environment before it names it."""
    if not _kept:
        small = ["--learner.num_envs", "4", "--learner.rollout", "8", "--steps", "64", "--evaluations", "2", "--episodes", "4"]
        out = tmp_path_factory.mktemp("met") / "a"
        cli.main(["train", "rendezvous", "--use", "examples.rendezvous", "--learner", "ippo", *small, "--out", str(out)])
        _kept.append(out)
    registry._joined["env"].clear()
    registry.used.clear()
    registry.presets.cache_clear()
    return _kept[0]


@pytest.mark.slow
def test_a_scenario_joins_by_name(met, capsys):
    from examples.rendezvous import Rendezvous

    cli.main(["evaluate", str(met), "--use", "examples.rendezvous", "--episodes", "4"])
    assert "over 1 seed," in capsys.readouterr().out
    cli.main(["list", "--use", "examples.rendezvous"])
    assert "rendezvous" in capsys.readouterr().out
    from pettingzoo.test import parallel_api_test

    parallel_api_test(to_pettingzoo(Rendezvous(4)), num_cycles=30)


def test_without_use_a_strangers_run_imports_nothing(met, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["evaluate", str(met)])
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert end.value.code == 2
    assert "env 'rendezvous' is of the module examples.rendezvous" in told and "--use examples.rendezvous" in told
    assert not registry.used


@pytest.mark.parametrize(
    ("module", "says"),
    [("examples.nothing", "no 'nothing'"), ("odd", "PRESETS of odd must be a dict"), ("nowhere", "nor installed")],
)
def test_what_cannot_join_is_refused(here, tmp_path, monkeypatch, module, says):
    (tmp_path / "odd.py").write_text("PRESETS = []")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(HeadstartError, match=says):
        registry.use(module)


TRAP = """
from pathlib import Path
from toy_envs import *
Path("{0}").write_text("imported")
"""


@pytest.mark.slow
def test_a_run_that_names_a_module_imports_it_only_if_told(here, tmp_path, monkeypatch, capsys):
    sprung = tmp_path / "sprung"
    (tmp_path / "trap.py").write_text(TRAP.format(sprung))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)
    config = run.Config(PettingZoo("trap:Sized"), PPO(num_envs=4, rollout=8), steps=64, evaluations=2, episodes=4)
    with pytest.raises(session.Interrupted):
        run.train(config, tmp_path / "a", stopper(1))
    assert sprung.exists()  # who names it in code or on the command line means it
    sprung.unlink()
    sys.modules.pop("trap", None)
    told = lambda: capsys.readouterr().err.strip().splitlines()[-1]
    with pytest.raises(SystemExit, match="2"):
        cli.main(["resume", str(tmp_path / "a")])
    assert "pass --use trap" in told() and not sprung.exists() and "trap" not in sys.modules
    cli.main(["resume", str(tmp_path / "a"), "--use", "trap"])
    assert sprung.exists() and files.read_json(tmp_path / "a/run.json")["finished"]
    sprung.unlink()
    sys.modules.pop("trap", None)
    registry.used.clear()
    with pytest.raises(SystemExit, match="2"):
        cli.main(["evaluate", str(tmp_path / "a")])
    assert "pass --use trap" in told() and not sprung.exists() and "trap" not in sys.modules


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("pettingzoo", "os:system"),
        ("pettingzoo", "pettingzoo.utils:wrappers"),
        ("pettingzoo", "mpe2:x"),
        ("gymnasium", "os:X-v0"),
    ],
)
def test_a_file_never_makes_us_import_or_call(here, name, id):
    saved = {"name": name, "settings": {"id": id}}
    for part in (saved, {"name": "centralized", "settings": {"env": saved}}):
        with pytest.raises(registry.Untrusted, match="--use"):
            registry.decode("env", part)
    registry.use(id.partition(":")[0])
    assert registry.decode("env", saved).id == id


@pytest.mark.parametrize("id", ["mpe2.simple_spread_v3", "sisl.pursuit_v5", "pettingzoo.sisl.pursuit_v5"])
def test_the_environments_of_known_packages_need_no_word(here, id):
    assert registry.decode("env", {"name": "pettingzoo", "settings": {"id": id}}) == PettingZoo(id)


def test_the_controller_covers_landmarks(here):
    """It must beat doing nothing by far, else it would be no teacher."""
    from examples.controller import ENV, controller

    def episode(key, act):
        state, step = ENV.reset(key)

        def body(loop, _):
            state, step = loop
            state, step = ENV.step(state, {"agent": act(step.obs)}, key)
            return (state, step), step.reward["agent"].mean()

        return jax.lax.scan(body, (state, step), None, ENV.horizon)[1].sum()

    steered = lambda obs: jax.nn.one_hot(controller(obs)["agent"].argmax(-1), 5)
    keys = jax.random.split(jax.random.key(0), 64)
    still = jax.jit(jax.vmap(lambda k: episode(k, lambda obs: jnp.zeros((3, 5)))))(keys).mean()
    assert jax.jit(jax.vmap(lambda k: episode(k, steered)))(keys).mean() > 0.75 * still


@pytest.mark.slow
def test_the_controller_teaches(here, tmp_path):
    from examples.controller import main

    team = main(str(tmp_path / "run"), steps=4096, evaluations=2, episodes=8, progress=False)
    assert team.env_steps == 4096


@pytest.mark.slow
def test_a_team_grows_with_all_its_weights(here, tmp_path, capsys):
    """Every weight of four is one of three, or takes rows of one."""
    import examples.grow_a_team as example

    few = dataclasses.replace(example.LEARNER, batch=8, warmup=25, embedding=4, hidden=(4,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example, "LEARNER", few)
        found = example.main(str(tmp_path), steps=250, episodes=2, progress=False)
    lines = capsys.readouterr().out.splitlines()
    weights = {name: happened for happened, name, *_ in map(str.split, lines) if name.startswith(("actor/", "critic/"))}
    adapted = {name for name, happened in weights.items() if happened != "loaded"}
    assert adapted == {"critic/adversary.agents[0].weight"} and weights[adapted.pop()] == "adapted" and len(weights) > 30
    assert lines[-3:] == [f"{name}: return {found[name]:.1f}" for name in ("fresh", "grown", "trained")]


@pytest.mark.slow
def test_the_lights_are_learned(here):
    """Random pressing earns 10/16 an episode, the best 10."""
    env = PettingZoo("examples.lights:Lights")
    made = loop(env, PPO(num_envs=16, rollout=16, lr=3e-3, gamma=0.5), 30)
    _, metrics = made.run((0, 1))
    last = metrics[-1]["episodes"]
    returns = np.stack([np.asarray(x)[:, 0] for x in last["returns"].values()]).mean(0) / np.asarray(last["count"])
    assert returns.shape == (2,) and returns.min() > 8, returns


@pytest.mark.slow
def test_a_learner_and_a_guidance_of_ones_own(here):
    """REINFORCE solves what every learner solves, and does so when it is curious; a bonus of 0 is no guidance, bitwise."""
    from probes import Choice, played, same

    from examples.curiosity import Curiosity
    from examples.reinforce import Reinforce

    config = Reinforce(lr=1e-2, num_envs=32, rollout=4)
    plain, curious, silent = (loop(Choice(), config, 60, guides) for guides in ((), (Curiosity(0.01),), (Curiosity(0.0),)))
    states = [made.run((0, 1))[0] for made in (plain, curious, silent)]
    for state in states[:2]:
        assert (played(Choice(), plain.learner, state.params)["agent"] > 0.95).all()
    assert same(states[0].params, states[2].params) and not same(states[0].params, states[1].params)


@pytest.mark.slow
def test_an_onnx_expert_teaches(here, tmp_path, capsys):
    """It must do far better than a fresh student, else it would be no teacher."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import examples.onnx_teacher as example

    found = example.main(str(tmp_path), steps=800, episodes=32, progress=False)
    assert list(found) == ["expert", "imitates it", "learns beside it", "has no teacher"]
    assert found["expert"] > 0.75 * found["has no teacher"]  # returns are negative
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == list(found)


@pytest.mark.slow
def test_an_expert_of_stable_baselines3_teaches(here, tmp_path):
    pytest.importorskip("stable_baselines3")
    import examples.sb3_teacher as example

    found = example.main(str(tmp_path), expert_steps=256, steps=512, episodes=2, progress=False)
    assert list(found) == ["expert", "imitates it", "learns beside it", "has no teacher"]
    assert (tmp_path / "imitates-it/teacher-0/model.zip").read_bytes() == (tmp_path / "expert.zip").read_bytes()


@pytest.mark.slow
def test_exported_files_play_an_episode_without_jax(here, tmp_path, capsys):
    pytest.importorskip("pettingzoo")
    import examples.without_jax as example

    found = example.main(str(tmp_path), steps=400, episodes=2, progress=False)
    agents = example.ENV.spec.roles["agent"].agents
    assert found["same"] == found["actions"] == agents * example.ENV.spec.horizon
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{found['same']} of {found['actions']} actions")


@pytest.mark.slow
def test_a_file_of_another_program_is_learned_from(here, tmp_path, monkeypatch):
    """The rule goes to its landmark, as the file's own positions say; a clone of it moves as it does."""
    pytest.importorskip("pettingzoo")
    import examples.from_a_file as example

    monkeypatch.setattr(example, "compared", only(example.compared, "clones it"))
    found = example.main(str(tmp_path), recorded=20, steps=4_000, episodes=32, progress=False)
    assert list(found) == ["the rule", "clones it"]
    chance = np.random.default_rng(0)
    monkeypatch.setattr(example, "rule", lambda obs, agent: int(chance.integers(5)))
    at_random = example.write(tmp_path / "random.npz", 20)
    assert found["clones it"] - at_random > 0.3 * (found["the rule"] - at_random) > 0
    with np.load(tmp_path / "rule.npz") as arrays:
        away = np.linalg.norm(arrays["obs"][..., 4:10].reshape(20, 25, 3, 3, 2)[:, :, range(3), range(3)], axis=-1)
    assert away[:, -1].mean() < 0.3 < away[:, 0].mean(), "every agent ends at its own landmark"


@pytest.mark.slow
def test_guides_follow_one_another(here, tmp_path, monkeypatch):
    import examples.three_teach_ten as example

    monkeypatch.setattr(example, "compared", only(example.compared, "do both"))
    found = example.main(str(tmp_path), steps=400, episodes=4, progress=False)
    run = json.loads((tmp_path / "do-both/run.json").read_text())
    assert list(found) == ["do both"] and [guide["name"] for guide in run["config"]["guidance"]] == ["warm_start", "distill"]


@pytest.mark.slow
def test_a_sweep_over_the_teacher_s_weight(here, tmp_path, capsys):
    import examples.weight_of_a_teacher as example

    found = example.main(str(tmp_path), steps=400, episodes=4, progress=False)
    told = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    best = [point.path.name for point in found.points.values() if point.returns.mean() == found.best.returns.mean()]
    assert sorted(told) == sorted(found.points) and len(told) == 6 and told[0] in best


def only(compared, name):
    """`compared` of one of its runs."""
    return lambda env, runs, out, **settings: compared(env, {name: runs[name]}, out, **settings)
