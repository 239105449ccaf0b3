"""The attention critic of MAAC, which other learners may choose too.

Agent i values each of its own actions, and attends to what the other agents see and do:

Iqbal and Sha 2019, "Actor-Attention-Critic for Multi-Agent Reinforcement Learning", §3.2. With s_i an encoding of agent i's
observation and e_j one of agent j's observation and action,

    Q_i(o, a) = f_i(s_i, x_i)[a_i],    x_i = Σ_{j≠i} α_ij·LeakyReLU(V·e_j + v),    α_ij = softmax_{j≠i}((W·s_i)·(K·e_j)/√D)

head by head. Encoders and f belong to an agent, or to a role if shared (network `critic`); W, K, V
and v belong to the whole team (network `attention`, kept under the first role by name; those of other roles are empty).

====  ==============================================  ====  ==================================
`N`   agents of all roles, roles by name              `H`   attention heads
`E`   numbers of an encoding                          `D`   numbers of a head, E/H
====  ==============================================  ====  ==================================
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Key

from headstart.core.attention import HIDDEN
from headstart.core.checks import HeadstartError
from headstart.core.learner import Attention
from headstart.core.modules import ACTIVATIONS, MLP, Activation, Linear, linear, mlp
from headstart.core.networks import RoleNet, role_net
from headstart.core.ops import feed_forward, masked_mean, shown
from headstart.core.types import Continuous, Field, RoleSpec, TeamSpec
from headstart.learners.bodies import width
from headstart.learners.critics.base import Critic, Nets, Values, chosen


class ValueNet(eqx.Module):
    """What a critic has for each agent."""

    sees: Linear
    """Encodes the observation."""
    does: Linear
    """Encodes the observation and the action, for the other agents."""
    head: MLP
    """s_i and x_i side by side to the values of the own actions."""


class AttentionHeads(eqx.Module):
    """What agents share: all heads side by side."""

    query: Float[Array, "E E"]
    key: Float[Array, "E E"]
    value: Linear
    heads: int = eqx.field(static=True)

    def __call__(
        self, sees: Float[Array, "N *n E"], does: Float[Array, "N *n E"], there: Bool[Array, "*n N"]
    ) -> tuple[Float[Array, "N *n E"], Float[Array, "N *n H N"], Float[Array, " N *n"]]:
        """x_i, α, and Σ_heads of the mean squared score (before √D). An agent with nobody to attend to has zeros."""
        apart = lambda x: x.reshape(*x.shape[:-1], self.heads, -1)  # [N *n H D]
        query, key = apart(sees @ self.query), apart(does @ self.key)
        value = apart(ACTIVATIONS["leaky_relu"](self.value(does)))
        scores = jnp.einsum("i...d,j...d->i...j", query, key)
        others = ~jnp.eye(len(sees), dtype=bool).reshape(len(sees), *(1 for _ in there.shape[:-1]), 1, -1)
        mask = jnp.broadcast_to(others & there[None, ..., None, :], scores.shape)
        weights = jax.nn.softmax(jnp.where(mask, scores / query.shape[-1] ** 0.5, HIDDEN), -1)
        weights = jnp.where(mask, weights, 0.0)
        attended = jnp.einsum("i...j,j...d->i...d", weights, value)
        return attended.reshape(sees.shape), weights, masked_mean(jnp.square(scores), mask, -1).sum(-1)


class AttentiveCritic(NamedTuple):
    """A critic that also values each of an agent's own actions."""

    critic: Critic
    values: Callable[[Nets, Values, Values, Values | None], tuple[Values, Values]]
    """params, obs {role: [*n A O]}, action {role: [*n A U]}, alive -> {role: [A *n U]}: Q_i of each own action, given the
    actions of the others; and {role: [A *n]}: the sum over heads of the mean squared score of attention. Nobody attends to
    the dead."""


def attentive(
    spec: TeamSpec, embedding: int, heads: int, activation: Activation, shared: bool, acts: bool = True
) -> AttentiveCritic:
    """The critic of a team. `embedding` is E, a multiple of `heads`; `shared`: one `ValueNet` a role.

    Without `acts` it reads no actions, and values the state instead of own actions. With them, raises HeadstartError if
    actions are continuous, which have no list of values.
    """
    roles = dict(sorted(spec.roles.items()))
    holder = next(iter(roles))
    for name, role in roles.items():
        if acts and isinstance(role.actions, Continuous):
            raise HeadstartError(
                f"the critic attention values each action of a list, and those of role '{name}' are continuous: choose another"
            )

    def init(key_of):
        make = lambda role: lambda k: _value_net(k, role, embedding, activation, acts)
        drawn = enumerate(spec.roles.items())
        own = {name: role_net(make(role), key_of(i), role.agents, shared) for i, (name, role) in drawn}
        team = {name: RoleNet({}, True) for name in roles}
        team[holder] = RoleNet(_attention_heads(key_of(len(roles)), embedding, heads), True)
        return {"critic": own, "attention": team}

    def attend(params, obs, action, alive):
        """s [N *n E], then x, α and mean squared scores, as `AttentionHeads` gives them."""
        nonlinear, nets = ACTIVATIONS[activation], params["critic"]
        first = {name: jnp.moveaxis(x, -2, 0) for name, x in shown(obs, alive).items()}
        acted = {name: jnp.moveaxis(x, -2, 0) for name, x in shown(action, alive).items()} if acts else {}
        beside = lambda name: jnp.concatenate([first[name], acted[name]], -1) if acts else first[name]
        encoded = lambda of, x: jnp.concatenate([nonlinear(nets[name].mapped(of, x(name))) for name in roles])
        sees = encoded(lambda net, x: net.sees(x), lambda name: first[name])
        does = encoded(lambda net, x: net.does(x), beside)
        there = jnp.ones((*sees.shape[1:-1], len(sees)), bool)
        if alive is not None:
            there = jnp.concatenate([alive[name] for name in roles], -1)
        return sees, *params["attention"][holder].net(sees, does, there)

    def by_role(x):
        """[N ..] -> {role: [A ..]}."""
        starts, at = {}, 0
        for name, role in roles.items():
            starts[name], at = at, at + role.agents
        return {name: x[starts[name] : starts[name] + role.agents] for name, role in roles.items()}

    def values(params, obs, action, alive=None):
        sees, attended, _, squares = attend(params, obs, action, alive)
        judged = by_role(jnp.concatenate([sees, attended], -1))
        valued = {name: params["critic"][name].mapped(lambda net, x: net.head(x), x) for name, x in judged.items()}
        return valued, by_role(squares)

    def q(params, obs, action, alive=None):
        return {name: chosen(x, action[name]) for name, x in values(params, obs, action, alive)[0].items()}

    def q_own(params, obs, action, fresh, alive=None):
        valued = values(params, obs, action, alive)[0]  # an agent's own action is only a choice among them
        own = {name: chosen(jax.lax.stop_gradient(x), fresh[name]) for name, x in valued.items()}
        return {name: chosen(x, action[name]) for name, x in valued.items()}, own

    def v(params):
        alone = lambda obs, alive: {name: x[..., 0] for name, x in values(params, obs, {}, alive)[0].items()}
        return feed_forward(lambda now: {name: jnp.moveaxis(x, 0, -1) for name, x in alone(*now).items()})

    def weights(params, obs, action, alive=None):
        found = attend(params, obs, action, alive)[2].mean(-2)
        return {name: jnp.moveaxis(x, 0, -2) for name, x in by_role(found).items()}

    names = tuple(name for role in roles for name in spec.names[role])
    looks = Attention(dict.fromkeys(roles, names), weights) if len(names) > 1 else None
    return AttentiveCritic(Critic(init, q, q_own, v, looks, ("critic", "attention")), values)


def _value_net(key: Key[Array, ""], role: RoleSpec, embedding: int, activation: Activation, acts: bool) -> ValueNet:
    sees, does, head = jr.split(key, 3)
    done = (Field("action", 1, role.actions.size, own=True),) if acts else ()
    values = mlp(head, (2 * embedding, embedding, role.actions.size if acts else 1), activation)
    if acts:  # outputs are values of actions, not of agents, which tools that copy critics would put into another order
        values = eqx.tree_at(lambda net: net.layers[-1], values, dataclasses.replace(values.layers[-1], last=False))
    encoder = lambda key, fields: linear(key, width(fields), embedding, None, fields)
    return ValueNet(encoder(sees, role.obs), encoder(does, (*role.obs, *done)), values)


def _attention_heads(key: Key[Array, ""], embedding: int, heads: int) -> AttentionHeads:
    query, key, value = jr.split(key, 3)
    draw = jax.nn.initializers.glorot_uniform()
    square = (embedding, embedding)
    return AttentionHeads(draw(query, square), draw(key, square), linear(value, *square), heads)
