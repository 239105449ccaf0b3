"""A team's policy as plain NumPy, for `TeamPolicy.act`: one step of one team is too small to be worth a call of JAX."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from headstart.core.learner import Learner
from headstart.core.types import TeamSpec
from headstart.plain.listing import NotPlain
from headstart.plain.runner import Program
from headstart.plain.trace import Traced

MOST_STEPS = 400
"""Operations of a policy for one step; one that takes more is quicker as a program of JAX."""


class Acting(NamedTuple):
    """The policies of a team's seeds."""

    traced: Traced
    start: PyTree
    """Memory as an episode starts."""
    structure: Any
    """That of the memory and outputs, a pytree."""
    programs: dict[int, Program | None]
    """{index of a seed: its policy, made at its first step}."""

    def program(self, index: int, params: PyTree) -> Program | None:
        """The policy of the seed at an index; None if JAX is quicker, or NumPy has no counterpart for what it does."""
        if index not in self.programs:
            self.programs[index] = self._made(jax.tree.map(lambda x: np.asarray(x)[index], params))
        return self.programs[index]

    def _made(self, params: PyTree) -> Program | None:
        try:
            listing = self.traced.listing(params)
        except NotPlain:
            return None
        return listing.program() if len(listing.steps) <= MOST_STEPS else None

    def step(self, program: Program, memory: PyTree, obs: dict[str, np.ndarray]) -> tuple[PyTree, dict[str, np.ndarray]]:
        """memory, obs {role: [1 A O]} -> memory, outputs {role: [1 A U]}."""
        out = program(*jax.tree.leaves((memory, obs)))
        return jax.tree.unflatten(self.structure, out)


def acting(spec: TeamSpec, learner: Learner, params: PyTree) -> Acting:
    """The policy of a learner with parameters [S ..], traced for one environment."""
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), params)
    obs = {role: jax.ShapeDtypeStruct((1, about.agents, about.obs_size), jnp.float32) for role, about in spec.roles.items()}
    start = jax.tree.map(np.asarray, learner.start(1))
    traced = Traced(learner.policy, one, start, obs)
    structure = jax.tree.structure(jax.eval_shape(learner.policy, one, start, obs))
    return Acting(traced, start, structure, {})
