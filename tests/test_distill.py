"""Distillation: any teacher for any student, chosen roles and their pairs, and kinds of entities."""

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.special
import scipy.stats
from probes import Masked, Mixed, drawn, loop, same, small, whole

from headstart.core.actions import legal
from headstart.core.checks import HeadstartError
from headstart.core.networks import RoleNet
from headstart.core.spec import decode_spec, encode_spec
from headstart.core.types import Field, Transition
from headstart.envs.particle.adversary import Adversary
from headstart.envs.particle.treasure import Treasure
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.learners.imitator import Imitator
from headstart.learners.maac import MAAC
from headstart.learners.ppo import PPO
from headstart.learners.qlearning import QLearning
from headstart.storage import schema
from headstart.storage.conform import conform
from headstart.teams.fit import fit_teacher
from headstart.teams.policy import TeamPolicy
from headstart.views.adapt import adapt, seats

KINDS = {
    "ddpg": DDPG(), "maac": MAAC(embedding=8, heads=2), "ppo": PPO(shared=False), "ppo-gru": PPO(shared=False, core="gru"),
    "imitator": Imitator(), "dqn": QLearning(),
}  # fmt: skip
LEARNERS = {name: small(config, hidden=(16,), lr=3e-3, batch=64 if name != "maac" else 16) for name, config in KINDS.items()}
"""MAAC's attention is the longest to compute; so few samples are enough for it."""


class Once(Masked):
    """Two agents, four actions of which two or three are legal; ten observations each; one step."""

    def step(self, state, action, key):
        """The reward of a soft illegal action is NaN: none may be taken."""
        state, shown = super().step(state, action, key)
        return state, dataclasses.replace(shown, truncated=jnp.asarray(True))


ENV = Once()


def team(config, env, scale=1.0, seeds=1) -> TeamPolicy:
    """An untrained team with arbitrary preferences: small final layers would make all of them the same."""
    params = jax.tree.map(lambda x: scale * x, drawn(config, env.spec, seeds))
    return TeamPolicy(env.spec, config, params, tuple(range(seeds)), env)


class Choir:
    """Several teams of one task as one teacher, of whom team i teaches seed i: a program for all of them.

    Their parameters travel as those of a network "choir", shared by all agents.
    """

    def __init__(self, teams: list[TeamPolicy]):
        self.spec, self.teams, self.learner = teams[0].spec, teams, self
        self.policy_networks, self.outputs = ("choir",), teams[0].learner.outputs
        self.params = [each.params for each in teams]

    def seed(self, number: Any) -> Any:
        return {"choir": {"agent": RoleNet((jnp.asarray(number), tuple(each.place(0) for each in self.teams)), True)}}

    def start(self, num_envs: int) -> Any:
        carry = [each.learner.start(num_envs) for each in self.teams]
        recurrent = [c["actor"]["agent"] for c in carry if c]
        return {"choir": {"agent": recurrent[0]}} if recurrent else ()

    def policy(self, params, carry, obs):
        number, members = params["choir"]["agent"].net
        answers = []
        for each, own in zip(self.teams, members, strict=True):
            mine = {"actor": carry["choir"]} if each.learner.start(1) else ()
            after, logits = each.learner.policy(own, mine, obs)
            carry = {"choir": after["actor"]} if mine else carry
            answers.append(logits["agent"])
        return carry, {"agent": jnp.stack(answers)[number]}


@functools.cache
def choirs() -> dict[str, Choir]:
    """The teachers whose outputs are logits, and those whose outputs are values."""
    by_kind: dict[str, list[TeamPolicy]] = {}
    for name, config in LEARNERS.items():
        if name != "ppo-gru":
            by_kind.setdefault(config.make(ENV.spec).outputs, []).append(team(config, ENV))
    by_kind["logits"].append(team(LEARNERS["ppo-gru"], ENV))
    return {kind: Choir(teams) for kind, teams in by_kind.items()}


MASKS = np.array([[i >> bit & 1 for bit in range(4)] for i in range(16) if bin(i).count("1") in (2, 3)], np.float32)


def choice(learner, params):
    """[10 2 4]: the best legal choice of both agents, on each observation that there is."""
    obs = {"agent": jnp.asarray(np.repeat(MASKS[:, None], 2, 1))}
    logits = learner.policy(params, learner.start(len(MASKS)), obs)[1]["agent"]
    return legal(logits, obs["agent"] > 0).argmax(-1)


@functools.cache
def taught(kind: str) -> list[np.ndarray]:
    """What the teams of a choir would choose, by one program."""
    teams = choirs()[kind].teams
    return jax.jit(lambda members: [choice(t.learner, p) for t, p in zip(teams, members, strict=True)])(
        [t.place(0) for t in teams]
    )


@pytest.mark.parametrize("kind", ["logits", "values"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "dqn" else pytest.mark.slow) for n in LEARNERS])
def test_every_student_agrees_with_every_teacher(name, kind, as_users):
    """With α = 1, on each observation that there is, about the best legal choice. PPO's GRU is a teacher and a student."""
    choir, config = choirs()[kind], LEARNERS[name]
    learner, guide = config.make(ENV.spec), Distill(choir, alpha=1.0, alpha_end=1.0)
    seeds = range(len(choir.teams))

    @jax.jit
    def students():
        return jax.vmap(lambda params: choice(learner, params))(whole(ENV, config, 300, (guide,), seeds)[0].params)

    for i, (theirs, ours) in enumerate(zip(taught(kind), students(), strict=True)):
        assert len(np.unique(theirs)) > 1, "a teacher that always does the same teaches little"
        agree = np.mean(np.asarray(ours) == np.asarray(theirs))
        assert agree >= 0.95, (i, type(choir.teams[i].config).__name__, agree)


def batch_of(guide, spec, wanted, obs, available) -> Transition:
    """A batch with these logits of the guide's teacher as labels; everyone lives."""
    zero, none = jnp.zeros(len(obs)), {"agent": jnp.zeros(obs.shape[:-1])}
    labels = {fit_teacher(guide.teacher, spec, guide.roles, guide.select).name: {"agent": jnp.asarray(wanted)}}
    alive = {"agent": jnp.ones(obs.shape[:-1], bool)}
    return Transition(
        {"agent": obs}, none, none, zero > 0, zero > 0, {"agent": obs}, zero[:, None], zero[:, None], alive,
        {"agent": available}, None, zero > 0, labels,
    )  # fmt: skip


def term(guide, config, wanted, params, own=0.0, term="actor"):
    """The students' term and its gradient for the parameters, where the learner's own term is `own` for each agent."""
    learner = config.make(ENV.spec)
    rng = np.random.default_rng(1)
    available = ~np.eye(4, dtype=bool)[rng.integers(0, 4, (len(wanted), 2))]
    obs = jnp.asarray(available, jnp.float32)
    batch = batch_of(guide, ENV.spec, wanted, obs, jnp.asarray(available))
    guidance = guide.make(ENV.spec, learner)
    g = guidance.init(jr.key(0), jnp.asarray(0)) | {"alpha": jnp.asarray(0.25)}

    def found(params):
        terms = guidance.objective(g, params, batch, {term: {"agent": jnp.full(2, own)}})
        np.testing.assert_allclose(terms[term]["agent"], 0.75 * own)  # metrics.csv has it apart from what is distilled
        return sum(x["agent"].sum() for x in terms.values())

    return found(params), jax.grad(found)(params), learner.unroll(params, batch)[1]["agent"], available


@pytest.mark.parametrize(("guru", "pupil", "temperatures"), [
    ("dqn", "ddpg", (0.01, 1.0)), ("ddpg", "dqn", (1.0, 0.01)), ("dqn", "dqn", (0.01, 0.01)), ("dqn", "dqn", (0.5, 0.2)),
])  # fmt: skip
@pytest.mark.parametrize("loss", ["auto", "ce"])
def test_values_are_compared_as_probabilities_of_legal_choices(guru, pupil, temperatures, loss):
    """Against scipy, choice by choice. The student's loss has its temperature as a factor."""
    given = temperatures if temperatures == (0.5, 0.2) else (None, None)
    guide = Distill(team(LEARNERS[guru], ENV), loss=loss, temperature=given[0], student_temperature=given[1])
    config, wanted = LEARNERS[pupil], np.random.default_rng(0).normal(size=(7, 2, 4)).astype("f") * temperatures[0]
    params = config.make(ENV.spec).init(jr.key(3))
    total, _, student, available = term(guide, config, wanted, params, 1.0, "q" if pupil == "dqn" else "actor")
    losses = np.zeros((7, 2))
    for i, a in np.ndindex(7, 2):
        may = available[i, a]
        logits = (np.asarray(x[i, a][may], float) for x in (wanted, student))
        p, q = (scipy.special.softmax(x / t) for x, t in zip(logits, temperatures, strict=True))
        losses[i, a] = scipy.stats.entropy(p, q) + (scipy.stats.entropy(p) if loss == "ce" else 0)
    np.testing.assert_allclose(total, 0.25 * temperatures[1] * losses.mean(0).sum() + 0.75 * 2, rtol=1e-4)


def test_logits_are_compared_by_their_squares_unless_something_else_is_asked_for():
    wanted = np.random.default_rng(0).normal(size=(7, 2, 4)).astype("f")
    guru, params = team(LEARNERS["ppo"], ENV), LEARNERS["ddpg"].make(ENV.spec).init(jr.key(3))
    auto, mse, kl = (term(Distill(guru, loss=x), LEARNERS["ddpg"], wanted, params)[0] for x in ("auto", "mse", "kl"))
    assert auto == mse != kl


def test_what_cannot_be_compared_is_refused_in_one_line():
    values, logits = team(LEARNERS["dqn"], ENV), team(LEARNERS["ddpg"], ENV)
    cases = [
        (Distill(values, loss="mse"), "ddpg", "puts out values and the student logits: use kl"),
        (Distill(logits, loss="mse"), "dqn", "puts out logits and the student values: use kl"),
        (Distill(logits, temperature=2.0), "ppo", "temperatures are for probabilities, and mse"),
        (Distill(logits, student_temperature=2.0), "ppo", "temperatures are for probabilities, and mse"),
    ]
    for guide, pupil, words in cases:
        with pytest.raises(HeadstartError, match=words) as caught:
            guide.make(ENV.spec, LEARNERS[pupil].make(ENV.spec))
        assert "\n" not in str(caught.value)
    Distill(values, loss="mse").make(ENV.spec, LEARNERS["dqn"].make(ENV.spec))  # values beside values are numbers of one kind


def test_a_detached_loss_leaves_only_the_factor_on_the_learners_own():
    """The authors' public MAAC code: the value is told, and no gradient comes of it."""
    guru, config = team(LEARNERS["ppo"], ENV), LEARNERS["ddpg"]
    wanted, params = np.random.default_rng(0).normal(size=(7, 2, 4)).astype("f"), config.make(ENV.spec).init(jr.key(3))
    (plain, grads, *_), (told, none, *_) = (term(Distill(guru, detached=x), config, wanted, params, 2.0) for x in (False, True))
    assert told == plain > 0.75 * 4
    assert any(np.asarray(x).any() for x in jax.tree.leaves(grads))
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(none))


# ------------------------------------------------------------------ roles, pairs and kinds


@pytest.mark.slow
def test_roles_without_a_teacher_learn_bitwise_as_without_guidance():
    """Two roles that have nothing to do with each other: the one that is not taught never notices."""
    env, config = Mixed(), small(DDPG(critic="local"), hidden=(8,), warmup=8, num_envs=4, train_every=4, batch=16)
    guru = team(config, env)
    plain = loop(env, config, 6).run()[0]
    taught = loop(env, config, 6, (Distill(guru, roles=("mover",)),)).run()[0]
    for network in ("actor", "critic"):
        assert same(taught.params[network]["talker"], plain.params[network]["talker"])
    assert not same(taught.params["actor"]["mover"], plain.params["actor"]["mover"])


@pytest.mark.parametrize(("source", "target", "pairs"), [
    (Adversary(1, 2), Adversary(2, 3), {"adversary": [0, 0], "agent": [0, 1, 0]}),
    (Adversary(1, 2), Adversary(3, 4), {"adversary": [0, 0, 0]}),
    (Treasure(4, 1), Treasure(6, 2), {"collector": [0, 1, 2, 3, 0, 1], "bank": [0, 0]}),
])  # fmt: skip
def test_roles_are_taught_by_the_same_roles_in_turn(source, target, pairs):
    """Each student's label is the answer of its teacher's network to what that one would see."""
    config, rng = small(DDPG(), hidden=(8,)), np.random.default_rng(0)
    guru, roles = team(config, source), tuple(pairs)
    fitted = fit_teacher(guru, target.spec, roles, "nearest")
    obs = {r: jnp.asarray(rng.normal(size=(3, s.agents, s.obs_size)), jnp.float32) for r, s in target.spec.roles.items()}

    @jax.jit
    def answers(params):
        _, labels = fitted.policy(fitted.params(jnp.asarray(0)), (), {role: obs[role] for role in roles})
        alone = {role: [] for role in roles}
        for role, teachers in pairs.items():
            for student, teacher in enumerate(teachers):
                net = jax.tree.map(lambda x, i=teacher: x[i], params["actor"][role].net)
                seen = adapt(obs[role][:, student], target.spec.roles[role].obs, source.spec.roles[role].obs)
                alone[role].append(net(seen))
        return labels, {role: jnp.stack(answer, 1) for role, answer in alone.items()}

    labels, alone = answers(guru.place(0))
    assert set(labels) == set(roles)
    for role, teachers in pairs.items():
        assert seats(target.spec, source.spec, role).tolist() == teachers
        np.testing.assert_allclose(labels[role], alone[role], rtol=1e-4, atol=1e-5)


def test_kinds_are_paired_like_agents():
    """A treasure of kind j of 5 is one of kind j mod 2; few kinds are filled up with kinds that never occur."""
    rng = np.random.default_rng(0)
    have, want = Field("chests", 3, 2 + 5, kinds=(5,)), Field("chests", 3, 2 + 2, kinds=(2,))
    places, kinds = rng.normal(size=(4, 3, 2)), rng.integers(0, 5, (4, 3))
    many = np.concatenate([places, np.eye(5)[kinds]], -1).reshape(4, -1).astype("f")
    few = np.concatenate([places, np.eye(2)[kinds % 2]], -1).reshape(4, -1).astype("f")
    np.testing.assert_array_equal(adapt(jnp.asarray(many), (have,), (want,)), few)
    wide = np.concatenate([places, np.eye(5)[kinds % 2]], -1).reshape(4, -1).astype("f")
    np.testing.assert_array_equal(adapt(jnp.asarray(few), (want,), (have,)), wide)
    for other in (want._replace(kinds=()), want._replace(size=5, kinds=(2,)), want._replace(kinds=(1, 1))):
        with pytest.raises(HeadstartError, match="'chests' has entities of 7 numbers"):
            adapt(jnp.asarray(many), (have,), (other,))


def test_a_spec_with_kinds_is_saved_and_read():
    spec = Treasure(4, 1).spec
    saved = json.loads(json.dumps(encode_spec(spec)))
    conform(saved, schema.Spec)
    assert decode_spec(saved) == spec
    assert {field[0]: field[5] for field in saved["roles"]["collector"]["obs"] if len(field) > 5} == {
        "held": [1], "agents": [1, 1], "treasures": [1],
    }  # fmt: skip
    damaged = encode_spec(spec)
    damaged["roles"]["bank"]["obs"][-1][5] = [9]
    with pytest.raises(ValueError, match="one-hot vectors of impossible widths"):
        decode_spec(damaged)
