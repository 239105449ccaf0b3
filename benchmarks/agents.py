"""How a MADDPG update grows with the team: the gradient of its losses at 3 to 48 agents, batch 1024, 2×64.

A joint critic reads everybody's observation and action, so its cost grows with the square of the number of agents. The peer is
the same update with the actors' pass as the paper writes it: N copies of the joint input, each with one agent's action
replaced, through the whole critic.
"""

import jax
import jax.numpy as jnp

from benchmarks.common import Options, Program, alternate, gradient, row, spread_of
from headstart.envs.particle.spread import Spread
from headstart.learners.critics.base import Critic, side_by_side
from headstart.learners.ddpg import DDPG

TEAMS = (3, 6, 12, 24, 48)


def main(options: Options) -> None:
    """A row for each size of team: ms of an update's gradient."""
    for agents in TEAMS[:2] if options.quick else TEAMS:
        ours, copies = (_gradient(agents, with_copies) for with_copies in (False, True))
        alternate([ours, copies], min(options.repeats, 5))
        note = {"agents": agents, "batch": 1024, "hidden": (64, 64)}
        ms = [1e3 / program.rate for program in (ours, copies)]
        row(
            f"maddpg-{agents}-agents",
            *ms,
            "N copies of the joint input",
            "ms/gradient",
            (ours, copies),
            **note,
            **spread_of(ours),
        )


def _gradient(agents: int, with_copies: bool) -> Program:
    env, config = Spread(agents, semantics="openai"), DDPG(warmup=0)
    copied = lambda *given: config._objective(env.spec, _with_copies(config._critic(env.spec)), *given)
    return gradient(env, config, copied if with_copies else None)


def _with_copies(valued: Critic) -> Critic:
    return valued._replace(q_own=lambda nets, obs, action, fresh, alive: _copied(valued, nets, obs, action, fresh))


def _copied(valued: Critic, nets, obs, action, fresh):
    frozen, own = jax.lax.stop_gradient(nets), {}
    for name, x in fresh.items():
        mine = jnp.eye(x.shape[-2], dtype=bool)[:, None, :, None]
        mixed = {role: jnp.where(mine, x, a) if role == name else jnp.broadcast_to(a, (len(mine), *a.shape))
                 for role, a in action.items()}  # fmt: skip
        seen = {role: jnp.broadcast_to(o, (len(mine), *o.shape)) for role, o in obs.items()}
        own[name] = frozen["critic"][name].agent_first(side_by_side(seen, mixed))[..., 0]
    return valued.q(nets, obs, action, None), own
