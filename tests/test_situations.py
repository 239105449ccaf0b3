"""The situations of tests/situations: none is wrong, and a wrong one is found."""

import pytest
from situations.table import WRONG, Situation, happened, line, load

from headstart import registry
from headstart.core.checks import HeadstartError

ROWS = [pytest.param(s, id=f"{s.kind}: {s.name}", marks=[pytest.mark.slow] if s.slow else []) for s in load()]


@pytest.fixture(autouse=True)
def _as_users(as_users, monkeypatch):
    """Values of wrong types reach headstart's own checks, and parts that a situation registers go with it."""
    monkeypatch.setattr(registry, "_joined", {kind: {} for kind in registry.KINDS})
    monkeypatch.setattr(registry, "used", set())
    yield
    registry.presets.cache_clear()


@pytest.mark.parametrize("situation", ROWS)
def test_it_is_right_or_refused_in_one_clear_line(situation):
    row = happened(situation)
    assert row.outcome == ("refused" if situation.says else "right"), line(row)


def test_every_row_has_a_name_of_its_own():
    names = [(situation.kind, situation.name) for situation in load()]
    assert len(set(names)) == len(names) > 100


def raised(error):
    raise error


@pytest.mark.parametrize(
    "call,says",
    [
        (lambda: raised(AssertionError("other")), ""),
        (lambda: raised(HeadstartError("refused")), ""),
        (lambda: raised(HeadstartError("two\nlines")), "two"),
        (lambda: raised(HeadstartError("other words")), "these words"),
        (lambda: raised(TypeError("these words")), "these words"),
        (lambda: "let through", "these words"),
    ],
)
def test_a_wrong_one_is_found(call, says):
    assert happened(Situation("any", "any", call, says)).outcome == WRONG
