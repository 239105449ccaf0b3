"""The zoo: every team that comes with headstart is small, is what its entry says, and stands wherever a teacher does."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import headstart as hs
from headstart import registry
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.env import unwrapped
from headstart.core.own import installed
from headstart.report.stats import interval
from headstart.storage import files, places
from headstart.teams.saved_demos import load_teacher

LARGEST = 2 * 2**20
"""Bytes of all entries."""
ENTRIES = {entry.name: entry for entry in hs.zoo()}
TEAMS = [name for name, entry in ENTRIES.items() if not entry.demos]


def test_the_zoo_is_small_and_has_the_teams_that_its_recipes_make():
    from benchmarks.zoo import RECIPES

    paths = [path for path in places.TRAINED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in paths) <= LARGEST
    assert {path.name for path in paths} <= {"zoo.json", "policy.json", "policy.safetensors", "demos.json", "demos.safetensors"}
    assert ENTRIES.keys() == RECIPES.keys()
    for name, recipe in RECIPES.items():
        assert (ENTRIES[name].title, ENTRIES[name].commands) == recipe


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_what_its_files_say(name):
    entry, about = ENTRIES[name], ("demos.json" if ENTRIES[name].demos else "policy.json")
    assert entry.digest == files.digest_of(json.loads((places.TRAINED / name / about).read_text()))
    made = load_teacher(f"zoo:{name}")
    assert made.loaded_from == f"zoo:{name}" and made.env_steps == entry.env_steps
    words = shlex.split(entry.commands[-1])
    if words[1] == "train":
        assert entry.env == words[2] and entry.learner == words[words.index("--learner") + 1]
        assert isinstance(made.config, type(registry.preset("learner", entry.learner))) and made.seeds == (entry.seed,)
    named = registry.presets("env").keys() & {entry.env.partition(":")[0]}
    assert named
    if installed("mujoco") or not entry.env.startswith("mujoco"):
        assert type(unwrapped(made.env)) is type(unwrapped(registry.preset("env", entry.env)))
    for mean, low, high in entry.means.values():
        assert low <= mean <= high


@pytest.mark.parametrize("name", TEAMS)
def test_a_team_acts(name):
    team, rng, memory = hs.load(f"zoo:{name}"), np.random.default_rng(0), None
    members = {member: role for role, names in team.spec.names.items() for member in names}
    met = set()
    for _ in range(20):
        obs = {name: rng.normal(size=team.spec.roles[role].obs_size) for name, role in members.items()}
        actions, memory = team.act(obs, memory)
        assert actions.keys() == members.keys()
        met.add(str(actions))
    assert len(met) > 1


def test_a_recorded_return_is_that_of_other_episodes():
    """Played from other starts than those with which it was measured."""
    demos, entry = hs.record("zoo:spread-3", episodes=300, first_episode=1000, sample=False), ENTRIES["spread-3"]
    found = interval(demos.returns["agent"].mean(-1), np.mean)
    mean, low, high = entry.means["return"]
    assert found["low"] <= high and low <= found["high"], (found, mean)
    assert found["high"] - found["low"] < 2


def test_the_recorded_episodes_have_the_means_of_their_entry():
    for name, entry in ENTRIES.items():
        if entry.demos:
            demos = hs.load_demos(f"zoo:{name}")
            assert len(demos) == entry.episodes and demos.actions is not None
            for measure, (mean, _, _) in entry.means.items():
                assert demos.means[measure] == pytest.approx(mean, abs=1e-3)


def test_a_name_of_the_zoo_is_a_teacher_and_a_team(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(places.TRAINED.rglob("*"))
    tiny = ["--steps", "8", "--evaluations", "1", "--episodes", "2", "--worth", "0"]
    learner = ["--learner", "imitator", "--learner.warmup", "4", "--learner.num-envs", "4", "--learner.train-every", "4"]
    guide = ["--guidance", "clone", "--guidance.batch", "2", "--teacher", "zoo:spread-demonstrations"]
    cli.main(["train", "spread", *learner, "--learner.hidden", "4", *guide, *tiny, "--out", "taught"])
    known = files.digest_of(json.loads((tmp_path / "taught/teacher-0/demos.json").read_text()))
    assert json.loads((tmp_path / "taught/run.json").read_text())["guides"] == [known]
    cli.main(["evaluate", "zoo:spread-3", "--episodes", "2"])
    cli.main(["export", "zoo:spread-3"])
    assert (tmp_path / "exported/spread-3/team.npz").exists()
    assert "return" in capsys.readouterr().out
    assert sorted(places.TRAINED.rglob("*")) == before


def test_a_path_is_no_name_and_an_unknown_name_is_refused_with_the_nearest(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for call in (lambda: hs.load("zoo:spread-5"), lambda: hs.load_demos("zoo:spread-5"), lambda: hs.zoo()["spread-5"]):
        with pytest.raises(HeadstartError, match=r"^unknown team of the zoo 'spread-5': did you mean .*spread-4.*\?$"):
            call()
    with pytest.raises(SystemExit) as end:
        cli.main(["evaluate", "zoo:tag-leeder"])
    told = capsys.readouterr().err
    assert end.value.code == 2 and told.count("\n") == 1 and "did you mean tag-leader" in told
    for refused in ("../../teams", "spread-3/../spread-3", ""):
        with pytest.raises(HeadstartError, match="unknown team of the zoo"):
            hs.load(f"zoo:{refused}")
    hs.load("zoo:spread-3").save("zoo:spread-3")  # a directory of this name
    assert (tmp_path / "zoo:spread-3/policy.json").exists()
    for path in ("./zoo:spread-3", Path("./zoo:spread-3")):
        assert hs.load(path).loaded_from == "zoo:spread-3" and not places.in_zoo(places.found(path))
    with pytest.raises(HeadstartError, match=r"zoo:spread-3 holds no demonstrations: headstart record zoo:spread-3 --out DIR"):
        hs.load_demos("zoo:spread-3")
    with pytest.raises(HeadstartError, match=r"zoo:spread-demonstrations holds demonstrations, and no team"):
        hs.load("zoo:spread-demonstrations")


def test_the_table_and_an_entry_are_printed(capsys):
    cli.main(["zoo"])
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["name", *ENTRIES] and table == repr(hs.zoo()).splitlines()
    mean = hs.zoo()["spread-3"].means["return"][0]
    (row,) = [line for line in table if line.startswith("spread-3 ")]
    shown = re.search(r" (-[\d.]+) \[", row.replace("−", "-"))
    assert shown and float(shown[1]) == pytest.approx(mean, rel=0.01)
    cli.main(["zoo", "zoo:spread-3"])
    assert ENTRIES["spread-3"].commands[0] in capsys.readouterr().out
