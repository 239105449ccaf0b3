"""What every environment, learner and guidance promises. They are discovered: a new file is tested with no edit here."""

import copy
import dataclasses
import functools
from typing import Literal, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import Lengths, Mixed, drawn, environments, fresh, learners, loop, random_demos, same, small, takes, with_actions

from headstart import registry
from headstart.core.actions import legal, sample
from headstart.core.checks import HeadstartError
from headstart.core.guidance import takes_teacher
from headstart.core.networks import RoleNet
from headstart.core.part import check_part
from headstart.core.spec import decode_spec, encode_spec
from headstart.core.types import Continuous
from headstart.envs.particle.spread import Spread
from headstart.guidance.distill import Distill
from headstart.learners.qlearning import QLearning
from headstart.teams.policy import TeamPolicy
from headstart.training.config import Config

ENVS = environments()
LEARNERS = learners() | registry.variants("learner")
GUIDES = {}
for _name, _guide in registry.presets("guidance").items():
    if _guide not in GUIDES.values():
        GUIDES[_name] = _guide
TINY = {
    "num_envs": 4, "rollout": 4, "train_every": 4, "batch": 8, "warmup": 8, "capacity": 12, "hidden": (8,), "epochs": 1,
    "embedding": 8,
}  # fmt: skip
RULED = ("architecture", "architecture-reduced")
"""Games without chance, which their own rules end at the horizon at the latest."""
UPDATES = 5
SEEDS = (0, 1, 2)

each_env = pytest.mark.parametrize("name", ENVS)
each_learner = pytest.mark.parametrize("name", LEARNERS)
FEED_FORWARD = [n for n, c in LEARNERS.items() if getattr(c, "core", "mlp") == "mlp" and takes(c, Mixed().spec)]


# ------------------------------------------------------------------ environments


def random_action(spec, step, key):
    out = {}
    for i, (role, about) in enumerate(spec.roles.items()):
        k, shape = jr.fold_in(key, i), (about.agents, about.actions.size)
        if isinstance(about.actions, Continuous):
            out[role] = jr.uniform(k, shape, minval=-1, maxval=1)
        else:
            out[role] = sample(about.actions, k, legal(jnp.zeros(shape), step.available and step.available[role]))
    return out


@functools.cache
def compiled(name):
    env = ENVS[name]

    def both(key):
        a, b, c = jr.split(key, 3)
        state, first = env.reset(a)
        action = random_action(env.spec, first, b)
        return (state, first), env.step(state, action, c)

    def episode(key):
        reset_key, key = jr.split(key)
        state, step = env.reset(reset_key)

        def body(carry, k):
            state, step = carry
            a, b = jr.split(k)
            state, step = env.step(state, random_action(env.spec, step, a), b)
            return (state, step), (step.terminated, step.truncated)

        return jax.lax.scan(body, (state, step), jr.split(key, env.spec.horizon))[1]

    return env, jax.jit(jax.vmap(both)), jax.jit(jax.vmap(episode))


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@each_env
def test_an_env_keeps_to_its_spec(name):
    env, both, _ = compiled(name)
    spec = env.spec
    (_, first), (_, second) = both(jr.split(jr.key(0), 5))
    first, second = jax.tree.map(np.asarray, (first, second))
    for step in (first, second):
        for role, about in spec.roles.items():
            assert step.obs[role].shape == step.final_obs[role].shape == (5, about.agents, about.obs_size)
            assert step.reward[role].shape == step.alive[role].shape == (5, about.agents)
            assert step.obs[role].dtype == step.reward[role].dtype == jnp.float32
            if step.available is not None:
                assert step.available[role].shape == (5, about.agents, about.actions.size)
                assert step.available[role].any(-1).all()
        assert step.state.shape == step.final_state.shape == (5, spec.state_size)
        assert all(x.shape == (5,) and x.dtype == jnp.float32 and (x >= 0).all() for x in step.events.values())
        assert step.terminated.shape == step.truncated.shape == (5,) and step.terminated.dtype == bool
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((step.obs, step.reward, step.state)))
        assert same((step.obs, step.state), (step.final_obs, step.final_state))
    assert not first.terminated.any() and not first.truncated.any()
    assert not any(x.any() for x in jax.tree.leaves((first.reward, first.events)))


@each_env
def test_a_step_has_the_shapes_of_a_reset(name):
    """So that it can be the carry of a scan."""
    _, both, _ = compiled(name)
    reset, step = jax.eval_shape(both, jr.split(jr.key(0), 2))
    assert jax.tree.structure(reset) == jax.tree.structure(step) and shapes(reset) == shapes(step)


@each_env
def test_an_env_depends_on_its_keys_only(name):
    _, both, _ = compiled(name)
    shown = lambda seed: tuple(step for _, step in both(jr.split(jr.key(seed), 3)))
    a, b = shown(0), shown(0)
    assert same(a, b)
    assert same(a[0].obs, shown(1)[0].obs) == (name in RULED)


@each_env
def test_an_episode_is_over_at_the_horizon(name):
    _, _, episode = compiled(name)
    terminated, truncated = map(np.asarray, episode(jr.split(jr.key(2), 4)))
    over = terminated | truncated
    assert over.any(1).all()
    assert not (terminated & truncated).any()
    early = over[:, :-1].any(1)
    assert (truncated[:, -1] | early | (name in RULED)).all() and not (truncated[:, :-1] & ~early[:, None]).any()


@each_env
def test_a_spec_survives_json(name):
    import json

    spec = ENVS[name].spec
    assert decode_spec(json.loads(json.dumps(encode_spec(spec)))) == spec


@pytest.mark.parametrize("kind", ["env", "learner", "guidance"])
def test_presets_survive_json(kind):
    import json

    for name, part in registry.presets(kind).items():
        saved = json.loads(json.dumps(registry.encode(kind, part)))
        assert registry.decode(kind, saved) == part, name
        assert dataclasses.is_dataclass(part) and part.__dataclass_params__.frozen


@pytest.mark.parametrize("kind", ["env", "learner", "guidance"])
def test_every_name_is_described_once(kind):
    lines = registry.described(kind)
    assert sorted(name for names, _ in lines for name in names.split(", ")) == sorted(registry.presets(kind))
    for _, text in lines:
        assert text and "\n" not in text and len(text) <= 130


# ------------------------------------------------------------------ learners


@functools.cache
def trained(name):
    """A learner's loop, its beginning and its end."""
    made = loop(Lengths(), small(LEARNERS[name], **TINY), UPDATES)
    begun = made.begin(jnp.asarray(SEEDS))
    return made, begun, made.train(begun=begun)


@pytest.mark.slow
@each_learner
def test_a_learner_learns_and_stays_finite(name):
    made, begun, end = trained(name)
    before, state = begun["state"], end["state"]
    assert shapes(before) == shapes(state)
    assert not same(before.params, state.params)
    assert (np.asarray(end["broken"]) == -1).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.params, end["sums"])))
    # What tools that copy, adapt or count parameters rely on: {network: {role: RoleNet}}, and the policy's among them.
    assert set(made.learner.policy_networks) <= set(state.params)
    for network, roles in state.params.items():
        assert isinstance(network, str) and set(roles) == set(Lengths().spec.roles)
        assert all(isinstance(team, RoleNet) for team in roles.values())


@pytest.mark.slow
@each_learner
def test_a_seed_depends_neither_on_its_place_nor_on_its_neighbours(name):
    """Bitwise; test_lanes compares a seed alone with the same among others."""
    made, _, end = trained(name)
    among, moved = end["state"].params, made.train((7, 8, 1))["state"].params
    lane = lambda tree, i: jax.tree.map(lambda x: x[i], tree)
    assert same(lane(among, 1), lane(moved, 2))
    assert not same(lane(among, 0), lane(among, 1)) and not same(lane(among, 0), lane(moved, 0))


@pytest.mark.slow
@each_learner
def test_two_chunks_equal_one_bitwise(name):
    made, begun, whole = trained(name)
    assert same(whole, made.train(first=2, begun=made.train(last=2, begun=begun)))


@each_learner
def test_nothing_in_an_update_calls_the_host(name):
    made = loop(Lengths(), small(LEARNERS[name], **TINY), UPDATES)
    state = jax.eval_shape(made.trainer.init, jr.key(0), jnp.asarray(0))
    text = str(jax.make_jaxpr(made.trainer.update)(state, jnp.asarray(0)))
    assert "scan" in text and "callback" not in text and "device_put" not in text


@pytest.mark.parametrize("name", FEED_FORWARD)
def test_policies_ignore_leading_axes(name):
    """[A O], [E A O] and [T E A O] observations get the same logits."""
    spec = Mixed().spec
    config, rng = small(LEARNERS[name], **TINY), np.random.default_rng(1)
    learner, params = config.make(spec), drawn(config, spec, 1)
    policy = jax.jit(lambda obs: learner.policy(jax.tree.map(lambda x: x[0], params), (), obs)[1])
    draw = lambda about: rng.normal(size=(2, 3, about.agents, about.obs_size)).astype(np.float32)
    obs = {role: draw(about) for role, about in spec.roles.items()}
    whole = jax.tree.map(np.asarray, policy(obs))
    for role, about in spec.roles.items():
        assert whole[role].shape == (2, 3, about.agents, about.actions.size)
        if isinstance(about.actions, Continuous):
            assert np.abs(whole[role]).max() <= 1
    one = policy({role: x[1, 2] for role, x in obs.items()})
    for role in spec.roles:
        np.testing.assert_allclose(one[role], whole[role][1, 2], rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ guidance


def admitted(name):
    """Every guidance that takes the learner. Its teacher knows nothing (it had no update), which guidance cannot know; guidance
    without a teacher is a companion, which trains on an environment of its own."""
    env, config = Lengths(), small(LEARNERS[name], **TINY)
    team, found = TeamPolicy(env.spec, config, fresh(config, env.spec, len(SEEDS)), SEEDS, env), []
    for guide in GUIDES.values():
        for teacher in (team, with_actions(random_demos(env, 200))):
            inside = {"teacher": teacher} if takes_teacher(guide) else {"env": env, "learner": config}
            taught = dataclasses.replace(guide, **inside)
            try:
                taught.make(env.spec, config.make(env.spec))
            except HeadstartError as error:
                assert "\n" not in str(error)
                if "teacher that is demonstrations" not in str(error):
                    assert "needs a learner" in str(error)  # the one reason not to be able to
                    break
            else:
                found.append(taught)
                break
    return env, config, found


@pytest.mark.slow
@each_learner
def test_every_guidance_runs_with_every_learner_or_is_refused_before_it_begins(name):
    """Each alone is traced, and all together are trained: a program for each pair takes minutes to compile."""
    env, config, guides = admitted(name)
    assert guides
    for guide in guides:
        trainer = loop(env, config, UPDATES, (guide,)).trainer
        shape = jax.eval_shape(trainer.init, jr.key(0), jnp.asarray(0))
        after, _ = jax.eval_shape(trainer.update, shape, jnp.asarray(0), trainer.data)
        assert shapes(shape) == shapes(after)
    guided = loop(env, config, UPDATES, tuple(guides)).train(SEEDS)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((guided["state"].params, guided["sums"])))
    _, _, plain = trained(name)
    assert not same(plain["state"].params, guided["state"].params)


@pytest.mark.parametrize("guide", GUIDES)
def test_guidance_without_its_teacher_says_so(guide):
    config, spec = small(next(iter(LEARNERS.values()))), Lengths().spec
    with pytest.raises(HeadstartError, match=r"needs a teacher|needs an environment") as caught:
        GUIDES[guide].make(spec, config.make(spec))
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------ all


def choices():
    """(kind, name, setting) of every setting that is one of a few."""
    for kind in registry.KINDS:
        for name, part in registry.presets(kind).items():
            hints = get_type_hints(type(part))
            yield from ((kind, name, f.name) for f in dataclasses.fields(part) if get_origin(hints[f.name]) is Literal)


@pytest.mark.parametrize("kind,name,setting", choices())
def test_a_setting_that_is_none_of_its_choices_is_refused(kind, name, setting):
    """From Python and from files too, where no command line has looked at it."""
    part = copy.copy(registry.preset(kind, name))
    object.__setattr__(part, setting, "no such thing")
    with pytest.raises(HeadstartError, match=rf"{kind}.{setting} must be one of '.*', not 'no such thing'$"):
        check_part(part)


@pytest.mark.parametrize("kind", ["env", "learner", "guidance"])
def test_a_run_refuses_such_a_setting(kind):
    part = copy.copy({"env": Spread(), "learner": QLearning(), "guidance": Distill()}[kind])
    object.__setattr__(part, {"env": "observe", "learner": "mixing", "guidance": "loss"}[kind], "no such thing")
    good = {"env": Spread(), "learner": QLearning(), "guidance": ()}
    with pytest.raises(HeadstartError, match="must be one of"):
        Config(**good | {kind: (part,) if kind == "guidance" else part})
