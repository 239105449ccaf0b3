"""The line about what guidance copies or shares as a run begins."""

import dataclasses

import pytest
from test_leader import untrained

import headstart as hs
from headstart.core.guidance import start_rows
from headstart.experiments.base import Stage
from headstart.training.copied import in_words

ALONE = hs.Tag(1, policy="random")
TEAM = hs.regrouped(hs.Tag(3, policy="random"), "adversary", {"leader": [0], "adversary": [1, 2]})
PLAIN = hs.DDPG(hidden=(8,))
GRAPH = hs.DDPG(hidden=(8,), critic="agnn", blocks=2, embedding=4)
HINT = "(--guidance.roles adversary --guidance.into leader would start leader from the teacher's adversary)"
INTO = {"roles": ("adversary",), "into": ("leader",)}


def told(*guides, student=PLAIN, teacher=PLAIN, env=TEAM) -> list[str]:
    """The lines of warm starts with these settings, from a leader that was loaded from runs/leader."""
    leader = dataclasses.replace(untrained(Stage("leader", ALONE, teacher, 1)), loaded_from="runs/leader")
    taught = [hs.WarmStart(leader, **settings) for settings in guides]
    learner = student.make(env.spec)
    return in_words(taught, [start_rows(guide.make(env.spec, learner), learner) for guide in taught], env.spec)


def test_a_leader_is_copied_into_the_novices_unless_roles_are_named_and_the_line_says_so():
    first = "3 of 4 weights loaded, 1 adapted"
    assert told({}) == [f"warm start from runs/leader: adversary's actor: {first}; leader: new {HINT}"]
    assert told(INTO) == [f"warm start from runs/leader: leader's actor: {first}; adversary: new"]
    assert told({}, env=ALONE) == ["warm start from runs/leader: adversary's actor: all 4 weights loaded"]


def test_several_warm_starts_have_a_line_each_and_none_calls_new_what_another_copies():
    rest = INTO | {"into": ("adversary",)}
    lines = told(INTO, rest | {"networks": ("actor", "critic")})
    assert [line.count("new") for line in lines] == [0, 0] and "leader's actor: " in lines[0]
    assert "adversary's actor: " in lines[1] and "adversary's critic: " in lines[1]


@pytest.mark.parametrize("blocks", [1, 3])
def test_rounds_that_only_one_of_the_critics_has_are_said(blocks):
    both = INTO | {"networks": ("critic",)}
    (same,) = told(both, student=GRAPH, teacher=GRAPH)
    (other,) = told(both, student=dataclasses.replace(GRAPH, blocks=blocks), teacher=GRAPH)
    assert "rounds" not in same
    assert f"because the teacher has 2 rounds of message passing and this network {blocks} (--learner.blocks)" in other
    assert ("of the teacher's left out" in other) == (blocks < 2) and (" new, " in other) == (blocks > 2)


def test_guidance_that_copies_nothing_has_no_line():
    assert in_words([hs.Distill()], [[]], TEAM.spec) == []


@pytest.mark.parametrize(("adversaries", "stem", "much"), [
    (1, True, "6 of 9 weights"),
    (2, True, "4 of 9 weights (stems differ)"),
    (1, False, "4 of 9 weights (stems left apart)"),
])  # fmt: skip
def test_what_a_companion_shares_is_said(adversaries, stem, much):
    env, learner = hs.Tag(1, policy="evasive"), hs.PPO(hidden=(8, 8, 8))
    guide = hs.Companion(hs.Tag(adversaries, policy="evasive"), learner, stem=stem)
    made = learner.make(env.spec)
    lines = in_words([guide], [start_rows(guide.make(env.spec, made), made)], env.spec)
    assert lines == [f"shared with the companion: adversary's actor: {much}; adversary's critic: {much}"]


def test_a_network_of_which_a_companion_shares_nothing_is_said():
    env, learner = hs.Tag(2, policy="evasive"), hs.DDPG(hidden=(8, 8), shared=True)
    guide = hs.Companion(hs.Tag(1, policy="evasive"), dataclasses.replace(learner, critic="agnn", blocks=1, embedding=4))
    made = learner.make(env.spec)
    lines = in_words([guide], [start_rows(guide.make(env.spec, made), made)], env.spec)
    (line,) = lines
    assert "adversary's actor: 2 of 6 weights (stems differ); adversary's critic: nothing" in line
