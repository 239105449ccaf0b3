"""CESMA: students imitate a centralised expert, which labels the observations they visit, and learn to communicate.

Lin et al. 2019, "Decentralized Multi-Agents by Imitation of a Centralized Controller". The students act from the first
step on. Memory keeps their observations with the expert's actions, and the students minimise the cross-entropy ℓ to these
(§4.3, Algorithm 1).

If agents communicate (§4.4, Algorithm 2), memory keeps the observations (o, c) with received messages, the next observation
ô, and the expert's action â for ô. Let b' be the soft messages of the current students, and ĉ_j those that agent j hears.
Agent i minimises its action loss ℓ(â_i, π_i(ô_i, ĉ_i)) with b' held fixed, and its message loss
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
from headstart.core.ops import chosen_where, linear_schedule, masked_mean, unroll
from headstart.core.part import part
from headstart.core.ranges import NonNegative, Unit
from headstart.core.spec import idle
from headstart.core.types import Continuous, TeamSpec
from headstart.teams.experts import expert_of, silenced
from headstart.teams.fit import label_name
from headstart.views.messages import hear, listeners, words


@part("guidance")
class Dagger:
    """CESMA, multi-agent DAgger: imitate a centralised expert on the students' own observations, messages included."""

    teacher: TeacherLike = None
    """A run directory, a policy directory, or a team: trained on `centralized:ENV`, or on the students' own task."""
    beta: Unit = 0.0
    """Share of env-steps in which the expert acts instead of the students; falls linearly to 0 along the run."""
    weight: NonNegative = 1.0
    """Factor on the imitation loss."""
    active_weight: NonNegative = 1.0
    """Factor on samples in which the expert moves an agent (chooses another option than the one that does nothing). Set it
    above 1 for experts that move one agent at a time: most of their labels are to do nothing."""
    datasets: Literal["shared", "own"] = "shared"
    """Agents learn from the same samples, or each from its own samples (a batch is divided among them)."""
    messages: Literal["learned", "fixed"] = "learned"
    """Whether an agent's loss reaches the agents that spoke to it."""

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance whose state is {"teacher": its parameters, "carry": its memory, "dataset": [] its size in env-steps}."""
        expert = expert_of(self.teacher, spec)
        label = label_name(self.teacher, "dagger")
        talk = bool(spec.messages)
        if talk and self.datasets == "own":
            raise HeadstartError("agents that talk learn from joint samples: datasets must be shared")

        def init(key, seed):
            size = jnp.zeros((), jnp.int32)
            return {"teacher": self.teacher.seed(seed), "carry": expert.start(learner.num_envs), "dataset": size}

        def behave(g, c, key, step, action, clock):
            c, moves = expert.step(g["teacher"], c, step.obs, step.available)
            beta = jnp.asarray(linear_schedule(self.beta, 0.0)(clock.progress), jnp.float32)
            theirs = _with_words_of(spec, moves, action)
            return c, chosen_where(jr.bernoulli(key, beta, step.truncated.shape), theirs, action)

        def observe(g, params, key, rollout, clock, data):
            along = lambda c, x: expert.step(g["teacher"], c, *x)
            seen, fresh = (rollout.obs, rollout.available), expert.start(rollout.first.shape[1])
            carry, carries, now = unroll(along, g["carry"], seen, rollout.first, fresh)
            wanted = along(carries, (rollout.next_obs, rollout.next_available))[1] if talk else now
            labels = rollout.extras | {label: jax.lax.stop_gradient(wanted)}
            g = {**g, "carry": carry, "dataset": g["dataset"] + rollout.terminated.size}
            return g, dataclasses.replace(rollout, extras=labels), _errors(spec, now, rollout)

        def objective(g, params, batch, terms):
            losses = (self._talking if talk else self._silent)(spec, learner, label, params, batch)
            for name, by_role in losses.items():  # added to the losses of another expert
                before = terms.get(name, {})
                terms = {**terms, name: {role: loss + before.get(role, 0.0) for role, loss in by_role.items()}}
            return terms

        acting = {"carry": expert.start, "behave": behave} if self.beta else {}
        return Guidance(init=init, observe=observe, objective=objective, **acting)

    def _silent(self, spec, learner, label, params, batch):
        return {"imitation": self._loss(spec, learner, label, learner.unroll(params, batch)[1], batch)}

    def _talking(self, spec, learner, label, params, batch):
        frozen = jax.lax.stop_gradient(params)
        carries, spoken = learner.unroll(params, batch)
        said = {route: words(spec, route, spoken) for route in spec.messages}
        heard = hear(spec, batch.next_obs, jax.lax.stop_gradient(said))
        out = {"imitation": self._loss(spec, learner, label, learner.policy(params, carries, heard)[1], batch)}
        if self.messages == "learned":
            # A speaker minimises the mean over its listeners: the gradient is divided, the message is not.
            shared = {route: _gradient_scaled(x, 1 / listeners(spec, route.speaker)) for route, x in said.items()}
            heard = hear(spec, batch.next_obs, shared)
            answers = learner.policy(frozen, jax.lax.stop_gradient(carries), heard)[1]
            out["message"] = self._loss(spec, learner, label, answers, batch)
        return out

    def _loss(self, spec, learner, label, logits, batch):
        """{role: [A]}: mean over the batch of ℓ, for every role with labels."""
        out = {}
        for role, wanted in batch.extras[label].items():
            space, student = spec.roles[role].actions, logits[role]
            if isinstance(space, Continuous):
                loss = jnp.square(student - wanted).mean(-1)
            else:
                loss = -(actions.log_softmax(space, student) * wanted).sum(-1)
                moved = wanted.sum(-1) > wanted[..., _idle(space)].sum(-1)
                loss = loss * jnp.where(moved, self.active_weight, 1.0)
            mask = batch.alive[role] & self._dealt(loss.shape, role, spec)
            out[role] = self.weight * learner.share[role] * masked_mean(loss, mask, tuple(range(loss.ndim - 1)))
        return out

    def _dealt(self, shape, role, spec):
        """Mask of each agent's samples: all samples, or every M-th one."""
        if self.datasets == "shared":
            return jnp.ones(shape, bool)
        agents = sum(role_spec.agents for role_spec in spec.roles.values())
        before = sum(spec.roles[r].agents for r in list(spec.roles)[: list(spec.roles).index(role)])
        turn = jnp.arange(shape[0])[:, None] % agents == before + jnp.arange(shape[-1])[None]
        return jnp.broadcast_to(jnp.expand_dims(turn, range(1, len(shape) - 1)), shape)


def _with_words_of(spec, moves, action):
    """The expert's moves with the students' own words, since an expert does not speak."""
    return {role: moves[role] + (action[role] - silenced(spec, role, action[role])) for role in spec.roles}


def _idle(space) -> list[int]:
    """Indices of the heads' options that do nothing in an action vector."""
    return [sum(space.heads[:i]) + idle(space, i) for i in range(len(space.heads))]


def _gradient_scaled(x, factor):
    return factor * x + jax.lax.stop_gradient((1 - factor) * x)


def _errors(spec, label, rollout):
    """Error of the students' actions on their own observations: the share of choices that differ from the expert's, or the
    squared distance. DAgger's guarantee bounds this loss under the students' own distribution."""
    out = {}
    for role, names in spec.names.items():
        gap = silenced(spec, role, rollout.action[role]) - label[role]
        continuous = isinstance(spec.roles[role].actions, Continuous)
        heads = sum(moves for _, moves in spec.heads(role))
        error = jnp.square(gap).mean(-1) if continuous else jnp.abs(gap).sum(-1) / 2 / max(heads, 1)
        error = masked_mean(error, rollout.alive[role], tuple(range(error.ndim - 1)))
        out |= {f"error/{name}": error[i] for i, name in enumerate(names)}
    return out


PRESETS = {"dagger": Dagger(), "cesma": Dagger()}
"""Names on the command line, and the settings each starts from."""
