"""A trained team as a value: save it, load it, ask it for actions, hand it to a student as its teacher."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from headstart import files, registry, storage
from headstart.actions import greedy
from headstart.checks import HeadstartError
from headstart.learners.base import Learner, LearnerConfig
from headstart.types import Continuous, Discrete, Field, RoleSpec, TeamSpec


@dataclasses.dataclass(frozen=True, eq=False)
class TeamPolicy:
    """A team of one or more seeds: what it observes and does, the settings of its learner, and its parameters.

    `params` has a leading seed axis [S ..] on every array.
    """

    spec: TeamSpec
    config: LearnerConfig
    params: PyTree
    seeds: tuple[int, ...]
    env: Any = None
    """The environment it was trained in."""
    env_steps: int = 0
    """Env-steps of one seed that its training took, its own teachers' included."""

    @cached_property
    def learner(self) -> Learner:
        """The pure functions that `params` belong to."""
        return self.config.make(self.spec)

    def seed(self, number: Any) -> PyTree:
        """Parameters of the seed of that number; numbers the team does not have take turns among its seeds."""
        same = jnp.asarray(self.seeds) == number
        index = jnp.where(same.any(), same.argmax(), number % len(self.seeds))
        return jax.tree.map(lambda x: x[index], self.params)

    def place(self, index: int) -> PyTree:
        """Parameters of the seed at a place, from 0."""
        return jax.tree.map(lambda x: x[index], self.params)

    def act(self, obs: dict[str, Any], carry: PyTree = None, seed: int = 0) -> tuple[dict[str, np.ndarray], PyTree]:
        """Greedy actions {role: [A U]} for observations {role: [A O]}, and the carry to pass next time (None at first)."""
        for role, spec in self.spec.roles.items():
            want, got = (spec.agents, spec.obs_size), np.shape(obs.get(role, ()))
            if got != want:
                raise HeadstartError(f"obs['{role}'] must have shape {want} (agents, numbers observed), not {got}")
        if carry is None:
            carry = self.learner.start(1)
        batch = {role: jnp.asarray(x, jnp.float32)[None] for role, x in obs.items()}
        carry, logits = self._policy(self.place(seed), carry, batch)
        return {role: np.asarray(greedy(self.spec.roles[role].actions, x)[0]) for role, x in logits.items()}, carry

    @cached_property
    def _policy(self) -> Any:
        return jax.jit(self.learner.policy)

    def save(self, directory: str | Path) -> None:
        """Write policy.safetensors and policy.json."""
        directory = Path(directory)
        storage.save_tree(directory / "policy.safetensors", self.params)
        about = {
            "format": files.FORMAT,
            "spec": encode_spec(self.spec),
            "learner": registry.encode("learner", self.config),
            "env": registry.encode("env", self.env) if self.env is not None else None,
            "seeds": list(self.seeds),
            "env_steps": self.env_steps,
        }
        files.write_json(directory / "policy.json", about)


def load(directory: str | Path) -> TeamPolicy:
    """The trained team of a run directory (or of a directory that `TeamPolicy.save` wrote).

    Nothing in the files is executed. Raises HeadstartError where they are missing, damaged, or of other settings.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise HeadstartError(f"{directory} is not a directory: pass the --out directory of a finished run")
    if not (directory / "policy.json").exists() and (directory / "run.json").exists():
        raise HeadstartError(f"{directory} holds a run that has not finished: headstart resume {directory}")
    about = files.read_json(directory / "policy.json")
    try:
        spec, seeds = decode_spec(about["spec"]), tuple(int(seed) for seed in about["seeds"])
        env_steps, env = int(about["env_steps"]), about["env"]
        config = registry.decode("learner", about["learner"])
        env = registry.decode("env", env) if env and env["name"] in registry.presets("env") else None
        like = jax.eval_shape(jax.vmap(config.make(spec).init), jax.random.split(jax.random.key(0), len(seeds)))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, HeadstartError):
            raise
        raise HeadstartError(f"{directory / 'policy.json'} is damaged ({error!r})") from None
    return TeamPolicy(spec, config, storage.load_tree(directory / "policy.safetensors", like), seeds, env, env_steps)


def encode_spec(spec: TeamSpec) -> dict[str, Any]:
    """A team's spec as JSON."""
    return {
        "horizon": spec.horizon,
        "state_size": spec.state_size,
        "roles": {
            name: {
                "agents": role.agents,
                "obs": [list(field) for field in role.obs],
                "actions": {type(role.actions).__name__.lower(): role.actions[0]},
            }
            for name, role in spec.roles.items()
        },
    }


def decode_spec(saved: dict[str, Any]) -> TeamSpec:
    """The spec that `encode_spec` wrote."""
    roles = {}
    for name, role in saved["roles"].items():
        ((kind, value),) = role["actions"].items()
        space = Discrete(tuple(int(n) for n in value)) if kind == "discrete" else Continuous(int(value))
        fields = tuple(Field(str(f[0]), int(f[1]), int(f[2]), str(f[3])) for f in role["obs"])
        if int(role["agents"]) < 1 or space.size < 1 or min(min(f.count, f.size) for f in fields) < 0:
            raise ValueError(f"role {name} has impossible sizes")
        roles[name] = RoleSpec(int(role["agents"]), fields, space)
    return TeamSpec(roles, int(saved["horizon"]), int(saved["state_size"]))
