"""Warm start: begin with a teacher's parameters instead of random ones, once, before training.

The "+ initialisation" control of Gao et al. 2021 (§4.2). Networks are matched by name, roles by name, parameters by tree
path, observed fields by name; see `adapt.transplant`. The optimiser starts afresh.
"""

from typing import Any

import jax

from headstart.core.checks import HeadstartError, check_known
from headstart.core.guidance import Guidance, TeacherLike
from headstart.core.learner import Learner
from headstart.core.part import part
from headstart.core.types import TeamSpec
from headstart.teams.fit import shared_roles
from headstart.views.adapt import transplant

Table = list[tuple[str, str, str]]
"""[(parameter, "loaded" | "adapted" | "re-initialised" | "dropped", shapes)]"""


@part("guidance")
class WarmStart:
    """Start from a teacher's parameters; afterwards learn as usual."""

    teacher: TeacherLike = None
    """A run directory, a policy directory, or a team."""
    networks: tuple[str, ...] = ()
    """Which networks to copy; those that act when empty."""
    roles: tuple[str, ...] = ()
    """Roles to start warm; all that the teacher has when empty."""

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance with a `start` hook only; its state is the teacher's parameters."""
        shared_roles(self.teacher, spec, self.roles)
        for network in self.networks or learner.policy_networks:
            check_known("network of the teacher", network, self.teacher.params)
        table = self.report(spec, learner)
        if not any(happened in ("loaded", "adapted") for name, happened, _ in table if "weight" in name):
            raise HeadstartError(
                "nothing of the teacher's networks fits the student's: train both with one learner and its sizes"
            )
        return Guidance(
            init=lambda key, seed: self.teacher.seed(seed),
            start=lambda donor, params: self._start(spec, learner, params, donor)[0],
        )

    def report(self, spec: TeamSpec, learner: Learner) -> Table:
        """What a start copies, adapts, re-initialises and drops, without running it."""
        tables = []

        def dry(key):
            params, table = self._start(spec, learner, learner.init(key), self.teacher.seed(0))
            tables.append(table)
            return params

        jax.eval_shape(dry, jax.random.key(0))
        return tables[0]

    def _start(self, spec, learner, params, donor) -> tuple[Any, Table]:
        table, params = [], {network: dict(roles) for network, roles in params.items()}
        for network in self.networks or learner.policy_networks:
            check_known("network", network, params)
            for role in shared_roles(self.teacher, spec, self.roles):
                params[network][role], rows = transplant(
                    params[network][role],
                    donor[network][role],
                    spec.roles[role],
                    self.teacher.spec.roles[role],
                    f"{network}/{role}",
                )
                table += rows
        return params, table


PRESETS = {"warm_start": WarmStart()}
"""Names on the command line, and the settings each starts from."""
