"""The `Learner`: pure functions that the one training loop calls."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from headstart.core.checks import require
from headstart.core.guidance import Clock
from headstart.core.memory import Memory, uniform
from headstart.core.types import Continuous, Metrics, TeamSpec, TimeStep, Transition

Params = dict[str, dict[str, Any]]
"""{network: {role: RoleNet}}: tools that copy, adapt or count parameters rely on this layout. `stats` and `inputs`
hold statistics of normalisers, which no gradient moves."""


Outputs = Literal["logits", "values"]
"""What a policy puts out for discrete actions: log-probabilities up to a constant, or values of actions in units of reward."""
TEMPERATURES: dict[Outputs, float] = {"logits": 1.0, "values": 0.01}
"""The temperature of each kind of output: softmax(output / temperature) are the probabilities of actions."""


class Attention(NamedTuple):
    """Whom the critics of a team attend to."""

    vertices: dict[str, tuple[str, ...]]
    """{role: the names of the V vertices that its critics see}."""
    weights: Callable[[Params, dict[str, Array], dict[str, Array], dict[str, Array] | None], dict[str, Array]]
    """params, obs {role: [*n A O]}, action {role: [*n A U]}, alive {role: [*n A]} or None -> {role: [*n A V]}: what each
    vertex weighs in the judgement of each agent; they add up to 1, or are all 0 if it has nobody to attend to."""


class Learner(NamedTuple):
    """A learning rule for a team. `*n` are any leading axes; nothing here loops over env-steps, stores or logs."""

    num_envs: int
    """E, environments that step together."""
    rollout: int
    """T, joint steps between two updates; an update sees T·E new env-steps."""
    warmup: int
    """Env-steps collected before the first gradient step."""
    memory: Memory
    optimizer: optax.GradientTransformation
    init: Callable[[Array], Params]
    """key -> params. The key is consumed."""
    start: Callable[[int], PyTree]
    """number of environments -> carry of recurrent networks at the start of an episode; () if feed-forward."""
    policy: Callable[[Params, PyTree, dict[str, Array]], tuple[PyTree, dict[str, Array]]]
    """params, carry, obs {role: [*n A O]} -> carry, {role: [*n A U]} logits or action means."""
    unroll: Callable[[Params, PyTree], tuple[PyTree, dict[str, Array]]]
    """params, items -> carries, {role: [*n A U]} logits as in `policy`; guidance reads a student's outputs with it.

    Items may be single steps, or sequences [N T ..] that are unrolled from the carry they began with. `carries` is the carry
    after each step, so that `policy(params, carries, next_obs)` gives the next output; () if feed-forward.
    """
    act: Callable[[Params, PyTree, TimeStep, Array, Array], tuple[PyTree, dict[str, Array]]]
    """params, carry, step [E ..], key, progress of exploration (see `pace`) -> carry, action {role: [E A U]}, exploring."""
    prepare: Callable[[Params, PyTree, Transition], tuple[Params, PyTree]]
    """params, carry at the rollout's start, rollout [T E ..] -> params, items [N ..] for memory, with the rollout's `extras`.

    Statistics of the rollout, `params["stats"]` and `params["inputs"]`, are updated here. All other parameters are returned
    unchanged, but for a last layer that is rescaled with statistics of what its network puts out.
    """
    objective: Callable[[Params, Params, PyTree, Array], tuple[dict[str, dict[str, Array]], Metrics]]
    """params, target, batch [B ..], key -> named terms {term: {role: [A]}}, metrics. The trainer minimises the sum of terms."""
    share: dict[str, float]
    """{role: weight of one agent's term}: 1 if each agent has its own network, 1/A if the A agents of a role share one, so
    that the sum over agents is their mean."""
    value: Callable[[Params, dict[str, Array], dict[str, Array]], dict[str, Array]] | None = None
    """params, obs {role: [*n A O]}, action {role: [*n A U]} -> {role: [*n A]}: a critic's value; None if the learner has no
    critic of single steps."""
    attention: Attention | None = None
    """For reports; None if no critic attends."""
    track: Callable[[Params, Params], Params] = lambda params, target: target
    """params, target -> target, after every `track_every`-th gradient step."""
    track_every: int = 1
    """Gradient steps between two calls of `track`, counted over the whole run."""
    dead_count: bool = False
    """Whether what agents are paid after their death counts, for guidance that pays agents."""
    pace: Callable[[Clock], Array] = lambda clock: clock.progress
    """clock -> the progress that `act` is told: the run's, or e.g. one that counts env-steps (index · T · E)."""
    rate: Callable[[Array], Any] = lambda progress: 1.0
    """progress -> factor on the optimiser's step, for a learning rate that falls along the run."""
    policy_networks: tuple[str, ...] = ("actor",)
    """The networks that `policy` needs; a fitted team keeps only these."""
    policy_term: str = "actor"
    """The term of `objective` that trains them, which guidance re-weighs."""
    outputs: Outputs = "logits"
    settings: Any = None
    """The settings that it was made of, if known (see `make_learner`): for guidance that trains a learner of its own."""


@runtime_checkable
class LearnerConfig(Protocol):
    """Settings, a class with `@part("learner")`, that can become a learner for any team."""

    def make(self, spec: TeamSpec) -> Learner:
        """The learner for a team; raises HeadstartError for a team it cannot train."""
        ...


def make_learner(config: LearnerConfig, spec: TeamSpec) -> Learner:
    """The learner for a team, which knows its settings."""
    return config.make(spec)._replace(settings=config)


def check_replay(config: Any) -> None:
    """Raise HeadstartError for settings that no learner with a replay memory can have together."""
    fits = config.train_every % config.num_envs == 0
    require(fits, "learner.train_every", config.train_every, f"a multiple of num_envs ({config.num_envs})")


def replaying(config: Any, state: bool = False) -> dict[str, Any]:
    """The `Learner` fields for collecting, keeping and drawing, from settings that have passed `check_replay`.

    `state`: whether memory keeps global states.
    """
    kept = (lambda rollout: rollout) if state else without_state
    return {
        "num_envs": config.num_envs,
        "rollout": config.train_every // config.num_envs,
        "warmup": config.warmup,
        "memory": uniform(config.capacity, config.batch, config.gradient_steps),
        "prepare": lambda params, carry, rollout: (params, flatten(kept(rollout))),
        "start": lambda num_envs: (),
    }


def shares(spec: TeamSpec, shared: bool) -> dict[str, float]:
    """`Learner.share` for networks that all agents of a role share (`shared`), or for one network per agent."""
    return {name: 1 / role.agents if shared else 1.0 for name, role in spec.roles.items()}


def actors(spec: TeamSpec, params: Params, obs: dict[str, Array]) -> dict[str, Array]:
    """Feed-forward actors {role: [*n A U]}: logits of discrete actions, means squashed to [-1, 1] of continuous ones."""
    return squashed(spec, {name: params["actor"][name](x) for name, x in obs.items()})


def squashed(spec: TeamSpec, out: dict[str, Array]) -> dict[str, Array]:
    """Outputs of actors {role: [*n A U]}, those for continuous actions brought to [-1, 1]."""
    return {name: jnp.tanh(x) if isinstance(spec.roles[name].actions, Continuous) else x for name, x in out.items()}


def flatten(rollout: Transition) -> Transition:
    """[T E ..] -> [T·E ..]."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), rollout)


def without_state(rollout: Transition) -> Transition:
    """The rollout with empty global states, for the replay memory of a learner that does not use them."""
    empty = rollout.state[..., :0]
    return dataclasses.replace(rollout, state=empty, next_state=empty)
