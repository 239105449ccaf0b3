"""Cooperative treasure collection: collectors bring treasures of several types to the bank of the same type.

Iqbal and Sha 2019 (MAAC), §4.1; with other numbers of agents, Gao et al. 2021 (KnowRU), §4.1.

Axes: C collectors, D banks and as many types of treasure, n = C + D agents (collectors first), L treasures.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float

from headstart.core.env import Scene
from headstart.core.part import part
from headstart.core.ranges import Agents, Count, Entities, Natural
from headstart.core.types import Field, RoleSpec, TeamSpec, TimeStep
from headstart.envs.particle import physics, world

COLLECTOR_RADIUS, BANK_RADIUS, TREASURE_RADIUS = 0.05, 0.075, 0.025
COLLECTOR_MASS, BANK_MASS = 1.0, 2.25
ACCELERATION = 1.5**2
"""Acceleration of a full push, for every agent: the original multiplies by 1.5 twice, and by the mass it then divides by."""
MAX_SPEED = 1.0
SPAWN = 0.95
"""Treasures appear in [-0.95, 0.95]²."""
GONE = -999.0
"""Both coordinates of a treasure in the one step between its pickup and its return."""
CROWD = 7
"""A bank is drawn to the mean of this many nearest collectors if no collector holds its type."""
PRIZE, BUMP, PULL = 5.0, 5.0, 0.1
"""Rewards of a pickup or deposit, of a collision, and of a unit of distance."""
COLORS = tuple(color for color in world.PALETTE if color != world.GREY)


class TreasureState(NamedTuple):
    """The state between two steps. A flag says whether a treasure is there; the original moves it far away instead."""

    position: Array  # [n 2]
    velocity: Array  # [n 2]
    holding: Array  # [C D] one-hot, zeros for a free collector
    treasures: Array  # [L 2]
    kind: Array  # [L D] one-hot
    there: Array  # [L] False for a treasure picked up in the last step
    time: Array


@part("env")
class Treasure:
    """Cooperative treasure collection: collectors bring treasures to the bank of their type.

    One step: 1. physics, in which agents push each other; 2. observations and rewards; 3. pickups (by the first free
    collector that touches the treasure), return of the treasures picked up in the last step (at a random place with a random
    type), deposits (at the bank of their type). A reward thus comes before its pickup or deposit. Every agent gets

        G = 5·Σ_treasures #(free collectors touching it) + 5·Σ_banks #(collectors touching it that hold its type)

    and in addition

        collectors   −5·#(collectors it overlaps) − 0.1·d, d to the nearest treasure or, holding one, to the bank of its type
        banks        −0.1·d, d to the nearest collector holding its type or, with none, to the mean of the 7 nearest ones

    Events: `pickup` and `deposit`, the treasures that were picked up and brought to their bank in 3.
    """

    collectors: Agents = 6
    banks: Agents = 2
    """Also the number of types of treasure."""
    treasures: Entities = 0
    """0 for as many as there are collectors."""
    collide: bool = True
    """Whether agents push each other; collectors pay for overlaps in both cases."""
    seen_agents: Natural = 7
    """Observe at most this many agents, the nearest ones."""
    seen_treasures: Natural = 7
    """Observe at most this many treasures, the nearest ones."""
    gone: Literal["far", "zeros"] = "far"
    """A treasure in the step after its pickup: at (-999, -999) for observations and distances, as in the original (far); or
    observed as zeros, with no distance to pay for while all treasures are away (zeros)."""
    horizon: Count = 100
    """Env-steps of an episode."""

    @property
    def spec(self) -> TeamSpec:
        """Roles `collector` and `bank` with five moves; only collectors hold treasures and observe the type they hold."""
        agents, treasures, kinds = self.collectors + self.banks, self._treasures, self.banks
        seen = (
            Field("agents", min(self.seen_agents, agents - 1), 4 + 2 * kinds, kinds=(kinds, kinds)),
            Field("treasures", min(self.seen_treasures, treasures), 2 + kinds, kinds=(kinds,)),
        )
        own = Field("position", 1, 2, own=True), Field("velocity", 1, 2, own=True)
        held = Field("held", 1, kinds, own=True, kinds=(kinds,))
        roles = {
            "collector": RoleSpec(self.collectors, (*own, held, *seen), physics.moves("openai")),
            "bank": RoleSpec(self.banks, (*own, *seen), physics.moves("openai")),
        }
        return TeamSpec(roles, self.horizon, 4 * agents + self.collectors * kinds + treasures * (3 + kinds))

    @property
    def _treasures(self) -> int:
        return self.treasures or self.collectors

    @property
    def _body(self) -> physics.Bodies:
        each = lambda collector, bank: np.repeat(np.array([collector, bank], np.float32), (self.collectors, self.banks))
        body = physics.bodies(each(COLLECTOR_RADIUS, BANK_RADIUS), max_speed=MAX_SPEED, collides=self.collide)
        return body._replace(mass=each(COLLECTOR_MASS, BANK_MASS))

    def reset(self, key: Array) -> tuple[TreasureState, TimeStep]:
        """A fresh episode: agents at rest, free, and uniform in [-1, 1]²."""
        agents_key, treasures_key = jr.split(key)
        agents = self.collectors + self.banks
        position = jr.uniform(agents_key, (agents, 2), minval=-1.0, maxval=1.0)
        holding, there = jnp.zeros((self.collectors, self.banks)), jnp.ones(self._treasures, bool)
        new, time = self._spawn(treasures_key), jnp.zeros((), jnp.int32)
        state = TreasureState(position, jnp.zeros((agents, 2)), holding, *new, there, time)
        return state, self._show(state, jnp.zeros(agents), jnp.zeros(()), jnp.zeros(()))

    def _spawn(self, key: Array) -> tuple[Float[Array, "L 2"], Float[Array, "L D"]]:
        """Places and types of new treasures, both uniform."""
        x = jr.uniform(key, (self._treasures, 3))
        kind = jnp.floor(self.banks * x[:, 2:]) == np.arange(self.banks)[None]
        return SPAWN * (2.0 * x[:, :2] - 1.0), kind.astype(jnp.float32)

    def step(self, state: TreasureState, action: dict[str, Array], key: Array) -> tuple[TreasureState, TimeStep]:
        """One step of 0.1 s; the key draws the treasures that come back."""
        body, moves = self._body, jnp.concatenate([action["collector"], action["bank"]])
        push = physics.thrust(moves, ACCELERATION * body.mass, "openai")
        position, velocity = physics.move(state.position, state.velocity, push, body, "openai", by_mass=True)
        state = state._replace(position=position, velocity=velocity, time=state.time + 1)
        after, pickups, deposits = self._exchange(state, key)
        return after, self._show(state, self._reward(state), pickups, deposits)

    def _places(self, state: TreasureState) -> Float[Array, "L 2"]:
        return jnp.where(state.there[:, None], state.treasures, GONE)

    def _touching(self, state: TreasureState) -> tuple[Bool[Array, "C L"], Bool[Array, "C D"]]:
        """Which collectors touch which treasures, and which banks."""
        crew, banks = state.position[: self.collectors], state.position[self.collectors :]
        at_treasure = world.touching(crew, COLLECTOR_RADIUS, self._places(state), TREASURE_RADIUS)
        return at_treasure, world.touching(crew, COLLECTOR_RADIUS, banks, BANK_RADIUS)

    def _reward(self, state: TreasureState) -> Float[Array, " n"]:
        crew, banks = state.position[: self.collectors], state.position[self.collectors :]
        at_treasure, at_bank = self._touching(state)
        held = state.holding > 0  # [C D]
        free = ~held.any(-1)
        count = lambda hits: physics.total(hits.astype(jnp.float32))
        prizes = PRIZE * (count(count(at_treasure & free[:, None])) + count(count(at_bank & held)))

        bumps = world.touching(crew, COLLECTOR_RADIUS, crew, COLLECTOR_RADIUS) & ~np.eye(self.collectors, dtype=bool)
        to_treasure = physics.least(physics.squared(world.gaps(self._places(state), crew)))  # [C]
        if self.gone == "zeros":
            to_treasure = jnp.where(state.there.any(), to_treasure, 0.0)
        to_banks = physics.squared(world.gaps(banks, crew))  # [D C]
        to_own_bank = physics.total(jnp.where(held.T, to_banks, 0.0))
        collector = -BUMP * count(bumps) - PULL * jnp.sqrt(jnp.where(free, to_treasure, to_own_bank))

        to_holder = physics.least(jnp.where(held, to_banks.T, jnp.inf))  # [D]
        from_crew = world.gaps(crew, banks)  # [C D 2]
        if self.collectors > CROWD:
            from_crew = jnp.where((world.ranks(to_banks) < CROWD).T[..., None], from_crew, 0.0)
        to_crowd = physics.squared(physics.total(from_crew) / min(CROWD, self.collectors))
        bank = -PULL * jnp.sqrt(jnp.where(held.any(0), to_holder, to_crowd))
        return prizes + jnp.concatenate([collector, bank])

    def _exchange(self, state: TreasureState, key: Array) -> tuple[TreasureState, Float[Array, ""], Float[Array, ""]]:
        """The state after pickups, returns and deposits, and the numbers of pickups and deposits."""
        earlier = np.tri(self.collectors, k=-1, dtype=bool)  # [C C]: row c marks the collectors before c

        def pick(free, touched):
            may = touched & free
            picks = may & ~(may[None] & earlier).any(-1)
            return free & ~picks, picks

        at_treasure, at_bank = self._touching(state)
        picks = jax.lax.scan(pick, ~(state.holding > 0).any(-1), at_treasure.T)[1]  # [L C]: treasures in their order
        holding = state.holding + physics.total(picks[..., None] * state.kind[:, None])
        deposits = (at_bank & (holding > 0)).any(-1)  # [C]
        holding = jnp.where(deposits[:, None], 0.0, holding)
        there, (place, kind) = state.there[:, None], self._spawn(key)
        place, kind = jnp.where(there, state.treasures, place), jnp.where(there, state.kind, kind)
        state = state._replace(holding=holding, treasures=place, kind=kind, there=~picks.any(-1))
        count = lambda hits: physics.total(hits.astype(jnp.float32))
        return state, count(picks.any(-1)), count(deposits)

    def _show(
        self, state: TreasureState, reward: Float[Array, " n"], pickups: Float[Array, ""], deposits: Float[Array, ""]
    ) -> TimeStep:
        position, collectors, kinds = state.position, self.collectors, self.banks
        agents, there = collectors + kinds, state.there.astype(jnp.float32)
        is_bank_of = np.eye(agents, kinds, -collectors, dtype=np.float32)
        holds = jnp.concatenate([state.holding, jnp.zeros((kinds, kinds))])
        gaps = world.gaps(position, position)
        # An agent's distance to itself is infinite, so it is never among its nearest.
        away = jnp.where(np.eye(agents, dtype=bool), jnp.inf, physics.squared(gaps))
        features = jnp.concatenate([state.velocity, is_bank_of, holds], -1)
        near_agents = world.nearest(away, gaps, features, min(self.seen_agents, agents - 1))

        gaps, kind = world.gaps(position, self._places(state)), state.kind
        away = physics.squared(gaps)
        if self.gone == "zeros":
            gaps, kind = gaps * there[None, :, None], kind * there[:, None]
        near_treasures = world.nearest(away, gaps, kind, min(self.seen_treasures, self._treasures))

        own = jnp.concatenate([position, state.velocity], -1)
        crew = world.side_by_side(own[:collectors], state.holding, near_agents[:collectors], near_treasures[:collectors])
        banks = world.side_by_side(own[collectors:], near_agents[collectors:], near_treasures[collectors:])
        return world.time_step(
            {"collector": crew, "bank": banks},
            {"collector": reward[:collectors], "bank": reward[collectors:]},
            (*state[:5], there),
            state.time >= self.horizon,
            {"pickup": pickups, "deposit": deposits},
        )

    @property
    def entities(self) -> list[dict[str, Any]]:
        """Collectors, in the colour of the treasure they hold, then banks, then treasures."""
        colors = [COLORS[kind % len(COLORS)] for kind in range(self.banks)]
        collectors = world.entities("collector", "agent", [COLLECTOR_RADIUS] * self.collectors, world.GREY, *colors)
        banks = [world.entity(f"bank {i}", "agent", BANK_RADIUS, color) for i, color in enumerate(colors)]
        return collectors + banks + world.entities("treasure", "landmark", [TREASURE_RADIUS] * self._treasures, *colors)

    def scene(self, state: TreasureState) -> Scene:
        """Positions of all entities; a treasure that was picked up is hidden."""
        held, kind = state.holding > 0, state.kind.argmax(-1)
        holds = jnp.where(held.any(-1), 1 + held.argmax(-1), 0)
        shades = jnp.concatenate([holds, jnp.zeros(self.banks, holds.dtype), kind])
        return world.scene(state.position, jnp.where(state.there[:, None], state.treasures, jnp.nan), shades=shades)


PRESETS = {"treasure": Treasure()}
"""Names on the command line, and the settings each starts from."""
