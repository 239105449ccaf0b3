"""Groups of seeds that were trained apart and merged are the run that trained them all."""

import json
import shutil

import pytest
from test_binding import as_format_1

import headstart as hs
from headstart.storage import files, schema

SETTINGS = {"steps": 96, "evaluations": 2, "episodes": 2, "progress": False}
LEARNER = hs.PPO(num_envs=4, rollout=8, epochs=1, minibatches=1, hidden=(4,))


def trained(out, **settings):
    return hs.train(hs.Spread(agents=2), LEARNER, out, **SETTINGS | settings)


@pytest.fixture(scope="module")
def groups(tmp_path_factory, sessions_once):
    """Seeds 5, 6 and 7: all in one run, and in two groups, the later one first; each taught by the same team."""
    out = tmp_path_factory.mktemp("groups")
    teacher = trained(out / "teacher")
    guided = {"guidance": hs.Distill(teacher)}
    trained(out / "all", first_seed=5, seeds=3, **guided)
    trained(out / "late", first_seed=7, seeds=1, **guided)
    trained(out / "early", first_seed=5, seeds=2, **guided)
    hs.merge([out / "late", out / "early"], out / "merged")
    return out


def test_the_merged_run_is_the_whole_one_byte_for_byte(groups):
    names = lambda run: {str(path.relative_to(groups / run)) for path in (groups / run).rglob("*") if path.is_file()}
    assert names("merged") == names("all") and "teacher-0/policy.safetensors" in names("all")
    for name in names("all") - {"run.json"}:
        assert (groups / "merged" / name).read_bytes() == (groups / "all" / name).read_bytes(), name
    merged, whole = (json.loads((groups / run / "run.json").read_text()) for run in ("merged", "all"))
    apart = {"timing", "worth", "digest"}  # the seconds are those of both, and run.json's own digest is of these
    assert set(whole) - set(merged) == {"worth"}
    assert {k: v for k, v in merged.items() if k not in apart} == {k: v for k, v in whole.items() if k not in apart}


def test_the_merged_run_goes_on_and_teaches(groups):
    assert hs.load(groups / "merged").seeds == (5, 6, 7)
    assert hs.resume(groups / "merged").run == hs.load(groups / "all").run


def test_what_may_differ_from_one_run_is_told(groups, tmp_path, capsys):
    """Runs on a host, or of other versions, are merged with a line."""
    for name, change in (("early", {}), ("late", {"device": "a GPU"})):
        shutil.copytree(groups / name, tmp_path / name)
        path = tmp_path / name / "run.json"
        files.write_json(path, json.loads(path.read_text()) | change, schema.Run)
    hs.merge([tmp_path / "early", tmp_path / "late"], tmp_path / "both")
    assert "trained with other devices: the last bits" in capsys.readouterr().err


def test_what_are_not_groups_of_one_run_is_refused_and_nothing_is_written(groups):
    def refused(match, *runs):
        with pytest.raises(hs.HeadstartError, match=match):
            hs.merge([groups / run for run in runs], groups / "none")
        assert not (groups / "none").exists()

    trained(groups / "alone", first_seed=8)
    trained(groups / "until", first_seed=9, until=1e9)
    refused("runs must be at least two", "early")
    refused(r"follow each other \(train --first-seed 1\)", "early", "teacher")
    refused("all begins with seed 5, and .*early ends with 6", "early", "all")
    refused("alone and .*late differ in guidance", "late", "alone")
    refused("has until, and stopped by the mean over its own seeds", "alone", "until")
    shutil.copytree(groups / "late", groups / "old")
    as_format_1(groups / "old")
    refused("old is of an earlier version", "early", "old")
    with pytest.raises(hs.HeadstartError, match="already holds something"):
        hs.merge([groups / "early", groups / "late"], groups / "all")
    (groups / "late" / "metrics.csv").write_text((groups / "early" / "metrics.csv").read_text())
    refused("is not the one that its run wrote", "early", "late")
