"""CESMA: a centralised expert labels what its students visit, and they imitate it; with learned communication.

Lin et al. 2019, "Decentralized Multi-Agents by Imitation of a Centralized Controller". The students act from the first
step on; what they visit is kept with the expert's action, and they descend the cross-entropy ℓ to it (§4.3, Algorithm 1).

Where agents talk (§4.4, Algorithm 2), kept are the observations (o, c) with received messages, the observation ô that
followed, and the expert's action â for ô. With b' the messages of the students as they are now, softly, and ĉ_j those that
agent j hears, agent i descends its action loss ℓ(â_i, π_i(ô_i, ĉ_i)), b' held fixed, and its message loss
1/(M − 1)·Σ_{j≠i} ℓ(â_j, π_j(ô_j, ĉ_j)), which reaches π_i through b'_i alone.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import jax.random as jr

from headstart.core import actions
from headstart.core.checks import HeadstartError
from headstart.core.guidance import Guidance, TeacherLike
from headstart.core.learner import Learner
from headstart.core.ops import chosen_where, linear_schedule, masked_mean
from headstart.core.part import part
from headstart.core.ranges import NonNegative, Unit
from headstart.core.types import Continuous, TeamSpec
from headstart.envs.centralized import Centralized
from headstart.teams.fit import check_teacher, label_name
from headstart.views.central import view_of
from headstart.views.messages import hear, listeners, words


@part("guidance")
class Dagger:
    """CESMA, multi-agent DAgger: imitate a centralised expert on what the students themselves visit, messages included."""

    teacher: TeacherLike = None
    """A run directory, a policy directory, or a team: trained on `centralized:ENV`, or on the students' own task."""
    beta: Unit = 0.0
    """Share of env-steps in which the expert acts instead of the students; falls linearly to 0 along the run."""
    weight: NonNegative = 1.0
    """Factor on the imitation loss."""
    active_weight: NonNegative = 1.0
    """Factor on samples in which the expert moves an agent (does not choose its option 0): above 1 for experts that move
    one agent at a time, whose students are told to do nothing most of the time."""
    datasets: Literal["shared", "own"] = "shared"
    """Agents learn from the same samples, or each from samples of its own (a batch is dealt out among them)."""
    messages: Literal["learned", "fixed"] = "learned"
    """Whether the agents' losses reach those who spoke to them."""

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance whose state is {"teacher": its parameters, "beta": [], "dataset": [] its size in env-steps}."""
        if learner.start(1) != ():
            raise HeadstartError("dagger needs a feed-forward learner, such as imitator: this one remembers")
        expert = _expert(self.teacher, spec)
        label = label_name(self.teacher, "dagger")
        talk = bool(spec.messages)
        if talk and self.datasets == "own":
            raise HeadstartError("agents that talk learn from joint samples: datasets must be shared")

        def init(key, seed):
            beta, size = jnp.asarray(self.beta, jnp.float32), jnp.zeros((), jnp.int32)
            return {"teacher": self.teacher.seed(seed), "beta": beta, "dataset": size}

        def behave(g, key, step, action):
            if self.beta == 0:
                return action
            theirs = _with_words_of(spec, expert(g["teacher"], step.obs, step.available), action)
            return chosen_where(jr.bernoulli(key, g["beta"], step.truncated.shape), theirs, action)

        def relabel(g, rollout):
            now, then = (rollout.obs, rollout.available), (rollout.next_obs, rollout.next_available)
            said = expert(g["teacher"], *(then if talk else now))
            return dataclasses.replace(rollout, extras=rollout.extras | {label: jax.lax.stop_gradient(said)})

        def objective(g, params, batch, terms):
            losses = (self._talking if talk else self._silent)(spec, learner, label, params, batch)
            for name, by_role in losses.items():  # beside those of another expert
                before = terms.get(name, {})
                terms = {**terms, name: {role: loss + before.get(role, 0.0) for role, loss in by_role.items()}}
            return terms

        def update(g, key, rollout, progress):
            size = g["dataset"] + rollout.terminated.size
            errors = _errors(spec, expert(g["teacher"], rollout.obs, rollout.available), rollout)
            beta = jnp.asarray(linear_schedule(self.beta, 0.0)(progress), jnp.float32)
            return {**g, "beta": beta, "dataset": size}, errors

        return Guidance(init=init, behave=behave, relabel=relabel, objective=objective, update=update)

    def _silent(self, spec, learner, label, params, batch):
        return {"imitation": self._loss(spec, learner, label, params, learner.logits(params, batch), batch)}

    def _talking(self, spec, learner, label, params, batch):
        frozen = jax.lax.stop_gradient(params)
        spoken = learner.policy(params, (), batch.obs)[1]
        said = {route: words(spec, route, spoken) for route in spec.messages}
        heard = hear(spec, batch.next_obs, jax.lax.stop_gradient(said))
        out = {"imitation": self._loss(spec, learner, label, params, learner.policy(params, (), heard)[1], batch)}
        if self.messages == "learned":
            # A speaker descends the mean over its listeners: the gradient is divided, the message is not.
            shared = {route: _gradient_scaled(x, 1 / listeners(spec, route.speaker)) for route, x in said.items()}
            heard = hear(spec, batch.next_obs, shared)
            out["message"] = self._loss(spec, learner, label, params, learner.policy(frozen, (), heard)[1], batch)
        return out

    def _loss(self, spec, learner, label, params, logits, batch):
        """{role: [A]}: mean over the batch of ℓ, for every role that has something to imitate."""
        out = {}
        for role, wanted in batch.extras[label].items():
            about, student = spec.roles[role], logits[role]
            if isinstance(about.actions, Continuous):
                loss = jnp.square(student - wanted).mean(-1)
            else:
                loss = -(actions.log_softmax(about.actions, student) * wanted).sum(-1)
                moved = wanted.sum(-1) > wanted[..., _idle(about.actions)].sum(-1)
                loss = loss * jnp.where(moved, self.active_weight, 1.0)
            mask = batch.alive[role] & self._dealt(loss.shape, role, spec)
            scale = self.weight / (about.agents if params[learner.policy_networks[0]][role].shared else 1)
            out[role] = scale * masked_mean(loss, mask, tuple(range(loss.ndim - 1)))
        return out

    def _dealt(self, shape, role, spec):
        """Which samples are whose: all are everybody's, or every M-th is agent i's."""
        if self.datasets == "shared":
            return jnp.ones(shape, bool)
        everybody = sum(about.agents for about in spec.roles.values())
        before = sum(spec.roles[r].agents for r in list(spec.roles)[: list(spec.roles).index(role)])
        turn = jnp.arange(shape[0])[:, None] % everybody == before + jnp.arange(shape[-1])[None]
        return jnp.broadcast_to(turn, shape)


def _expert(teacher, spec: TeamSpec):
    """(params, obs {role: [*n A O]}, available) -> {role: [*n A U]}, the teacher's greedy legal actions, zeros on message
    heads."""
    check_teacher(teacher)
    if teacher.learner.start(1) != ():
        raise HeadstartError("dagger needs a feed-forward expert: this teacher remembers")
    env = getattr(teacher, "env", None)
    seen = view_of(spec, teacher.spec, env.actions if isinstance(env, Centralized) else None)
    ask = lambda params, obs, available: {
        role: actions.greedy(teacher.spec.roles[role].actions, actions.legal(x, available and available[role]))
        for role, x in teacher.learner.policy(params, (), obs)[1].items()
    }
    if seen is not None:
        return lambda params, obs, available: seen.act(ask(params, seen.observe(obs), seen.available(available)))
    if teacher.spec.roles == spec.roles:
        return lambda params, obs, available: {
            role: _silenced(spec, role, x) for role, x in ask(params, obs, available).items()
        }
    raise HeadstartError(
        f"the teacher ({', '.join(teacher.spec.roles)}) neither is a controller of this team nor has its roles: train one on "
        "centralized:ENV with the same environment settings"
    )


def _silenced(spec, role, action):
    silent = jnp.concatenate([jnp.full(size, float(moves)) for size, moves in spec.heads(role)])
    return action * jnp.broadcast_to(silent, action.shape)


def _with_words_of(spec, moves, action):
    """The expert's moves, with the students' own words: an expert does not speak."""
    return {role: moves[role] + (action[role] - _silenced(spec, role, action[role])) for role in spec.roles}


def _idle(space) -> list[int]:
    """Where the options 0 of the heads are in an action vector: to do nothing."""
    return [sum(space.heads[:i]) for i in range(len(space.heads))]


def _gradient_scaled(x, factor):
    return factor * x + jax.lax.stop_gradient((1 - factor) * x)


def _errors(spec, label, rollout):
    """How far the students' actions are from the expert's where they act: the share of other choices, or the squared
    distance. It is the loss under the students' own distribution that DAgger's guarantee is about."""
    out = {}
    for role, names in spec.names.items():
        gap = _silenced(spec, role, rollout.action[role]) - label[role]
        continuous = isinstance(spec.roles[role].actions, Continuous)
        heads = sum(moves for _, moves in spec.heads(role))
        error = jnp.square(gap).mean(-1) if continuous else jnp.abs(gap).sum(-1) / 2 / max(heads, 1)
        error = masked_mean(error, rollout.alive[role], tuple(range(error.ndim - 1)))
        out |= {f"error/{name}": error[i] for i, name in enumerate(names)}
    return out


PRESETS = {"dagger": Dagger(), "cesma": Dagger()}
"""Names on the command line, and the settings each starts from."""
