"""SMAX: battles in the manner of the StarCraft multi-agent challenge (SMAC), inside the jitted program.

headstart train smax:3m --learner ippo
"""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from headstart.core.env import Scene
from headstart.core.part import part
from headstart.core.ranges import Count
from headstart.core.types import RoleSpec, TeamSpec, TimeStep
from headstart.envs.battle import combat, enemy, sight
from headstart.envs.battle.combat import SIZE, Army
from headstart.envs.battle.enemy import Plan
from headstart.envs.battle.last import environments_last
from headstart.envs.battle.units import KINDS, MOVES, Units, orders, units_of
from headstart.envs.particle import world
from headstart.envs.particle.physics import total

SPREAD = 2.0
"""Units begin at most this far from the place of their army, along each axis."""
PER_KILL, PER_WIN, MOST = 10.0, 200.0, 20.0
"""SMAC's rewards of a kill and of a win beside a point of damage, and the largest return that they are scaled to."""
COLORS = {
    "marine": ("#4477aa", "#ee6677"),
    "marauder": ("#225588", "#cc3311"),
    "stalker": ("#66ccee", "#cc6677"),
    "zealot": ("#332288", "#aa3377"),
    "zergling": ("#44aa99", "#ee7733"),
    "hydralisk": ("#117733", "#997700"),
}
"""Colours of a kind as an ally and as an enemy: cold and warm ones."""


class BattleState(NamedTuple):
    """The state between two steps."""

    army: Army
    plan: Plan
    order: Array  # [n] what each unit was last told to do
    fired: Array  # [n] whether it hit in the last step
    time: Array


class Told(NamedTuple):
    """What the team is told after a step: the parts of its time step."""

    obs: Array
    may: Array
    state: Array
    alive: Array
    reward: Array
    over: Array
    late: Array
    events: dict[str, Array]


@part("env")
class SMAX:
    """Battles of units against a scripted army, as in JaxMARL's SMAX, a stand-in for SMAC: smax:MAP.

    The rules, observations, legal actions and rewards are those of `HeuristicEnemySMAX` of JaxMARL 0.2; observed numbers
    come in another order, and the global state is normalised. A battle ends if one side is dead: then it terminates, also
    in its last step. Every ally is paid the team's reward, also after its own death, which `alive` and `agent_terminated`
    tell. With h the health of the enemies as shares of the full one, and H in points,

        smax    (what Σ h has lost) / #enemies + 1 for a win, so that the best return is 2
        smac    (what Σ H has lost + 10·#kills + 200 for a win) · 20 / (Σ H at the start + 10·#enemies + 200)

    A win is the death of all enemies with an ally left; both armies may die in one step, which is a draw. Events: `win`,
    `draw`, and `kill`, an enemy's death.
    """

    id: str = "3m"
    """The map: units of both sides, e.g. 3s5z, or of either, e.g. 5m_vs_6m. m marine, M marauder, s stalker, z zealot,
    zg zergling, h hydralisk."""
    reward_scale: Literal["smax", "smac"] = "smax"
    """Rewards as in SMAX or as in SMAC."""
    horizon: Count = 100
    """Env-steps after which a battle is cut off."""

    def __post_init__(self):
        units_of(self.id)

    @property
    def units(self) -> Units:
        """Both armies' units, allies first."""
        return units_of(self.id)

    @property
    def spec(self) -> TeamSpec:
        """One role, `ally`."""
        units = self.units
        ally = RoleSpec(units.allies, sight.fields(units), orders(units.enemies)._replace(aims=("enemies",)))
        return TeamSpec({"ally": ally}, self.horizon, len(units.kind) * sight.UNIT)

    def reset(self, key: Array) -> tuple[BattleState, TimeStep]:
        """A fresh battle: armies face each other at a quarter and three quarters of the field's width."""
        units = self.units
        return self.begin(SPREAD * (2 * jnp.stack(_uniform_pairs(key, len(units.kind))) - 1))

    def begin(self, spread: Float[Array, "2 n"]) -> tuple[BattleState, TimeStep]:
        """The battle whose units are moved by `spread`, right and up, from their armies' places."""
        return _time_step(environments_last(self._begin)(spread))

    def _begin(self, spread: Float[Array, "2 n E"]) -> tuple[BattleState, Told]:
        units, zeros = self.units, jnp.zeros(spread.shape[1:], jnp.float32)
        ally = np.arange(len(units.kind))[:, None] < units.allies
        x = np.where(ally, SIZE / 4, 3 * SIZE / 4).astype(np.float32)
        army = combat.push(units, Army(spread[0] + x, spread[1] + SIZE / 2, zeros + units.health, zeros))
        order = jnp.full(zeros.shape, MOVES.index("stop"), jnp.int32)
        state = BattleState(army, enemy.begin(units, army), order, zeros > 0, jnp.zeros(zeros.shape[1:], jnp.int32))
        return state, self._tell(state, army)

    def step(self, state: BattleState, action: dict[str, Array], key: Array) -> tuple[BattleState, TimeStep]:
        """One step of half a second; the key draws cooldowns, and whom enemies follow."""
        chance, follow = _uniform_pairs(key, len(self.units.kind))
        low, high = combat.JITTER
        # A unit can hit once in an env-step at most, so one number for each is enough.
        return self.advance(state, action, (low + (high - low) * chance)[None], follow[self.units.allies :])

    def advance(
        self, state: BattleState, action: dict[str, Array], jitter: Float[Array, "#t n"], chance: Float[Array, " e"]
    ) -> tuple[BattleState, TimeStep]:
        """One step with its draws given: see `combat.fight` and `enemy.command`."""
        return _time_step(environments_last(self._advance)(state, action["ally"], jitter, chance))

    def _advance(
        self, state: BattleState, action: Float[Array, "a U E"], jitter: Float[Array, "#t n E"], chance: Float[Array, "e E"]
    ) -> tuple[BattleState, Told]:
        told, plan = enemy.command(self.units, state.army, state.plan, chance)
        order = jnp.concatenate([_chosen(action), told])
        army = combat.fight(self.units, state.army, order, jitter)
        after = BattleState(army, plan, order, army.cooldown > state.army.cooldown, state.time + 1)
        return after, self._tell(after, state.army)

    def _tell(self, state: BattleState, before: Army) -> Told:
        """What the team is told of a state, and of the step to it from the armies `before`."""
        units, army, a = self.units, state.army, self.units.allies
        routed, lost = (~army.alive[side].any(0) for side in (slice(a, None), slice(0, a)))
        count = lambda x: x.astype(jnp.float32)
        kills = total(count(before.alive[a:] & ~army.alive[a:]))
        events = {"win": count(routed & ~lost), "draw": count(routed & lost), "kill": kills}
        over = routed | lost
        return Told(
            sight.look(units, army, state.order),
            sight.may(units, army),
            sight.state(units, army),
            army.alive[:a],
            self._reward(before.health[a:] - army.health[a:], events),
            over,
            ~over & (state.time >= self.horizon),
            events,
        )

    def _reward(self, harm: Float[Array, "e E"], events: dict[str, Array]) -> Float[Array, " E"]:
        full = self.units.health[self.units.allies :]
        if self.reward_scale == "smax":
            return total(harm / full) / len(full) + events["win"]
        scale = MOST / float(full.sum() + PER_KILL * len(full) + PER_WIN)
        return scale * (total(harm) + PER_KILL * events["kill"] + PER_WIN * events["win"])

    @property
    def entities(self) -> list[dict[str, Any]]:
        """Allies, then enemies, in the colours of their kinds."""
        names, out = list(KINDS), []
        for i, (kind, radius) in enumerate(zip(self.units.kind[:, 0], self.units.radius[:, 0], strict=True)):
            hostile = i >= self.units.allies
            name = f"enemy {i - self.units.allies}" if hostile else f"ally {i}"
            out.append(world.entity(name, "agent", 2 / SIZE * float(radius), COLORS[names[kind]][hostile]))
        return out

    def scene(self, state: BattleState) -> Scene:
        """Living units, their health, and whom each has just hit; the field is drawn from -1 to 1."""
        units, army, order = self.units, state.army, state.order - combat.MARCH
        place = 2 / SIZE * jnp.stack([army.x, army.y], -1) - 1
        ally = np.arange(len(units.kind)) < units.allies
        target = jnp.where(ally, units.allies + order, units.allies - 1 - order)
        shown = world.scene(jnp.where((army.health > 0)[:, None], place, jnp.nan))
        hit = jnp.where(state.fired, target, -1).astype(jnp.int32)
        return shown._replace(health=army.health / units.health[:, 0], hit=hit)


def _chosen(action: Float[Array, "a U E"]) -> Int[Array, "a E"]:
    """Each ally's order: the largest entry of its action, the first of equal ones, found without a search at run time."""
    order, most = jnp.zeros((action.shape[0], action.shape[2]), jnp.int32), action[:, 0]
    for number in range(1, action.shape[1]):
        order, most = jnp.where(action[:, number] > most, number, order), jnp.maximum(most, action[:, number])
    return order


def _uniform_pairs(key: Array, count: int) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Two numbers in [0, 1) of 16 random bits each for every unit: drawing twice as many bits takes twice as long."""
    bits = jr.bits(key, (count,), jnp.uint32)
    return (bits >> 16).astype(jnp.float32) / 2**16, (bits & 0xFFFF).astype(jnp.float32) / 2**16


def _time_step(given: tuple[BattleState, Told]) -> tuple[BattleState, TimeStep]:
    """The state of one environment, and what is told as a time step."""
    state, told = given
    obs, may = {"ally": told.obs}, {"ally": told.may}
    return state, TimeStep(
        obs=obs,
        final_obs=obs,
        state=told.state,
        final_state=told.state,
        reward={"ally": jnp.broadcast_to(told.reward, told.alive.shape)},
        terminated=told.over,
        truncated=told.late,
        alive={"ally": told.alive},
        available=may,
        final_available=may,
        agent_terminated={"ally": ~told.alive},
        events=told.events,
    )


PRESETS = {"smax": SMAX()}
"""`smax:MAP` on the command line; without a map, three marines on each side."""
