"""What oracles of learners share: networks by plain NumPy in double precision, and random batches with everything in them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart.core.types import Continuous, Discrete, TeamSpec, Transition

# ------------------------------------------------------------------ networks of one agent


@dataclasses.dataclass
class Net:
    """A multi-layer perceptron of one agent; forwards and, by the chain rule, backwards, one vector at a time."""

    layers: list[tuple[np.ndarray, np.ndarray]]
    activation: str

    def __call__(self, x) -> np.ndarray:
        return self.trace(x)[-1]

    def trace(self, x) -> list[np.ndarray]:
        """The input of every layer, and last the output."""
        out = [np.asarray(x, np.float64)]
        for i, (w, b) in enumerate(self.layers):
            y = out[-1] @ w + b
            if i < len(self.layers) - 1:
                y = np.tanh(y) if self.activation == "tanh" else np.maximum(y, 0)
            out.append(y)
        return out

    def back(self, trace, slope):
        """For d/d(output) = `slope`: d/d(input), and [d/dW, d/db of every layer]."""
        grads = []
        for i in reversed(range(len(self.layers))):
            if i < len(self.layers) - 1:
                y = trace[i + 1]
                slope = slope * ((1 - y * y) if self.activation == "tanh" else (y > 0))
            grads.append((np.outer(trace[i], slope), slope))
            slope = self.layers[i][0] @ slope
        return slope, grads[::-1]


def of_agent(team: Any, agent: int, array: Any) -> np.ndarray:
    """One agent's part of an array of a role's network, which is all of it where the network is shared."""
    x = np.asarray(array, np.float64)
    return x if team.shared else x[agent]


def perceptron(team: Any, agent: int, layers: Any, activation: str) -> Net:
    """One agent's `Net` of a role's network, whose linear layers are `layers`."""
    return Net([(of_agent(team, agent, x.weight), of_agent(team, agent, x.bias)) for x in layers], activation)


class Slopes:
    """Sums of gradients of [(W, b)] by (network, role, agent); what a shared network gets is summed over its agents."""

    def __init__(self):
        self.sums: dict[Any, list[list[np.ndarray]]] = {}

    def add(self, key, grads, weight: float) -> None:
        """`weight` times the gradients [(dW, db)]."""
        now = self.sums.setdefault(key, [[np.zeros_like(x) for x in pair] for pair in grads])
        for pair, new in zip(now, grads, strict=True):
            for total, x in zip(pair, new, strict=True):
                total += weight * x

    def like(self, team: Any, layers: Any, network: str, role: str, agents: int):
        """[(name, ours as a library's array, the double-precision sum)] of a role's network."""
        for i, layer in enumerate(layers):
            for j, name in enumerate(("weight", "bias")):
                each = [self.sums[network, role, a][i][j] for a in range(agents)]
                want = sum(each) if team.shared else np.stack(each)
                yield f"{network}/{role} {name} of layer {i}", np.asarray(getattr(layer, name)), want


def close(got, want, what: str, rtol: float = 1e-3) -> None:
    """Equal to `rtol`, or to a small part of the array's largest number: sums of opposite signs have rounding left."""
    assert np.shape(got) == np.shape(want), what
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * 0.01 * np.abs(want).max() + 1e-9, err_msg=what)


# ------------------------------------------------------------------ discrete actions


def heads(space: Discrete, x) -> list[np.ndarray]:
    """The parts of an action vector that belong to its heads."""
    return np.split(np.asarray(x), np.cumsum(space.heads)[:-1])


def softmax(x) -> np.ndarray:
    """Of one head; -inf has probability 0."""
    e = np.exp(x - x.max())
    return e / e.sum()


def one_hots(space: Discrete, choices) -> np.ndarray:
    """The action vector of one choice a head."""
    return np.concatenate([np.eye(n)[c] for n, c in zip(space.heads, choices, strict=True)])


# ------------------------------------------------------------------ random parameters and experience


def random_params(learner: Any, seed: int, scale: float = 0.5) -> Any:
    """Parameters of the learner's shapes, drawn without compiling anything: no bias is zero and no actor uniform."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(learner.init, jr.key(0))
    return jax.tree.map(lambda x: jnp.asarray(scale * rng.normal(size=x.shape), x.dtype), shapes)


def random_transitions(
    spec: TeamSpec, seed: int, *shape: int, masked: bool = True, deaths: bool = True, soft: bool = False
) -> Transition:
    """Transitions [*shape] in which every flag is sometimes true; each head has something legal, and what was done is legal.

    `soft` actions are mixtures of options, as a Gumbel-softmax actor sends. The first axis of a [T E] rollout is time:
    `first` is true where the step before ended the episode, and sometimes at the start.
    """
    rng = np.random.default_rng(seed)

    def legal(space):
        if isinstance(space, Continuous) or not masked:
            return np.ones(space.size, bool)
        return (one_hots(space, [rng.integers(n) for n in space.heads]) > 0) | (rng.random(space.size) < 0.4)

    def done(space, legal):
        if isinstance(space, Continuous):
            return rng.uniform(-1, 1, space.size)
        parts = heads(space, legal)
        if soft:
            drawn = [mask * rng.exponential(size=mask.size) for mask in parts]
            return np.concatenate([x / x.sum() for x in drawn])
        return one_hots(space, [rng.choice(np.flatnonzero(mask)) for mask in parts])

    def each(make, dtype=np.float32):
        out = {}
        for name, role in spec.roles.items():
            rows = [make(name, role, where) for where in np.ndindex(*shape, role.agents)]
            rows = np.array(rows, dtype)
            out[name] = rows.reshape(*shape, role.agents, *rows.shape[1:])
        return out

    available = each(lambda name, role, where: legal(role.actions), bool)
    terminated = rng.random(shape) < 0.3
    truncated = (rng.random(shape) < 0.3) & ~terminated
    first = np.concatenate([rng.random((1, *shape[1:])) < 0.5, (terminated | truncated)[:-1]])
    fields = {
        "obs": each(lambda name, role, where: rng.normal(size=role.obs_size)),
        "action": each(lambda name, role, where: done(role.actions, available[name][where])),
        "reward": each(lambda name, role, where: 2 * rng.normal()),
        "terminated": terminated,
        "truncated": truncated,
        "next_obs": each(lambda name, role, where: rng.normal(size=role.obs_size)),
        "state": np.zeros((*shape, 0), np.float32),
        "next_state": np.zeros((*shape, 0), np.float32),
        "alive": each(lambda name, role, where: not deaths or rng.random() < 0.7, bool),
        "available": available,
        "next_available": each(lambda name, role, where: legal(role.actions), bool),
        "first": first,
        "agent_terminated": each(lambda name, role, where: rng.random() < 0.2, bool),
    }
    if not masked:
        fields["available"] = fields["next_available"] = None
    if not deaths:
        fields["agent_terminated"] = None
    return Transition(**jax.tree.map(jnp.asarray, fields), extras={})


def items(learner: Any, params: Any, carry: Any, rollout: Transition) -> Any:
    """The learner's memory items of a rollout."""
    return learner.prepare(params, carry, rollout)[1]
