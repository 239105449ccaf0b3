"""Critics of numbers side by side: an agent's own (local), or those of the whole team (joint)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from headstart.core.networks import RoleNet, role_net
from headstart.core.ops import Cell, shown
from headstart.core.types import Field, TeamSpec
from headstart.learners.bodies import Core, cell_of
from headstart.learners.critics.base import Bodies, Critic, joint_fields, side_by_side


def local(spec: TeamSpec, bodies: Bodies, shared: bool, acts: bool) -> Critic:
    """Each agent's own observation, and with `acts` its own action."""

    def init(key_of):
        nets = {}
        for i, (name, role) in enumerate(spec.roles.items()):
            fields = (*role.obs, *([Field("action", 1, role.actions.size)] if acts else []))
            make = lambda k, name=name, fields=fields: bodies(name)(k, fields, 1)
            nets[name] = role_net(make, key_of(i), role.agents, shared)
        return {"critic": nets}

    def q(params, obs, action, alive=None):
        obs, action = shown(obs, alive), shown(action, alive)
        beside = lambda name: jnp.moveaxis(jnp.concatenate([obs[name], action[name]], -1), -2, 0)
        return {name: net.agent_first(beside(name))[..., 0] for name, net in params["critic"].items()}

    def v(params):
        cell = cell_of(params["critic"])
        leave = lambda carry, taken: {name: x[..., 0] for name, x in cell.leave(carry, taken).items()}
        return Cell(lambda now: cell.enter(shown(*now)), cell.advance, leave)

    def q_own(params, obs, action, fresh, alive=None):
        return q(params, obs, action, alive), q(jax.lax.stop_gradient(params), obs, fresh, alive)

    return Critic(init, q, q_own, v)


def joint(spec: TeamSpec, bodies: Bodies, shared: bool, acts: bool) -> Critic:
    """All observations, and with `acts` all actions.

    Without actions, a shared network has one output for each agent of its role, since their rewards may differ.
    """
    fields = joint_fields(spec, acts)

    def init(key_of):
        nets = {}
        for i, (name, role) in enumerate(spec.roles.items()):
            make = lambda k, name=name, role=role: bodies(name)(k, fields, role.agents if shared and not acts else 1)
            nets[name] = role_net(make, key_of(i), role.agents, shared)
        return {"critic": nets}

    def q(params, obs, action, alive=None):
        joint = side_by_side(shown(obs, alive), shown(action, alive))
        return {name: net.for_each(joint)[..., 0] for name, net in params["critic"].items()}

    def q_own(params, obs, action, fresh, alive=None):
        obs, action = shown(obs, alive), shown(action, alive)
        joint, taken, own = side_by_side(obs, action), {}, {}
        at = sum(role.agents * role.obs_size for role in spec.roles.values())
        for name, net in sorted(params["critic"].items()):
            # The first layer multiplies the joint input once: a change of one agent's action is a change of low rank.
            product = net.mapped(lambda net: net.input(joint))
            taken[name] = net.mapped(lambda net, h: net.rest(h), product)[..., 0]
            agents, size = action[name].shape[-2:]
            change = jnp.moveaxis(fresh[name] - action[name], -2, 0)
            change = jnp.einsum("a...u,auh->a...h", change, jax.lax.stop_gradient(_own_rows(net, at, agents, size)))
            frozen = jax.lax.stop_gradient(net)
            own[name] = frozen.mapped(lambda net, h: net.rest(h), jax.lax.stop_gradient(product) + change)[..., 0]
            at += agents * size
        return taken, own

    def v(params):
        nets, cell = params["critic"], cell_of(params["critic"])
        value = lambda out: out[..., 0, :] if shared else out[..., 0]
        enter = lambda now: {name: net.together(Core.enter, side_by_side(shown(*now))) for name, net in nets.items()}
        leave = lambda carry, taken: {name: value(x) for name, x in cell.leave(carry, taken).items()}
        return Cell(enter, cell.advance, leave)

    return Critic(init, q, q_own, v)


def _own_rows(net: RoleNet, at: int, agents: int, size: int) -> Array:
    """[A U H]: the rows of each agent's first layer for its own action; the role's actions begin at row `at`."""
    weight = net.net.input.weight
    if net.shared:
        return weight[at : at + agents * size].reshape(agents, size, -1)
    return jnp.stack([weight[i, at + i * size : at + (i + 1) * size] for i in range(agents)])
