"""The types that every part of headstart shares: time steps, transitions and training states; specs come from `spec`.

Axes, used in every shape comment and annotation of the package:

====  ==========================================  ====  =============================================
`S`   seeds                                       `H`   action heads
`K`   updates                                     `U`   numbers in an action (heads side by side)
`T`   time                                        `G`   gradient steps of one update
`E`   environments                                `B`   batch
`A`   agents of one role                          `N`   items in memory
`O`   numbers in an observation                   `Z`   numbers in the global state
====  ==========================================  ====  =============================================

Values that exist once per role are dicts `{role: array}`, so that roles may differ in their numbers of agents, their
observations and their actions without any padding.

An **action** is always a float vector `[A, U]`. For discrete heads it is the heads' one-hot vectors side by side (a
Gumbel-softmax actor may send soft ones); for continuous actions the numbers are meant to lie in [-1, 1].
"""

import dataclasses
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float, PyTree

from headstart.core.spec import ActionSpace as ActionSpace
from headstart.core.spec import Continuous as Continuous
from headstart.core.spec import Discrete as Discrete
from headstart.core.spec import Field as Field
from headstart.core.spec import RoleSpec as RoleSpec
from headstart.core.spec import Route as Route
from headstart.core.spec import TeamSpec as TeamSpec

Metrics = dict[str, Any]
"""Named numbers to log: scalars, which `vmap` makes one value per seed."""


class TimeStep(eqx.Module):
    """An environment's output after a reset or a step. Leading axes `*n` are those of any `vmap`."""

    obs: dict[str, Float[Array, "*n _ _"]]
    """{role: [A O]}: act on this; already of the new episode after an end."""
    final_obs: dict[str, Float[Array, "*n _ _"]]
    """{role: [A O]}: bootstrap from this; never reset."""
    state: Float[Array, "*n Z"]
    """Global state at the time of `obs`, for centralised critics and mixers."""
    final_state: Float[Array, "*n Z"]
    """Global state at the time of `final_obs`."""
    reward: dict[str, Float[Array, "*n _"]]
    """{role: [A]}, of the step just taken; zeros after a reset."""
    terminated: Bool[Array, "*n"]
    """The task ended: bootstrap from zero."""
    truncated: Bool[Array, "*n"]
    """The time limit ended the episode: bootstrap from `final_obs`."""
    alive: dict[str, Bool[Array, "*n _"]]
    """{role: [A]}: False for a dead agent, which every loss masks out, but for values of what its team earns later."""
    available: dict[str, Bool[Array, "*n _ _"]] | None = None
    """{role: [A U]}: legal choices at the time of `obs`; None if all are legal."""
    final_available: dict[str, Bool[Array, "*n _ _"]] | None = None
    """{role: [A U]}: legal choices at the time of `final_obs`."""
    agent_terminated: dict[str, Bool[Array, "*n _"]] | None = None
    """{role: [A]}: the task has ended for this agent, though perhaps not for its team. Whether later rewards, e.g. its team's,
    count for it is up to the learner (`after_death`). None if agents end with their team only."""
    events: dict[str, Float[Array, "*n"]] = dataclasses.field(default_factory=dict)
    """{name: how often it happened in the step just taken}, such as a win or a tag; zeros after a reset. The names are
    always the same ones, none for an environment that has no events."""


class Transition(eqx.Module):
    """One env-step as the learner remembers it; a rollout is one of these with leading axes [T E]."""

    obs: dict[str, Array]
    action: dict[str, Array]
    reward: dict[str, Array]
    terminated: Array
    truncated: Array
    next_obs: dict[str, Array]
    """The observation the step led to, before any reset."""
    state: Array
    next_state: Array
    alive: dict[str, Array]
    available: dict[str, Array] | None
    next_available: dict[str, Array] | None
    first: Array
    """True if `obs` begins an episode: recurrence starts afresh there."""
    extras: dict[str, Any]
    """Arrays that learners and guidance add, e.g. a teacher's logits; memory stores them beside the rest."""
    agent_terminated: dict[str, Array] | None = None
    """That of the time step that the action led to."""

    def ended_for(self, role: str) -> Array:
        """[.. A] or [.. 1]: whether the task has ended for an agent of the role with this step or before."""
        own = self.terminated[..., None]
        return own if self.agent_terminated is None else own | self.agent_terminated[role]

    @property
    def present(self) -> dict[str, Array]:
        """{role: [.. A]}: the agents that live or have died, if that is known; not those that are away, cut off alone or not
        there yet."""
        if self.agent_terminated is None:
            return self.alive
        return {role: alive | self.agent_terminated[role] for role, alive in self.alive.items()}

    @property
    def next_alive(self) -> dict[str, Array]:
        """{role: [.. A]}: the agents that live after the step, as far as it is known: those that lived and have not ended."""
        if self.agent_terminated is None:
            return self.alive
        return {role: alive & ~self.agent_terminated[role] for role, alive in self.alive.items()}


class TrainState(eqx.Module):
    """The whole state of a run at one moment; it is saved whole, so that a resumed run equals an uninterrupted one."""

    params: PyTree
    target: PyTree
    opt: PyTree
    memory: PyTree
    guidance: PyTree
    env: PyTree
    step: TimeStep
    carry: PyTree
    guide_carry: PyTree
    first: Array
    returns: dict[str, Array]
    """{role: [E A]}: return of the running episodes so far."""
    events: dict[str, Array]
    """{name: [E]}: how often each event has happened in the running episodes so far."""
    key: Array
