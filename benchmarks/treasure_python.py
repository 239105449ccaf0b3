"""Treasure collection in plain Python, one entity at a time: what the arrays are tested against, and what they are faster than.

Double precision, no arrays beyond a point in the plane. The rules are those of `headstart.envs.particle.treasure`, written
down a second time.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

DT, DAMPING, CONTACT_FORCE, CONTACT_MARGIN = 0.1, 0.25, 100.0, 1e-3
ACCEL, MAX_SPEED, SPAWN, TREASURE_RADIUS, GONE, CROWD = 1.5, 1.0, 0.95, 0.025, np.array([-999.0, -999.0]), 7


@dataclass
class Agent:
    """A collector, which may hold a type of treasure, or the bank of one type."""

    position: np.ndarray
    velocity: np.ndarray
    radius: float
    mass: float
    bank_of: int | None = None
    holding: int | None = None

    @property
    def is_bank(self) -> bool:
        return self.bank_of is not None


@dataclass
class Coin:
    """A treasure."""

    position: np.ndarray
    kind: int
    there: bool = True


class TreasurePython:
    """`reset()` gives every agent's observation, `step(moves)` observations and rewards; collectors first, then banks."""

    def __init__(
        self,
        collectors: int = 6,
        banks: int = 2,
        treasures: int = 0,
        collide: bool = True,
        seen_agents: int = 7,
        seen_treasures: int = 7,
        gone: Literal["far", "zeros"] = "far",
        seed: int = 0,
    ):
        self.sizes = collectors, banks, treasures or collectors
        self.collide, self.seen_agents, self.seen_treasures, self.gone = collide, seen_agents, seen_treasures, gone
        self.rng = np.random.default_rng(seed)
        self.collectors = [Agent(np.zeros(2), np.zeros(2), 0.05, 1.0) for _ in range(collectors)]
        self.banks = [Agent(np.zeros(2), np.zeros(2), 0.075, 2.25, bank_of=kind) for kind in range(banks)]
        self.agents = self.collectors + self.banks
        self.treasures = [Coin(np.zeros(2), 0) for _ in range(self.sizes[2])]

    def reset(self) -> list[np.ndarray]:
        """A fresh episode."""
        for agent in self.agents:
            agent.position, agent.velocity, agent.holding = self.rng.uniform(-1, 1, 2), np.zeros(2), None
        for treasure in self.treasures:
            treasure.position, treasure.kind, treasure.there = *self.drawn(), True
        return [self.observation(agent) for agent in self.agents]

    def drawn(self) -> tuple[np.ndarray, int]:
        """Place and type of a new treasure."""
        return self.rng.uniform(-SPAWN, SPAWN, 2), int(self.rng.integers(len(self.banks)))

    def step(self, moves: list[int], new: list[tuple[np.ndarray, int]] | None = None) -> tuple[list[np.ndarray], list[float]]:
        """One step; `new` has the place and type of each treasure should it come back, drawn here where not given."""
        self.move(moves)
        prizes = self.prizes()
        obs = [self.observation(agent) for agent in self.agents]
        rewards = [prizes + (self.of_bank(a) if a.is_bank else self.of_collector(a)) for a in self.agents]
        self.exchange(new)
        return obs, rewards

    # ------------------------------------------------------------------ physics

    def move(self, moves: list[int]) -> None:
        """Thrust and contacts, then velocities, then positions."""
        push = {0: (0, 0), 1: (1, 0), 2: (-1, 0), 3: (0, 1), 4: (0, -1)}
        forces = []
        for agent, choice in zip(self.agents, moves, strict=True):
            u = ACCEL * np.array(push[int(choice)], float)
            forces.append(agent.mass * ACCEL * u)
        if self.collide:
            for i, a in enumerate(self.agents):
                for j in range(i):
                    b = self.agents[j]
                    force = contact(a, b)
                    forces[i] = forces[i] + b.mass / a.mass * force
                    forces[j] = forces[j] - a.mass / b.mass * force
        for agent, force in zip(self.agents, forces, strict=True):
            agent.velocity = (1 - DAMPING) * agent.velocity + force / agent.mass * DT
            speed = math.hypot(*agent.velocity)
            if speed > MAX_SPEED:
                agent.velocity = agent.velocity / speed * MAX_SPEED
            agent.position = agent.position + agent.velocity * DT

    # ------------------------------------------------------------------ rewards

    def prizes(self) -> float:
        """Everybody's share: 5 for each free collector at a treasure, and for each collector at the bank of what it holds."""
        total = 0.0
        for treasure in self.treasures:
            for collector in self.collectors:
                if collector.holding is None and self.at_treasure(collector, treasure):
                    total += 5
        for bank in self.banks:
            for collector in self.collectors:
                if collector.holding == bank.bank_of and touch(collector, bank):
                    total += 5
        return total

    def of_collector(self, agent: Agent) -> float:
        """A collector's own part of its reward."""
        reward = 0.0
        for other in self.collectors:
            if other is not agent and touch(agent, other):
                reward -= 5
        if agent.holding is not None:
            return reward - 0.1 * distance(agent.position, self.banks[agent.holding].position)
        if self.gone == "zeros" and not any(treasure.there for treasure in self.treasures):
            return reward
        return reward - 0.1 * min(distance(agent.position, self.place(treasure)) for treasure in self.treasures)

    def of_bank(self, bank: Agent) -> float:
        """A bank's own part of its reward."""
        coming = [c for c in self.collectors if c.holding == bank.bank_of]
        if coming:
            return -0.1 * min(distance(bank.position, c.position) for c in coming)
        near = sorted(self.collectors, key=lambda c: distance(bank.position, c.position))[:CROWD]
        middle = sum(c.position for c in near) / len(near)
        return -0.1 * distance(bank.position, middle)

    # ------------------------------------------------------------------ treasures

    def place(self, treasure: Coin) -> np.ndarray:
        """Where a treasure seems to be."""
        return treasure.position if treasure.there else GONE

    def at_treasure(self, collector: Agent, treasure: Coin) -> bool:
        """Whether a collector touches a treasure that is there."""
        return treasure.there and distance(collector.position, treasure.position) < collector.radius + TREASURE_RADIUS

    def exchange(self, new: list[tuple[np.ndarray, int]] | None) -> None:
        """Pickups and comebacks, treasure by treasure, then deposits."""
        for i, treasure in enumerate(self.treasures):
            if not treasure.there:
                treasure.position, treasure.kind = self.drawn() if new is None else new[i]
                treasure.there = True
                continue
            for collector in self.collectors:
                if collector.holding is None and self.at_treasure(collector, treasure):
                    collector.holding, treasure.there = treasure.kind, False
                    break
        for collector in self.collectors:
            if collector.holding is not None and touch(collector, self.banks[collector.holding]):
                collector.holding = None

    # ------------------------------------------------------------------ observations

    def observation(self, agent: Agent) -> np.ndarray:
        """What one agent sees, nearest first."""
        kinds, seen = range(len(self.banks)), [*agent.position, *agent.velocity]
        if not agent.is_bank:
            seen += [float(agent.holding == kind) for kind in kinds]
        others = [other for other in self.agents if other is not agent]
        for other in sorted(others, key=lambda o: distance(agent.position, o.position))[: self.seen_agents]:
            seen += [*(other.position - agent.position), *other.velocity]
            seen += [float(other.bank_of == kind) for kind in kinds]
            seen += [float(other.holding == kind) for kind in kinds]
        coins = sorted(self.treasures, key=lambda t: distance(agent.position, self.place(t)))
        for treasure in coins[: self.seen_treasures]:
            if treasure.there or self.gone == "far":
                seen += [*(self.place(treasure) - agent.position), *(float(treasure.kind == kind) for kind in kinds)]
            else:
                seen += [0.0] * (2 + len(self.banks))
        return np.array(seen)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between two points."""
    return math.hypot(a[0] - b[0], a[1] - b[1])


def touch(a: Agent, b: Agent) -> bool:
    """Whether two agents overlap."""
    return distance(a.position, b.position) < a.radius + b.radius


def contact(a: Agent, b: Agent) -> np.ndarray:
    """The force of b on a, were their masses equal."""
    away = distance(a.position, b.position)
    depth = (a.radius + b.radius - away) / CONTACT_MARGIN
    soft = CONTACT_MARGIN * (depth if depth > 500 else math.log1p(math.exp(depth)))
    return CONTACT_FORCE * soft * (a.position - b.position) / away


# ------------------------------------------------------------------ speed
