"""Warm start: begin with a teacher's parameters instead of random ones, once, before training.

The "+ initialisation" control of Gao et al. 2021 (§4.2). Networks are matched by name, roles by name, parameters by tree
path, observed fields by name; see `adapt.transplant`. The optimiser starts afresh.
"""

from typing import Any

from headstart.core.checks import HeadstartError, check_known
from headstart.core.guidance import Guidance, Rows, TeacherLike, start_rows
from headstart.core.learner import Learner
from headstart.core.part import part
from headstart.core.types import TeamSpec
from headstart.teams.fit import role_pairs
from headstart.views.adapt import transplant


@part("guidance")
class WarmStart:
    """Start from a teacher's parameters; afterwards learn as usual."""

    teacher: TeacherLike = None
    """A run directory, a policy directory, or a team."""
    networks: tuple[str, ...] = ()
    """Which networks to copy; those that act if empty."""
    roles: tuple[str, ...] = ()
    """Roles of the teacher to copy; all that the student has too if empty."""
    into: tuple[str, ...] = ()
    """The student's roles that get them, in the same order; those of the same names if empty."""

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance with a `start` hook only; its state is the teacher's parameters."""
        role_pairs(self.teacher, spec, self.roles, self.into)
        for network in self.networks or learner.policy_networks:
            check_known("network of the teacher", network, self.teacher.params)
        guidance = Guidance(
            init=lambda key, seed: self.teacher.seed(seed),
            start=lambda donor, params: self._start(spec, learner, params, donor),
        )
        rows = start_rows(guidance, learner)
        if not any(happened in ("loaded", "adapted") for name, happened, _ in rows if "weight" in name):
            raise HeadstartError(
                "nothing of the teacher's networks fits the student's: train both with one learner and its sizes"
            )
        return guidance

    def _start(self, spec, learner, params, donor) -> tuple[Any, Rows]:
        """The parameters with the donor's in the place of those that fit, and what happened to each."""
        table, params = [], {network: dict(roles) for network, roles in params.items()}
        for network in self.networks or learner.policy_networks:
            check_known("network", network, params)
            for theirs, ours in role_pairs(self.teacher, spec, self.roles, self.into):
                agents = spec.roles[ours].agents, self.teacher.spec.roles[theirs].agents
                own, given = params[network][ours], donor[network][theirs]
                params[network][ours], rows = transplant(own, given, agents, f"{network}/{ours}")
                table += rows
        return params, table


PRESETS = {"warm_start": WarmStart()}
"""Names on the command line, and the settings each starts from."""
