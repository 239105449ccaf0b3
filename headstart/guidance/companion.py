"""A companion: a learner on an easier task that trains alongside, and shares the middle of its networks with the student.

Guo and Duan, "Improve the Training Efficiency for Multi-Agent RL using Master-Slave Framework". The student is their master,
and the companion their slave. Networks are stem → backbone → head; what both have in common is their backbone, and the stem if
both read the same fields (see `backbone`). Before each update of the student, N companions train on their own environments. On
the shared parameters, with S the student's gradient and s_n that of companion n:

    tie       one set of parameters, which student and companions train in turns          (multi-tasking, §3.2.2)
    momentum  student: V ← βV + (1 − β)·S and a step along V                              (§3.2.3, eq. 1)
              companion: v_n = βV + (1 − β)·s_n and a step along v_n, at every inner step (eq. 2 as the text explains it)
              after its turn: V ← mean over n of v_n, each that of the companion's last step
    sum       student: a step along S + weight·Σ s_n, each that of the companion's last step; companion: along s_n
                                                                          (Fig. 3a, against which the paper advises)

Eq. 2 as it is printed lets companions step along V and uses their own gradients nowhere (`form="literal"`), so that nothing
that they experience reaches the student. The text says that companions find a direction by which the student moves.

V, v_n and the sum replace gradients before an optimiser clips and scales them (Adam). All other parameters have their own
gradients. With momentum and sum, companions begin with the student's values of the shared parameters. β = 0 and weight = 0
leave the student as it is without companions, bitwise.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import tyro
from jaxtyping import PyTree

from headstart.core.checks import HeadstartError
from headstart.core.episodes import team_mean
from headstart.core.guidance import Clock, Guidance, chain
from headstart.core.learner import Learner, make_learner
from headstart.core.part import check_kind, part
from headstart.core.ranges import Count, NonNegative, Unit
from headstart.core.trainer import Trainer, make_trainer
from headstart.core.types import Metrics, TeamSpec
from headstart.guidance.backbone import Paths, Values, in_common, mixed, put, shared_rows, take, zeros
from headstart.guidance.turns import begun, follower, in_turns, side_by_side, turn_of, without
from headstart.teams.fit import pair_roles

Inner = Annotated[Any, tyro.conf.Suppress]
"""A part inside; once there is one, its settings are flags too."""
ENDLESS = 2**30
"""Env-steps for which a companion's trainer is made. Its progress is the student's."""


@part("guidance")
class Companion:
    """Train a companion on an easier task alongside, and share the middle of its networks (master-slave framework)."""

    env: Inner = None
    """The companion's environment; on the command line `--guidance companion:ENV`."""
    learner: Inner = None
    """Its learner; if there is none, the student's settings. On the command line `--guidance.learner NAME`."""
    guidance: Annotated[tuple[Any, ...], tyro.conf.Suppress] = ()
    """What guides the companion, without a teacher."""
    coupling: Literal["tie", "momentum", "sum"] = "tie"
    """One set of shared parameters (tie), a common momentum of gradients (momentum), or their sum (sum)."""
    form: Literal["intended", "literal"] = "intended"
    """Momentum as the paper means it, or as it prints eq. 2: companions step along V and never along their own gradients."""
    beta: Unit = 0.9
    """β of momentum; 0 leaves the student alone."""
    weight: NonNegative = 1.0
    """Factor on the companions' gradients in a sum; 0 leaves the student alone."""
    stem: bool = True
    """Whether first layers are shared as well, if both read the same fields."""
    roles: tuple[str, ...] = ()
    """Roles of the companion to couple; if empty, all that the student has too."""
    into: tuple[str, ...] = ()
    """The student's roles to couple them with, in the same order; if empty, those of the same names."""
    count: Count = 1
    """N, companions on copies of the environment, each with its own random numbers."""
    updates: Count = 1
    """Updates of a companion in its turn."""
    every: Count = 1
    """Updates of the student from one turn to the next; the first turn is before its first update."""

    def __post_init__(self):
        if self.env is not None:
            check_kind("env", self.env)
        if self.learner is not None:
            check_kind("learner", self.learner)
        for guide in self.guidance:
            check_kind("guidance", guide)

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance whose state has the companions' training states, and what student and companions have in common.

        Raises HeadstartError if there is no environment, no learner, or nothing to couple.
        """
        other = self._learner(learner)
        pairs = self._pairs(spec)
        mine, given = (jax.eval_shape(each.init, jr.key(0)) for each in (learner, other))
        theirs = in_common(mine, given, pairs, self.stem)
        ours = {name: name for name in theirs}
        shapes = take(mine, ours)
        guides = chain(*(guide.make(self.env.spec, other) for guide in self.guidance))
        trainer = make_trainer(self.env, other, chain(guides, self._follower(theirs, shapes)), ENDLESS)
        tied = self.coupling == "tie"

        def init(key, seed):
            states = jax.vmap(lambda k: trainer.init(k, seed))(jr.split(key, self.count))
            names = ("companion_return", *(f"companion_event/{name}" for name in states.events))
            return {
                "states": without(states, theirs) if tied else states,
                "common": zeros(shapes),
                "begun": jnp.zeros((), bool),
                "told": {name: jnp.zeros(()) for name in names},
            }

        def observe(g, params, key, rollout, clock, data):
            own = take(params, ours)
            turn = lambda g: self._turn(trainer, theirs, g, own, clock, data)
            rest = lambda g: {**g, "common": own} if tied else g
            g = turn(g) if self.every == 1 else jax.lax.cond(clock.age % self.every == 0, turn, rest, g)
            return g, rollout, g["told"]

        def grads(g, params, grads):
            own = take(grads, ours)
            if self.coupling == "sum":
                return g, put(grads, ours, {name: s + self.weight * g["common"][name] for name, s in own.items()})
            common = mixed(self.beta, g["common"], own)
            return {**g, "common": common}, put(grads, ours, common)

        def env_steps(updates):
            own = -(-updates // self.every) * self.updates
            return self.count * (own * trainer.steps_per_update + guides.env_steps(own))

        rows = shared_rows(mine, theirs, [ours for _, ours in pairs], self.stem)
        start = lambda g, params: (params, rows)
        guidance = Guidance(init=init, start=start, observe=observe, data=trainer.data, env_steps=env_steps)
        tie = lambda g, params: put(params, ours, g["common"])
        return guidance._replace(tie=tie) if tied else guidance._replace(grads=grads)

    def _learner(self, learner: Learner) -> Learner:
        """The companion's learner."""
        if self.env is None:
            raise HeadstartError("a companion needs an environment of its own: --guidance companion:ENV, or Companion(env=..)")
        settings = learner.settings if self.learner is None else self.learner
        if settings is None:
            raise HeadstartError("the student's settings are unknown here: give the companion a learner, Companion(learner=..)")
        return make_learner(settings, self.env.spec)

    def _pairs(self, spec: TeamSpec) -> list[tuple[str, str]]:
        """[(role of the companion, role of the student)]."""
        for setting, roles in (("roles", self.roles), ("into", self.into)):
            if twice := next((role for role in roles if roles.count(role) > 1), None):
                raise HeadstartError(f"guidance.{setting} names '{twice}' twice: a role is coupled with one role")
        return pair_roles(self.env.spec, spec, self.roles, self.into, "companion")

    def _follower(self, theirs: Paths, shapes: Values) -> Guidance:
        if self.coupling == "tie":
            return Guidance()
        momentum = self.coupling == "momentum"
        return follower(theirs, shapes, self.beta if momentum else None, momentum and self.form == "literal")

    def _turn(self, trainer: Trainer, theirs: Paths, g: dict[str, Any], own: Values, clock: Clock, data: PyTree) -> Any:
        """The state after the companions' turn."""
        turn = turn_of(trainer, clock, clock.age // self.every * self.updates, self.updates, data)
        states, common = begun(g["states"], theirs, own, g["begun"]), g["common"]
        if self.coupling == "tie":
            states, done, common = in_turns(turn, states, theirs, own)
        else:
            states, done, last = side_by_side(turn, states, common if self.coupling == "momentum" else None)
            if self.coupling == "sum":
                common = {name: x.sum(0) for name, x in last.items()}
            elif self.form == "intended":
                common = {name: x.mean(0) for name, x in last.items()}
        return {"states": states, "common": common, "begun": jnp.ones((), bool), "told": _told(g["told"], done)}


def _told(before: Metrics, done: Any) -> Metrics:
    """The companions' means of the episodes that ended in a turn; those told before if there is none."""
    done = jax.tree.map(lambda x: x.sum(0), done)
    sums = {"companion_return": team_mean(done["returns"])}
    sums |= {f"companion_event/{name}": x for name, x in done["events"].items()}
    count = done["count"]
    return {name: jnp.where(count > 0, x / jnp.maximum(count, 1), before[name]) for name, x in sums.items()}


PRESETS = {"companion": Companion()}
"""Names on the command line, and the settings each starts from."""
