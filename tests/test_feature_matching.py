"""Feature matching: its expectations, weights and rewards by plain loops over episodes, what it learns, and what it refuses."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import Lengths, Mixed, loop, random_demos, same, small, traced, with_actions

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.episodes import evaluate
from headstart.core.guidance import Clock
from headstart.core.trainer import make_trainer
from headstart.core.types import Transition
from headstart.envs.architecture.env import Architecture
from headstart.guidance.companion import Companion
from headstart.guidance.feature_matching import FeatureMatching, ages
from headstart.learners.ppo import PPO
from headstart.teams.policy import TeamPolicy
from headstart.teams.recording import record
from headstart.teams.scripted import Scripted

TINY = {"num_envs": 3, "rollout": 7, "hidden": (8,), "minibatches": 1}
CLOCK = Clock(jnp.asarray(0), jnp.asarray(0.0))


def hooks(guide, env=None, **settings):
    env = env or Lengths()
    return guide.make(env.spec, small(PPO(), **TINY | settings).make(env.spec))


def experience(env, steps: int, count: int, seed: int = 0) -> Transition:
    """A rollout [T E ..] of random numbers, with ends and beginnings of episodes that agree and some dead agents."""
    rng, roles = np.random.default_rng(seed), env.spec.roles
    normal = lambda *shape: jnp.asarray(rng.normal(size=(steps, count, *shape)), jnp.float32)
    by_role = lambda of: {name: of(x) for name, x in roles.items()}
    ends = rng.integers(0, 6, (steps, count))
    terminated, truncated = ends == 0, ends == 1
    first = np.concatenate([np.ones((1, count), bool), (terminated | truncated)[:-1]])
    obs, nothing = by_role(lambda x: normal(x.agents, x.obs_size)), jnp.zeros((steps, count))
    alive = by_role(lambda x: jnp.asarray(rng.random((steps, count, x.agents)) < 0.8))
    gone = by_role(lambda x: jnp.asarray(rng.random((steps, count, x.agents)) < 0.1))
    after, action = by_role(lambda x: normal(x.agents, x.obs_size)), by_role(lambda x: normal(x.agents, x.actions.size))
    reward, ends = by_role(lambda x: normal(x.agents)), tuple(map(jnp.asarray, (terminated, truncated)))
    return Transition(obs, action, reward, *ends, after, nothing, nothing, alive, None, None, jnp.asarray(first), {}, gone)


def cut(rollout: Transition, size: int) -> list[Transition]:
    return [jax.tree.map(lambda x, i=i: x[i : i + size], rollout) for i in range(0, rollout.first.shape[0], size)]


def expert_by_loops(demos, role: str, agent: int, at, gamma: float) -> np.ndarray:
    total = np.zeros(len(at))
    for m, length in enumerate(demos.lengths):
        for t in range(length - 1):
            if demos.alive[role][m, t + 1, agent]:
                total += gamma**t * demos.obs[role][m, t + 1, agent, at]
    return total / len(demos)


def features_by_loops(rollout, role: str, t: int, e: int, agent: int, at) -> np.ndarray:
    lives = rollout.alive[role][t, e, agent] and not rollout.agent_terminated[role][t, e, agent]
    over = rollout.terminated[t, e] or rollout.truncated[t, e]
    return np.asarray(rollout.next_obs[role][t, e, agent, at], float) * bool(lives and not over)


def policy_by_loops(rollout, role: str, agent: int, at, gamma: float, since: int) -> np.ndarray | None:
    """The mean over the episodes that end from step `since` on, each from its own beginning; None if there are none."""
    ended = []
    for e in range(rollout.first.shape[1]):
        total, age = np.zeros(len(at)), 0
        for t in range(rollout.first.shape[0]):
            total, age = total + gamma**age * features_by_loops(rollout, role, t, e, agent, at), age + 1
            if rollout.terminated[t, e] or rollout.truncated[t, e]:
                ended += [total] if t >= since else []
                total, age = np.zeros(len(at)), 0
    return np.mean(ended, 0) if ended else None


PLACES = {"talker": np.array([0, 1, 2]), "mover": np.array([2, 3])}
"""Of the fields `word` and `padding` of `Mixed`."""


def test_weights_rewards_and_the_distance_are_those_of_plain_loops():
    """Over two rollouts, through which episodes run on; of two roles with different features, and of agents that die."""
    env, gamma = Mixed(), 0.8
    demos = demos_of(env)
    guide = FeatureMatching(demos, 0.5, fields=("word", "padding"), gamma=gamma)
    made, everything = hooks(guide, env), experience(env, 14, 3)
    observe = jax.jit(lambda g, rollout: made.observe(g, {}, jr.key(0), rollout, CLOCK, made.data))
    g, pieces = made.init(jr.key(0), jnp.asarray(0)), cut(everything, 7)
    everything = jax.tree.map(np.asarray, everything)
    for number, rollout in enumerate(pieces):
        g, _, metrics = observe(g, rollout)
        found, rollout, distances = *jax.tree.map(np.asarray, (made.reward(g, rollout), rollout)), []
        so_far = jax.tree.map(lambda x, n=number: x[: 7 * (n + 1)], everything)
        for role, at in PLACES.items():
            for agent in range(env.spec.roles[role].agents):
                policy = policy_by_loops(so_far, role, agent, at, gamma, 7 * number)
                assert policy is not None
                gap = expert_by_loops(demos, role, agent, at, gamma) - policy
                distances.append(np.sqrt((gap**2).sum()))
                np.testing.assert_allclose(g.weights[role][agent], gap / distances[-1], rtol=1e-5, atol=1e-5)
                for t, e in np.ndindex(7, 3):
                    paid = 0.5 * gap / distances[-1] @ features_by_loops(rollout, role, t, e, agent, at)
                    np.testing.assert_allclose(found[role][t, e, agent], rollout.reward[role][t, e, agent] + paid, atol=1e-5)
        np.testing.assert_allclose(metrics["feature_distance"], np.mean(distances), rtol=1e-5)


def demos_of(env):
    """Demonstrations of several lengths in a game that the spec says is longer, with dead agents."""
    longer = type("Longer", (), {"spec": env.spec._replace(horizon=5)})()
    demos = random_demos(longer, 12)
    for alive in demos.alive.values():
        alive &= np.random.default_rng(3).random(alive.shape) < 0.8
    return demos


def test_an_episode_that_does_not_end_leaves_the_policys_expectation_as_it_was():
    made, rollout = hooks(FeatureMatching(random_demos(Lengths()))), experience(Lengths(), 7, 3)
    never = dataclasses.replace(
        rollout, terminated=jnp.zeros((7, 3), bool), truncated=jnp.zeros((7, 3), bool), first=jnp.zeros((7, 3), bool)
    )
    observe = jax.jit(lambda g, rollout: made.observe(g, {}, jr.key(0), rollout, CLOCK, made.data)[0])
    begun = observe(made.init(jr.key(0), jnp.asarray(0)), rollout)
    after = observe(begun, never)
    assert same(after.policy, begun.policy) and same(after.weights, begun.weights)
    assert after.age.tolist() == (begun.age + 7).tolist()


def test_ages_count_from_the_beginning_of_an_episode():
    first = jnp.asarray([[0, 1], [0, 0], [1, 0], [0, 1]], bool)
    assert ages(first, jnp.asarray([5, 0])).tolist() == [[5, 0], [6, 1], [0, 2], [1, 0]]


def test_without_the_environments_reward_only_features_pay():
    made = hooks(FeatureMatching(random_demos(Mixed(), 20), env_reward=False, roles=("talker",)), Mixed())
    first = rollout = experience(Mixed(), 7, 3)

    @jax.jit
    def paid_for(rollout):
        g, _, _ = made.observe(made.init(jr.key(0), jnp.asarray(0)), {}, jr.key(0), first, CLOCK, made.data)
        return made.reward(g, rollout)

    paid = paid_for(rollout)
    other = dataclasses.replace(rollout, reward=jax.tree.map(lambda x: x + 1, rollout.reward))
    assert same(paid["talker"], paid_for(other)["talker"])
    assert same(paid["mover"], rollout.reward["mover"]), "a role that is not named learns as without guidance"


def test_the_likelihood_is_that_of_the_recorded_actions_among_the_legal_ones():
    env = Architecture(4, "reduced")
    demos = record(Scripted.of(env), env, episodes=2, actions=True)
    learner = small(PPO(), **TINY).make(env.spec)
    made, params = FeatureMatching(demos).make(env.spec, learner), jax.jit(learner.init)(jr.key(1))
    rollout = experience(env, 7, 3)
    observe = jax.jit(lambda g: made.observe(g, params, jr.key(0), rollout, CLOCK, made.data)[2])
    found = observe(made.init(jr.key(0), jnp.asarray(0)))["expert_nll"]
    logits, total = np.asarray(learner.policy(params, (), {"agent": jnp.asarray(demos.obs["agent"])})[1]["agent"], float), []
    for m, t in np.ndindex(2, 5):
        legal, choice = demos.available["agent"][m, t, 0], demos.actions["agent"][m, t, 0].argmax()
        total.append(np.log(np.exp(logits[m, t, 0][legal]).sum()) - logits[m, t, 0, choice])
    np.testing.assert_allclose(found, np.mean(total), rtol=1e-5)


def test_every_real_setting_can_be_swept():
    """A program may trace them all at once."""
    env, learner = Lengths(), small(PPO(), **TINY).make(Lengths().spec)
    guide = FeatureMatching(with_actions(random_demos(env)))

    def run(values):
        made = traced(guide, **dict(zip(("coefficient", "gamma"), values, strict=True))).make(env.spec, learner)
        trainer = make_trainer(env, learner, made, 64)
        return trainer.update(trainer.init(jr.key(0), jnp.asarray(0)), jnp.asarray(0))

    _, metrics = jax.eval_shape(run, [jnp.zeros(()) for _ in range(2)])
    assert all(x.shape == () for x in metrics["guidance"].values())


def test_an_environments_own_expert_is_the_same_as_its_recordings_bitwise():
    """Also inside a trace, where a sweep makes guidance."""
    env = Architecture(4, "reduced")
    learner = small(PPO(), **TINY).make(env.spec)
    data = lambda **settings: FeatureMatching(**settings).make(env.spec, learner).data
    recorded = data(teacher=record(Scripted.of(env), env, episodes=3, actions=True))
    shown = {"expert": env, "expert_episodes": 3}
    assert same(data(**shown), recorded) and same(jax.jit(lambda: data(**shown))(), recorded)


def test_recordings_come_before_an_environments_own_expert():
    demos = random_demos(Lengths())
    assert same(hooks(FeatureMatching(demos, expert=Architecture())).data, hooks(FeatureMatching(demos)).data)


def test_a_companions_feature_matching_with_an_expert_can_be_saved():
    env = Architecture(8, "reduced")
    guide = Companion(env, guidance=(FeatureMatching(expert=env, expert_episodes=2, fields=("operation",)),))
    assert registry.decode("guidance", json.loads(json.dumps(registry.encode("guidance", guide)))) == guide
    assert registry.preset("guidance", "feature_matching:architecture-reduced") == FeatureMatching(expert=env)


REFUSED = {
    "feature_matching needs a teacher that is demonstrations: headstart record RUN --out": lambda demos: FeatureMatching(),
    "or name an environment whose own expert demonstrates: --guidance feature_matching:ENV": lambda demos: FeatureMatching(),
    "Lengths has no expert of its own": lambda demos: FeatureMatching(expert=Lengths()),
    "env must be a part of this kind": lambda demos: FeatureMatching(expert=PPO()),
    "and a TeamPolicy is none": lambda demos: FeatureMatching(TeamPolicy(demos.spec, PPO(), {}, (0,), None)),
    "are of 2 × talker, 1 × mover and the team has 2 × agent": lambda demos: FeatureMatching(random_demos(Mixed())),
    "unknown role 'agents'": lambda demos: FeatureMatching(demos, roles=("agents",)),
    "unknown field 'number': did you mean numbers": lambda demos: FeatureMatching(demos, fields=("number",)),
}


@pytest.mark.parametrize("says", REFUSED)
def test_what_cannot_be_matched_is_refused_in_a_line(says):
    with pytest.raises(HeadstartError, match=says) as caught:
        hooks(REFUSED[says](random_demos(Lengths())))
    assert "\n" not in str(caught.value)


def test_an_expert_of_another_game_is_refused():
    with pytest.raises(HeadstartError, match="have other actions of agent than the team") as caught:
        hooks(FeatureMatching(expert=Architecture(4, "reduced")), Architecture(4))
    assert "\n" not in str(caught.value)


def test_a_role_without_any_of_the_fields_is_refused():
    with pytest.raises(HeadstartError, match="'mover' observes none of the fields word"):
        hooks(FeatureMatching(random_demos(Mixed()), fields=("word",)), Mixed())


@pytest.mark.slow
def test_a_policy_comes_to_visit_what_the_expert_visits():
    """The game of one block: the distance falls to less than a quarter, and greedy moves are the expert's."""
    env = Architecture(4, "reduced")
    demos = record(Scripted.of(env), env, episodes=1)
    guide = FeatureMatching(demos, fields=("operation", "bigram"), gamma=0.9)
    config = PPO(hidden=(32,), num_envs=16, rollout=20, lr=1e-2, entropy=0.0, epochs=2, minibatches=1)
    made = loop(env, config, 60, (guide,))
    state, metrics = made.run((0, 1))
    distance = np.stack([np.asarray(now["guidance"]["feature_distance"]) for now in metrics])
    print("distance", distance[::10].round(3).tolist(), distance[-1])
    assert (distance[-1] < 0.25 * distance[0]).all()
    played = jax.vmap(evaluate(env, made.learner, 4))(state.params, jr.split(jr.key(0), 2))
    assert (np.asarray(played["events"]["agreement"]) == 4).all()
