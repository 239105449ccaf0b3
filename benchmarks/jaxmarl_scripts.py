"""JaxMARL's own training scripts, run unmodified from a checkout, since they are not part of its package.

The packages that a script imports for configuration files and for logging are replaced by empty ones, so that nothing is sent
anywhere, and distrax, which needs an older JAX, by the one distribution that the scripts use.
"""

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr

from benchmarks.common import Options, Program

SILENT = {"wandb": ["log", "init"], "hydra": ["main"], "omegaconf": ["OmegaConf"]}


class Categorical:
    """What the scripts use of `distrax.Categorical`."""

    def __init__(self, logits):
        self.log = jax.nn.log_softmax(logits)

    def sample(self, seed):
        """A draw."""
        return jr.categorical(seed, self.log)

    def log_prob(self, value):
        """Its log-probability."""
        return jnp.take_along_axis(self.log, value[..., None], -1)[..., 0]

    def entropy(self):
        """In nats."""
        return -(jnp.exp(self.log) * self.log).sum(-1)


def missing(options: Options, *also: str) -> str | None:
    """Why a script cannot run here; None if it can. `also`: other packages that it needs."""
    lacking = [name for name in ("jaxmarl", "flax", *also) if importlib.util.find_spec(name) is None]
    if lacking:
        return f"JaxMARL: not installed ({', '.join(lacking)})"
    if options.jaxmarl is None:
        return options.without("jaxmarl", "JaxMARL", "CHECKOUT")
    return None


def program(train: Callable, steps: int) -> Program:
    """A `train(key)` of `steps` env-steps."""
    jitted = jax.jit(train)
    return Program(lambda: jax.block_until_ready(jitted(jr.PRNGKey(0))), steps)


def script(path: Path) -> types.ModuleType:
    """The script as a module."""
    for name, members in SILENT.items():
        if name not in sys.modules and (importlib.util.find_spec(name) is None or name == "wandb"):
            _stub(name, dict.fromkeys(members, lambda *args, **kwargs: lambda function: function))
    _stub("distrax", {"Categorical": Categorical})
    spec = importlib.util.spec_from_file_location(f"jaxmarl_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _stub(name: str, members: dict) -> None:
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(members)
