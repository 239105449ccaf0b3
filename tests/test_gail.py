"""GAIL for teams: its numbers by plain loops, who sees what, what it pays at known optima, and what it refuses."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from probes import Lengths, Mixed, fresh, random_demos, same, small, traced, with_actions

from headstart.core.checks import HeadstartError
from headstart.core.learner import make_learner
from headstart.core.optimisers import per_team
from headstart.core.trainer import make_trainer
from headstart.core.types import Transition
from headstart.envs.particle.spread import Spread
from headstart.guidance import discriminator
from headstart.guidance.gail import Gail
from headstart.guidance.samples import Rows, Samples, plan, rows
from headstart.learners.ppo import PPO
from headstart.teams.policy import TeamPolicy
from headstart.teams.recording import record

ADAM = per_team({"discriminator": optax.adam(1e-2)})


# ------------------------------------------------------------------ numbers, by plain loops


def numbers_of(net, agent: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """[(weights, biases)] of an agent's discriminator, in double precision."""
    return [(np.asarray(x.weight[agent], float), np.asarray(x.bias[agent], float)) for x in net.net.layers]


def judged(layers, x: np.ndarray) -> tuple[float, np.ndarray]:
    """(logit, its gradient by x), the latter carried back by hand."""
    kept, h = [], x
    for weight, bias in layers[:-1]:
        h = np.tanh(h @ weight + bias)
        kept.append(h)
    weight, bias = layers[-1]
    logit, back = float((h @ weight + bias)[0]), weight[:, 0]
    for (weight, _), h in zip(reversed(layers[:-1]), reversed(kept), strict=True):
        back = weight @ (back * (1 - h * h))
    return logit, back


def loss_by_loops(layers, demos, own, mix, penalty: float) -> float:
    total = 0.0
    for real, fake, share in zip(demos, own, mix, strict=True):
        likely = lambda x: 1 / (1 + np.exp(-judged(layers, x)[0]))
        slope = judged(layers, share * real + (1 - share) * fake)[1]
        total += -np.log(likely(real)) - np.log(1 - likely(fake)) + penalty * (np.sqrt((slope**2).sum()) - 1) ** 2
    return total / len(demos)


def test_loss_penalty_and_their_gradients_are_those_of_plain_loops():
    """Gradients by differences of the loops' loss, every parameter of every agent."""
    rng, agents, size = np.random.default_rng(0), 2, 3
    net = discriminator.discriminators(jr.key(3), {"agent": (agents, size)}, (4, 5))["agent"]
    net = jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32), net)
    demos, own = jnp.asarray(rng.normal(size=(2, agents, 6, size)), jnp.float32)
    mix = jnp.asarray(rng.uniform(size=(agents, 6, 1)), jnp.float32)
    total = lambda net: (lambda value, said: (value.sum(), (value, said)))(*discriminator.loss(net, demos, own, mix, 10.0))
    (_, (value, said)), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(net)
    for agent in range(agents):
        layers = numbers_of(net, agent)
        given = [np.asarray(x[agent], float) for x in (demos, own, mix)]
        want = loss_by_loops(layers, *given, 10.0)
        np.testing.assert_allclose(value[agent], want, rtol=1e-5)
        real, fake = ([judged(layers, x)[0] for x in rows] for rows in given[:2])
        np.testing.assert_allclose(said["logit/demos"][agent], np.mean(real), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(said["accuracy/demos"][agent], np.mean(np.array(real) > 0), rtol=1e-6)
        np.testing.assert_allclose(said["accuracy/policy"][agent], np.mean(np.array(fake) < 0), rtol=1e-6)
        for place, pair in zip(grads.net.layers, layers, strict=True):
            for found, array in zip((place.weight[agent], place.bias[agent]), pair, strict=True):
                for index in np.ndindex(array.shape):
                    before, ends = array[index], []
                    for step in (1e-5, -1e-5):
                        array[index] = before + step
                        ends.append(loss_by_loops(layers, *given, 10.0))
                    array[index] = before
                    np.testing.assert_allclose(found[index], (ends[0] - ends[1]) / 2e-5, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("form,of", [
    ("logit", lambda d: np.log(d) - np.log(1 - d)), ("log", np.log), ("softplus", lambda d: -np.log(1 - d)),
])  # fmt: skip
def test_rewards_are_the_logarithms_that_their_names_say(form, of):
    logit = np.linspace(-6, 6, 25)
    np.testing.assert_allclose(discriminator.paid(form, jnp.asarray(logit)), of(1 / (1 + np.exp(-logit))), rtol=1e-5, atol=1e-6)
    far = np.asarray(discriminator.paid(form, jnp.asarray([-200.0, 200.0])))
    assert np.isfinite(far).all()  # log(1 − D) itself would not be


# ------------------------------------------------------------------ who sees what


def test_demonstrations_are_each_agents_own_living_steps():
    demos = random_demos(Lengths(), 6)
    alive = demos.alive["agent"]
    alive[:, 2:, 1] = False  # the second agent dies early
    found = rows(demos.obs["agent"], alive)
    for agent in range(2):
        want = [demos.obs["agent"][m, t, agent] for m, t in np.ndindex(alive.shape[:2]) if alive[m, t, agent]]
        assert int(found.count[agent]) == len(want)
        np.testing.assert_array_equal(found.x[agent, : len(want)], want)


def test_draws_are_uniform_among_valid_samples():
    valid = jnp.asarray([[0, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]], bool)
    x = jnp.zeros((4, 6, 1))
    found = plan(jr.key(0), Samples(Rows(x, jnp.array([2, 6, 1, 3])), x, valid), 50, 120)
    often = lambda index: np.stack([np.bincount(index[:, a].reshape(-1), minlength=7)[:6] for a in range(4)])
    own, demos = often(np.asarray(found.own)), often(np.asarray(found.demos))
    for agent in range(3):
        np.testing.assert_allclose(own[agent], 6000 * valid[agent] / valid[agent].sum(), atol=6 * np.sqrt(1500))
        assert (own[agent][~np.asarray(valid[agent])] == 0).all()
    for agent, count in enumerate((2, 6, 1, 3)):
        np.testing.assert_allclose(demos[agent], 6000 * (np.arange(6) < count) / count, atol=6 * np.sqrt(1500))
        assert (demos[agent][count:] == 0).all()


@pytest.fixture(scope="module")
def learned():
    """A compiled `learn` of two roles, and what it learns from."""
    rng, sizes = np.random.default_rng(0), {"a": (3, 4), "b": (1, 2)}
    nets = discriminator.discriminators(jr.key(0), sizes, (8,))

    def samples(agents, size):
        normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
        valid = rng.random((agents, 20)) < 0.6
        return Samples(Rows(normal(agents, 30, size), np.array([30, 25, 10][:agents])), normal(agents, 20, size), valid)

    given = {role: samples(*about) for role, about in sizes.items()}
    run = jax.jit(
        lambda key, given: discriminator.learn(ADAM, (nets, ADAM.init({"discriminator": nets})), key, given, 4, 16, 10.0)
    )
    return run, given, run(jr.key(1), given), nets


def changed(given, role: str, **arrays):
    """The samples with arrays of one role changed by functions (own, valid, x and count of the demonstrations)."""
    now = given[role]
    demos = now.demos._replace(**{name: arrays[name](getattr(now.demos, name)) for name in ("x", "count") if name in arrays})
    return given | {role: now._replace(demos=demos, **{n: arrays[n](getattr(now, n)) for n in ("own", "valid") if n in arrays})}


def blanked(value, *where):
    """A function that puts `value` at places of an array."""

    def change(x):
        x = np.array(x)
        x[where] = value
        return x

    return change


def test_no_agent_sees_another(learned):
    """NaN in all that the others have: this agent's parameters and its optimiser's moments are the same bit for bit."""
    run, given, ((nets, opt), _), _ = learned
    others = changed(given, "a", x=blanked(np.nan, slice(1, None)), own=blanked(np.nan, slice(1, None)))
    others = changed(others, "b", x=blanked(np.nan, ...), own=blanked(np.nan, ...))
    (found, moved), _ = run(jr.key(1), others)
    mine = lambda tree: [np.asarray(x)[0] for x in jax.tree.leaves(tree)]
    assert same(mine(nets["a"]), mine(found["a"])) and same(mine(opt["discriminator"]["a"]), mine(moved["discriminator"]["a"]))
    assert not np.isfinite(np.asarray(jax.tree.leaves(found["a"])[0])[1]).any()
    assert not np.isfinite(np.asarray(jax.tree.leaves(found["b"])[0])).any()


@pytest.mark.parametrize("noise", [7.0, np.nan])
def test_dead_and_padded_samples_change_nothing(learned, noise):
    run, given, want, _ = learned
    own = blanked(noise, ~given["a"].valid)
    padding = np.arange(30) >= given["a"].demos.count[:, None]
    assert same(want, run(jr.key(1), changed(given, "a", own=own, x=blanked(noise, padding))))
    living = blanked(noise, given["a"].valid)
    assert not same(want, run(jr.key(1), changed(given, "a", own=living)))


def test_an_agent_that_is_always_dead_learns_nothing(learned):
    run, given, want, before = learned
    (nets, _), metrics = run(jr.key(1), changed(given, "a", valid=blanked(False, 1), own=blanked(np.nan, 1)))
    agent = lambda tree, i: [np.asarray(x)[i] for x in jax.tree.leaves(tree)]
    assert same(agent(nets["a"], 1), agent(before["a"], 1)) and same(agent(nets["a"], 2), agent(want[0][0]["a"], 2))
    assert all(np.isfinite(x) for x in metrics.values())


# ------------------------------------------------------------------ the four tiles (§4)


TILES = range(4)
PLACEMENTS = [(mine, other) for mine, other in itertools.product(TILES, TILES) if mine != other]
"""Where the first agent stands, and the second: one agent on a tile at a time. Tile 0 is A₁₁."""


def placements(stays: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[12] of a joint policy: the second agent takes a tile by `other` [4], and the first goes by `stays` [4] where it may."""
    joint = np.array([other[b] * stays[a] / (1 - stays[b]) for a, b in PLACEMENTS])
    return joint / joint.sum()


def kl(p, q) -> float:
    return float((p * np.log(p / q)).sum())


def views(joint: np.ndarray, count: int, seed: int) -> np.ndarray:
    """[2 count 8]: what the two agents see of placements: their own tile, then the other's."""
    found = np.array(PLACEMENTS)[np.random.default_rng(seed).choice(12, count, p=joint)]
    tiles = np.eye(4, dtype=np.float32)[found]
    return np.stack([tiles.reshape(count, 8), tiles[:, ::-1].reshape(count, 8)])


def test_four_tiles_can_be_matched_by_both_agents_only_if_one_joint_policy_demonstrated():
    """§4: two agents that both want A₁₁ for themselves. What an agent earns on average is −KL(its visits ‖ its demonstrations)
    once its discriminator is the best one, so that

    - if one joint policy demonstrated to both, it earns 0 for both, and an agent that deviates alone earns less (Claim 1);
    - if each demonstrator stood on A₁₁ itself, no joint policy earns 0 for both: the sum is at most 2·log Σ √(μ₁μ₂).
    """
    first, away = np.array([0.7, 0.1, 0.1, 0.1]), np.array([0.1, 0.3, 0.3, 0.3])
    expert = placements(first, away)
    deviating = placements(np.array([0.4, 0.2, 0.2, 0.2]), away)
    swapped = np.array([expert[PLACEMENTS.index((b, a))] for a, b in PLACEMENTS])  # the second agent stands on A₁₁
    middle = np.sqrt(expert * swapped)
    best = middle / middle.sum()  # minimises the sum of both divergences
    cases = [((expert, expert), expert), ((expert, expert), deviating), ((expert, swapped), best), ((expert, swapped), expert)]
    count, rng = 10_000, np.random.default_rng(0)
    theirs = [views(joint, count, 10 + a)[a] for demos, _ in cases for a, joint in enumerate(demos)]
    own = jnp.asarray(np.concatenate([views(joint, count, 20) for _, joint in cases]))
    given = Samples(Rows(jnp.asarray(np.stack(theirs)), jnp.full(8, count)), own, jnp.ones((8, count), bool))

    @jax.jit
    def earned(given):  # all cases at once: a discriminator for each agent of each
        nets = discriminator.discriminators(jr.key(0), {"agent": (8, 8)}, (32,))
        state = nets, ADAM.init({"discriminator": nets})
        (nets, _), _ = discriminator.learn(ADAM, state, jr.key(1), {"agent": given}, 300, 400, 0.0)
        return nets["agent"].agent_first(given.own)[..., 0].mean(-1)

    found = np.asarray(earned(given)).reshape(4, 2)
    want = np.array([[-kl(joint, demos[a]) for a in range(2)] for demos, joint in cases])
    print("earned", found.round(3).tolist(), "known", want.round(3).tolist())
    np.testing.assert_allclose(found, want, rtol=0, atol=0.1)
    assert np.abs(found[0]).max() < 0.1 and found[1].max() < -0.15
    bound = 2 * np.log(middle.sum())
    assert all(-kl(p, expert) - kl(p, swapped) <= bound + 1e-9 for p in rng.dirichlet(np.ones(12), 2000))
    np.testing.assert_allclose(want[2].sum(), bound)
    assert found[2].sum() < -0.5 and found[3].sum() < found[2].sum()


# ------------------------------------------------------------------ the same policy, and another


def test_a_team_that_behaves_as_its_demonstrators_earns_nothing_on_average():
    """On fresh episodes of sixteen independent experiments, in a 99% interval; other demonstrators make it lose reward."""
    env, config, times, each = Spread(2, horizon=8), small(PPO(), hidden=(8,)), 16, 60
    params = fresh(config, env.spec, 2)
    ways = lambda params: params["actor"]["agent"].net.body.layers[-1].bias
    params = eqx.tree_at(ways, params, 3 * jnp.eye(5)[np.array([1, 2])])  # one team goes left, the other right
    team = TeamPolicy(env.spec, config, params, (0, 1), env)
    mine, others = record(team, episodes=3 * times * each), record(team, episodes=times * each, seed=1)

    def by_experiment(obs):
        """[16·A, N, O] of episodes [16·each T A O]: the agents of all experiments side by side."""
        x = np.moveaxis(obs.reshape(times, -1, *obs.shape[2:]), 2, 1)
        return jnp.asarray(x.reshape(-1, *x.shape[2:]))

    own, demos, new = (by_experiment(x) for x in np.split(mine.obs["agent"], 3))

    @jax.jit
    def earned(demos):
        nets = discriminator.discriminators(jr.key(0), {"agent": (len(own), own.shape[-1])}, (16,))
        given = Samples(Rows(demos, jnp.full(len(demos), demos.shape[1])), own, jnp.ones(own.shape[:2], bool))
        state = nets, ADAM.init({"discriminator": nets})
        (nets, _), _ = discriminator.learn(ADAM, state, jr.key(1), {"agent": given}, 60, 64, 1.0)
        return nets["agent"].agent_first(new)[..., 0].mean(-1).reshape(times, -1).mean(-1)

    alike, unlike = np.asarray(earned(demos)), np.asarray(earned(by_experiment(others.obs["agent"])))
    error = alike.std(ddof=1) / np.sqrt(times)
    print(f"as its demonstrators {alike.mean():.3f} ± {error:.3f}, unlike them {unlike.mean():.3f}")
    assert abs(alike.mean()) < 2.95 * error < 0.2 and unlike.max() < -0.5


# ------------------------------------------------------------------ the guidance


TINY = {"num_envs": 4, "rollout": 4, "hidden": (8,)}
SMALL = {"hidden": (8,), "steps": 2, "batch": 8}


def hooks(guide: Gail, env=None):
    env = env or Lengths()
    return guide.make(env.spec, make_learner(small(PPO(), **TINY), env.spec))


def moment(env, living: float, *leading: int) -> Transition:
    """A transition [*leading ..] of random numbers, in which some agents are dead."""
    rng, roles = np.random.default_rng(5), env.spec.roles
    normal = lambda *shape: jnp.asarray(rng.normal(size=(*leading, *shape)), jnp.float32)
    by_role = lambda of: {name: of(x) for name, x in roles.items()}
    obs, nothing = by_role(lambda x: normal(x.agents, x.obs_size)), jnp.zeros(leading)
    alive = by_role(lambda x: jnp.asarray(rng.random((*leading, x.agents)) < living))
    action, reward = by_role(lambda x: normal(x.agents, x.actions.size)), by_role(lambda x: normal(x.agents))
    no = nothing > 0
    return Transition(obs, action, reward, no, no, obs, nothing, nothing, alive, None, None, no, {})


def test_the_reward_is_the_environments_and_c_times_the_discriminators_and_the_dead_are_paid_nothing():
    """On batches of steps and of sequences alike."""
    guide = Gail(random_demos(Lengths()), 0.25, **SMALL)
    made = hooks(guide)
    g, now = made.init(jr.key(0), jnp.asarray(0)), moment(Lengths(), 0.6, 3, 5)
    alone = hooks(dataclasses.replace(guide, env_reward=False)).reward(g, now)["agent"]
    found, alive = made.reward(g, now)["agent"], now.alive["agent"]
    assert 0 < alive.sum() < alive.size
    for at in np.ndindex(alive.shape):
        logit = judged(numbers_of(g[0]["agent"], at[-1]), np.asarray(now.obs["agent"][at], float))[0]
        want = 0.25 * logit if alive[at] else 0.0
        np.testing.assert_allclose(alone[at], want, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[at], now.reward["agent"][at] + want, rtol=1e-5, atol=1e-6)
    assert same(found[~alive], now.reward["agent"][~alive])


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("absorbing", [True, False])
def test_the_dead_are_compared_and_paid_as_zeros_if_what_they_are_paid_counts(absorbing, counts):
    """Those who have died, and not those who are away; in demonstrations, from an agent's death to the end of its episode."""
    env, demos = Lengths(), random_demos(Lengths())
    demos.alive["agent"][:, 2:, 1] = False
    dead = {"agent": ~demos.alive["agent"] & demos.running[..., None]}
    dead["agent"][:5] = False  # cut off alone
    demos = dataclasses.replace(demos, dead=dead)
    learner = make_learner(dataclasses.replace(small(PPO(), **TINY), after_death=counts), env.spec)
    made = Gail(demos, 0.25, absorbing=absorbing, **SMALL).make(env.spec, learner)
    count, shows = made.data["agent"].count.tolist(), np.asarray(made.data["agent"].x[1]).any(-1)
    died, lived = dead["agent"][..., 1].sum(), np.minimum(demos.lengths, 2).sum()
    assert died > 0 and count == [demos.lengths.sum(), lived + (died if absorbing and counts else 0)]
    assert (~shows[: count[1]]).sum() == (died if absorbing and counts else 0)

    g, now = made.init(jr.key(0), jnp.asarray(0)), moment(env, 0.5, 40)
    gone = {"agent": jnp.asarray(np.random.default_rng(6).random((40, 2)) < 0.5)}
    earned = made.reward(g, dataclasses.replace(now, agent_terminated=gone))["agent"] - now.reward["agent"]
    for t, a in np.ndindex(40, 2):
        alive, dead = now.alive["agent"][t, a], gone["agent"][t, a] and absorbing and counts
        shown = np.asarray(now.obs["agent"][t, a], float) * alive
        want = 0.25 * judged(numbers_of(g[0]["agent"], a), shown)[0] if alive or dead else 0.0
        np.testing.assert_allclose(earned[t, a], want, rtol=1e-4, atol=1e-6)


def test_the_dead_are_left_out_if_demonstrations_do_not_say_who_died():
    env, demos = Lengths(), random_demos(Lengths())
    learner = small(PPO(), **TINY).make(env.spec)
    assert learner.dead_count
    made = Gail(dataclasses.replace(demos, dead=None), 0.25, **SMALL).make(env.spec, learner)
    now = dataclasses.replace(moment(env, 0.5, 40), agent_terminated={"agent": jnp.ones((40, 2), bool)})
    earned = made.reward(made.init(jr.key(0), jnp.asarray(0)), now)["agent"] - now.reward["agent"]
    assert np.asarray(earned != 0).tolist() == np.asarray(now.alive["agent"]).tolist()


def test_a_role_that_is_not_named_learns_as_without_guidance():
    guide = Gail(random_demos(Mixed(), 20), env_reward=False, roles=("talker",), **SMALL)
    made, now = hooks(guide, Mixed()), moment(Mixed(), 1.0, 4)
    paid = made.reward(made.init(jr.key(0), jnp.asarray(0)), now)
    assert set(made.data) == {"talker"} and same(paid["mover"], now.reward["mover"])
    assert not same(paid["talker"], now.reward["talker"])


def test_actions_are_compared_as_the_environment_reads_them():
    """A soft choice counts as the choice, and a number beyond its range as its bound; so on both sides."""
    demos = with_actions(random_demos(Mixed(), 20))
    made = hooks(Gail(demos, inputs="obs-action", **SMALL), Mixed())
    talk, move = np.asarray(made.data["talker"].x), np.asarray(made.data["mover"].x)
    assert (
        set(np.unique(talk[..., 3:])) == {0, 1} and (talk[..., 3:5].sum(-1) == 1).all() and (talk[..., 5:].sum(-1) == 1).all()
    )
    np.testing.assert_array_equal(talk[..., 5:].argmax(-1)[0], demos.actions["talker"][:, 0, 0, 2:].argmax(-1))
    np.testing.assert_array_equal(move[0, :, 4:], np.clip(demos.actions["mover"][:, 0, 0], -1, 1))
    now, g = moment(Mixed(), 1.0, 4), made.init(jr.key(0), jnp.asarray(0))
    clipped = dataclasses.replace(now, action=now.action | {"mover": jnp.clip(now.action["mover"], -1, 1)})
    assert same(made.reward(g, now)["mover"], made.reward(g, clipped)["mover"])


def test_every_real_setting_can_be_swept():
    """A program may trace them all at once, also while demonstrations are being laid out inside its trace."""
    env, learner = Lengths(), small(PPO(), **TINY).make(Lengths().spec)
    guide = Gail(with_actions(random_demos(env)), inputs="obs-action", **SMALL)

    def run(values):
        made = traced(guide, **dict(zip(("coefficient", "penalty", "lr"), values, strict=True))).make(env.spec, learner)
        trainer = make_trainer(env, learner, made, 64)
        return trainer.update(trainer.init(jr.key(0), jnp.asarray(0)), jnp.asarray(0))

    _, metrics = jax.eval_shape(run, [jnp.zeros(()) for _ in range(3)])
    assert len(metrics["guidance"]) == 7 and all(x.shape == () for x in metrics["guidance"].values())


REFUSED = {
    "gail needs a teacher that is demonstrations: headstart record RUN --out": lambda demos: Gail(),
    "needs a teacher that is demonstrations, and a str is none": lambda demos: Gail("demos/old"),
    "and a TeamPolicy is none": lambda demos: Gail(TeamPolicy(demos.spec, PPO(), {}, (0,), None)),
    "are of 2 × talker, 1 × mover and the team has 2 × agent": lambda demos: Gail(random_demos(Mixed())),
    "unknown role 'agents'": lambda demos: Gail(demos, roles=("agents",)),
    "learns from recorded actions, and these demonstrations have none": lambda demos: Gail(demos, inputs="obs-action"),
    "agents are there for 1 to 5 env-steps .* --guidance.ends allow": lambda demos: Gail(demos, ends="refuse"),
    "env-steps of agent_1, fewer than a batch .256.: record more": lambda demos: Gail(demos, batch=256),
}


@pytest.mark.parametrize("says", REFUSED)
def test_what_cannot_be_learned_from_is_refused_in_a_line(says):
    demos = random_demos(Lengths(), 200)
    demos.alive["agent"][:, 1:, 1] = False
    with pytest.raises(HeadstartError, match=says) as caught:
        hooks(REFUSED[says](demos))
    assert "\n" not in str(caught.value)


def test_demonstrations_of_one_length_are_not_refused():
    demos = random_demos(Lengths())
    one = dataclasses.replace(demos, lengths=demos.lengths * 0 + 5, alive={"agent": np.ones_like(demos.alive["agent"])})
    assert hooks(Gail(one, ends="refuse", **SMALL)).data["agent"].count.tolist() == [200, 200]
