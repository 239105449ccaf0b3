"""The trainer of a configuration, and trainers whose settings are values that a program traces.

Points of a sweep train in one program: it makes each lane's trainer anew, inside its trace, from the lane's values of the
settings in which the points differ. A setting may be such a value if the program computes with it, and may not if Python
decides by it what the program does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.interpreters import partial_eval
from jaxtyping import Array, PyTree

from headstart.core.checks import HeadstartError
from headstart.core.env import Env
from headstart.core.env_check import check_env
from headstart.core.guidance import Guidance, chain
from headstart.core.learner import Learner, make_learner
from headstart.core.trainer import Trainer, make_trainer
from headstart.training import extend, programs
from headstart.training.config import Config
from headstart.training.settings import SEPARATE, with_traced


class Made(NamedTuple):
    """What a configuration describes, as pure functions."""

    env: Env
    learner: Learner
    guides: tuple[Guidance, ...]
    """Each guidance alone; the trainer has their chain."""
    trainer: Trainer
    fresh_at: int
    """The update before which the optimiser is fresh and the memory empty for the last time."""


def make(config: Config, extended: Sequence[Mapping[str, Any]] = ()) -> Made:
    """The learner, guidance and trainer of a run that had the lengths `extended` before."""
    check_env(config.env)
    spec = config.env.spec
    learner = make_learner(config.learner, spec)
    guides = tuple(guide.make(spec, learner) for guide in config.guidance)
    fresh_at = extend.fresh_at(extended, learner.rollout * learner.num_envs)
    return Made(
        config.env, learner, guides, make_trainer(config.env, learner, chain(*guides), config.steps, fresh_at), fresh_at
    )


def in_lane(config: Config, made: Made) -> Callable[[dict[str, Array]], Made]:
    """A function from a lane's values {setting: []} to what they make; without any, that is `made`."""
    return lambda values: make(with_traced(config, values)) if values else made


def begun(of_lane: Callable[[dict[str, Array]], Made], values: Mapping[str, Any]) -> PyTree:
    """The shapes of one lane's loop state.

    Raises HeadstartError for a setting among `values` that cannot be traced, or on which nothing depends.
    """
    if not values:
        # The types of a run's own keys and seeds, so that what is traced here serves the run's first program too.
        return jax.eval_shape(lambda key, seed: programs.begin(of_lane({}).trainer, key, seed), jr.key(0), np.int32(0))
    try:
        program, shape = _traced(of_lane, values)
    except TypeError:  # JAX's errors of traced values are TypeErrors, and so is that of hashing one
        raise HeadstartError(f"{_at_fault(of_lane, values)} decides what the program does: {SEPARATE}") from None
    used = partial_eval.dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))[1]
    idle = [name for name, counts in zip(sorted(values), used, strict=False) if not counts]
    if idle:
        raise HeadstartError(f"nothing in this run's program depends on {idle[0]}: leave it out, or {SEPARATE}")
    return shape


def _traced(of_lane: Callable[[dict[str, Array]], Made], values: Mapping[str, Any]) -> tuple[Any, PyTree]:
    """The program of a beginning and one update, whose first arguments are `values` in the order of their names."""

    def run(values, key):
        trainer = of_lane(values).trainer
        loop = programs.begin(trainer, key, jnp.asarray(0))
        return loop, trainer.update(loop["state"], jnp.asarray(0))

    numbers = {name: jnp.zeros((), jnp.float32) for name in values}
    program, (shape, _) = jax.make_jaxpr(run, return_shape=True)(numbers, jr.key(0))
    return program, shape


def _at_fault(of_lane: Callable[[dict[str, Array]], Made], values: Mapping[str, Any]) -> str:
    """The first setting that cannot be traced even alone, or all of them."""
    for name in values:
        try:
            _traced(of_lane, {name: values[name]})
        except TypeError:
            return name
    return " with ".join(values)


def check_alike(several: Sequence[Made]) -> None:
    """Raise HeadstartError unless the arrays that all lanes read are the same for every point."""
    first = jax.tree.leaves(several[0].trainer.data)
    for other in several[1:] if first else ():
        if not all(np.array_equal(a, b) for a, b in zip(first, jax.tree.leaves(other.trainer.data), strict=True)):
            raise HeadstartError(f"the points of the sweep learn from different data: {SEPARATE}")
