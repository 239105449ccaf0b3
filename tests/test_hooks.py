"""The contracts, proven by a discriminator, and by parts that are not there yet, in short files: a companion, a normaliser."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import throwaway_companion
import throwaway_normaliser
from probes import loop, random_demos, same, small, traced, whole, with_actions
from test_runs import identical, stopper
from throwaway_companion import Companion
from throwaway_normaliser import Normalised

from headstart import registry
from headstart.core.env import vectorise
from headstart.envs.particle.spread import Spread
from headstart.guidance.feature_matching import FeatureMatching
from headstart.guidance.gail import Gail
from headstart.guidance.warm_start import WarmStart
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.training import programs, run, session

pytestmark = pytest.mark.usefixtures("sessions_once")
TINY = {"num_envs": 4, "train_every": 4, "rollout": 4, "batch": 8, "warmup": 8, "capacity": 32, "hidden": (8, 8)}
ENV, EASIER = Spread(2, horizon=4), Spread(2, horizon=3)
LEARNERS = {"ppo": small(PPO(), **TINY, critic="joint"), "ddpg": small(DDPG(), **TINY)}
DEMOS = random_demos(ENV)
TINY_MATCHING = FeatureMatching(with_actions(DEMOS), 0.5)
TINY_GAIL = Gail(DEMOS, 0.5, hidden=(16,), steps=2, batch=4)
GUIDES = {
    "gail": lambda learner, coefficient: dataclasses.replace(TINY_GAIL, coefficient=coefficient),
    "matching": lambda learner, coefficient: dataclasses.replace(TINY_MATCHING, coefficient=coefficient),
    "tie": lambda learner, coefficient: Companion(EASIER, learner, "tie", coefficient),
    "momentum": lambda learner, coefficient: Companion(EASIER, learner, "momentum", coefficient),
}
each = pytest.mark.parametrize("guide", GUIDES)
both = pytest.mark.parametrize("name", ["ddpg", pytest.param("ppo", marks=pytest.mark.slow)])
UPDATES = 5


@pytest.fixture(autouse=True)
def joined(monkeypatch):
    """The throw-away parts have names here, and in no other test."""
    monkeypatch.setattr(registry, "_joined", {kind: {} for kind in registry.KINDS})
    monkeypatch.setattr(registry, "used", set())
    for module in (throwaway_companion, throwaway_normaliser):
        registry.use(module)
    yield
    registry.presets.cache_clear()


def learned(state):
    return state.params, state.target, state.opt, state.env, state.step, state.key


@functools.cache
def plain(name):
    return jax.jit(lambda: learned(whole(ENV, LEARNERS[name], UPDATES)[0]))()


@pytest.mark.slow
@each
@both
def test_it_trains_and_does_nothing_with_coefficient_0(name, guide):
    """Bitwise nothing: what the guide computes for itself reaches neither the learner nor the episodes."""
    learner = LEARNERS[name]

    @jax.jit
    def trained(coefficient):
        guides = (traced(GUIDES[guide](learner, 0.5), coefficient=coefficient),)
        state, metrics, _ = whole(ENV, learner, UPDATES, guides)
        return learned(state), metrics

    (silent, _), (guided, metrics) = trained(0.0), trained(0.5)
    assert same(plain(name), silent) and not same(silent[0], guided[0])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((guided[0], metrics)))
    assert all(len(np.unique(x, axis=0)) > 1 for x in jax.tree.leaves(metrics["guidance"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name,guide", [("ddpg", "gail"), ("ppo", "gail"), ("ppo", "matching"), ("ddpg", "momentum"), ("ppo", "tie")]
)
def test_interrupted_and_resumed_equals_uninterrupted_bitwise(name, guide, tmp_path, monkeypatch):
    """Discriminators, their optimisers, momentum and a companion's whole training are part of what is saved."""
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)
    config = run.Config(ENV, LEARNERS[name], (GUIDES[guide](LEARNERS[name], 0.5),), 60, 2, evaluations=3, episodes=3)
    run.train(config, tmp_path / "whole")
    with pytest.raises(session.Interrupted):
        run.train(config, tmp_path / "cut", stopper(5))
    run.resume(tmp_path / "cut")
    identical(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_rewards_are_asked_for_when_targets_are_made():
    """What a discriminator pays is never what an older one would have: replay asks it anew about every batch."""
    learner = LEARNERS["ddpg"].make(ENV.spec)
    none, guide = loop(ENV, LEARNERS["ddpg"], UPDATES), loop(ENV, LEARNERS["ddpg"], UPDATES, (TINY_GAIL,))
    kept, _ = none.run((0,), last=2)
    remembered, _ = guide.run((0,), last=2)  # the warm-up: nothing has been learned
    assert learner.memory.replays and same(kept.memory.reward, remembered.memory.reward)


def test_demonstrations_are_an_argument_of_the_program_and_nothing_else():
    """Once for all lanes: neither in the state that is saved, nor mapped, nor a constant of the program."""
    made = loop(ENV, LEARNERS["ddpg"], UPDATES, (TINY_GAIL,))
    trainer, state = made.trainer, made.start((0, 1))
    size = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    assert size(trainer.data) == 2 * DEMOS.lengths.sum() * ENV.spec.roles["agent"].obs_size + 2  # with the agents' counts
    assert not any(x.shape[-3:] == trainer.data["agent"].x.shape for x in jax.tree.leaves(state))
    start = jax.vmap(lambda key, seed: programs.begin(trainer, key, seed))
    begun = jax.eval_shape(start, jr.split(jr.key(0), 2), jnp.arange(2))
    program = jax.make_jaxpr(programs.advance(trainer))(begun, 0, 1, trainer.data)
    assert [x.shape for x in jax.tree.leaves(trainer.data)] == [v.aval.shape for v in program.jaxpr.invars[-2:]]
    assert not any(np.size(c) >= trainer.data["agent"].x.size for c in program.consts)


@pytest.mark.slow
def test_statistics_of_a_normaliser_move_with_what_was_seen_and_go_where_the_policy_goes(tmp_path):
    """No optimiser touches them, every lane has its own, and teams save, fit and hand them on as any other network."""
    config = Normalised(LEARNERS["ddpg"])
    made = loop(ENV, config, UPDATES)
    state, _ = made.run((0, 1))
    for lane in range(2):
        stats = state.params["stats"]["agent"].net
        assert float(stats["count"][lane]) == UPDATES * 4 * 2
        seen = np.asarray(state.memory.obs["agent"][lane]).reshape(-1, ENV.spec.roles["agent"].obs_size)
        np.testing.assert_allclose(stats["mean"][lane], seen.mean(0), rtol=1e-4, atol=1e-6)
    team = TeamPolicy(ENV.spec, config, state.params, (0, 1), ENV)
    team.save(tmp_path / "team")
    assert same(load(tmp_path / "team").params, team.params)
    five = team.adapt(Spread(5).spec)
    assert same(five.params["stats"], team.params["stats"])
    assert five.act({"agent_4": np.zeros(Spread(5).spec.roles["agent"].obs_size)})[0].keys() == {"agent_4"}
    warm = loop(ENV, config, UPDATES, (WarmStart(team),)).start((1,))
    assert same(jax.tree.map(lambda x: x[0], warm.params["stats"]), team.seed(1)["stats"])


def test_nested_parts_survive_their_file():
    guide = dataclasses.replace(GUIDES["momentum"](LEARNERS["ddpg"], 0.25))
    saved = registry.encode("guidance", guide)
    back = registry.decode("guidance", saved)
    assert back == guide and back.learner == LEARNERS["ddpg"] and back.env == EASIER
    assert vectorise(back.env, 2).num_envs == 2
