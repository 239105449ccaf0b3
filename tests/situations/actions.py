"""Kinds "actions" and "fields": what numbers of actions and observations mean."""

import json
import tempfile
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from gymnasium import spaces as gym
from toy_envs import box

import headstart as hs
from headstart.core.spec import Continuous, Discrete, Field
from headstart.envs.host import spaces
from headstart.envs.host.openers import pettingzoo_team
from headstart.teams.experts import expert_of
from headstart.teams.fit import fit_teacher
from headstart.teams.saved import load
from headstart.views.central import view
from headstart.views.meaning import translation
from situations.table import refused, right
from situations.teams import MPE2, OPENAI, TINY, opened, said, seen, spec_of, team, words

options = lambda *names: Discrete(tuple(map(len, names)), options=names)
numbers = lambda low, high, *names: Continuous(len(names), (low,) * len(names), (high,) * len(names), names)
between = lambda theirs, ours: translation(spec_of(theirs).roles["agent"], spec_of(ours).roles["agent"], "agent")


@right("actions", "two semantics of one world")
def _():
    theirs, ours = (env.spec.roles["agent"].actions.options[0] for env in (OPENAI, MPE2))
    assert theirs != ours and OPENAI.spec != MPE2.spec
    return f"{' '.join(theirs)} | {' '.join(ours)}"


def wanted() -> list[str]:
    guru = team(OPENAI.spec)
    return said(guru.learner.policy, guru.place(0), OPENAI.spec)


def the_same(got: list[str]) -> str:
    assert got == wanted(), f"{got[:4]} in place of {wanted()[:4]}"
    return f"{' '.join(got[:4])} .."


@right("actions", "a team scored in the other semantics")
def _():
    guru = team(OPENAI.spec)
    return the_same(said(guru.learner_in(MPE2.spec).policy, guru.place(0), MPE2.spec))


@right("actions", "a team adapted to the other semantics")
def _():
    guru = team(OPENAI.spec).adapt(MPE2)
    return the_same(said(guru.learner.policy, guru.place(0), MPE2.spec))


@right("actions", "a team adapted there acts by agents' names")
def _():
    guru, obs = team(OPENAI.spec).adapt(MPE2), seen(MPE2.spec)["agent"]
    names = MPE2.spec.roles["agent"].actions.options[0]
    act = lambda row: guru.act({f"agent_{i}": np.asarray(row[i]) for i in range(2)})[0]
    return the_same([names[choice] for row in obs for choice in act(row).values()])


@right("actions", "a teacher of the other semantics")
def _():
    fitted = fit_teacher(team(OPENAI.spec), MPE2.spec, (), "nearest")
    return the_same(said(fitted.policy, fitted.params(0), MPE2.spec))


@right("actions", "a warm start from the other semantics")
def _():
    learner = TINY.make(MPE2.spec)
    guide = hs.WarmStart(team(OPENAI.spec)).make(MPE2.spec, learner)
    params, _ = guide.start(guide.init(jr.key(0), jnp.asarray(0)), learner.init(jr.key(1)))
    return the_same(said(learner.policy, params, MPE2.spec))


@right("actions", "an expert of the other semantics")
def _():
    guru = team(OPENAI.spec)
    _, got = expert_of(guru, MPE2.spec).step(guru.place(0), (), seen(MPE2.spec), None)
    return the_same(words(MPE2.spec, got))


@right("actions", "a central controller of the other semantics")
def _():
    there = view(OPENAI.spec, "heads")
    guru = team(there.spec, env=hs.centralized(OPENAI, "heads"))
    choice = guru.learner.policy(guru.place(0), (), there.observe(seen(OPENAI.spec)))[1]
    _, got = expert_of(guru, MPE2.spec).step(guru.place(0), (), seen(MPE2.spec), None)
    here, home = words(MPE2.spec, got), words(OPENAI.spec, there.act(choice))
    assert here == home
    return f"{' '.join(here[:4])} .."


@right("actions", "a team saved before actions had names")
def _():
    with tempfile.TemporaryDirectory() as place:
        team(OPENAI.spec, env=OPENAI).save(Path(place, "old"))
        path = Path(place, "old", "policy.json")
        saved = json.loads(path.read_text())
        del saved["spec"]["roles"]["agent"]["actions"]["options"]
        path.write_text(json.dumps(saved))
        again = load(Path(place, "old"), accept_changed=True)
    return the_same(said(again.adapt(MPE2).learner.policy, again.adapt(MPE2).place(0), MPE2.spec))


@right("actions", "heads in another order")
def _():
    found = between(options(("a", "b"), ("x", "y", "z")), options(("z", "x", "y"), ("a", "b")))
    assert found(jnp.arange(5.0)).tolist() == [4, 2, 3, 0, 1]
    return found.words


@right("actions", "a number with the opposite sign")
def _():
    found = between(Continuous(2, names=("x", "y")), Continuous(2, names=("-y", "x")))
    assert found(jnp.array([0.5, 0.25])).tolist() == [-0.25, 0.5]
    return found.words


@right("actions", "a named number in other bounds, and beyond them")
def _():
    found = between(numbers(-2, 2, "x"), numbers(0, 4, "x"))
    assert found(jnp.array([[0.5], [1.0], [-1.0]])).ravel().tolist() == [-0.5, 0, -1]
    return found.words


@refused("actions", "a number without a name in other bounds", "no name to be translated by")
def _():
    between(Continuous(1, (-2.0,), (2.0,)), Continuous(1))


@refused("actions", "a number in another unit", "in N there and in m here")
def _():
    between(Continuous(1, names=("x",), units=("N",)), Continuous(1, names=("x",), units=("m",)))


@refused("actions", "options of other names", "other names here than there")
def _():
    between(options(("a", "b")), options(("a", "c")))


@refused("actions", "more options", "same action heads")
def _():
    between(options(("a", "b")), options(("a", "b", "c")))


@refused("actions", "choices there and numbers here", "same action heads")
def _():
    hs.WarmStart(team(hs.Spread(2, control="force").spec)).make(MPE2.spec, TINY.make(MPE2.spec))


@refused("actions", "parameters that would have to be scaled", "cannot be copied")
def _():
    there, here = spec_of(numbers(-1, 1, "x")), spec_of(numbers(-2, 2, "x"))
    hs.WarmStart(team(there)).make(here, TINY.make(here))


@right("actions", "choices that are numbered from 10")
def _():
    team = opened(spaces_of=dict.fromkeys(("agent_0", "agent_1"), (box(1), gym.Discrete(3, start=10))))
    team.reset(0)
    team.step(np.float32([0, 1, 0, 0, 0, 1]))
    assert [int(action) for *_, action in team.env.sent] == [11, 12]
    return team.env.sent


@right("actions", "moves of mpe2 by name")
def _():
    found = pettingzoo_team("mpe2.simple_spread_v3", {"max_cycles": 5}, 0).spec.roles["agent"].actions
    assert found == MPE2.spec.roles["agent"].actions
    return found.options


@right("actions", "an environment that names its options itself")
def _():
    found = opened(action_meanings=lambda self, agent: [["wait", "jump", "run"]]).spec.roles["agent"].actions
    assert found.options == (("wait", "jump", "run"),)
    return found.options


@refused("actions", "names that do not fit the options", "action_meanings of Pair do not fit")
def _():
    opened(action_meanings=lambda self, agent: [["wait"]])


# ------------------------------------------------------------------ fields


def sized(agents: int) -> hs.TeamSpec:
    """Each sees itself, and its mates as rows."""
    parts = gym.Dict({"own": box(2), "mates": box(agents - 1, 2)})
    names = [f"agent_{i}" for i in range(agents)]
    value = {"own": np.zeros(2), "mates": np.ones((agents - 1, 2))}
    return opened(spaces_of=dict.fromkeys(names, (parts, gym.Discrete(3))), look=lambda self, agent: value).spec


@right("fields", "rows of a Dict are entities, for a team of another size")
def _():
    two, four = sized(2), sized(4)
    assert four.roles["agent"].obs == (Field("mates", 3, 2), Field("own", 1, 2, own=True))
    team(two).adapt(four)
    fit_teacher(team(two), four, (), "nearest")
    rows = hs.WarmStart(team(two)).make(four, TINY.make(four))
    assert rows is not None
    return four.roles["agent"].obs


@right("fields", "a plain vector whose parts the user names")
def _():
    wide = dict.fromkeys(("agent_0", "agent_1"), (box(6), gym.Discrete(3)))
    found = opened(spaces_of=wide, fields=("velocity=2", "mates=2x2")).spec.roles["agent"].obs
    assert found == (Field("velocity", 1, 2, own=True), Field("mates", 2, 2))
    return found


def turned(**sizes: int) -> hs.TeamSpec:
    """Two agents that observe these fields."""
    spec = spec_of(options(("a", "b", "c")), size=sum(sizes.values()))
    fields = tuple(Field(name, 1, size) for name, size in sizes.items())
    return spec._replace(roles={"agent": spec.roles["agent"]._replace(obs=fields)})


@right("fields", "a team scored where the same fields stand in another order")
def _():
    guru, here = team(turned(velocity=2, place=4)), turned(place=4, velocity=2)
    obs = seen(guru.spec)
    want = said(guru.learner.policy, guru.place(0), guru.spec, obs)
    other = {"agent": jnp.concatenate([obs["agent"][..., 2:], obs["agent"][..., :2]], -1)}
    assert said(guru.learner_in(here).policy, guru.place(0), here, other) == want and len(set(want)) > 1
    return f"{' '.join(want[:6])} .."


@right("fields", "a team scored where fields of other names stand")
def _():
    guru, here = team(turned(velocity=2, place=4)), turned(speed=2, goal=4)
    return len(said(guru.learner_in(here).policy, guru.place(0), here))


@refused("fields", "a team scored where fields of the same names have other sizes", "have other sizes here than there")
def _():
    team(turned(velocity=2, place=4)).learner_in(turned(velocity=4, place=2))


@refused("fields", "named parts of another size", "which observes 1")
def _():
    opened(fields=("velocity=2",))


@refused("fields", "a teacher that sees nothing of what the student sees", "no field in common")
def _():
    other = spec_of(options(("a", "b")))
    other = other._replace(roles={"agent": other.roles["agent"]._replace(obs=(Field("others", 1, 4),))})
    fit_teacher(team(spec_of(options(("a", "b")))), other, (), "nearest")


@refused("fields", "an observation of a text", "Text space, which cannot be read")
def _():
    spaces.observed(gym.Text(5), "what it observes")


@refused("fields", "an observation of pixels", "pixels?")
def _():
    spaces.observed(gym.Box(0, 255, (84, 84, 3), np.uint8), "what it observes")
