"""What an agent's death ends: its actions, but not what it is paid, if its team goes on to be paid.

A learner with values of single agents inherits `DeathSettings`. Its actors learn from the living alone, and its value functions
from everybody if what the dead are paid counts.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from headstart.core import actions
from headstart.core.types import TeamSpec, Transition


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeathSettings:
    """Whether an agent's death ends what counts for it."""

    after_death: bool = True
    """Count for an agent what its environment pays it after its death, e.g. its team's reward: it works for its team, even if
    that costs its life (posthumous credit, Cohen et al. 2021, "On the Use and Misuse of Absorbing States in Multi-agent
    Reinforcement Learning"). Otherwise its death ends what counts for it, and units may learn to keep away from a battle."""

    @property
    def dead_count(self) -> bool:
        """Whether what the dead are paid counts."""
        return self.after_death


def ends_for(own: DeathSettings, batch: Transition, role: str) -> Bool[Array, "*n _"]:
    """[.. A] or [.. 1]: whether nothing counts for an agent of the role after this step, so that its next value is 0."""
    return batch.terminated[..., None] if own.dead_count else batch.ended_for(role)


def mute(
    spec: TeamSpec, action: dict[str, Float[Array, "*n _ _"]], alive: dict[str, Bool[Array, "*n _"]]
) -> dict[str, Float[Array, "*n _ _"]]:
    """The actions {role: [.. A U]}, with `even` ones for the dead: what they choose has no effect."""
    even = {name: actions.even(role.actions) for name, role in spec.roles.items()}
    return {name: jnp.where(alive[name][..., None], x, even[name]) for name, x in action.items()}


def learned_from(own: DeathSettings, batch: Transition) -> dict[str, Bool[Array, "*n _"]]:
    """{role: [.. A]}: whose values are learned: the living, and those who have died, if what they are paid counts."""
    return batch.present if own.dead_count else batch.alive
