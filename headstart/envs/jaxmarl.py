"""JaxMARL environments; they stay inside the jitted program.

headstart train jaxmarl:MPE_simple_tag_v3 --learner ippo
headstart train jaxmarl:HeuristicEnemySMAX --env.options '{"scenario": "3s_vs_4z"}' --learner ippo
"""

import functools
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from headstart.core.checks import HeadstartError, check_known
from headstart.core.named import called, named, options_text
from headstart.core.part import part
from headstart.core.ranges import Natural
from headstart.core.types import ActionSpace, Continuous, Discrete, Field, TeamSpec, TimeStep
from headstart.envs.battle.units import MOVES as ORDERS
from headstart.envs.battle.units import orders, units_of
from headstart.envs.host.meanings import MOVES
from headstart.envs.host.roles import Naming
from headstart.envs.host.spaces import LARGEST, acted


class JaxMARLState(NamedTuple):
    """JaxMARL's state, env-steps of this episode, and which agents are alive {role: [A]}."""

    theirs: Any
    time: Array
    alive: dict[str, Array]


@part("env")
class JaxMARL:
    """Any environment of JaxMARL, stepped inside the jitted program: jaxmarl:ID."""

    id: str = "MPE_simple_spread_v3"
    """The id that `jaxmarl.make` takes."""
    options: Any = "{}"
    """Options of its constructor: a JSON object, or a dict from Python. The `scenario` of a battle is the name of its map."""
    horizon: Natural = 0
    """Env-steps after which an episode is cut off; 0 takes the environment's own limit, e.g. `max_steps`."""
    roles: tuple[str, ...] = ()
    """Roles of agents that are not to be grouped by their names: leader=agent_0 others=agent_1,agent_2."""
    fields: tuple[str, ...] = ()
    """Parts of an observation, in order: velocity=2 mates=3x2 (3 entities of 2 numbers); ROLE:NAME=SIZE for one role."""

    def __post_init__(self):
        object.__setattr__(self, "options", options_text(self.options))

    @property
    def spec(self) -> TeamSpec:
        """The team's spec; roles follow from the agents' names and spaces."""
        return _made(self).spec

    def reset(self, key: Array) -> tuple[JaxMARLState, TimeStep]:
        """A fresh episode. The key is consumed."""
        env, spec, *_ = _made(self)
        with _their_ways():
            obs, theirs = env.reset(key)
        alive = {role: jnp.ones(r.agents, bool) for role, r in spec.roles.items()}
        state = JaxMARLState(theirs, jnp.zeros((), jnp.int32), alive)
        reward = {role: jnp.zeros(r.agents, jnp.float32) for role, r in spec.roles.items()}
        no = jnp.zeros((), bool)
        return state, self._show(state, obs, reward, no, no, {role: ~x for role, x in alive.items()})

    def step(self, state: JaxMARLState, action: dict[str, Array], key: Array) -> tuple[JaxMARLState, TimeStep]:
        """One joint step. JaxMARL does not say why an episode ends: an end at or after its own limit is a truncation, but that
        of a battle only if units of both sides live."""
        env, spec, limit, battle = _made(self)
        sent = {}
        for role, names in spec.names.items():
            for i, name in enumerate(names):
                sent[name] = _native(spec.roles[role].actions, action[role][i], env.action_space(name))
        with _their_ways():
            obs, theirs, reward, done, _ = env.step_env(key, state.theirs, sent)
        time = state.time + 1
        each = lambda values: {r: jnp.stack([jnp.asarray(values[n]) for n in names]) for r, names in spec.names.items()}
        all_done = jnp.asarray(done["__all__"]).astype(bool)
        clock = all_done & (~_decided(battle, theirs) if battle else time >= limit)
        over, late = all_done & ~clock, clock | (~all_done & (time >= spec.horizon))
        gone = {role: (x.astype(bool) & ~clock) | ~state.alive[role] for role, x in each(done).items()}
        alive = {role: ~x for role, x in gone.items()}
        paid = {role: x.astype(jnp.float32) for role, x in each(reward).items()}
        state = JaxMARLState(theirs, time, alive)
        return state, self._show(state, obs, paid, over, late, gone)

    def _show(self, state: JaxMARLState, obs, reward, terminated, truncated, gone) -> TimeStep:
        env, spec, *_ = _made(self)
        flat = lambda name: jnp.asarray(obs[name]).astype(jnp.float32).reshape(-1)
        seen = {role: jnp.stack([flat(name) for name in names]) for role, names in spec.names.items()}
        if "world_state" in obs:
            everything = jnp.asarray(obs["world_state"]).astype(jnp.float32).reshape(-1)
        else:
            everything = jnp.concatenate([x.reshape(-1) for x in seen.values()])
        available = None
        if _has_masks(env):
            with _their_ways():
                masks = env.get_avail_actions(state.theirs)
            available = {r: jnp.stack([masks[n].astype(bool) for n in names]) for r, names in spec.names.items()}
        return TimeStep(
            obs=seen,
            final_obs=seen,
            state=everything,
            final_state=everything,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            alive=state.alive,
            available=available,
            final_available=available,
            agent_terminated=gone,
        )


class _Made(NamedTuple):
    """JaxMARL's environment, its spec, its own longest episode, and the battle inside it, if it is one."""

    env: Any
    spec: TeamSpec
    limit: float
    battle: Any


@functools.cache
def _made(env: JaxMARL) -> _Made:
    with jax.ensure_compile_time_eval():  # the first call may come from a trace; the modules' arrays and the result are kept
        jaxmarl: Any = named("jaxmarl")
        check_known("JaxMARL environment", env.id, jaxmarl.registered_envs)
        make = lambda **given: jaxmarl.make(env.id, **_with_scenario(given))
        made = called(make, env.id, json.loads(env.options))
    with _their_ways():
        seen = jax.eval_shape(made.reset, jax.random.key(0))[0]
    names = list(made.agents)
    if not isinstance(seen, dict) or not all(isinstance(name, str) and name in seen for name in names):
        raise HeadstartError(f"{env.id} does not show what its agents observe by their names: only such ones can be read")
    width = lambda n: _width(made.observation_space(n), seen[n], f"what {n} of {env.id} observes")
    fields = {n: (Field("obs", 1, width(n), own=True),) for n in names}
    actions = {n: _named(acted(made.action_space(n), f"{n} of {env.id}"), made, n) for n in names}
    roles = Naming(env.roles, env.fields).of(names, fields, actions)
    limit = _limit(made)
    if not env.horizon and not limit:
        raise HeadstartError(f"{env.id} does not say how long an episode may last: pass --env.horizon STEPS (horizon=STEPS)")
    size = sum(role.agents * role.obs_size for role in roles.values())
    size = int(np.prod(seen["world_state"].shape)) if "world_state" in seen else size
    battle = _battle(made)
    # Some clocks ring one step after the limit (those of MPE), so an episode may last that much longer. A battle's does as
    # well, but there it is known who has won: it is cut off at the limit.
    return _Made(made, TeamSpec(roles, env.horizon or limit + (not battle), size), limit or float("inf"), battle)


def _with_scenario(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a constructor with JaxMARL's own `Scenario` in place of the name of a map."""
    name = options.get("scenario")
    if not isinstance(name, str):
        return options
    smax: Any = named("jaxmarl.environments.smax.smax_env")
    if name in smax.MAP_NAME_TO_SCENARIO:
        return options | {"scenario": smax.MAP_NAME_TO_SCENARIO[name]}
    units = units_of(name)
    kinds = jnp.asarray(units.kind[:, 0], jnp.uint8)
    return options | {"scenario": smax.Scenario(kinds, units.allies, units.enemies, False, False)}


def _battle(made: Any) -> Any:
    """The SMAX in an environment of JaxMARL; None if there is none."""
    return next((env for env in (made, getattr(made, "_env", None)) if type(env).__name__ == "SMAX"), None)


def _decided(battle: Any, theirs: Any) -> Array:
    """Whether all units of a side are dead."""
    alive = getattr(theirs, "state", theirs).unit_alive
    return ~(alive[: battle.num_allies].any() & alive[battle.num_allies :].any())


def _named(space: ActionSpace, made: Any, agent: str) -> ActionSpace:
    """The space with the names of moves, for units of SMAX and agents of JaxMARL's particle worlds that only move."""
    battle = _battle(made)
    if battle is not None and isinstance(space, Discrete) and battle.num_movement_actions == len(ORDERS):
        return orders(space.size - len(ORDERS))
    particles = any(c.__name__ == "SimpleMPE" and c.__module__.startswith("jaxmarl.") for c in type(made).__mro__)
    if not particles or space.size != len(MOVES) or not np.asarray(made.moveable)[made.agents.index(agent)]:
        return space
    return space._replace(names=MOVES) if isinstance(space, Continuous) else space._replace(options=(MOVES,))


def _their_ways() -> Any:
    """Allow rank promotion in JaxMARL's code, which relies on it, even if the user forbids it in JAX."""
    return jax.numpy_rank_promotion("allow")


def _limit(made: Any) -> int:
    """The environment's longest episode, under any of JaxMARL's names for it; 0 if it has none."""
    values = (getattr(made, name, None) for name in ("max_steps", "max_cycles", "max_episode_steps", "num_inner_steps"))
    return next((value for value in values if isinstance(value, int) and value > 0), 0)


def _width(space: Any, seen: Any, where: str) -> int:
    """The size of the observation `seen`: some of JaxMARL's spaces state a wrong one."""
    kind = type(space).__name__
    if kind not in ("Box", "Discrete", "MultiDiscrete"):
        raise HeadstartError(f"{where} is a {kind} space, which cannot be read: Box, Discrete and MultiDiscrete can")
    width = int(np.prod(seen.shape))
    if width > LARGEST:
        raise HeadstartError(f"{where} has {width} numbers (pixels?): vectors up to {LARGEST} can be read")
    return width


def _native(space: ActionSpace, vector: Array, theirs: Any) -> Array:
    if isinstance(space, Continuous):
        sent = space.in_units(vector)
        whole = jnp.issubdtype(theirs.dtype, jnp.integer) if getattr(theirs, "dtype", None) is not None else False
        return (jnp.rint(sent).astype(theirs.dtype) if whole else sent).reshape(theirs.shape)
    blocks = jnp.split(vector, np.cumsum(space.heads)[:-1].tolist())
    choices = [block.argmax(-1) for block in blocks]
    return choices[0] if len(choices) == 1 else jnp.stack(choices)


def _has_masks(env: Any) -> bool:
    base = next(c for c in type(env).__mro__ if c.__name__ == "MultiAgentEnv")
    return type(env).get_avail_actions is not base.get_avail_actions


PRESETS = {"jaxmarl": JaxMARL()}
"""`jaxmarl:ID` on the command line; without an id, JaxMARL's cooperative navigation."""
