"""What other people's environments mean: spaces, masks, bounds, orders, agents that come and go, ends and lengths.

docs/environments.md has a table of it, whose cells name these tests. Environments are opened in this process.
"""

import copy
import pickle

import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnasium import spaces as gym
from situations.episodes import Ends, Rings
from situations.teams import Pair, opened
from toy_envs import Match, Toy, box

from headstart.core.checks import HeadstartError
from headstart.core.env import Drawable, vectorise
from headstart.core.episodes import evaluate
from headstart.core.scope import scope
from headstart.core.spec import Continuous, Discrete, Field, RoleSpec, TeamSpec
from headstart.envs.centralized import centralized
from headstart.envs.host import clock, layout, masks, reading, spaces
from headstart.envs.host.openers import Alone, gymnasium_team
from headstart.envs.host.roles import roles_of
from headstart.envs.host.team import HostTeam
from headstart.envs.inputs import inputs
from headstart.envs.particle.spread import Spread
from headstart.envs.particle.tag import Tag
from headstart.envs.pettingzoo import PettingZoo
from headstart.envs.regrouped import regrouped
from headstart.learners.ppo import PPO
from headstart.teams.fit import check_teacher
from headstart.teams.policy import TeamPolicy
from headstart.training import ends
from headstart.training.directory import RunDir


def played(team: HostTeam, seed: int = 0):
    """An episode of first choices: what each step shows."""
    rows = [team.reset(seed)]
    while not team.over:
        rows.append(team.step(np.zeros(layout.actions(team.spec), np.float32)))
    return layout.unpack(team.spec, np.stack(rows))


def refused(words: str, call) -> None:
    with pytest.raises(HeadstartError) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


# ------------------------------------------------------------------ masks


def masked(key, seen="observation", size=3, extra=(), actions=None):
    parts = {seen: box(2), key: box(size, low=0, high=1)} | dict(extra)
    return {"agent_0": (gym.Dict(parts), actions or gym.Discrete(3))}


def with_mask(key, seen="observation", extra=()):
    value = {seen: np.float32([1, 2]), key: np.int8([1, 0, 1])} | {name: part.sample() for name, part in dict(extra).items()}
    return opened(spaces_of=masked(key, seen, 3, extra), look=lambda self, agent: value, move=lambda *args: 0.0)


NAMES = ["action_mask", "action_masks", "legal_actions", "avail_actions", "available_actions", "valid_action_mask", "mask"]


@pytest.mark.parametrize("key", NAMES)
def test_a_mask_in_the_observation_is_found_under_the_names_that_libraries_use(key):
    team = with_mask(key, "observations")
    assert team.spec.roles["agent"].obs == (Field("obs", 1, 2, own=True),)
    shown = layout.unpack(team.spec, team.reset(0))
    np.testing.assert_array_equal(shown.available["agent"], [[1, 0, 1]])
    np.testing.assert_array_equal(shown.obs["agent"], [[1, 2]])


def test_a_mask_beside_other_parts_is_found_and_the_parts_are_fields():
    team = with_mask("action_mask", extra=[("agent_id", gym.Discrete(2))])
    assert [(field.name, field.width) for field in team.spec.roles["agent"].obs] == [("agent_id", 2), ("observation", 2)]
    np.testing.assert_array_equal(layout.unpack(team.spec, team.reset(0)).available["agent"], [[1, 0, 1]])


def test_what_looks_like_a_mask_and_is_none_that_can_be_read_is_refused_by_name():
    refused("has 'invalid_actions', which may be an action mask", lambda: opened(spaces_of=masked("invalid_actions")))
    refused(
        "the mask 'action_mask' of 4 numbers, and the actions have 3", lambda: opened(spaces_of=masked("action_mask", size=4))
    )
    refused("its actions are continuous", lambda: opened(spaces_of=masked("action_mask", actions=box(3, low=-1, high=1))))
    both = masked("action_mask", extra=[("avail_actions", box(3))])
    refused("has 2 action masks", lambda: opened(spaces_of=both))
    inside = {"agent_0": (gym.Dict({"a": gym.Dict({"action_mask": box(3), "x": box(1)})}), gym.Discrete(3))}
    refused("has the mask 'action_mask' inside of 'a'", lambda: opened(spaces_of=inside))
    assert opened(spaces_of=masked("map_mask", size=5)).spec.roles["agent"].obs_size == 7, "a part of what is seen"


@pytest.mark.parametrize("key", NAMES)
def test_a_mask_in_the_infos_is_found_under_the_same_names(key):
    team = opened(note=lambda self, agent: {"steps": 3, key: [0, 1, 0]})
    np.testing.assert_array_equal(layout.unpack(team.spec, team.reset(0)).available["agent"], [[0, 1, 0]] * 2)
    refused("called action_mask", lambda: opened(note=lambda self, agent: {"invalid_actions": [0, 1, 0]}).reset(0))
    assert opened(note=lambda self, agent: {"mask": [1] * 7, "valid": True}).reset(0).any()


def test_a_mask_is_asked_of_the_environments_own_method():
    for method in (lambda self, agent: [1, 1, 0], lambda self: {"agent_0": [1, 1, 0], "agent_1": [1, 1, 0]}):
        team = opened(action_masks=method)
        np.testing.assert_array_equal(layout.unpack(team.spec, team.reset(0)).available["agent"], [[1, 1, 0]] * 2)


def test_a_mask_is_asked_of_wrappers_and_refused_beside_the_agents():
    class Masker(gymnasium.Wrapper):
        def action_masks(self):
            return [1, 0]

    env = gymnasium.wrappers.OrderEnforcing(Masker(gymnasium.make("CartPole-v1")))
    team = HostTeam(Alone(env))
    assert layout.unpack(team.spec, team.reset(0)).available["agent"].tolist() == [[True, False]]
    beside = lambda self, seed=None, options=None: (Toy.reset(self, seed)[0], {"action_mask": {}})
    refused("the infos have 'action_mask' beside the agents", lambda: opened(reset=beside).reset(0))


def test_masks_of_several_heads_have_every_form_of_gymnasium():
    space = Discrete((2, 3))
    for value in ([1, 0, 1, 0, 0], (np.int8([1, 0]), np.int8([1, 0, 0])), [[1, 0], [1, 0, 0]]):
        np.testing.assert_array_equal(masks.read(value, space), [1, 0, 1, 0, 0])
    np.testing.assert_array_equal(masks.read([0, 0, 1, 0, 0], space), [1, 1, 1, 0, 0])
    with pytest.raises(reading.Wrong, match="heads of 2, 3 options"):
        masks.read(([1, 0, 0], [1, 0]), space)
    np.testing.assert_array_equal(masks.read([0, 1, 2], Discrete((2, 2, 2))), [1, 0, 0, 1, 1, 1])


# ------------------------------------------------------------------ bounds

BOXES = {
    "above 0": (gym.Box(0, np.inf, (1,)), [0, 1, 2]),
    "above 10": (gym.Box(10, np.inf, (1,)), [10, 11, 12]),
    "below -3": (gym.Box(-np.inf, -3, (1,)), [-5, -4, -3]),
    "largest": (gym.Box(-np.finfo(np.float32).max, np.finfo(np.float32).max, (1,)), [-1, 0, 1]),
    "whole": (gym.Box(0, 4, (1,), np.int64), [0, 2, 4]),
    "whole around 0": (gym.Box(-2, 2, (1,), np.int64), [-2, 0, 2]),
    "bytes": (gym.Box(0, 255, (1,), np.uint8), [0, 128, 255]),
    "double": (gym.Box(0.1, 0.3, (1,), np.float64), [0.1, 0.2, 0.3]),
}


@pytest.mark.parametrize("case", BOXES)
def test_every_number_of_a_box_has_its_own_bounds(case):
    space, ends = BOXES[case]
    send = spaces.sender(spaces.acted(space, "it"), space)
    for unit, end in zip((-1, 0, 1), ends, strict=True):
        np.testing.assert_allclose(send(np.float32([unit])), [end], rtol=1e-6)
    for unit in np.linspace(-3, 3, 61, dtype=np.float32):
        assert space.contains(send(np.float32([unit])))


def test_one_endless_bound_leaves_the_others():
    space = gym.Box(np.float32([-100, -np.inf]), np.float32([100, np.inf]))
    ours = spaces.acted(space, "it")
    assert ours == Continuous(2, (-100.0, -1.0), (100.0, 1.0))
    np.testing.assert_allclose(spaces.sender(ours, space)(np.float32([1, 1])), [100, 1])


def test_whole_numbers_are_the_nearest():
    space = gym.Box(-2, 2, (1,), np.int64)
    send = spaces.sender(spaces.acted(space, "it"), space)
    assert [int(send(np.float32([unit]))[0]) for unit in (-0.6, -0.3, 0.3, 0.6, 0.999)] == [-1, -1, 1, 1, 2]


# ------------------------------------------------------------------ names and orders


@pytest.mark.parametrize(
    "names,role",
    [
        (["agent_0", "agent_1"], "agent"),
        (["agent0", "agent1", "agent2"], "agent"),
        (["drone-1", "drone-2"], "drone"),
        (["Agent 1", "Agent 2"], "Agent"),
        (["0", "1", "2"], "agent"),
        (["1st", "2st"], "st"),
    ],
)
def test_agents_of_one_name_up_to_a_number_are_a_role(names, role):
    roles = roles_of(names, dict.fromkeys(names, (Field("obs", 1, 4),)), dict.fromkeys(names, Discrete((3,))))
    assert list(roles) == [role] and roles[role].agents == len(names)
    assert HostTeam(
        type("It", (Pair,), {"spaces_of": dict.fromkeys(map(int, "012"), Pair.spaces_of["agent_0"])})()
    ).spec.names == {"agent": ("0", "1", "2")}


def test_a_reset_without_a_seed_is_refused():
    seedless = lambda self, options=None: Toy.reset(self, 0)
    refused("Pair's reset takes no seed: begin it with reset(self, seed=None", lambda: opened(reset=seedless))
    assert opened(reset=lambda self, **given: Toy.reset(self, **given)).reset(0).any()


def test_agents_of_one_name_with_other_spaces_are_roles_of_their_own():
    fields = {
        "a1": (Field("obs", 1, 4, own=True),),
        "a2": (Field("obs", 1, 3, own=True),),
        "a1_2": (Field("obs", 1, 4, own=True),),
    }
    roles = roles_of(list(fields), fields, dict.fromkeys(fields, Discrete((3,))))
    assert sum(role.agents for role in roles.values()) == 3 and len(roles) == 3


def test_the_order_in_which_agents_are_listed_means_nothing():
    names = [f"agent_{i}" for i in range(12)]
    here, there = (dict.fromkeys(order, Pair.spaces_of["agent_0"]) for order in (names, names[::-1]))
    a, b = opened(spaces_of=here), opened(spaces_of=there)
    assert a.spec == b.spec and a.spec.names["agent"] == tuple(names)
    assert [seat.agent for seat in a.seats] == [seat.agent for seat in b.seats]


def test_users_say_which_agents_form_a_role():
    team = opened(roles=("leader=agent_1",))
    assert team.spec.names == {"agent": ("agent_0",), "leader": ("agent_1",)}
    refused("names the agent 'agent_9', and there are: agent_0, agent_1", lambda: opened(roles=("a=agent_9",)))
    refused("names the agent 'agent_0' twice", lambda: opened(roles=("a=agent_0", "b=agent_0")))
    refused("must be like leader=drone-1", lambda: opened(roles=("agent_0",)))
    other = {"agent_0": (box(1), gym.Discrete(3)), "agent_1": (box(2), gym.Discrete(3))}
    refused("but their spaces differ", lambda: opened(roles=("a=agent_0,agent_1",), spaces_of=other))


# ------------------------------------------------------------------ fields


def test_parts_of_an_observation_are_fields_and_rows_are_entities():
    space = gym.Dict({"own": box(2), "mates": box(3, 2), "deep": gym.Dict({"x": gym.Discrete(3)})})
    fields = spaces.observed(space, "it")
    assert fields == (Field("deep.x", 1, 3, own=True), Field("mates", 3, 2), Field("own", 1, 2, own=True))
    assert spaces.observed(box(4, 2), "it") == (Field("obs", 4, 2),)
    assert spaces.observed(box(5, 4, 2), "it") == (Field("obs", 1, 40, own=True),)
    value = {"own": np.zeros(2), "mates": np.ones((3, 2)), "deep": {"x": 2}}
    np.testing.assert_array_equal(reading.flat(space, value), [0, 0, 1, *[1] * 6, 0, 0])


def test_users_name_the_fields_of_a_vector():
    wide = {name: (box(8), gym.Discrete(3)) for name in ("agent_0", "agent_1")}
    team = opened(spaces_of=wide, fields=("velocity=2", "mates=2x2", "speeds=2x1@mates"))
    assert team.spec.roles["agent"].obs == (
        Field("velocity", 1, 2, own=True),
        Field("mates", 2, 2),
        Field("speeds", 2, 1, "mates"),
    )
    one = opened(spaces_of=wide, roles=("leader=agent_0",), fields=("leader:all=4x2",))
    assert one.spec.roles["leader"].obs == (Field("all", 4, 2),) and one.spec.roles["agent"].obs == (
        Field("obs", 1, 8, own=True),
    )
    for fields, words in (
        (("a=3",), "env.fields has 3 numbers for the role 'agent', which observes 8"),
        (("a=4", "a=4"), "has a name twice"),
        (("a=8@b",), "lets a field follow 'b'"),
        (("b:a=8",), "names the role 'b', and there are: agent"),
        (("a",), "must be like velocity=2"),
    ):
        refused(words, lambda fields=fields: opened(spaces_of=wide, fields=fields))


# ------------------------------------------------------------------ lengths


@pytest.mark.parametrize("kind", [Rings, Ends])
@pytest.mark.parametrize("attribute", ["horizon", "max_steps", "max_episode_steps", "other"])
@pytest.mark.parametrize("value", [5, 10, 11])
def test_the_longest_episode_is_learned_by_stepping_not_from_an_attribute_that_may_mean_it(kind, attribute, value):
    team = opened(kind, **{attribute: value})
    assert team.spec.horizon == 11
    shown = played(team)
    assert shown.reward["agent"].sum() == 22 and bool(shown.terminated[-1]) == (kind is Ends)


def test_a_length_that_cannot_be_learned_is_refused_with_a_hint():
    irregular = lambda self, agent: self.time >= 3 + self.rng.integers(9)
    refused(
        "pass --env.horizon STEPS (horizon=STEPS) (if its horizon is that: 40)",
        lambda: opened(Ends, ends=irregular, horizon=40),
    )


@pytest.mark.parametrize("kind,rings,found", [(Rings, 40, True), (Rings, 41, False), (Ends, 13, True), (Ends, 14, False)])
def test_a_length_is_learned_within_a_number_of_steps_and_not_of_seconds(kind, rings, found, monkeypatch):
    """One episode that is cut off says it; of those that end by themselves, three must agree."""
    monkeypatch.setattr(clock, "STEPS", 40)
    monkeypatch.setattr("time.monotonic", lambda: 1 / 0)
    if found:
        assert opened(kind, rings=rings).spec.horizon == rings
    else:
        refused("does not say how long an episode may last", lambda: opened(kind, rings=rings))


def test_an_episode_that_goes_on_after_its_found_length_is_refused_and_a_given_length_cuts():
    team = opened(cut=lambda self, agent: False)
    refused("the episode goes on after 6 steps, the longest that was expected: pass --env.horizon", lambda: played(team))
    shown = played(HostTeam(Pair(), 4))
    assert shown.truncated.tolist() == [False] * 4 + [True]


def test_max_cycles_and_gymnasiums_limit_are_the_librarys_own_lengths():
    from mpe2 import simple_spread_v3

    env = simple_spread_v3.parallel_env(max_cycles=7)
    env.reset(seed=0)
    alone = 0
    while env.agents:
        env.step(dict.fromkeys(env.agents, 0))
        alone += 1
    ours = played(HostTeam(simple_spread_v3.parallel_env(max_cycles=7)))
    assert len(ours.truncated) - 1 == alone == 7 and ours.truncated[-1]
    ours = played(gymnasium_team("Pendulum-v1", {"max_episode_steps": 9}, 0))
    assert len(ours.truncated) - 1 == 9 and ours.truncated[-1]


# ------------------------------------------------------------------ agents that come and go


class Later(Pair):
    """agent_1 comes in step 3, dies in step 5 and comes again in step 7; it lasts 8 steps."""

    max_cycles = 8

    def reset(self, seed=None, options=None):
        told = super().reset(seed, options)
        self.agents = ["agent_0"]
        return tuple({"agent_0": part["agent_0"]} for part in told)

    def step(self, actions):
        if self.time + 1 in (3, 7):
            before, self.agents = self.agents, ["agent_0"]
            told = super().step(actions)
            for part, value in zip(told, (np.float32([9]), 1.0, False, self.time >= 8, {}), strict=True):
                part["agent_1"] = value
            self.agents = [*before, "agent_1"]
            return told
        return super().step(actions)

    def ends(self, agent):
        return agent == "agent_1" and self.time == 5


def test_an_agent_that_comes_later_lives_from_then_on_and_may_come_again():
    team = opened(Later)
    shown = played(team)
    assert shown.alive["agent"][:, 1].astype(int).tolist() == [0, 0, 0, 1, 1, 0, 0, 1, 0]
    assert shown.reward["agent"][:, 1].tolist() == [0, 0, 0, 1, 1, 1, 0, 1, 1]
    assert shown.agent_terminated["agent"][:, 1].astype(int).tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0]
    assert shown.obs["agent"][3, 1] == 9 and shown.obs["agent"][2, 1] == 0
    assert [time for time, agent, _ in team.env.sent if agent == "agent_1"] == [4, 5, 8]


def test_an_agent_that_ended_and_stays_listed_does_not_come_again():
    def step(self, actions):
        self.agents = list(actions)
        told = Toy.step(self, actions)
        self.agents = list(self.possible_agents) if self.time < 6 else []
        return told

    shown = played(opened(step=step, ends=lambda self, agent: agent == "agent_1" and self.time == 2))
    assert shown.alive["agent"][:, 1].astype(int).tolist()[:3] == [1, 1, 0]


def test_a_stranger_among_the_agents_is_refused_by_name():
    def step(self, actions):
        told = Toy.step(self, actions)
        self.agents = [*self.agents, "agent_7"]
        return told

    team = opened(step=step)
    team.reset(0)
    refused("`agents` names 'agent_7', whom possible_agents does not name", lambda: team.step(np.zeros(6, np.float32)))


# ------------------------------------------------------------------ first looks


def test_spaces_may_be_dicts_and_may_be_known_after_a_reset_only():
    as_dict = {
        name: gym.Dict({a: s[i] for a, s in Pair.spaces_of.items()})
        for i, name in enumerate(("observation_space", "action_space"))
    }
    assert opened(**as_dict).spec == opened().spec

    class Late(Pair):
        def observation_space(self, agent):
            return self.known[agent]

        def begin(self, seed):
            self.known = {agent: box(1) for agent in self.possible_agents}

    assert opened(Late).spec == opened().spec
    assert isinstance(Match(), Toy)


# ------------------------------------------------------------------ wrappers


WRAPPERS = {
    "centralized": centralized,
    "regrouped": lambda env: regrouped(env, "agent", {"a": [1], "b": [0]}),
    "inputs": lambda env: inputs(env, last_action=True),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_passes_on_what_the_environment_inside_may_have(wrap):
    env = wrap(PettingZoo("toy_envs:Match", workers=1))
    assert env.at_once == PettingZoo.at_once and not isinstance(env, Drawable) and not hasattr(env, "entities")
    assert isinstance(wrap(Spread(2)), Drawable) and not hasattr(wrap(Spread(2)), "at_once")
    assert pickle.loads(pickle.dumps(env)) == env == copy.deepcopy(env)
    with scope():
        envs = vectorise(env, 2)
        state, first = envs.reset(jr.key(0))
        action = {role: jnp.zeros((2, about.agents, about.actions.size)) for role, about in env.spec.roles.items()}
        for i in range(6):  # longer than an episode: the workers start the next one
            state, now = envs.step(state, action, jr.key(i))
            assert now.truncated.tolist() == [i == 4] * 2
    assert first.obs.keys() == env.spec.roles.keys()


class Counting:
    """An environment of one env-step that pays its reset key's number, and counts how many are open."""

    at_once = 3
    spec = TeamSpec({"agent": RoleSpec(1, (Field("obs", 1, 1),), Discrete((2,)))}, 1, 1)

    def reset(self, key):
        number = jr.uniform(key)
        return number, self.show(number, 0.0)

    def step(self, state, action, key):
        return state, self.show(state, state)

    def show(self, state, reward):
        from headstart.core.types import TimeStep

        yes, obs = jnp.ones((), bool), {"agent": state[None, None]}
        return TimeStep(obs, obs, state[None], state[None], {"agent": jnp.full(1, reward)}, yes, ~yes, {"agent": yes[None]})


def test_an_evaluation_opens_no_more_environments_at_once_than_they_allow():
    """The episodes are the same ones, in the same order."""
    env, whole = Counting(), Counting()
    whole.at_once = 0
    learner, lanes = PPO(hidden=(4,)).make(env.spec), []
    params = learner.init(jr.key(0))
    learner = learner._replace(start=lambda count: lanes.append(count) or ())
    a, b = (np.asarray(evaluate(one, learner, 7)(params, jr.key(0))["return"]["agent"]) for one in (env, whole))
    np.testing.assert_array_equal(a, b)
    assert a.shape == (7, 1) and len(np.unique(a)) == 7 and set(lanes) == {3, 7}


# ------------------------------------------------------------------ other words and places


def test_the_environment_is_blamed_for_its_own_numbers(tmp_path):
    directory = RunDir(tmp_path / "run")
    told = ends.divergence(np.array([-1, -2 - 7]), np.array([0, 1]), directory, "headstart resume run")
    assert told.startswith("the environment's observations or rewards became NaN or infinite: seed 1 at update 7")
    assert told.endswith("no checkpoint was due yet; mend the environment and go on with: headstart resume run")
    told = ends.divergence(np.array([3, -1]), np.array([0, 1]), directory, "headstart resume run")
    assert told.startswith("a loss or parameter became NaN or infinite: seed 0 at update 3") and "learning rate" in told


def test_a_function_as_teacher_is_shown_scripted():
    refused("headstart.Scripted(function, env.spec)", lambda: check_teacher(lambda obs: obs))


def small_team(names: tuple[str, ...] = ()) -> TeamPolicy:
    spec = TeamSpec({"agent": RoleSpec(2, (Field("obs", 1, 1),), Discrete((3,)), names)}, 5, 2)
    config = PPO(hidden=(4,), shared=False)
    params = jax.vmap(config.make(spec).init)(jr.split(jr.key(0), 1))
    return TeamPolicy(spec, config, params, (0,))


def test_a_team_that_has_acted_is_pickled_and_acts_the_same():
    team = small_team()
    obs = {"agent_0": [0.3], "agent_1": [-2.0]}
    said = team.act(obs)[0]
    assert pickle.loads(pickle.dumps(team)).act(obs)[0] == said == copy.deepcopy(team).act(obs)[0]


def test_a_team_of_the_same_agents_in_another_order_acts_by_name():
    team = small_team(("b", "a"))
    other = team.spec._replace(roles={"agent": team.spec.roles["agent"]._replace(names=("a", "b"))})
    there = team.seated(other)
    for mine, theirs in zip(jax.tree.leaves(team.params["actor"]), jax.tree.leaves(there.params["actor"]), strict=True):
        np.testing.assert_array_equal(mine[:, ::-1], theirs)
    obs = {"a": [0.7], "b": [0.7]}
    assert team.adapt(other).act(obs)[0] == team.act(obs)[0]
    assert team.seated(team.spec) is team


@pytest.mark.parametrize("env", [Spread(2), Tag()], ids=["spread", "tag"])
def test_a_reset_and_a_step_have_the_same_types_with_double_precision_allowed(env):
    with jax.enable_x64(True):
        state, first = jax.eval_shape(env.reset, jr.key(0))
        action = {role: jnp.zeros((x.agents, x.actions.size), jnp.float32) for role, x in env.spec.roles.items()}
        after = jax.eval_shape(env.step, state, action, jr.key(0))
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype, (state, first), after)
    assert all(jax.tree.leaves(same)), same
