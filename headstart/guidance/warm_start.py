"""Warm start: begin training with a teacher's parameters instead of random ones.

The "+ initialisation" control of Gao et al. 2021 (§4.2). Networks, roles and agents are matched by name, parameters by tree
path, observed fields and actions by name; see `views.transplant`. A teacher may have a part of the student's continuous
actions: the others begin at 0. The optimiser starts afresh.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from headstart.core.checks import HeadstartError, check_known
from headstart.core.guidance import Guidance, Rows, TeacherLike, start_rows
from headstart.core.learner import Learner
from headstart.core.networks import RoleNet
from headstart.core.part import part
from headstart.core.ranges import Unit
from headstart.core.types import TeamSpec
from headstart.teams.fit import check_teacher, pair_roles
from headstart.views import respoken
from headstart.views.adapt import by_place, seats
from headstart.views.meaning import Translation, part_of, tell, translation
from headstart.views.transplant import transplant


@part("guidance")
class WarmStart:
    """Start from a teacher's parameters; afterwards learn as usual."""

    teacher: TeacherLike = None
    """A run directory, a policy directory, or a team."""
    networks: tuple[str, ...] = ()
    """Networks to copy; if empty, those that act."""
    roles: tuple[str, ...] = ()
    """Roles of the teacher to copy; if empty, all that the student has too."""
    into: tuple[str, ...] = ()
    """The student's roles to copy into, in the same order; if empty, those of the same names."""
    at: str = ""
    """The part of the student's networks that takes the teacher's whole network, e.g. `trunk`, which stands behind a linear
    layer (LLDR); if empty, the network itself."""
    resize: bool = True
    """Copy the rows of a first layer for the fields that both tasks have; otherwise a first layer of another size stays new."""
    hold: Unit = 0.0
    """Share of learning in which the copied networks that act stay as they are, while critics and other agents learn: the first
    gradients of a critic that knows nothing make a good actor forget."""

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance with a `start` hook; its state is the teacher's parameters. With `hold`, it also has a `grads` hook."""
        tell(self._translations(spec)[1], "the teacher's")
        self._check_inputs(learner)
        for network in self.networks or learner.policy_networks:
            check_known("network of the teacher", network, self.teacher.params)
        guidance = Guidance(
            init=lambda key, seed: self.teacher.seed(seed),
            start=lambda donor, params: self._start(spec, learner, params, donor),
        )
        self._check_units(learner)
        rows = start_rows(guidance, learner)
        if self.hold > 0:
            guidance = self._holding(guidance, spec, learner)
        if not any(happened in ("loaded", "adapted") for name, happened, _ in rows if "weight" in name):
            reduced = " or, behind a new linear layer, name its place (--guidance.at trunk)" if _reduced(rows) else ""
            raise HeadstartError(
                f"nothing of the teacher's networks fits the student's: train both with one learner and its sizes{reduced}"
            )
        return guidance

    def _check_units(self, learner: Learner) -> None:
        """Refuse a critic without the statistics in whose units it puts out values (`learners.values`)."""
        scaled = lambda learner, params: "stats" in params and "stats" not in learner.policy_networks
        theirs = scaled(self.teacher.learner, self.teacher.params)
        ours = scaled(learner, jax.eval_shape(learner.init, jax.random.key(0)))
        if "critic" not in self.networks or not (theirs or ours):
            return
        if theirs != ours:
            one, other = ("the teacher's", "the student's") if theirs else ("the student's", "the teacher's")
            raise HeadstartError(
                f"{one} critic puts out normalised values and {other} does not: leave critic out of guidance.networks, or give "
                "both a --learner.value-norm, or neither"
            )
        if "stats" not in self.networks:
            raise HeadstartError("a critic of normalised values needs its statistics: add stats to guidance.networks")

    def _check_inputs(self, learner: Learner) -> None:
        """Refuse a policy without the statistics by which the teacher's is shown its observations, or with new ones."""
        acts = lambda of: "inputs" in of.policy_networks
        copied = self.networks or learner.policy_networks
        if "actor" in copied and acts(self.teacher.learner) != acts(learner):
            one = "the teacher's" if acts(self.teacher.learner) else "the student's"
            raise HeadstartError(f"only {one} networks read normalised observations: give both --learner.obs-norm, or neither")
        if "actor" in copied and acts(learner) and "inputs" not in copied:
            raise HeadstartError("an actor of normalised observations needs their statistics: add inputs to guidance.networks")

    def _holding(self, guidance: Guidance, spec: TeamSpec, learner: Learner) -> Guidance:
        """The same with gradients of 0 for the copied networks that act, up to progress `hold`; the state has the progress."""
        roles = {ours for _, ours in self._translations(spec)[0]}
        networks = set(self.networks or learner.policy_networks) & set(learner.policy_networks)

        def grads(g, params, grads):
            still = lambda net: jax.tree.map(lambda x: jnp.where(g[1] < self.hold, 0.0, x), net)
            kept = lambda network, role, x: still(x) if network in networks and role in roles else x
            return g, {name: {role: kept(name, role, x) for role, x in nets.items()} for name, nets in grads.items()}

        return Guidance(
            init=lambda key, seed: (guidance.init(key, seed), jnp.zeros(())),
            start=lambda g, params: guidance.start(g[0], params),
            observe=lambda g, params, key, rollout, clock, data: ((g[0], clock.progress), rollout, {}),
            grads=grads,
        )

    def _translations(self, spec) -> tuple[list[tuple[str, str]], dict[str, Translation]]:
        """[(the teacher's role, ours)], and {our role: translation from the actions that the teacher's networks put out}."""
        check_teacher(self.teacher)
        pairs = pair_roles(self.teacher.spec, spec, self.roles, self.into)
        return pairs, {ours: self._translation(spec, theirs, ours) for theirs, ours in pairs}

    def _translation(self, spec: TeamSpec, theirs: str, ours: str) -> Translation:
        """None is needed from a part of our numbers: `respoken.widened` puts each in its place."""
        if self._places(spec, theirs, ours):
            return Translation(tuple(range(spec.roles[ours].actions.size)))
        return translation(self._learned.roles[theirs], spec.roles[ours], ours)

    def _places(self, spec: TeamSpec, theirs: str, ours: str) -> tuple[int, ...]:
        return part_of(self._learned.roles[theirs], spec.roles[ours])

    @property
    def _learned(self) -> TeamSpec:
        """The task that the teacher's networks are of; a fitted team's are of another than its own."""
        return getattr(self.teacher, "trained", None) or self.teacher.spec

    def _start(self, spec, learner, params, donor) -> tuple[Any, Rows]:
        """The parameters with the donor's in place of those that fit, and the rows of `start`."""
        matched, found = self._translations(spec)
        members = self.teacher.spec.names
        joint = {f"{agent}/action": found[ours] for theirs, ours in matched for agent in members[theirs]}
        table, params = [], {network: dict(roles) for network, roles in params.items()}
        for network in self.networks or learner.policy_networks:
            check_known("network", network, params)
            for theirs, ours in matched:
                own, given = params[network][ours], donor[network][theirs]
                pairs = seats(spec, self.teacher.spec, ours, theirs)
                if network in learner.policy_networks:
                    if places := self._places(spec, theirs, ours):
                        given = respoken.widened(given, own, places)
                    given = respoken.acting(given, found[ours], ours)
                else:
                    given = respoken.judging(given, {"action": found[ours], **joint}, ours)
                    given = respoken.reseated(given, pairs)
                if not given.shared and (strangers := by_place(spec, self.teacher.spec, ours, theirs)):
                    table.append((f"{network}/{ours}", "paired by place", ", ".join(strangers)))
                params[network][ours], rows = self._copied(own, given, pairs, f"{network}/{ours}")
                _check_some(rows, f"{network} of '{theirs}'", f"that of '{ours}'", bool(self.networks))
                table += rows
        return params, table

    def _copied(self, own: RoleNet, given: RoleNet, pairs: np.ndarray, name: str) -> tuple[RoleNet, Rows]:
        """`own`, or its part `at`, with the given parameters in place of those that fit, and the rows."""
        if not self.at:
            return transplant(own, given, pairs, name, self.resize)
        parts = [f.name for f in dataclasses.fields(own.net) if dataclasses.is_dataclass(getattr(own.net, f.name))]
        if self.at not in parts:
            there = f"its parts are {', '.join(parts)}" if parts else "it has no parts"
            raise HeadstartError(
                f"guidance.at names '{self.at}', no part of the student's {name}: {there}; add the layer in front "
                "of it (--learner.reduce-actor ROLE=NUMBERS), or give a network without it a --guidance warm_start of its own "
                "(--guidance.networks)"
            )
        part = RoleNet(getattr(own.net, self.at), own.shared)
        part, rows = transplant(part, given, pairs, f"{name}.{self.at}", self.resize)
        if (first := rows[0])[1] == "re-initialised":  # its input has another size
            raise HeadstartError(
                f"the first layer of the teacher's network does not fit {first[0]} ({first[2]}): the layer in front of it must "
                "put out as many numbers as the teacher reads, e.g. --learner.reduce-actor leader=12"
            )
        rest = dataclasses.replace(own.net, **{self.at: None})
        fresh = [(f"{name}{jax.tree_util.keystr(path)}", "re-initialised", f"{tuple(x.shape)}")
                 for path, x in jax.tree_util.tree_leaves_with_path(rest)]  # fmt: skip
        return RoleNet(dataclasses.replace(own.net, **{self.at: part.net}), own.shared), fresh + rows


def _reduced(rows: Rows) -> bool:
    """Whether a network of the student has a linear layer in front of its trunk."""
    return any(".trunk." in name for name, _, _ in rows)


def _check_some(rows: Rows, theirs: str, ours: str, asked: bool) -> None:
    """Raise HeadstartError if no weight of a network that was asked for by name could be copied."""
    weights = [happened for name, happened, _ in rows if "weight" in name]
    if asked and weights and not {"loaded", "adapted"} & set(weights):
        raise HeadstartError(
            f"nothing of the teacher's {theirs} fits {ours}: train both with the same kind of network and sizes, or leave it "
            "out of guidance.networks"
        )


PRESETS = {"warm_start": WarmStart()}
"""Names on the command line, and the settings each starts from."""
