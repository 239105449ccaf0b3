"""Neural architecture search as a game of one agent: it chooses the operation of one layer after another.

The game of the master-slave paper (its master searches 24 layers × 15 operations, its slaves 8 × 11), with the architecture
coding of BlockQNN (Zhong et al. 2018, "Practical Block-wise Neural Network Architecture Generation"): a layer is its
operation and the layers that it reads.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Interval
from jaxtyping import Array, Bool, Float, Int

from headstart.core.env import Scene
from headstart.core.own import installed
from headstart.core.part import part
from headstart.core.ranges import Natural
from headstart.core.types import Discrete, Field, RoleSpec, TeamSpec, TimeStep
from headstart.envs.architecture import picture
from headstart.envs.architecture.operations import (
    BACK,
    BLOCK,
    FARTHEST,
    OPERATIONS,
    TERMINAL,
    Choice,
    chosen_from,
    expert_operations,
)

Layers = Annotated[int, Interval(ge=len(BLOCK), le=400)]
RECENT = 4
"""Operations that the agent remembers."""
UNIT = 24
"""Layers that count as 1 in the observed place, in games of any length: a place means the same in all of them."""


class LayersState(NamedTuple):
    """The layers so far."""

    operations: Int[Array, " L"]
    """Number of each layer's operation, -1 of those that are not decided. L counts the terminal layer."""
    time: Int[Array, ""]
    """Layers that are decided."""


@part("env")
class Architecture:
    """Architecture search: an agent chooses a network's operations, layer by layer, until it ends it.

    Layers that have no layer k before them may not choose `add-k` or `concat-k`; `terminal` ends the network, and it is the
    only choice once all layers are decided. There is no reward: guidance pays, e.g. `feature_matching`. Event: `agreement`, a
    layer that has the operation of ResNeXt's blocks in its place.

    Observations are the same numbers in games of any length and choice, so that the networks of two games differ in their
    last layer only.
    """

    layers: Layers = 24
    """Layers beside the terminal one."""
    operations: Choice = "full"
    """15 operations (full), or 11 of them (reduced): without conv5, gconv5, avg3 and concat-4."""

    epochs: Natural = 8
    """Epochs for which `headstart evaluate` trains the networks that were found on scikit-learn's digits; 0 trains none."""

    @property
    def spec(self) -> TeamSpec:
        """One role, `agent`: an operation a step."""
        kinds = len(OPERATIONS)
        obs = (
            Field("place", 1, 2, own=True),
            Field("operation", 1, kinds, own=True),
            Field("back", 1, FARTHEST, own=True),
            Field("bigram", 1, kinds * kinds, own=True),
            Field("earlier", 1, (RECENT - 1) * kinds, own=True),
        )
        names = tuple(OPERATIONS[i] for i in self._choices)
        role = RoleSpec(1, obs, Discrete((len(names),), options=(names,)))
        return TeamSpec({"agent": role}, self.layers + 1, role.obs_size)

    @property
    def _choices(self) -> tuple[int, ...]:
        return chosen_from(self.operations)

    def reset(self, key: Array) -> tuple[LayersState, TimeStep]:
        """No layer yet; nothing is random."""
        state = LayersState(jnp.full(self.layers + 1, -1, jnp.int32), jnp.zeros((), jnp.int32))
        return state, self._show(state, jnp.zeros((), bool), jnp.zeros(()))

    def step(self, state: LayersState, action: dict[str, Array], key: Array) -> tuple[LayersState, TimeStep]:
        """The next layer has the largest entry of the action among those that are legal."""
        choice = jnp.where(self._legal(state), action["agent"][0], -jnp.inf).argmax()
        operation = jnp.asarray(self._choices, jnp.int32)[choice]
        here = jnp.arange(self.layers + 1) == state.time
        agrees = (here & (operation == np.asarray(expert_operations(self.layers)))).any() & (operation != TERMINAL)
        state = LayersState(jnp.where(here, operation, state.operations), state.time + 1)
        return state, self._show(state, operation == TERMINAL, agrees.astype(jnp.float32))

    def expert(self, obs: dict[str, Array]) -> dict[str, Array]:
        """ResNeXt's choices as logits {role: [*n A U]}. They depend on the place alone, not on the layers before."""
        place = jnp.round(UNIT * obs["agent"][..., 0]).astype(jnp.int32)
        choices = jnp.asarray([self._choices.index(i) for i in expert_operations(self.layers)])
        return {"agent": jax.nn.one_hot(choices[jnp.minimum(place, self.layers)], len(self._choices))}

    def findings(self, states: Sequence[LayersState]) -> Iterator[str]:
        """Each network, and its test accuracy and that of the expert's network after training on scikit-learn's digits."""
        from headstart.envs.architecture import digits

        found = [tuple(np.asarray(state.operations).tolist()) for state in states]
        found = [each[: each.index(TERMINAL) + 1] for each in found]
        told = {each: " ".join(OPERATIONS[i] for i in each if i != TERMINAL) or "no layers" for each in found}
        expert = expert_operations(self.layers)
        expert = expert[: expert.index(TERMINAL) + 1]
        if not self.epochs or not installed("scikit-learn"):
            yield from (f"network {i}: {told[each]}" for i, each in enumerate(found))
            if self.epochs:
                yield "test accuracies on digits need scikit-learn: pip install 'headstart[digits]'"
            return
        unlike = list(dict.fromkeys((*found, expert)))
        rows = np.array([[*each, *[TERMINAL] * (self.layers + 1 - len(each))] for each in unlike], np.int32)
        score = dict(zip(unlike, digits.accuracies(rows, self.epochs, digits.load()), strict=True))
        yield from (f"network {i}: test accuracy {score[each]:.3f}, {told[each]}" for i, each in enumerate(found))
        yield f"the expert's: test accuracy {score[expert]:.3f}"

    def _legal(self, state: LayersState) -> Bool[Array, " U"]:
        choices = np.asarray(self._choices)
        free = np.asarray(BACK)[choices] <= state.time + 1
        return jnp.where(state.time < self.layers, free, choices == TERMINAL)

    def _show(self, state: LayersState, over: Bool[Array, ""], agrees: Float[Array, ""]) -> TimeStep:
        obs, legal = {"agent": self._observed(state)[None]}, {"agent": self._legal(state)[None]}
        return TimeStep(
            obs=obs,
            final_obs=obs,
            state=obs["agent"][0],
            final_state=obs["agent"][0],
            reward={"agent": jnp.zeros(1)},
            terminated=over,
            truncated=jnp.zeros((), bool),
            alive={"agent": jnp.ones(1, bool)},
            available=legal,
            final_available=legal,
            events={"agreement": agrees},
        )

    def _observed(self, state: LayersState) -> Float[Array, " O"]:
        """Layers decided and left; the last operation and how far back it reads; the last two as a pair; the three before."""
        decided = jnp.minimum(state.time, self.layers)
        place = jnp.stack([decided, self.layers - decided]) / UNIT
        before = jnp.arange(self.layers + 1)[None] == (state.time - 1 - jnp.arange(RECENT))[:, None]
        decided_on = state.operations[:, None] == np.arange(len(OPERATIONS))[None]
        recent = before.astype(jnp.float32) @ decided_on.astype(jnp.float32)
        back = recent[0] @ jax.nn.one_hot(np.asarray(BACK) - 1, FARTHEST)
        bigram = recent[1][:, None] * recent[0][None]
        return jnp.concatenate([place, recent[0], back, bigram.reshape(-1), recent[1:].reshape(-1)])

    @property
    def entities(self) -> list[dict[str, Any]]:
        """The input and the layers, as the nodes of a graph."""
        return picture.nodes(self.layers + 1)

    def scene(self, state: LayersState) -> Scene:
        """The graph of the layers so far: every layer is joined to those that it reads."""
        return picture.graph(state.operations)


PRESETS = {"architecture": Architecture(), "architecture-reduced": Architecture(8, "reduced")}
"""Names on the command line, and the settings each starts from."""
