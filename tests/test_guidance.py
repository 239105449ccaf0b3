"""Guidance: nothing means nothing, schedules, the distillation term, who teaches whom, and the warm start."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.special
import scipy.stats
from probes import Choice, Mixed, fresh, loop, same, small, traced, whole

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.guidance import Clock, Guidance, chain, start_rows
from headstart.core.modules import mlp
from headstart.core.networks import role_net
from headstart.core.types import Continuous, Discrete, Field, RoleSpec, TeamSpec
from headstart.envs.particle.spread import Spread
from headstart.guidance.distill import Distill
from headstart.guidance.warm_start import WarmStart
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.teams.fit import fit_teacher
from headstart.teams.policy import TeamPolicy
from headstart.views.adapt import adapt, pairing, select_agents
from headstart.views.transplant import transplant

FOUR = {"num_envs": 4, "train_every": 4, "rollout": 5, "batch": 16, "warmup": 8, "capacity": 64, "hidden": (8,)}
DDPG4, PPO4 = small(DDPG(), **FOUR), small(PPO(), **FOUR)
STUDENT = Spread(3, horizon=5, semantics="openai")
UPDATES = 7
CLOCK = Clock(5, 0.25)
START = Clock(jnp.asarray(0), jnp.zeros(()))


def teacher(config, env, seeds=(0, 1)) -> TeamPolicy:
    """An untrained team: its logits are as arbitrary as any."""
    params = fresh(config, env.spec, len(seeds), 77)
    # Small final layers would make every logit the same within rounding.
    params = jax.tree.map(lambda x: 3 * x + 0.1 * jr.normal(jr.key(5), x.shape), params)
    return TeamPolicy(env.spec, config, params, tuple(seeds), env)


CONFIGS = {"ddpg": DDPG4, "ppo": PPO4}


@functools.cache
def teacher_of(name) -> TeamPolicy:
    """Two agents that teach three."""
    return teacher(CONFIGS[name], Spread(2, horizon=5, semantics="openai"))


both = pytest.mark.parametrize("name", ["ddpg", pytest.param("ppo", marks=pytest.mark.slow)])
"""PPO takes longest to compile; what it shares with DDPG is tested with that one in the quick selection."""


def final(name, *guides):
    state, metrics = loop(STUDENT, CONFIGS[name], UPDATES, guides).run((0, 1))
    return state, metrics


def learned(state):
    return state.params, state.target, state.opt, state.env, state.step, state.key


# ------------------------------------------------------------------ nothing means nothing


@both
def test_coefficient_0_is_no_guidance_bitwise_and_a_half_is_some(name, as_users):
    guru = teacher_of(name)

    @jax.jit
    def guided(alpha):
        guides = (traced(Distill(guru), alpha=alpha, alpha_end=alpha),)
        state, metrics, _ = whole(STUDENT, CONFIGS[name], UPDATES, guides)
        return learned(state), metrics["guidance"]["alpha"]

    plain = jax.jit(lambda: learned(whole(STUDENT, CONFIGS[name], UPDATES)[0]))()
    (nothing, zeros), (something, halves) = guided(0.0), guided(0.5)
    assert same(plain, nothing) and not np.asarray(zeros).any()
    assert not same(plain[0], something[0]) and np.asarray(halves).any()


@pytest.mark.slow
def test_a_scale_of_0_takes_only_the_actors_share():
    """α·0 + (1 − α)·L: with α constant at ½ this is half the actor's loss, so critics that do not depend on it agree."""
    guide = Distill(teacher_of("ppo"), scale=0.0, alpha=0.0, schedule="constant")
    assert same(learned(final("ppo")[0]), learned(final("ppo", guide)[0]))


def test_chain_of_nothing_is_nothing_and_of_one_is_that_one():
    guide = Distill(teacher_of("ppo")).make(STUDENT.spec, PPO4.make(STUDENT.spec))
    assert chain(guide) is guide
    empty, none = chain(), Guidance()
    assert empty.init(jr.key(0), 0) == none.init(jr.key(0), 0) == ()
    args = {
        "start": ({"x": 1},), "observe": ("params", jr.key(0), "rollout", CLOCK, ()), "tie": ("params",),
        "objective": ("params", "batch", {"actor": 1}), "grads": ("params", {"x": 2}),
        "behave": ((), jr.key(0), "step", {"agent": 3}, CLOCK),
    }  # fmt: skip
    wanted = {
        "start": ({"x": 1}, []), "observe": ((), "rollout", {}), "tie": "params", "objective": {"actor": 1},
        "grads": ((), {"x": 2}), "behave": ((), {"agent": 3}),
    }  # fmt: skip
    for hook, given in args.items():
        assert getattr(empty, hook)((), *given) == wanted[hook] == getattr(none, hook)((), *given)


@pytest.mark.slow
def test_a_trainer_of_the_empty_chain_equals_one_without_guidance_bitwise():
    from headstart.core.trainer import make_trainer

    learner = PPO4.make(STUDENT.spec)
    outs = []
    for guidance in (Guidance(), chain(), chain(Guidance(), Guidance())):
        trainer = make_trainer(STUDENT, learner, guidance, 20)
        state = jax.jit(trainer.init)(jr.key(1), jnp.asarray(0))
        outs.append(jax.jit(trainer.update)(state, jnp.asarray(0))[0])
    assert same(learned(outs[0]), learned(outs[1])) and same(learned(outs[0]), learned(outs[2]))


def test_chain_applies_its_guides_in_order():
    def guide(tag):
        return Guidance(
            init=lambda key, seed: tag,
            carry=lambda num_envs: 0,
            start=lambda g, params: ([*params, g], [(g, "loaded", "()")]),
            grads=lambda g, params, grads: (g + "!", [*grads, g]),
            behave=lambda g, c, key, step, action, clock: (c + 1, [*action, g]),
            observe=lambda g, params, key, rollout, clock, data: (g + "'", [*rollout, data], {f"m{tag}": clock.progress}),
            data=f"data of {tag}",
        )

    two = chain(guide("a"), guide("b"))
    g = two.init(jr.key(0), 0)
    assert g == ("a", "b")
    assert two.start(g, []) == (["a", "b"], [("a", "loaded", "()"), ("b", "loaded", "()")])
    assert two.grads(g, None, []) == (("a!", "b!"), ["a", "b"])
    assert two.behave(g, two.carry(4), jr.key(0), None, [], CLOCK) == ((1, 1), ["a", "b"])
    seen = ["data of a", "data of b"]
    assert two.observe(g, None, jr.key(0), [], CLOCK, two.data) == (("a'", "b'"), seen, {"ma": 0.25, "mb": 0.25})
    assert two.tie is Guidance().tie  # a hook that nobody has stays the default


# ------------------------------------------------------------------ schedules


def alphas(name, **settings):
    _, metrics = final(name, Distill(teacher_of(name), **settings))
    return np.array([np.asarray(m["guidance"]["alpha"]) for m in metrics])


@both
def test_alpha_goes_from_a_half_to_two_hundredths_along_the_learning_updates(name):
    """The metric is the α that the update used. DDPG's first two updates only fill its memory."""
    got, idle = alphas(name), 2 if name == "ddpg" else 0
    assert got.shape == (UPDATES, 2) and (got[:, 0] == got[:, 1]).all()
    falls = np.linspace(0.5, 0.02, UPDATES - idle)
    np.testing.assert_allclose(got[:, 0], [0.5] * idle + falls.tolist(), rtol=1e-5)
    assert got[idle, 0] == np.float32(0.5) and abs(got[-1, 0] - 0.02) < 1e-7


@pytest.mark.slow
def test_the_literal_schedule_loses_beta_an_episode():
    """An update of 4 environments and 5 steps is 4 episodes of 5 steps. α goes on if the state begins afresh."""
    guide = Distill(teacher_of("ppo"), schedule="literal", beta=0.03)
    made = loop(STUDENT, CONFIGS["ppo"], UPDATES, (guide,))
    told = [*made.run((0, 1))[1], made.update(made.start((0, 1)), jnp.asarray(2))[1]]
    *got, afresh = (float(metrics["guidance"]["alpha"][0]) for metrics in told)
    np.testing.assert_allclose(got, [max(0.5 - 0.03 * 4 * i, 0.02) for i in range(UPDATES)], rtol=1e-5)
    assert got[-1] == np.float32(0.02) and afresh == got[2] > 0.02


@pytest.mark.slow
def test_the_constant_schedule():
    np.testing.assert_array_equal(alphas("ppo", schedule="constant", alpha=0.3), np.float32(0.3))


# ------------------------------------------------------------------ the objective


def batch_of(extras, alive, obs):
    from headstart.core.types import Transition

    zero = jnp.zeros(alive.shape[0])
    none = {"agent": jnp.zeros(alive.shape)}
    return Transition(
        {"agent": obs}, none, none, zero > 0, zero > 0, {"agent": obs}, zero[:, None], zero[:, None],
        {"agent": alive}, None, None, zero > 0, extras,
    )  # fmt: skip


def logits_loss(kind, teach, learn):
    """[B A] by scipy, head by head for two heads of 2 and 3."""
    if kind == "mse":
        return ((teach - learn) ** 2).mean(-1)
    total = np.zeros(teach.shape[:-1])
    for part in (slice(0, 2), slice(2, 5)):
        p, q = (scipy.special.softmax(x[..., part], -1) for x in (teach, learn))
        total += scipy.stats.entropy(p, q, axis=-1)
        total += scipy.stats.entropy(p, axis=-1) if kind == "ce" else 0
    return total


@pytest.mark.parametrize("kind", ["mse", "ce", "kl"])
@pytest.mark.parametrize("shared", [False, True])
def test_the_objective_against_numpy(kind, shared):
    rng, agents, count = np.random.default_rng(0), 3, 11
    role = RoleSpec(agents, (Field("numbers", 1, 4),), Discrete((2, 3)))
    spec = TeamSpec({"agent": role}, 1, 1)
    config = dataclasses.replace(PPO4, shared=shared)
    learner = config.make(spec)
    params = learner.init(jr.key(0))
    obs, teach = rng.normal(size=(count, agents, 4)).astype("f"), rng.normal(size=(count, agents, 5)).astype("f")
    alive = rng.random((count, agents)) < 0.7
    alive[:, 2] = False
    own = jnp.asarray(rng.normal(size=agents).astype("f"))
    guide = Distill(TeamPolicy(spec, config, jax.tree.map(lambda x: x[None], params), (0,)), loss=kind, scale=2.5)
    batch = batch_of(labels(guide, spec, jnp.asarray(teach)), jnp.asarray(alive), jnp.asarray(obs))
    guidance = guide.make(spec, learner)
    g = {**guidance.init(jr.key(0), jnp.asarray(0)), "alpha": jnp.asarray(0.3)}
    terms = guidance.objective(g, params, batch, {"actor": {"agent": own}, "critic": {"agent": own}})
    student = np.asarray(learner.unroll(params, batch)[1]["agent"])
    loss = logits_loss(kind, teach, student)
    wanted = []
    for a in range(agents):
        rows = [loss[b, a] for b in range(count) if alive[b, a]]
        reuse = sum(rows) / len(rows) if rows else 0.0
        wanted.append(0.3 * 2.5 * reuse / (agents if shared else 1) + 0.7 * float(own[a]))
    np.testing.assert_allclose(actors_loss(terms), wanted, rtol=2e-5)
    np.testing.assert_allclose(terms["actor"]["agent"], 0.7 * own, rtol=2e-6)
    assert terms["critic"]["agent"] is own


def actors_loss(terms):
    """[A]: what the actors minimise, of their own and of what is distilled."""
    return terms["actor"]["agent"] + terms["distill"]["agent"]


def labels(guide, spec, logits):
    """A batch's extras with these logits as the labels of the guide's teacher."""
    return {fit_teacher(guide.teacher, spec, guide.roles, guide.select).name: {"agent": logits}}


def test_two_teachers_both_teach():
    """Labels of one must not take the place of the other's."""
    first = teacher_of("ddpg")
    second = dataclasses.replace(first, params=jax.tree.map(lambda x: 2 * x + 0.1, first.params))
    learner = DDPG4.make(STUDENT.spec)
    params, obs = learner.init(jr.key(3)), jr.normal(jr.key(8), (2, 4, 3, 18))
    zeros = jnp.zeros((2, 4))
    from headstart.core.types import Transition

    rollout = Transition(
        {"agent": obs}, {"agent": obs[..., :5]}, {"agent": obs[..., 0]}, zeros > 0, zeros > 0, {"agent": obs},
        obs[..., 0], obs[..., 0], {"agent": obs[..., 0] < 9}, None, None, zeros > 0, {},
    )  # fmt: skip
    nothing = {"actor": {"agent": jnp.zeros(3)}}

    def term(*guides):
        guidance = chain(*(guide.make(STUDENT.spec, learner) for guide in guides))
        g = guidance.init(jr.key(0), jnp.asarray(0))
        g, labelled, metrics = guidance.observe(g, params, jr.key(1), rollout, START, guidance.data)
        batch = jax.tree.map(lambda x: x.reshape(8, *x.shape[2:]), labelled)
        assert len(metrics) == len(guides)
        return actors_loss(guidance.objective(g, params, batch, nothing))

    one, two = Distill(first, alpha=0.5), Distill(second, alpha=0.5)
    np.testing.assert_allclose(term(one, two), 0.5 * term(one) + term(two), rtol=1e-5)
    assert not np.allclose(term(one), term(two))


def test_its_gradient_goes_to_the_actor_only():
    guide = Distill(teacher_of("ddpg"), alpha=1.0, alpha_end=1.0)
    learner = DDPG4.make(STUDENT.spec)
    guidance, params = guide.make(STUDENT.spec, learner), learner.init(jr.key(3))
    g = guidance.init(jr.key(0), jnp.asarray(0))
    obs = jr.normal(jr.key(1), (6, 3, 18))
    batch = batch_of(labels(guide, STUDENT.spec, jr.normal(jr.key(2), (6, 3, 5))), jnp.ones((6, 3), bool), obs)
    zero = {"agent": jnp.zeros(3)}
    value = lambda params: actors_loss(guidance.objective(g, params, batch, {"actor": zero, "critic": zero})).sum()
    grads = jax.grad(value)(params)
    assert all(np.asarray(x).any() for x in jax.tree.leaves(grads["actor"]) if x.ndim > 2)
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(grads["critic"]))


@pytest.mark.slow
def test_probabilities_of_continuous_actions_are_refused():
    env = Mixed()
    config = small(PPO())
    with pytest.raises(HeadstartError, match="use mse") as caught:
        Distill(teacher(config, env), loss="kl").make(env.spec, config.make(env.spec))
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ who teaches whom, and what it sees


def test_pairing():
    assert pairing(6, 4).tolist() == [0, 1, 2, 3, 0, 1]
    assert pairing(2, 4).tolist() == [0, 1]


def numpy_adapt(obs, have, want, select):
    """One observation, entity by entity."""
    blocks, at = {}, 0
    for field in have:
        blocks[field.name] = obs[at : at + field.count * field.size].reshape(field.count, field.size)
        at += field.count * field.size
    ranks = {}
    for field in have:
        by = blocks[field.follows] if field.follows in blocks else blocks[field.name]
        ranks[field.name] = sorted(range(field.count), key=lambda i, by=by: float(np.linalg.norm(by[i][:2])))
    out = []
    for field in want:
        rows = blocks.get(field.name, np.zeros((0, field.size)))
        if len(rows) > field.count:
            keep = ranks[field.name] if select == "nearest" else range(len(rows))
            rows = rows[list(keep)[: field.count]]
        out += [*rows.ravel(), *[0.0] * (field.count - len(rows)) * field.size]
    return np.array(out)


BIG = (Field("own", 1, 3), Field("landmarks", 5, 2), Field("agents", 4, 3), Field("words", 4, 2, "agents"), Field("gone", 2, 2))
LITTLE = (
    Field("landmarks", 2, 2),
    Field("words", 2, 2, "agents"),
    Field("own", 1, 3),
    Field("agents", 2, 3),
    Field("new", 2, 1),
)


@pytest.mark.parametrize("select", ["nearest", "first"])
@pytest.mark.parametrize("have,want", [(BIG, LITTLE), (LITTLE, BIG), (BIG, BIG[::-1])])
def test_adapt_against_numpy(select, have, want):
    """Fewer entities and more, fields that follow others, missing ones and another order; any leading axes."""
    width = sum(f.count * f.size for f in have)
    obs = np.random.default_rng(0).normal(size=(4, 3, width)).astype("f")
    got = np.asarray(adapt(jnp.asarray(obs), have, want, select))
    for i, j in np.ndindex(4, 3):
        np.testing.assert_array_equal(got[i, j], numpy_adapt(obs[i, j], have, want, select).astype("f"))


def test_adapt_refuses_entities_of_another_size():
    with pytest.raises(HeadstartError, match="'own'"):
        adapt(jnp.zeros(3), (Field("own", 1, 3),), (Field("own", 1, 2),))


def dense(net, x, activation):
    """An MLP in numpy."""
    for layer in net.layers[:-1]:
        x = activation(x @ np.asarray(layer.weight, float) + np.asarray(layer.bias, float))
    return x @ np.asarray(net.layers[-1].weight, float) + np.asarray(net.layers[-1].bias, float)


def collected(name, config, guide, seed):
    """A rollout of random observations as the learner gets it: with the teacher's logits."""
    learner = config.make(STUDENT.spec)
    guidance = guide.make(STUDENT.spec, learner)
    g = guidance.init(jr.key(0), jnp.asarray(seed))
    obs = jr.normal(jr.key(8), (2, 4, 3, 18))
    zeros = jnp.zeros((2, 4))
    from headstart.core.types import Transition

    rollout = Transition(
        {"agent": obs}, {"agent": obs[..., :5]}, {"agent": obs[..., 0]}, zeros > 0, zeros > 0, {"agent": obs},
        obs[..., 0], obs[..., 0], {"agent": obs[..., 0] < 9}, None, None, zeros > 0, {"kept": zeros},
    )  # fmt: skip
    _, out, _ = guidance.observe(g, {}, jr.key(0), rollout, START, ())
    assert out.extras["kept"] is zeros
    return np.asarray(obs, float), np.asarray(out.extras[fit_teacher(guide.teacher, STUDENT.spec, (), "nearest").name]["agent"])


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["ddpg", "ppo"])
def test_the_teachers_logits(name, seed):
    """Agent i of three is taught by agent i mod 2, who sees its two nearest landmarks and the nearest mate; seeds recur."""
    obs, got = collected(name, CONFIGS[name], Distill(teacher_of(name)), seed)
    guru = teacher_of(name)
    have, want = STUDENT.spec.roles["agent"].obs, guru.spec.roles["agent"].obs
    activation = (lambda x: np.maximum(x, 0)) if name == "ddpg" else np.tanh
    for t, e, a in np.ndindex(2, 4, 3):
        net = guru.params["actor"]["agent"].net if name == "ddpg" else guru.params["actor"]["agent"].net.body
        which = (seed % 2, a % 2) if name == "ddpg" else (seed % 2,)  # PPO's agents share one network
        own = jax.tree.map(lambda x, which=which: x[which], net)
        seen = numpy_adapt(obs[t, e, a], have, want, "nearest")
        np.testing.assert_allclose(got[t, e, a], dense(own, seen, activation), rtol=1e-4, atol=1e-4)


def test_roles_can_be_chosen():
    env, config = Mixed(), small(PPO(), hidden=(8,))
    guru = teacher(config, env)
    learner = config.make(env.spec)
    guidance = Distill(guru, roles=("mover",)).make(env.spec, learner)
    assert set(guidance.init(jr.key(0), jnp.asarray(0))["teacher"]["actor"]) == {"mover"}
    warm = WarmStart(guru, roles=("mover",)).make(env.spec, learner)
    fresh = learner.init(jr.key(1))
    started, _ = warm.start(warm.init(jr.key(0), jnp.asarray(0)), fresh)
    assert same(started["actor"]["talker"], fresh["actor"]["talker"])
    assert same(started["actor"]["mover"], guru.seed(0)["actor"]["mover"])
    for kind in (Distill, WarmStart):
        with pytest.raises(HeadstartError, match=r"movr.*mover"):
            kind(guru, roles=("movr",)).make(env.spec, learner)


@pytest.mark.parametrize("kind", [Distill, WarmStart])
def test_misfits_are_refused_in_one_line(kind):
    learner = PPO4.make(STUDENT.spec)
    other = teacher(PPO4, Choice())  # two actions, not five
    strangers = teacher(PPO4, Mixed())  # other roles
    cases = [(None, "needs a teacher"), (other, r"\(2,\).*\(5,\)"), (strangers, "none in common")]
    for guru, words in cases:
        with pytest.raises(HeadstartError, match=words) as caught:
            kind(guru).make(STUDENT.spec, learner)
        assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ transplanting


def test_transplant_of_another_team_size():
    """Shapes that agree are loaded, the first layer is adapted by observed field, agents are paired cyclically."""
    mine, theirs = Spread(3).spec.roles["agent"], Spread(2).spec.roles["agent"]
    make = lambda role: lambda key: mlp(key, (role.obs_size, 8, 5), reads=role.obs)
    student, donor = role_net(make(mine), jr.key(0), 3, False), role_net(make(theirs), jr.key(1), 2, False)
    out, table = transplant(student, donor, pairing(3, 2), "actor/agent")
    assert [row[1] for row in table] == ["adapted", "loaded", "loaded", "loaded"]
    assert table[0] == ("actor/agent.layers[0].weight", "adapted", "(3, 12, 8) → (3, 18, 8)")
    given, got = np.asarray(donor.net.layers[0].weight), np.asarray(out.net.layers[0].weight)
    # velocity, position, landmarks (3 of which 2), mates (2 of which 1), messages (2 of which 1), two numbers each
    rows = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 10: 8, 11: 9, 14: 10, 15: 11}
    for agent in range(3):
        for row in range(18):
            wanted = given[agent % 2, rows[row]] if row in rows else np.zeros(8)
            np.testing.assert_array_equal(got[agent, row], wanted)
        for where in (lambda n: n.layers[0].bias, lambda n: n.layers[1].weight):
            np.testing.assert_array_equal(where(out.net)[agent], where(donor.net)[agent % 2])


def test_transplant_into_another_architecture():
    wide, deep = (lambda k: mlp(k, (4, 16, 5))), (lambda k: mlp(k, (4, 8, 8, 5)))
    student, donor = role_net(wide, jr.key(0), 2, True), role_net(deep, jr.key(1), 2, True)
    out, table = transplant(student, donor, pairing(2, 2), "actor/agent")
    happened = {name.removeprefix("actor/agent.layers"): what for name, what, _ in table}
    assert happened == {
        "[0].weight": "re-initialised", "[0].bias": "re-initialised", "[1].weight": "re-initialised",
        "[1].bias": "re-initialised", "[2].weight": "dropped", "[2].bias": "dropped",
    }  # fmt: skip
    assert same(out, student)


@pytest.mark.parametrize("mine,theirs", [(True, False), (False, True)])
def test_transplant_between_shared_and_separate_parameters(mine, theirs):
    make = lambda k: mlp(k, (4, 8, 5))
    student, donor = role_net(make, jr.key(0), 3, mine), role_net(make, jr.key(1), 3, theirs)
    out, table = transplant(student, donor, pairing(3, 3), "actor/agent")
    assert {row[1] for row in table} == {"loaded"} and out.shared == mine
    for got, given in zip(jax.tree.leaves(out.net), jax.tree.leaves(donor.net), strict=True):
        wanted = np.asarray(given).mean(0) if mine else np.stack([given] * 3)
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_held_networks_stay_as_they_came_until_the_hold_is_over():
    env, config = Mixed(), small(PPO(), hidden=(8,))
    guru = teacher(config, env)
    made = loop(env, config, 4, (WarmStart(guru, roles=("mover",), hold=0.5),))
    first, alone = made.start((0,)), lambda net: jax.tree.map(lambda x: x[0], net)
    state, _ = made.run((0,), last=2, state=first)
    assert same(alone(state.params["actor"]["mover"]), guru.seed(0)["actor"]["mover"])
    for network, role in (("actor", "talker"), ("critic", "mover"), ("critic", "talker")):
        assert not same(state.params[network][role], first.params[network][role])
    state, _ = made.run((0,), first=2, state=state)
    assert not same(alone(state.params["actor"]["mover"]), guru.seed(0)["actor"]["mover"])


def renamed(spec: TeamSpec, *names: str) -> TeamSpec:
    return spec._replace(roles={"agent": spec.roles["agent"]._replace(agents=len(names), names=names)})


def teaching(config, theirs: TeamSpec, mine: TeamSpec, networks=()):
    """A teacher's parameters, the student's after its warm start, and the rows."""
    params = jax.vmap(config.make(theirs).init)(jr.split(jr.key(4), 1))
    params = jax.tree.map(lambda x: x + 0.1 * jr.normal(jr.key(6), x.shape), params)
    guru, learner = TeamPolicy(theirs, config, params, (0,)), config.make(mine)
    guide = WarmStart(guru, networks).make(mine, learner)
    out, rows = guide.start(guide.init(jr.key(0), jnp.asarray(0)), learner.init(jr.key(1)))
    return guru.place(0), out, rows


def test_a_warm_start_finds_agents_by_their_names():
    """The same agents in another order; then one whom the teacher's team does not have, which the rows say."""
    spec, config = Spread(3).spec, small(DDPG(), hidden=(8,))
    theirs = renamed(spec, "a", "b", "c")
    for names, places, said in ((("c", "a", "b"), [2, 0, 1], []), (("b", "x", "a"), [1, 1, 0], ["x ← b"])):
        given, got, rows = teaching(config, theirs, renamed(spec, *names))
        for have, taken in zip(jax.tree.leaves(given["actor"]), jax.tree.leaves(got["actor"]), strict=True):
            np.testing.assert_array_equal(np.asarray(have)[places], taken)
        assert [pairs for _, what, pairs in rows if what == "paired by place"] == said


def test_a_copied_critic_pays_each_agent_by_its_name():
    """MAPPO's agents share a critic with one output for each of them, which reads all of them by name."""
    spec, config = Spread(3).spec, small(registry.preset("learner", "mappo"), hidden=(8,))
    theirs, mine = renamed(spec, "a", "b", "c"), renamed(spec, "c", "a", "b")
    given, got, _ = teaching(config, theirs, mine, ("critic",))
    obs = jr.normal(jr.key(2), (4, 3, spec.roles["agent"].obs_size))
    value = lambda spec, params, obs: np.asarray(config.make(spec).value(params, {"agent": obs}, None)["agent"])
    here, there = value(mine, got, obs[:, jnp.array([2, 0, 1])]), value(theirs, given, obs)
    np.testing.assert_allclose(here, there[:, [2, 0, 1]], rtol=1e-5)


def test_reteam_repeats_agents():
    donor = role_net(lambda k: mlp(k, (2, 3)), jr.key(0), 2, False)
    out = select_agents(donor, pairing(5, 2))
    for i in range(5):
        np.testing.assert_array_equal(out.net.layers[0].weight[i], donor.net.layers[0].weight[i % 2])


@pytest.mark.slow
@both
def test_a_warm_start_acts_like_its_teacher_and_reports_what_it_did(name):
    """Same task: every actor's array is loaded, so the student starts with the teacher's logits; critics stay fresh."""
    env, config = teacher_of(name).env, CONFIGS[name]
    guide = WarmStart(teacher_of(name))
    warm, fresh = loop(env, config, 2, (guide,)).start((1,)), loop(env, config, 2).start((1,))
    given = teacher_of(name).seed(1)
    assert same(jax.tree.map(lambda x: x[0], warm.params["actor"]), given["actor"])
    assert same(warm.params["critic"], fresh.params["critic"]) and same(warm.params, warm.target)
    learner = config.make(env.spec)
    assert {what for _, what, _ in start_rows(guide.make(env.spec, learner), learner)} == {"loaded"}
    assert not same(warm.params["actor"], fresh.params["actor"])  # else nothing shows that anything was loaded
    numbers = np.random.default_rng(0).normal(size=(5, 2, env.spec.roles["agent"].obs_size)).astype(np.float32)
    acts = lambda learner, params: learner.policy(params, learner.start(5), {"agent": jnp.asarray(numbers)})[1]
    assert same(acts(learner, jax.tree.map(lambda x: x[0], warm.params)), acts(teacher_of(name).learner, given))


@pytest.mark.parametrize(
    "bad", [{"alpha": -0.1}, {"alpha": 1.1}, {"alpha_end": 2.0}, {"beta": -1.0}, {"scale": -1.0}, {"alpha": float("nan")}]
)
def test_bad_settings(bad):
    with pytest.raises(HeadstartError):
        Distill(**bad)


@pytest.mark.slow
def test_continuous_actions_are_imitated_too():
    """Means are compared by their squared error; roles that differ in everything are each guided by their own."""
    env, config = Mixed(), small(PPO(), hidden=(8,))
    assert isinstance(env.spec.roles["mover"].actions, Continuous)
    guide = Distill(teacher(config, env), alpha=1.0, alpha_end=1.0, scale=10.0)
    _, metrics = loop(env, config, 30, (guide,)).run()
    loss = [float(np.asarray(m["learning"]["distill_loss"])[0]) for m in metrics]
    assert loss[-1] < 0.5 * loss[0]
