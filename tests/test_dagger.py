"""CESMA: its losses against Algorithm 2 written out agent by agent, whose labels they are, who acts, and what is refused."""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from probes import Masked, Mixed, loop, played, same, shown, small
from test_runs import identical, rows, stopper

from headstart.core.checks import HeadstartError
from headstart.core.guidance import Clock, Guidance
from headstart.core.types import Continuous, Discrete, Field, RoleSpec, Route, TeamSpec, Transition
from headstart.envs.centralized import centralized
from headstart.envs.particle.reference import Reference
from headstart.envs.particle.speaker_listener import SpeakerListener
from headstart.envs.particle.spread import Spread
from headstart.guidance.dagger import Dagger
from headstart.learners.ddpg import DDPG
from headstart.learners.imitator import Imitator
from headstart.learners.ppo import PPO
from headstart.learners.qlearning import QLearning
from headstart.teams.policy import TeamPolicy
from headstart.teams.scripted import Scripted
from headstart.training import run, session

pytestmark = pytest.mark.usefixtures("sessions_once")
TINY = {"hidden": (8,), "num_envs": 4, "train_every": 4, "batch": 8, "warmup": 8, "capacity": 64}
STUDENT = small(Imitator(), **TINY, gradient_steps=2)
NOTHING = {"actor": {}}


# ------------------------------------------------------------------ helpers


def guided(guide: Dagger, spec: TeamSpec, config: Any = STUDENT, seed: int = 0):
    """(guidance, its state, learner)."""
    learner = config.make(spec)
    guidance = guide.make(spec, learner)
    return guidance, guidance.init(jr.key(0), jnp.asarray(seed)), learner


def visited(spec: TeamSpec, shape: tuple[int, int] = (3, 5), alive: float = 1.0, seed: int = 0) -> Transition:
    """A rollout [T E ..] of random numbers in every place, the words that were heard included."""
    rng = np.random.default_rng(seed)
    draw = lambda size: {
        r: jnp.asarray(rng.normal(size=(*shape, s.agents, size(s))).astype("f")) for r, s in spec.roles.items()
    }
    obs, ahead, action = draw(lambda s: s.obs_size), draw(lambda s: s.obs_size), draw(lambda s: s.actions.size)
    living = {r: jnp.asarray(rng.random((*shape, s.agents)) < alive) for r, s in spec.roles.items()}
    never, reward = jnp.zeros(shape, bool), {r: jnp.zeros(x.shape) for r, x in living.items()}
    empty = jnp.zeros((*shape, 0))
    return Transition(obs, action, reward, never, never, ahead, empty, empty, living, None, None, never, {})


def linear(spec: TeamSpec, seed: int = 0) -> tuple[Scripted, dict[str, np.ndarray]]:
    """An expert that is a random matrix, and the matrix."""
    rng = np.random.default_rng(seed)
    matrix = {role: rng.normal(size=(s.obs_size, s.actions.size)).astype("f") for role, s in spec.roles.items()}
    return Scripted(lambda obs: {role: x @ jnp.asarray(matrix[role]) for role, x in obs.items()}, spec), matrix


def controller(env: Any, config: Any, seeds: tuple[int, ...] = (0, 1, 2), actions: Any = "heads") -> TeamPolicy:
    """An untrained expert that sees and moves everybody."""
    whole = centralized(env, actions)
    params = jax.jit(jax.vmap(config.make(whole.spec).init))(jr.split(jr.key(77), len(seeds)))
    return TeamPolicy(whole.spec, config, params, seeds, whole)


def observed(guidance: Guidance, g: Any, rollout: Transition):
    """(the state after it, the rollout with labels, metrics)."""
    return guidance.observe(g, {}, jr.key(0), rollout, Clock(jnp.asarray(0), jnp.zeros(())), ())


def lesson(guide: Dagger, spec: TeamSpec, rollout: Transition, config: Any = STUDENT):
    """(the batch that a rollout becomes, fresh students' parameters, their logits, params, batch -> terms)."""
    guidance, g, learner = guided(guide, spec, config)
    terms = lambda params, batch: guidance.objective(g, params, batch, NOTHING)

    @jax.jit
    def begin(rollout):
        labelled = observed(guidance, g, rollout)[1]
        params, batch = learner.prepare(learner.init(jr.key(1)), (), labelled)
        return batch, params, learner.unroll(params, batch)[1]

    return *begin(rollout), jax.jit(terms)


def cross_entropy(logits: np.ndarray, choice: int) -> float:
    x = np.asarray(logits, float)
    return float(np.log(np.exp(x - x.max()).sum()) + x.max() - x[choice])


# ------------------------------------------------------------------ imitation without messages


@pytest.mark.parametrize("shared,active,weight", [(False, 1.0, 1.0), (False, 3.0, 0.5), (True, 0.25, 2.0)])
def test_the_imitation_loss_by_loops(shared, active, weight):
    """Two talkers with two heads and a mover with continuous actions, all of them dead now and then."""
    spec = Mixed().spec
    teacher, matrix = linear(spec)
    guide = Dagger(teacher, weight=weight, active_weight=active)
    batch, params, logits, terms = lesson(guide, spec, visited(spec, alive=0.7), dataclasses.replace(STUDENT, shared=shared))
    student, got = {role: np.asarray(x, float) for role, x in logits.items()}, terms(params, batch)
    assert set(got) == {"actor", "imitation"} and got["actor"] == NOTHING["actor"]
    moved = []
    for role, about in spec.roles.items():
        for agent in range(about.agents):
            losses = []
            for b in range(15):
                if not batch.alive[role][b, agent]:
                    continue
                wanted = np.asarray(batch.obs[role][b, agent] @ matrix[role])
                if isinstance(about.actions, Continuous):
                    losses.append(((student[role][b, agent] - wanted) ** 2).mean())
                    continue
                first, second = int(wanted[:2].argmax()), int(wanted[2:].argmax())
                loss = cross_entropy(student[role][b, agent, :2], first) + cross_entropy(student[role][b, agent, 2:], second)
                moved.append((first, second) != (0, 0))
                losses.append(loss * (active if moved[-1] else 1.0))
            assert 3 < len(losses) < 15
            want = weight * np.mean(losses) / (about.agents if shared else 1)
            np.testing.assert_allclose(got["imitation"][role][agent], want, rtol=1e-5)
    assert any(moved) and not all(moved)


@pytest.mark.parametrize("shared", [False, True])
def test_values_are_the_logits_of_students_that_have_no_actor(shared):
    spec = Spread(2).spec
    teacher, matrix = linear(spec)
    batch, params, logits, terms = lesson(Dagger(teacher), spec, visited(spec), small(QLearning(), **TINY, shared=shared))
    got, chosen = terms(params, batch)["imitation"]["agent"], np.asarray(batch.obs["agent"] @ matrix["agent"]).argmax(-1)
    for agent in range(2):
        losses = [cross_entropy(logits["agent"][b, agent], chosen[b, agent]) for b in range(15)]
        np.testing.assert_allclose(got[agent], np.mean(losses) / (2 if shared else 1), rtol=1e-5)


def test_an_agent_that_is_dead_throughout_has_nothing_to_learn():
    spec = Mixed().spec
    rollout = visited(spec)
    gone = {role: x.at[..., -1].set(False) for role, x in rollout.alive.items()}
    batch, params, _, terms = lesson(Dagger(linear(spec)[0]), spec, dataclasses.replace(rollout, alive=gone))
    loss = terms(params, batch)["imitation"]
    assert loss["mover"].tolist() == [0.0] and loss["talker"][1] == 0.0 < loss["talker"][0]


def test_each_from_samples_of_its_own():
    """Spoiling a sample changes the loss of one agent and of no other; the shares of all cover the batch once."""
    spec, count = Mixed().spec, 13
    teacher, _ = linear(spec)
    batch, params, _, terms = lesson(Dagger(teacher, datasets="own"), spec, visited(spec, (1, count)))
    flat = lambda terms: np.concatenate([np.asarray(terms["imitation"][role]) for role in spec.roles])
    losses = lambda batch: flat(terms(params, batch))
    plain, owners = losses(batch), []
    for b in range(count):
        moved = np.where(np.arange(count) == b, np.float32(3), np.float32(0))[:, None, None]
        spoilt = dataclasses.replace(batch, obs={role: jnp.asarray(np.asarray(x) + moved) for role, x in batch.obs.items()})
        owners.append(np.flatnonzero(losses(spoilt) != plain).tolist())
    assert all(len(owner) == 1 for owner in owners), owners
    shares = [[b for b in range(count) if owners[b] == [agent]] for agent in range(3)]
    assert sorted(len(share) for share in shares) == [4, 4, 5]
    # And each loss is what everybody's would be on a batch of that share alone.
    guidance, g, _ = guided(Dagger(teacher), spec)
    everybodys = jax.jit(lambda batch: guidance.objective(g, params, batch, NOTHING))
    for agent, share in enumerate(shares):
        alone = jax.tree.map(lambda x, share=share: jnp.asarray(np.asarray(x)[share]), batch)
        want = flat(everybodys(alone))
        np.testing.assert_allclose(plain[agent], want[agent], rtol=1e-6)


# ------------------------------------------------------------------ messages: Algorithm 2


class Member(NamedTuple):
    """One agent, its moves and what it observes before the words it hears, as the scenario's description has it."""

    role: str
    index: int
    moves: int
    seen: int
    hears: tuple[int, ...]


TEAMS = {
    "reference": (
        Reference(3, 5),
        [Member("agent", i, 5, 2 + 2 * 5 + 2 * 3, tuple(j for j in range(3) if j != i)) for i in range(3)],
    ),
    "speaker-listener": (
        SpeakerListener(),
        [Member("speaker", 0, 0, 3, ()), Member("listener", 0, 5, 2 + 2 * 3, (0,))],
    ),
}
talking = pytest.mark.parametrize("name", TEAMS)


def weights(team: Any, index: int) -> list[tuple]:
    """[(W, b)] of one agent's layers."""
    return [(x.weight, x.bias) if team.shared else (x.weight[index], x.bias[index]) for x in team.net.layers]


def forward(layers, x):
    for w, b in layers[:-1]:
        x = jnp.maximum(x @ w + b[None], 0.0)
    w, b = layers[-1]
    return x @ w + b[None]


def surprise(logits, choices):
    """Mean cross-entropy of logits [B U] to the chosen options [B]."""
    return (jax.scipy.special.logsumexp(logits, -1) - logits[np.arange(len(choices)), choices]).mean()


def algorithm_2(members, old, i, obs, ahead, labels, communication=True):
    """θ -> the loss of which agent i takes the gradient at its own parameters, all others' being numbers (lines 7-15)."""
    speak = lambda k, layers: jax.nn.softmax(forward(layers, obs[k])[:, members[k].moves :], -1)
    broadcast = [speak(k, old[k]) for k in range(len(members))]

    def act(j, layers, said):
        heard = [said[k] for k in members[j].hears]
        return forward(layers, jnp.concatenate([ahead[j][:, : members[j].seen], *heard], -1))[:, : members[j].moves]

    def loss(theta):
        total = jnp.zeros(())
        if members[i].moves:
            total += surprise(act(i, theta, broadcast), labels[i])
        said = [speak(i, theta) if k == i else broadcast[k] for k in range(len(members))]
        for j, other in enumerate(members):
            if communication and j != i and other.moves:
                total += surprise(act(j, old[j], said), labels[j]) / (len(members) - 1)
        return total

    return loss


def expert_of(env) -> tuple[Scripted, Any]:
    """A random linear controller, and its choices for every mover from the members' observations [B O], by loops."""
    teacher, matrix = linear(centralized(env).spec)

    def choices(members, obs):
        out = [np.zeros(len(obs[0]), int) for _ in members]
        movers = [k for k, member in enumerate(members) if member.moves]
        for b in range(len(obs[0])):
            joint = np.concatenate([x[b, : member.seen] for x, member in zip(obs, members, strict=True)])
            scores = joint @ matrix["team"]
            for at, k in enumerate(movers):
                out[k][b] = scores[5 * at : 5 * at + 5].argmax()
        return out

    return teacher, choices


def one_by_one(members, obs):
    """{role: [B A O]} -> [[B O] of each member]."""
    return [np.asarray(obs[member.role][:, member.index]) for member in members]


CASES = [("reference", False), ("reference", True), ("speaker-listener", False)]


@pytest.mark.parametrize("messages", ["learned", "fixed"])
@pytest.mark.parametrize("name,shared", CASES)
def test_the_gradient_is_that_of_algorithm_2_agent_by_agent(name, shared, messages):
    """The words in the stored next observation are replaced: random numbers in their place change nothing."""
    env, members = TEAMS[name]
    teacher, choices = expert_of(env)
    config = dataclasses.replace(STUDENT, shared=shared)
    batch, params, _, terms = lesson(Dagger(teacher, messages=messages), env.spec, visited(env.spec, (1, 20)), config)
    descended = lambda p: sum(x.sum() for term in terms(p, batch).values() for x in term.values())
    got = jax.jit(jax.grad(descended))(params)
    obs, ahead = one_by_one(members, batch.obs), one_by_one(members, batch.next_obs)
    labels = choices(members, ahead)
    assert all(len(set(x.tolist())) > 1 for x, member in zip(labels, members, strict=True) if member.moves)
    old = [weights(params["actor"][member.role], member.index) for member in members]
    loss = lambda old, i: algorithm_2(members, old, i, obs, ahead, labels, messages == "learned")
    each = jax.jit(lambda old: [jax.grad(loss(old, i))(old[i]) for i in range(len(members))])
    want = [jax.tree.leaves(grad) for grad in each(old)]
    if shared:
        want = [[sum(parts) / len(members) for parts in zip(*want, strict=True)]]
    for member, leaves in zip(members, want, strict=False):
        mine = jax.tree.leaves(weights(got["actor"][member.role], member.index))
        for ours, theirs in zip(mine, leaves, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        quiet = messages == "fixed" and not member.moves
        assert quiet == (not any(np.asarray(x).any() for x in mine))


def blocks(jacobian, out: int, agent: int):
    """Hidden weights, and the last layer's columns, of one agent in the gradient of one agent's term."""
    first, last = jacobian["actor"]["agent"].net.layers
    return np.asarray(first.weight[out, agent]), np.asarray(last.weight[out, agent]), np.asarray(last.bias[out, agent])


def test_whom_a_loss_reaches():
    """What agent j loses by what it heard reaches every other agent through its words, and j itself not at all; what it
    loses by its own move reaches j alone."""
    env, _ = TEAMS["reference"]
    batch, params, _, terms = lesson(Dagger(expert_of(env)[0]), env.spec, visited(env.spec, (1, 6)))
    losses = lambda p: {name: term["agent"] for name, term in terms(p, batch).items() if name != "actor"}
    reach = jax.jit(jax.jacrev(losses))(params)
    for j in range(3):
        for i in range(3):
            hidden, last, bias = blocks(reach["message"], j, i)
            assert not last[:, :5].any() and not bias[:5].any()
            assert hidden.any() == last[:, 5:].any() == bias[5:].any() == (i != j)
            hidden, last, bias = blocks(reach["imitation"], j, i)
            assert not last[:, 5:].any() and not bias[5:].any()
            assert hidden.any() == last[:, :5].any() == bias[:5].any() == (i == j)


def test_a_speaker_has_no_action_to_learn():
    env, _ = TEAMS["speaker-listener"]
    batch, params, _, terms = lesson(Dagger(expert_of(env)[0]), env.spec, visited(env.spec, (1, 6)))
    losses = lambda p: {name: sum(x.sum() for x in terms(p, batch)[name].values()) for name in ("imitation", "message")}
    reach = jax.jit(jax.jacrev(losses))(params)
    learn = lambda name: {
        role: any(np.asarray(x).any() for x in jax.tree.leaves(team)) for role, team in reach[name]["actor"].items()
    }
    assert not terms(params, batch)["imitation"]["speaker"].any()
    assert learn("imitation") == {"speaker": False, "listener": True}
    assert learn("message") == {"speaker": True, "listener": False}


@pytest.mark.parametrize("env,ahead", [(Spread(3), False), (Reference(3, 5), True)], ids=["silent", "talking"])
def test_the_label_belongs_to_the_observation_that_is_acted_on(env, ahead):
    """With messages that is the next one, where what was said is heard."""
    teacher, matrix = linear(centralized(env).spec)
    guidance, g, _ = guided(Dagger(teacher), env.spec)
    rollout = visited(env.spec)
    got = np.asarray(observed(guidance, g, rollout)[1].extras.popitem()[1]["agent"])
    want = {}
    for name in ("obs", "next_obs"):
        seen = np.asarray(getattr(rollout, name)["agent"])[..., : 18 if ahead else None]
        scores = (seen.reshape(3, 5, -1) @ matrix["team"]).reshape(3, 5, 3, 5)
        want[name] = np.eye(5)[scores.argmax(-1)]
    np.testing.assert_array_equal(got[..., :5], want["next_obs" if ahead else "obs"])
    assert not got[..., 5:].any() and (want["obs"] != want["next_obs"]).any()


# ------------------------------------------------------------------ who acts, and what is told of it

UPDATES, WARMUP, STEPS, ENVS = 10, 2, 2, 32
STUBBORN = Imitator(hidden=(8,), lr=1e-12, batch=8, warmup=WARMUP * STEPS * ENVS, train_every=STEPS * ENVS,
                    gradient_steps=1, num_envs=ENVS)  # fmt: skip


@dataclass(frozen=True)
class Stubborn:
    """Students that always choose the last move, which the expert never does."""

    teacher: Any = None

    def make(self, spec, learner):
        def start(g, params):
            team = params["actor"]["agent"]
            bias = jr.normal(jr.key(6), team.net.layers[-1].bias.shape).at[:, 4].set(1e3)  # no two words are a tie
            last = dataclasses.replace(team.net.layers[-1], bias=bias)
            net = dataclasses.replace(team.net, layers=[*team.net.layers[:-1], last])
            return {"actor": {"agent": dataclasses.replace(team, net=net)}}, []

        return Guidance(start=start)


def signs(obs):
    """Of the four moves other than the last, by the signs of an agent's velocity and of its first landmark's place."""
    each = obs["team"].reshape(*obs["team"].shape[:-1], 3, 18)
    option = 2 * (each[..., 2] > 0) + (each[..., 3] > 0)
    return {"team": jax.nn.one_hot(option, 5).reshape(*option.shape[:-1], 15)}


@pytest.fixture(scope="module")
def lessons():
    """A run in which the expert acts at first: ({name: [K T E ..] what was remembered}, metrics, last state, learner)."""
    env = Reference(3, 5, horizon=6)
    teacher = Scripted(signs, centralized(env).spec)
    made = loop(env, STUBBORN, UPDATES, (Stubborn(), Dagger(teacher, beta=1.0)))
    state, metrics = made.run()
    kept = jax.tree.map(lambda x: np.asarray(x[0]).reshape(UPDATES, STEPS, ENVS, *x.shape[2:]), state.memory)
    return kept, metrics, jax.tree.map(lambda x: x[0], state), made.learner


def told(obs: np.ndarray) -> np.ndarray:
    """What `signs` says, [.. A]: the number of the move."""
    return 2 * (obs[..., 2] > 0) + (obs[..., 3] > 0)


def test_the_expert_acts_at_first_and_never_at_last(lessons):
    """In an env-step all agents or none are led; the share falls in a straight line once learning begins."""
    kept, *_ = lessons
    did = kept.action["agent"][..., :5]
    np.testing.assert_array_equal(did.sum(-1), 1)
    led = did.argmax(-1) == told(kept.obs["agent"])
    assert (led.all(-1) == led.any(-1)).all() and (did.argmax(-1)[~led] == 4).all()
    share = led[..., 0].mean((1, 2))
    beta = np.concatenate([np.ones(WARMUP), np.linspace(1, 0, UPDATES - WARMUP)])
    assert (share[: WARMUP + 1] == 1).all() and share[-1] == 0
    assert (np.abs(share - beta) < 4.5 * np.sqrt(beta * (1 - beta) / (STEPS * ENVS)) + 1e-6).all(), share
    assert (np.diff(share[WARMUP:]) < 0.15).all()


def test_words_are_the_students_own_and_one_hot(lessons):
    """Each agent sends its likeliest word, if the expert moves it as well; learning uses soft words."""
    kept, _, state, learner = lessons
    logits = np.asarray(learner.policy(state.params, (), jax.tree.map(jnp.asarray, kept.obs))[1]["agent"])
    np.testing.assert_array_equal(kept.action["agent"][..., 5:], np.eye(10)[logits[..., 5:].argmax(-1)])
    heard = np.moveaxis(np.asarray(state.env.message), -1, 0)
    assert set(np.unique(heard)) == {0.0, 1.0} and (heard.sum(-1) <= 1).all()
    inside = ~kept.first[:, 1]  # what was said is heard in the next step, unless an episode began
    said, then = kept.action["agent"][:, 0, :, 1:, 5:], kept.obs["agent"][:, 1, :, 0, 18:]
    np.testing.assert_array_equal(then[inside], said.reshape(UPDATES, ENVS, 20)[inside])


def test_the_size_of_the_dataset_is_what_was_collected(lessons):
    _, _, state, _ = lessons
    assert int(state.guidance[1]["dataset"]) == UPDATES * STEPS * ENVS
    assert not any(x.weak_type for x in jax.tree.leaves(state.guidance))  # an update is compiled once


def test_the_error_is_the_share_of_other_choices(lessons):
    kept, metrics, _, _ = lessons
    for k in range(UPDATES):
        for agent in range(3):
            wrong = 0
            for t in range(STEPS):
                for e in range(ENVS):
                    obs, action = kept.obs["agent"][k, t, e, agent], kept.action["agent"][k, t, e, agent]
                    wrong += int(action[:5].argmax()) != int(told(obs))
            np.testing.assert_allclose(metrics[k]["guidance"][f"error/agent_{agent}"][0], wrong / (STEPS * ENVS), rtol=1e-6)


def test_errors_of_several_heads_of_continuous_actions_and_of_the_living():
    """A share of heads, a squared distance, and nothing of the dead."""
    spec = Mixed().spec
    teacher, matrix = linear(spec)
    guidance, g, _ = guided(Dagger(teacher), spec)
    rollout, rng = visited(spec, alive=0.6), np.random.default_rng(3)
    choices = rng.integers(0, [2, 3], (3, 5, 2, 2))
    said = np.concatenate([np.eye(2)[choices[..., 0]], np.eye(3)[choices[..., 1]]], -1).astype("f")
    rollout = dataclasses.replace(rollout, action=rollout.action | {"talker": jnp.asarray(said)})
    *_, got = observed(guidance, g, rollout)
    for agent in range(2):
        wrong, heads = 0, 0
        for t, e in np.argwhere(np.asarray(rollout.alive["talker"])[..., agent]):
            scores = np.asarray(rollout.obs["talker"][t, e, agent]) @ matrix["talker"]
            wrong += int(scores[:2].argmax() != choices[t, e, agent, 0])
            wrong += int(scores[2:].argmax() != choices[t, e, agent, 1])
            heads += 2
        assert 0 < wrong < heads < 30
        np.testing.assert_allclose(got[f"error/talker_{agent}"], wrong / heads, rtol=1e-6)
    gaps = np.asarray(rollout.action["mover"]) - np.asarray(rollout.obs["mover"]) @ matrix["mover"]
    living = np.asarray(rollout.alive["mover"])
    np.testing.assert_allclose(got["error/mover_0"], (gaps**2).mean(-1)[living].mean(), rtol=1e-5)


def step_of(env, envs: int):
    return jax.jit(jax.vmap(env.reset))(jr.split(jr.key(4), envs))[1]


def test_nobody_takes_over_at_beta_0_and_the_expert_exactly_at_beta_1():
    """Soft actions as well: heads that move are the label's, bit for bit, and words are left as they are."""
    env, _ = TEAMS["reference"]
    teacher, choices = expert_of(env)
    step = step_of(env, 16)
    action = {"agent": jax.nn.softmax(jr.normal(jr.key(1), (16, 3, 15)), -1)}
    for beta in (0.0, 1.0):
        guidance, g, _ = guided(Dagger(teacher, beta=beta), env.spec)
        _, got = guidance.behave(g, guidance.carry(16), jr.key(2), step, action, Clock(0, jnp.zeros(())))
        moves = np.asarray(action["agent"][..., :5])
        if beta:
            wanted = choices(TEAMS["reference"][1], [np.asarray(step.obs["agent"][:, i]) for i in range(3)])
            moves = np.eye(5, dtype="f")[np.stack(wanted, -1)]
        np.testing.assert_array_equal(got["agent"][..., :5], moves)
        np.testing.assert_array_equal(got["agent"][..., 5:], action["agent"][..., 5:])


@pytest.mark.parametrize("env", [Spread(3), Reference(3, 5)], ids=["spread", "reference"])
def test_students_act_on_their_own_observation_only(env):
    """With NaN in the place of what all others observe, an agent's logits are what they were."""
    params = jax.jit(jax.vmap(STUDENT.make(env.spec).init))(jr.split(jr.key(3), 1))
    team = TeamPolicy(env.spec, STUDENT, params, (0,), env)
    role, rng = env.spec.roles["agent"], np.random.default_rng(0)
    policy = jax.jit(team.learner.policy)
    meant = lambda obs: np.asarray(policy(team.place(0), (), {"agent": jnp.asarray(obs, jnp.float32)})[1]["agent"])
    for _ in range(5):
        obs = rng.normal(size=(role.agents, role.obs_size))
        plain = meant(obs)
        for agent in range(role.agents):
            others = np.where(np.arange(role.agents)[:, None] == agent, obs, np.nan)
            np.testing.assert_array_equal(meant(others)[agent], plain[agent])
        assert len(np.unique(plain, axis=0)) > 1


# ------------------------------------------------------------------ experts


def meant(kind: str, choice: Any) -> list[int]:
    """The moves of two agents with five moves each."""
    if kind == "heads":
        return [int(x) for x in choice]
    if kind == "joint":
        return list(divmod(int(choice), 5))
    mover, move = divmod(int(choice), 5)
    return [move if agent == mover else 0 for agent in range(2)]


@pytest.mark.parametrize("kind,config", [
    ("heads", STUDENT), ("joint", small(QLearning(), **TINY)), ("one_at_a_time", small(QLearning(), **TINY)),
])  # fmt: skip
def test_every_seed_is_taught_by_the_expert_of_its_own_number(kind, config):
    """What the expert's own greedy policy does, spelled out for each agent; students of other numbers take turns."""
    env, seeds = Spread(2), (4, 1, 2)
    team = controller(env, config, seeds, kind)
    guidance, *_ = guided(Dagger(team), env.spec)
    rollout = visited(env.spec, (2, 3))
    students = jnp.array([1, 2, 4, 9])
    g = jax.vmap(lambda seed: guidance.init(jr.key(0), seed))(students)
    got = jax.vmap(lambda g: observed(guidance, g, rollout)[1])(g).extras.popitem()[1]["agent"]
    joint = np.asarray(rollout.obs["agent"]).reshape(2, 3, -1)
    for row, place in enumerate((1, 2, 0, 0)):  # 9 is nobody's: 9 mod 3 is the first
        for t, e in np.ndindex(2, 3):
            wanted = meant(kind, team.act({"team_0": joint[t, e]}, seed=place)[0]["team_0"])
            np.testing.assert_array_equal(got[row, t, e], np.eye(5)[wanted])
    assert len({np.asarray(x).tobytes() for x in got[:3]}) == 3


def test_a_team_of_the_same_roles_may_teach_and_is_not_quoted():
    """It hears what the students hear; its moves are labels and its words are not."""
    env = Reference(3, 5)
    config = small(DDPG(), **TINY)
    team = TeamPolicy(env.spec, config, jax.jit(jax.vmap(config.make(env.spec).init))(jr.split(jr.key(2), 2)), (0, 1), env)
    guidance, g, _ = guided(Dagger(team), env.spec, seed=1)
    rollout = visited(env.spec)
    label = np.asarray(observed(guidance, g, rollout)[1].extras.popitem()[1]["agent"])
    for t, e in np.ndindex(3, 5):
        own = {f"agent_{i}": np.asarray(rollout.next_obs["agent"][t, e, i]) for i in range(3)}
        acted, _ = team.act(own, seed=1)
        np.testing.assert_array_equal(label[t, e, :, :5], np.eye(5)[[acted[f"agent_{i}"][0] for i in range(3)]])
    assert not label[..., 5:].any()


@pytest.mark.parametrize("kind", ["same roles", "heads", "joint"])
def test_experts_teach_and_do_what_is_legal(kind):
    """Best is the option 3, then 2 ..: the label is the best of what is left."""
    env = Masked()
    spec = env.spec if kind == "same roles" else centralized(env, kind).spec
    score = {"same roles": np.arange(4), "heads": np.tile(np.arange(4), 2), "joint": np.add.outer(np.arange(4), np.arange(4))}
    answer = jnp.asarray(score[kind].reshape(-1), jnp.float32)
    say = lambda obs: {role: jnp.broadcast_to(answer, (*x.shape[:-1], answer.size)) for role, x in obs.items()}
    guidance, g, _ = guided(Dagger(Scripted(say, spec), beta=1.0), env.spec)
    step = step_of(env, 12)
    legal = np.asarray(step.available["agent"])
    best = np.eye(4)[[[max(k for k in range(4) if mask[k]) for mask in masks] for masks in legal]]
    assert not legal[..., 3].all()
    silent, clock = {"agent": jnp.zeros((12, 2, 4))}, Clock(0, jnp.zeros(()))
    _, acted = guidance.behave(g, guidance.carry(12), jr.key(0), step, silent, clock)
    np.testing.assert_array_equal(acted["agent"], best)
    rollout = dataclasses.replace(visited(env.spec, (1, 12)), available={"agent": step.available["agent"][None]})
    np.testing.assert_array_equal(observed(guidance, g, rollout)[1].extras.popitem()[1]["agent"][0], best)
    done = dataclasses.replace(rollout, action={"agent": jnp.asarray(best, jnp.float32)[None]})
    *_, errors = observed(guidance, g, done)
    assert float(errors["error/agent_0"]) == float(errors["error/agent_1"]) == 0.0


GRU = dataclasses.replace(small(PPO(), num_envs=4, rollout=4, hidden=(8,)), core="gru")


@pytest.mark.slow
@pytest.mark.parametrize("talk", [False, True])
def test_recurrent_experts_and_students(talk):
    """The expert remembers from rollout to rollout and forgets at an episode's start; so do students that imitate it."""
    env = SpeakerListener(horizon=3) if talk else Spread(2, horizon=3)
    expert = controller(env, GRU, (0,))
    guide = Dagger(expert, beta=1.0)
    made = loop(env, GRU, 3, (guide,))
    _, metrics = made.run((0,))
    assert np.isfinite([float(m["learning"]["imitation_loss"][0]) for m in metrics]).all()
    # The expert acts alone (β = 1 at the first update), so its labels are what it did, with its memory.
    first = metrics[0]["guidance"]
    assert all(float(first[f"error/{name}"][0]) == 0 for names in env.spec.names.values() for name in names)

    guidance, g, _ = guided(guide, env.spec, GRU)
    rollout = dataclasses.replace(visited(env.spec, (5, 4)), first=jnp.asarray(np.random.default_rng(0).random((5, 4)) < 0.3))
    once = observed(guidance, g, rollout)[0]
    _, twice, _ = observed(guidance, once, rollout)
    wanted, view = twice.extras.popitem()[1], centralized(env).view
    seen, ahead = (np.asarray(view.observe(x)["team"])[..., 0, :] for x in (rollout.obs, rollout.next_obs))
    for e in range(4):
        memory = None
        for again, t in np.ndindex(2, 5):
            memory = None if rollout.first[t, e] else memory
            acted, memory = expert.act({"team_0": seen[t, e]}, memory)
            said = expert.act({"team_0": ahead[t, e]}, memory)[0]["team_0"] if talk else acted["team_0"]
            if again:
                choice = np.atleast_1d(said).tolist()
                label = [x for role in env.spec.roles for x in moves_of(env.spec, role, wanted[role][t, e])]
                assert label == choice


def moves_of(spec, role, label) -> list[int]:
    """The choice of every head that moves, agent by agent."""
    cuts = np.cumsum([size for size, _ in spec.heads(role)])[:-1]
    return [
        int(block.argmax())
        for row in np.asarray(label)
        for block, (_, moves) in zip(np.split(row, cuts), spec.heads(role), strict=True)
        if moves
    ]


REFUSED = {
    "no teacher": (Spread(3), STUDENT, lambda: Dagger(), "needs a teacher"),
    "not loaded": (Spread(3), STUDENT, lambda: Dagger("runs/expert"), "not loaded"),
    "other size": (Spread(3), STUDENT, lambda: Dagger(controller(Spread(4), STUDENT)), "neither is a controller"),
    "team of another size": (
        Spread(3), STUDENT, lambda: Dagger(linear(Spread(4).spec)[0]), "has 4 agent and the team 3 agent: knowru",
    ),
    "other roles": (SpeakerListener(), STUDENT, lambda: Dagger(linear(Spread(3).spec)[0]), "nor has its roles"),
    "talk of one's own": (
        Reference(3, 5), STUDENT, lambda: Dagger(controller(Reference(3, 5), STUDENT), datasets="own"), "must be shared",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(case):
    env, config, guide, words = REFUSED[case]
    with pytest.raises(HeadstartError, match=words) as caught:
        guide().make(env.spec, config.make(env.spec))
    assert "\n" not in str(caught.value)


INF, NAN = float("inf"), float("nan")
BAD = [("beta", -0.1), ("beta", 1.5), ("beta", NAN), ("weight", -1.0), ("weight", INF), ("active_weight", -1.0)]


@pytest.mark.parametrize("name,value", BAD)
def test_bad_settings(name, value):
    with pytest.raises(HeadstartError, match=f"guidance.{name}"):
        Dagger(**{name: value})


# ------------------------------------------------------------------ whole runs


def learned(state):
    return state.params, state.target, state.opt, state.env, state.step, state.key


@dataclass(frozen=True)
class Relay:
    """A listener is paid, in the second of two steps, for choosing what only a speaker sees: all it observes is a word."""

    options: int = 4

    @property
    def spec(self):
        n = self.options
        speaker = RoleSpec(1, (Field("secret", 1, n),), Discrete((n,)))
        listener = RoleSpec(1, (Field("heard", 1, n),), Discrete((n,)))
        return TeamSpec({"speaker": speaker, "listener": listener}, 2, 2 * n, (Route("speaker", 0, "listener", "heard"),))

    def reset(self, key):
        secret = jax.nn.one_hot(jr.randint(key, (1,), 0, self.options), self.options)
        state = (secret, jnp.zeros_like(secret), jnp.zeros((), jnp.int32))
        return state, shown({"speaker": secret, "listener": state[1]})

    def step(self, state, action, key):
        secret, _, time = state
        paid = jnp.where(time == 1, (action["listener"] * secret).sum(-1), 0.0)
        state = (secret, action["speaker"], time + 1)
        seen = {"speaker": secret, "listener": state[1]}
        return state, shown(seen, {"speaker": paid, "listener": paid}, terminated=time == 1)


@pytest.mark.slow
def test_a_weight_of_0_is_no_guidance_bitwise():
    """Golden: guidance with coefficient 0 equals none. The learner is one that has something of its own to learn."""
    env, config = Relay(), small(DDPG(critic="local"), **TINY)
    team = controller(env, STUDENT, (0, 1))
    plain, _ = loop(env, config, 5).run((0, 1))
    state, metrics = loop(env, config, 5, (Dagger(team, weight=0.0, messages="fixed"),)).run((0, 1))
    assert same(learned(plain), learned(state)) and same(plain.memory.action, state.memory.action)
    assert float(metrics[-1]["learning"]["actor_loss"][0]) and not metrics[-1]["learning"]["imitation_loss"].any()
    assert same(state.guidance["teacher"], team.params)  # seed 0 has teacher 0, seed 1 teacher 1


def test_students_learn_nothing_without_an_expert():
    made = loop(Relay(), STUDENT, 5)
    before = made.start((0,))
    after, _ = made.run((0,), state=before)
    assert same(before.params, after.params) and not same(before.env, after.env)


@pytest.mark.slow
def test_what_must_be_said_is_learned_from_those_who_listen():
    """The expert earns 1 in every episode, and so do students that learn to talk; with fixed messages nobody does.

    Not from every start: soft words may tell two secrets apart whose likeliest words are the same, and then there is
    nothing left to learn.
    """
    env, seeds = Relay(), tuple(range(8))
    expert = Scripted(lambda obs: {"team": obs["team"]}, centralized(env).spec)
    controlled = STUDENT.make(expert.spec)._replace(policy=expert.policy)
    np.testing.assert_array_equal(played(centralized(env), controlled, jnp.zeros(1))["team"], 1.0)
    config = Imitator(hidden=(32,), lr=1e-2, batch=64, capacity=2048, warmup=64, train_every=32, gradient_steps=4, num_envs=16)
    returns, loss = {}, {}
    for messages in ("learned", "fixed"):
        made = loop(env, config, 80, (Dagger(expert, messages=messages),))
        state, metrics = made.run(seeds)
        returns[messages] = played(env, made.learner, state.params)["listener"][:, 0]
        loss[messages] = np.asarray(metrics[-1]["learning"]["imitation_loss"])
    assert (returns["learned"] == 1.0).sum() >= len(seeds) // 2 and (returns["learned"] > 0.6).all(), returns
    assert (returns["fixed"] < 0.9).all() and (loss["learned"] < 0.01).all(), (returns, loss)


@pytest.mark.slow
def test_interrupted_and_resumed_equals_uninterrupted_bitwise(tmp_path, monkeypatch):
    """The expert's share, the dataset and the expert itself are part of what is saved."""
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)
    env = Spread(2, horizon=5)
    guide = Dagger(controller(env, STUDENT, (0, 1)), beta=0.5)
    config = run.Config(env, STUDENT, (guide,), steps=100, seeds=2, evaluations=4, episodes=3)
    run.train(config, tmp_path / "whole")
    with pytest.raises(session.Interrupted):
        run.train(config, tmp_path / "cut", stopper(9))
    run.resume(tmp_path / "cut")
    identical(tmp_path / "cut", tmp_path / "whole")
    table = rows(tmp_path / "whole")
    assert {"error/agent_0", "error/agent_1"} <= set(table[0])
    assert len({row["imitation_loss"] for row in table}) > 4
