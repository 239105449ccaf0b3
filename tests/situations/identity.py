"""Kinds "teachers", "order" and "roles": who is who."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from gymnasium import spaces as gym
from toy_envs import box

import headstart as hs
from headstart.core.guidance import Clock, chain
from headstart.core.spec import Discrete, Field
from headstart.core.types import Transition
from headstart.envs.host.pool import Pool, look
from headstart.envs.host.roles import roles_of
from headstart.envs.host.team import HostTeam
from headstart.teams.fit import fit_teacher
from situations.table import ALL, Situation, refused, right
from situations.teams import MPE2, TINY, Pair, opened, said, seen, spec_of, team

SHUFFLED = {"id": "rude_envs:Shuffled", "options": {}, "horizon": 0}
OPENER = hs.PettingZoo.opener


def says(wanted, obs):
    return {"agent": jnp.broadcast_to(4.0 * jax.nn.one_hot(wanted, 5), (*obs["agent"].shape[:-1], 5))}


class Says:
    """A teacher that is an object."""

    def __init__(self, wanted):
        self.wanted = wanted

    def __call__(self, obs):
        return says(self.wanted, obs)

    def method(self, obs):
        return says(self.wanted, obs)


TWO = {
    "lambdas": (lambda obs: says(1, obs), lambda obs: says(3, obs)),
    "partials": (functools.partial(says, 1), functools.partial(says, 3)),
    "objects": (Says(1), Says(3)),
    "methods of two objects": (Says(1).method, Says(3).method),
}


def both_teach(*functions) -> str:
    """Each guide finds the labels of its own function: the objective is that of both."""
    learner, obs = TINY.make(MPE2.spec), seen(MPE2.spec)["agent"][None]
    params, flat, none = learner.init(jr.key(3)), obs[..., 0], jnp.zeros(obs.shape[:2]) > 0
    rollout = Transition(
        {"agent": obs}, {"agent": obs[..., :5]}, {"agent": flat}, none, none, {"agent": obs}, flat, flat,
        {"agent": flat < 9}, None, None, none, {},
    )  # fmt: skip

    def term(*functions) -> np.ndarray:
        guides = [hs.Distill(hs.Scripted(f, MPE2.spec), alpha=0.5, schedule="constant") for f in functions]
        guidance = chain(*(guide.make(MPE2.spec, learner) for guide in guides))
        g, clock = guidance.init(jr.key(0), jnp.asarray(0)), Clock(jnp.asarray(0), jnp.zeros(()))
        g, labelled, _ = guidance.observe(g, params, jr.key(1), rollout, clock, guidance.data)
        batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), labelled)
        terms = guidance.objective(g, params, batch, {"actor": {"agent": jnp.zeros(2)}})
        return np.asarray(sum(term["agent"] for term in terms.values()))

    one, other = functions
    np.testing.assert_allclose(term(one, other), 0.5 * term(one) + term(other), rtol=1e-4)
    assert not np.allclose(term(one), term(other))
    return "the objective is that of both"


for name, pair in TWO.items():
    ALL.append(Situation("teachers", f"two {name}", lambda pair=pair: both_teach(*pair)))


@refused("teachers", "a plain function", "headstart.Scripted(function, env.spec)")
def _():
    hs.Distill(lambda obs: obs).make(MPE2.spec, TINY.make(MPE2.spec))


@refused("teachers", "none", "guidance needs a teacher")
def _():
    hs.Distill().make(MPE2.spec, TINY.make(MPE2.spec))


@refused("teachers", "of other roles", "none in common")
def _():
    hs.Distill(team(hs.SpeakerListener().spec)).make(MPE2.spec, TINY.make(MPE2.spec))


# ------------------------------------------------------------------ agents in another order

THREE = Discrete((3,), options=(("a", "b", "c"),))
HERE, THERE = spec_of(THREE, names=("left", "right")), spec_of(THREE, names=("right", "left"))
TWICE = {name: (box(1), gym.Discrete(3)) for name in ("agent_0", "agent_1")}


@right("order", "agents listed the other way around")
def _():
    a, b = opened(spaces_of=TWICE), opened(spaces_of=dict(reversed(TWICE.items())))
    assert a.spec == b.spec
    return b.spec.names


@right("order", "`agents` and observations in another order than possible_agents")
def _():
    shown = lambda self, agent: np.float32([int(agent[-1])])

    def reset(self, seed=None, options=None):
        obs, infos = Pair.reset(self, seed)
        self.agents = self.agents[::-1]
        return dict(reversed(obs.items())), infos

    team = opened(reset=reset, look=shown)
    assert team.reset(0)[:2].tolist() == [0, 1]
    team.step(np.float32([1, 0, 0, 0, 0, 1]))
    assert {agent: action for _, agent, action in team.env.sent} == {"agent_0": 0, "agent_1": 2}
    return team.env.sent


@right("order", "agents in another order in each process", slow=True)
def _():
    spec = look(OPENER, SHUFFLED, 60.0)
    assert list(spec.roles) == list("abcdefgh") and len(Pool(OPENER, SHUFFLED, spec, 2, 2).reset(np.arange(2))) == 2
    return list(spec.roles)


def swapped(there) -> str:
    """`there`: (policy, params) of the same team in the other order."""
    guru, obs = team(HERE), seen(HERE)
    want = said(guru.learner.policy, guru.place(0), HERE, obs)
    got = said(*there(guru), THERE, {"agent": obs["agent"][:, ::-1]})
    assert np.reshape(got, (-1, 2))[:, ::-1].ravel().tolist() == want and len(set(want)) > 1
    return f"{' '.join(want[:6])} .."


@right("order", "a team adapted to them")
def _():
    return swapped(lambda guru: (guru.adapt(THERE).learner.policy, guru.adapt(THERE).place(0)))


@right("order", "a team scored with them")
def _():
    return swapped(lambda guru: (guru.seated(THERE).learner.policy, guru.seated(THERE).place(0)))


@right("order", "their teacher")
def _():
    fitted = lambda guru: fit_teacher(guru, THERE, (), "nearest")
    return swapped(lambda guru: (fitted(guru).policy, fitted(guru).params(0)))


@right("order", "a warm start")
def _():
    def warm(guru):
        learner = TINY.make(THERE)
        guide = hs.WarmStart(guru).make(THERE, learner)
        return learner.policy, guide.start(guide.init(jr.key(0), jnp.asarray(0)), learner.init(jr.key(1)))[0]

    return swapped(warm)


@refused("order", "two agents of one name", "two agents of one name in possible_agents")
def _():
    opened(spaces_of={1: TWICE["agent_0"], "1": TWICE["agent_0"]})


# ------------------------------------------------------------------ roles

NAMES = {
    "agent_0, agent_1": (["agent_0", "agent_1"], "agent"),
    "agent0, agent1": (["agent0", "agent1"], "agent"),
    "drone-1, drone-2": (["drone-1", "drone-2"], "drone"),
    "Agent 1, Agent 2": (["Agent 1", "Agent 2"], "Agent"),
    "0, 1, 2": (["0", "1", "2"], "agent"),
}


def one_role(names: list[str], role: str) -> list[str]:
    found = roles_of(names, dict.fromkeys(names, (Field("obs", 1, 4),)), dict.fromkeys(names, THREE))
    assert list(found) == [role] and found[role].agents == len(names)
    return list(found)


for name, (names, role) in NAMES.items():
    ALL.append(Situation("roles", f"agents called {name}", lambda names=names, role=role: one_role(names, role)))


@right("roles", "agents that are numbers")
def _():
    team = HostTeam(type("It", (Pair,), {"spaces_of": dict.fromkeys((0, 1), TWICE["agent_0"])})())
    assert team.spec.names == {"agent": ("0", "1")} and team.reset(0).any()
    return team.spec.names


@right("roles", "agents of one name with other spaces")
def _():
    found = opened(spaces_of={"a1": (box(1), gym.Discrete(3)), "a2": (box(2), gym.Discrete(3))}, look=lambda *args: 0)
    assert found.spec.names == {"a1": ("a1",), "a2": ("a2",)}
    return found.spec.names


@right("roles", "what the user says")
def _():
    found = opened(roles=("leader=agent_1",)).spec.names
    assert found == {"agent": ("agent_0",), "leader": ("agent_1",)}
    return found


@refused("roles", "an agent whom nobody knows", "env.roles names the agent 'agent_9', and there are: agent_0, agent_1")
def _():
    opened(roles=("a=agent_9",))


@refused("roles", "a role of agents that differ", "but their spaces differ")
def _():
    other = {"agent_0": (box(1), gym.Discrete(3)), "agent_1": (box(2), gym.Discrete(3))}
    opened(roles=("a=agent_0,agent_1",), spaces_of=other)
