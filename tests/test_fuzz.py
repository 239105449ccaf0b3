"""A slice of the fuzzer's cases, and that it finds what is broken."""

import pytest
from fuzz import corpus
from fuzz.judge import Judge

CASES = range(40)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    place = tmp_path_factory.mktemp("base")
    corpus.build(place)
    return place


def judge(base, place):
    """A judge whose ears and alarm end with the test."""
    return Judge(base, place / "work", seed=0)


@pytest.mark.slow
def test_damaged_files_and_odd_command_lines(base, tmp_path):
    judged = judge(base, tmp_path)
    broken = [told for number in CASES if (told := judged.case(number))]
    assert not broken, "\n".join(broken)


@pytest.mark.slow
def test_it_finds_a_traceback_and_a_write_elsewhere(base, tmp_path, monkeypatch):
    judged = judge(base, tmp_path)

    def rude(words):
        (judged.elsewhere / "new.txt").write_text("x")
        raise KeyError("raw")

    monkeypatch.setattr("headstart.cli.main.main", rude)
    monkeypatch.setattr("fuzz.judge.load", rude)
    told = judged.case(0)
    assert "KeyError" in told and "outside" in told
