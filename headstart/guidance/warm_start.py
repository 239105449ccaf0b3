"""Warm start: begin training with a teacher's parameters instead of random ones.

The "+ initialisation" control of Gao et al. 2021 (§4.2). Networks, roles and agents are matched by name, parameters by tree
path, observed fields and actions by name; see `adapt.transplant`. The optimiser starts afresh.
"""

from typing import Any

from headstart.core.checks import HeadstartError, check_known
from headstart.core.guidance import Guidance, Rows, TeacherLike, start_rows
from headstart.core.learner import Learner
from headstart.core.part import part
from headstart.core.types import TeamSpec
from headstart.teams.fit import role_pairs
from headstart.views import respoken
from headstart.views.adapt import by_place, seats, transplant
from headstart.views.meaning import Translation, tell, translations


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

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance with a `start` hook only; its state is the teacher's parameters."""
        tell(self._translations(spec)[1], "the teacher's")
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

    def _translations(self, spec) -> tuple[list[tuple[str, str]], dict[str, Translation]]:
        """[(the teacher's role, ours)], and {our role: translation from the actions that the teacher's networks put out}."""
        pairs = role_pairs(self.teacher, spec, self.roles, self.into)
        learned = getattr(self.teacher, "trained", None) or self.teacher.spec  # a fitted team's networks are of another task
        return pairs, translations(learned.roles, spec.roles, pairs)

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
                    given = respoken.acting(given, found[ours], ours)
                else:
                    given = respoken.judging(given, {"action": found[ours], **joint}, ours)
                    given = respoken.reseated(given, pairs)
                if not given.shared and (strangers := by_place(spec, self.teacher.spec, ours, theirs)):
                    table.append((f"{network}/{ours}", "paired by place", ", ".join(strangers)))
                params[network][ours], rows = transplant(own, given, pairs, f"{network}/{ours}")
                table += rows
        return params, table


PRESETS = {"warm_start": WarmStart()}
"""Names on the command line, and the settings each starts from."""
