"""Ranges beside fields: what is let in, what is refused, and in which words."""

from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
import pytest
from annotated_types import Ge, Interval, Le, Len, Lt, MultipleOf, Predicate

from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.env import Env
from headstart.core.part import part
from headstart.core.ranges import (
    Agents,
    Count,
    Evaluations,
    Natural,
    NonNegative,
    Positive,
    Share,
    Sizes,
    Steps,
    Unfit,
    Unit,
    fit,
    in_words,
)
from headstart.envs.centralized import Centralized
from headstart.envs.particle.spread import Spread
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.training.config import Config

INF, NAN = float("inf"), float("nan")
Groups = tuple[tuple[str, tuple[Natural, ...]], ...]
GOOD = [
    (Unit, 0.0), (Unit, 1.0), (Share, 1.0), (Positive, 1e-9), (NonNegative, 0.0), (Count, 1), (Natural, 0),
    (int, -3), (float, -3.0),
    (Sizes, ()), (Sizes, (1, 2)), (bool, True), (str, ""), (float | None, None), (float | None, 2.0), (Literal["a", "b"], "b"),
    (Annotated[float, Interval(ge=0, le=INF)], INF), (Annotated[int, MultipleOf(4)], 8), (Annotated[float, Lt(2)], 1.9),
    (Groups, (("a", (0, 1)), ("b", ()))), (tuple[int, str], (1, "a")), (dict[str, Unit], {"a": 0.5}), (Any, object),
    (int, 10**12), (float, 1e300), (Steps, 10**12), (Positive, 3e38), (Count, 2**31 - 1),
    (tuple, (1,)), (Annotated[Unit | None, Ge(0)], None),
]  # fmt: skip
BAD = [
    (Unit, 1.1, "between 0 and 1"), (Unit, NAN, "a finite number"), (Unit, "1", "a number"), (Unit, True, "a number"),
    (Share, 0.0, "above 0 and at most 1"), (Positive, 0, "above 0"), (Positive, INF, "a finite number"),
    (float, -INF, "a finite number"),
    (Count, 0, "at least 1"), (Count, 1.0, "a whole number"), (Count, True, "a whole number"), (int, None, "a whole number"),
    (Sizes, (1, 0), "a tuple with every entry at least 1"), (Sizes, (1.5,), "a tuple with every entry a whole number"),
    (Sizes, 3, "a tuple"), (Sizes, "abc", "a tuple"), (bool, 1, "True or False"), (str, 1, "a string"),
    (float | None, "x", "a number or None"), (Literal["a", "b"], "c", "one of 'a', 'b'"), (Literal[1], True, "one of 1"),
    (Annotated[float, Interval(ge=0, le=INF)], NAN, "a finite number"), (Annotated[float, Lt(2)], 2.0, "below 2"),
    (Annotated[int, MultipleOf(4)], 6, "a multiple of 4"), (Annotated[Sizes, Len(1, 2)], (), "of length at least 1 and"),
    (Groups, (("a", (0, -1)),), "a tuple with every entry a tuple with every entry at least 0"),
    (tuple[int, str], (1,), "a tuple of 2 entries"), (dict[str, Unit], {"a": 2.0}, "between 0 and 1"),
    (dict[str, Unit], (), "a dict"), (Count, 2**31, "a whole number of 32 bits, below"),
    (Natural, 10**400, "a whole number of 32 bits, below"),
    (Positive, 1e39, "0 or a number of 32 bits"), (Unit, 1e-39, "0 or a number of 32 bits"),
    (float, 10**400, "a finite number"),
    (Steps, 10**13, "between 1 and 10^12"), (Evaluations, 10**6 + 1, "between 1 and 10^6"),
    (Agents, 1001, "between 1 and 1000"),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "value"), GOOD, ids=repr)
def test_what_is_let_in(hint, value):
    assert fit(value, hint) == value and type(fit(value, hint)) is type(value)


@pytest.mark.parametrize(("hint", "value", "must"), BAD, ids=repr)
def test_what_is_refused(hint, value, must):
    with pytest.raises(Unfit) as caught:
        fit(value, hint)
    assert str(caught.value).startswith(must)


@pytest.mark.parametrize(
    ("hint", "value", "plain"),
    [
        (Count, np.int64(3), 3), (Unit, np.float32(0.5), 0.5), (bool, np.True_, True), (Natural, jnp.asarray(2), 2),
        (Positive, np.array(2.0), 2.0), (Sizes, [np.int32(4), 5], (4, 5)), (float, np.int64(1), 1.0),
        (float, -3, -3.0), (Unit, 1, 1.0), (Positive, 2**24, 2.0**24),
    ],
    ids=repr,
)  # fmt: skip
def test_other_numbers_become_pythons_of_their_kind(hint, value, plain):
    got = fit(value, hint)
    assert got == plain and type(got) is type(plain)


def test_a_rule_that_cannot_be_checked_is_a_mistake_of_the_author():
    with pytest.raises(TypeError, match="cannot be checked"):
        fit(1, Annotated[int, Predicate(bool)])


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Unit, "between 0 and 1"), (Share, "above 0 and at most 1"), (Sizes, "every entry at least 1"), (int, ""), (Any, ""),
        (Annotated[Sizes, Len(1)], "every entry at least 1, of length at least 1"), (Unit | None, "between 0 and 1"),
        (tuple[str, ...], ""), (Annotated[int, Ge(2), Le(9)], "between 2 and 9"), (Groups, ""), (Annotated[int, "a note"], ""),
    ],
)  # fmt: skip
def test_ranges_in_words(hint, words):
    assert in_words(hint) == words


@part("env")
class Wrapper:
    """An environment inside a tuple."""

    inside: tuple[Env, ...] = ()


def test_parts_are_checked_where_they_are_made_and_where_they_are_used(as_users):
    made = DDPG(batch=np.int64(8), hidden=[4, 4])  # pyright: ignore
    assert made == DDPG(batch=8, hidden=(4, 4)) and type(made.batch) is int and hash(made)
    for bad in ({"batch": 8.0}, {"shared": 1}, {"hidden": (True,)}, {"gamma": "1"}, {"critic": "none"}):
        with pytest.raises(HeadstartError, match=rf"^learner.{next(iter(bad))} must be [^\n]*, not "):
            DDPG(**bad)
    with pytest.raises(HeadstartError, match=r"^learner.minibatches must be a divisor of the 2048 items of a rollout, not 7$"):
        PPO(minibatches=7)
    spoilt = Spread()
    object.__setattr__(spoilt, "agents", 0)
    for config in (
        lambda: Centralized(spoilt),
        lambda: Wrapper((Spread(), spoilt)),
        lambda: Config(Centralized(spoilt), PPO()),
        lambda: Config(spoilt, PPO()),
    ):
        with pytest.raises(HeadstartError, match=r"^env.agents must be between 1 and 1000, not 0$"):
            config()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"steps": 1.5}, "steps must be a whole number, not 1.5"), ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"evaluations": True}, "evaluations must be a whole number, not True"),
        ({"episodes": 0}, "episodes must be at least 1"),
        ({"first_seed": -1}, "first_seed must be at least 0"), ({"first_seed": 2**31 - 1}, "first_seed must be below"),
        ({"until": NAN}, "until must be a finite number or None, not nan"),
        ({"until": "best"}, "until must be a number or None"),
    ],
)  # fmt: skip
def test_settings_of_a_run(as_users, settings, says):
    with pytest.raises(HeadstartError) as caught:
        Config(Spread(), PPO(), **settings)
    assert str(caught.value).startswith(says) and "\n" not in str(caught.value)


def test_help_shows_ranges_of_nested_flags_too(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        cli.main(["train", "centralized:spread", "--learner", "ppo", "--guidance", "knowru", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "Env-steps of each seed. (between 1 and 10^12)",
        "Number of the first seed. (at least 0)",
        "Discount. (between 0 and 1) (default: 0.99)",
        "Weight of the teacher at the first update. (between 0 and 1)",
        "0 for as many as there are agents. (between 0 and 1000) (default: 0)",
        "before it are its encoder's layers. (every entry at least 1, of length at least 1) (default: 64 64)",
        "Thrusts of the agents per unit of action; 5 each when empty. (every entry above 0)",
    ):
        assert words in shown, words
    assert "--env.env.agents" in shown and "teacher." not in shown.replace("teacher. (", "")
