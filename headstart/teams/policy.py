"""A trained team as a value: act with it, fit it to another team, save it, use it as a teacher; `saved` loads it."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from headstart import registry
from headstart.core.actions import ILLEGAL
from headstart.core.checks import HeadstartError, check_known
from headstart.core.env import Env
from headstart.core.learner import Learner, LearnerConfig
from headstart.core.part import checked
from headstart.core.ranges import Select
from headstart.core.spec import TeamSpec, encode_spec
from headstart.envs.host.spaces import native
from headstart.storage import arrays as storage
from headstart.storage import files, places, schema
from headstart.teams.acting import Acting, acting
from headstart.teams.inputs import check_names_of, in_parts, masks_of, memory_like, rows_of
from headstart.views.adapt import (
    adapt,
    adapted_policy,
    describe_adaptation,
    pair_params,
    reordered,
    resized,
    select_agents,
)
from headstart.views.meaning import Translations, spoken_by, tell, translations


@jax.jit
def _lane(tree: PyTree, index: Int[Array, ""]) -> PyTree:
    """[S ..] -> [..]: one program for all arrays of a team and for every index."""
    return jax.tree.map(lambda x: x[index], tree)


@dataclasses.dataclass(frozen=True, eq=False)
class TeamPolicy:
    """A team of one or more seeds: its spec, the settings of its learner, and its parameters.

    `params` has a leading seed axis [S ..] on every array.

        team = headstart.load("runs/three")
        action, memory = team.act({"agent_0": obs_0, "agent_1": obs_1, "agent_2": obs_2})
    """

    spec: TeamSpec
    config: LearnerConfig
    params: PyTree
    seeds: tuple[int, ...]
    env: Any = None
    """The environment it was trained in."""
    env_steps: int | None = 0
    """Env-steps of one seed that its training took, its own teachers' included; None if those of a teacher are not known."""
    trained: TeamSpec | None = None
    """The spec of its networks if that is not `spec`: the team was fitted to other agents by `adapt`."""
    select: Select = "nearest"
    """The entities that a fitted team observes if there are more than in training."""
    run: str = ""
    """The id of the run that trained it."""
    loaded_from: str = ""
    """The directory that it was loaded from, for messages."""

    def __repr__(self) -> str:
        """A line without the parameters: `<TeamPolicy: 3 agent, by PPO, 2 seeds, 500,000 env-steps, from runs/three>`."""
        seeds = f"{len(self.seeds)} seed{'s' * (len(self.seeds) > 1)}"
        steps = "env-steps unknown" if self.env_steps is None else f"{self.env_steps:,} env-steps"
        parts = [self.spec.sizes, f"by {type(self.config).__name__}", seeds, steps]
        return f"<TeamPolicy: {', '.join(parts + [f'from {self.loaded_from}'] * bool(self.loaded_from))}>"

    def __getstate__(self) -> dict[str, Any]:
        """The fields: what is computed from them on first use is made anew in a copy or after pickling."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @cached_property
    def learner(self) -> Learner:
        """The pure functions that use `params`."""
        if self.trained is None:
            return self.config.make(self.spec)
        learner = self.config.make(self.trained)
        policy = adapted_policy(learner.policy, self.trained, self.spec, tuple(self.spec.roles), self.select)
        return learner._replace(policy=policy)

    def seed(self, number: Any) -> PyTree:
        """Parameters of the seed with that number; numbers that the team does not have cycle through its seeds."""
        same = jnp.asarray(self.seeds) == number
        index = jnp.where(same.any(), same.argmax(), number % len(self.seeds))
        return jax.tree.map(lambda x: x[index], self.params)

    def place(self, index: int) -> PyTree:
        """Parameters of the seed at an index, from 0."""
        return _lane(self.params, self._checked_place(index))

    def _checked_place(self, index: int) -> int:
        index = checked("seed", index, int)
        if not 0 <= index < len(self.seeds):
            raise HeadstartError(f"seed must be between 0 and {len(self.seeds) - 1}, not {index}")
        return index

    def act(
        self,
        obs: Mapping[str, Any],
        memory: PyTree = None,
        available: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> tuple[dict[str, Any], PyTree]:
        """The greedy action of every agent in `obs`, and the memory to pass next time (None at an episode's start).

        obs: {agent's name: array of its numbers, of any shape, or a dict of its parts, as of a Gymnasium Dict}; agents that
        have left the game are left out. available: {agent's name: [U] which choices are legal}, if not all are and no part of
        an observation says so. seed: index of one of the team's seeds, from 0.

        Actions are in the environment's own form, as in PettingZoo: an int, an array of ints for several heads, an array
        of floats within the bounds for continuous actions. NumPy computes them; JAX does for networks of more than some hundred
        operations, such as graph networks. Raises HeadstartError for names and shapes that do not fit, for numbers that are
        not finite, and for masks that allow nothing.
        """
        names = self.spec.names
        check_names_of(obs, available, [name for members in names.values() for name in members])
        obs, available = in_parts(obs, available, self.spec)
        rows = {role: rows_of(obs, names[role], about.obs_size, 0.0, "obs") for role, about in self.spec.roles.items()}
        allowed = {name: mask for name, mask in (available or {}).items() if name in obs}
        spaces = {role: about.actions for role, about in self.spec.roles.items()}
        masks = {role: masks_of(allowed, names[role], space) for role, space in spaces.items()} if available else None
        memory, logits = self._outputs(seed, memory, {role: x[None] for role, x in rows.items()})
        actions = {}
        for role, members in names.items():
            out = np.asarray(logits[role])[0]
            if not np.isfinite(out).all():
                raise HeadstartError(f"the policy of '{role}' gives numbers that are not finite: its parameters are damaged")
            if masks is not None:
                out = np.where(masks[role], out, np.float32(ILLEGAL))
            actions |= {name: native(spaces[role], row) for name, row in zip(members, out, strict=True) if name in obs}
        return actions, memory

    def _outputs(self, seed: int, memory: PyTree, obs: dict[str, np.ndarray]) -> tuple[PyTree, dict[str, Any]]:
        """The new memory, and what the policy puts out {role: [1 A U]} for observations {role: [1 A O]}."""
        seed, acting = self._checked_place(seed), self._acting
        memory = acting.start if memory is None else memory_like(acting.start, memory)
        program = acting.program(seed, self.params)
        if program is None:
            return self._policy(_lane(self.params, seed), memory, obs)
        return acting.step(program, memory, obs)

    def seated(self, spec: TeamSpec) -> "TeamPolicy":
        """The team with its agents in the order in which a spec of the same sizes lists the same names."""
        names, theirs = self.spec.names, spec.names
        moved = tuple(role for role in names if names[role] != theirs[role] and set(names[role]) == set(theirs[role]))
        if not moved:
            return self
        acting = self.learner.policy_networks
        found = jax.vmap(lambda params: pair_params(params, acting, self.spec, spec, moved))(self.params)
        params = {net: roles | found[net] if net in found else roles for net, roles in self.params.items()}
        return dataclasses.replace(self, params=params)

    def fits(self, spec: TeamSpec) -> bool:
        """Whether `spec` has the team's roles, with the same numbers of agents and observed numbers, and with actions into
        which the team's can be translated.

        The names of fields do not matter: other libraries' environments have none.
        """
        if not self.same_sizes(spec):
            return False
        try:
            self._translated(spec)
        except HeadstartError:
            return False
        return True

    def _translated(self, spec: TeamSpec) -> Translations:
        """Translations into actions of the same sizes; HeadstartError if there is none."""
        found = translations(self.spec.roles, spec.roles, [(role, role) for role in spec.roles])
        for role, each in found.items():
            if each.width:
                raise HeadstartError(
                    f"the team's '{role}' chooses {each.words}: fit it by --adapt, or team.adapt(env) in Python"
                )
        return found

    def same_sizes(self, spec: TeamSpec) -> bool:
        """Whether `spec` has the team's roles, with the same numbers of agents and of observed numbers."""
        each = lambda roles: {name: (r.agents, r.obs_size) for name, r in roles.items()}
        return each(self.spec.roles) == each(spec.roles)

    def learner_in(self, spec: TeamSpec) -> Learner:
        """The learner, with observed fields in the order of `spec` and actions in its order and bounds, and a line on stderr
        for each change.

        Raises HeadstartError if they cannot be translated.
        """
        found = self._translated(spec)
        tell(found, "the team's")
        return reordered(spoken_by(self.learner, found), self.spec, spec)

    @cached_property
    def _policy(self) -> Any:
        return jax.jit(self.learner.policy)

    @cached_property
    def _acting(self) -> Acting:
        return acting(self.spec, self.learner, self.params)

    def adapt(self, to: TeamSpec | Env, select: Select = "nearest") -> "TeamPolicy":
        """The team fitted to a spec or an environment: agents paired cyclically, observations adapted field by field, actions
        translated by name (which a line on stderr says).

        Of a field with more entities than the team knows, it observes the `select` ones; of those that actions choose, such as
        enemies to attack (`Discrete.aims`), always the first, so that its choices are of whom it sees.

        Roles that the team does not have are left out, and so are networks that do not act (critics).
        Raises HeadstartError if no role is shared, or if fields or actions do not fit.
        """
        spec = to if isinstance(to, TeamSpec) else getattr(to, "spec", None)
        if not isinstance(spec, TeamSpec):
            what = f"'{to}'" if isinstance(to, str) else type(to).__name__
            raise HeadstartError(f"to must be an environment or its spec, such as headstart.Spread(agents=5), not {what}")
        roles = tuple(role for role in spec.roles if role in self.spec.roles)
        if not roles:
            theirs, ours = ", ".join(spec.roles), ", ".join(self.spec.roles)
            raise HeadstartError(f"the team has roles {ours} and there are {theirs}: none in common")
        learned = (self.trained or self.spec).roles
        tell(translations(learned, spec.roles, [(role, role) for role in roles]), "the team's")
        return self._fitted(spec._replace(roles={role: spec.roles[role] for role in roles}), roles, select)

    def role(self, name: str) -> "TeamPolicy":
        """The agents of one role as a team of their own."""
        check_known("role", name, self.spec.roles)
        spec = self.spec._replace(roles={name: self.spec.roles[name]}, messages=())
        return self._fitted(spec, (name,), self.select)

    def agent(self, name: str) -> "TeamPolicy":
        """The agent of that name as a team of one, in the role it had."""
        role_of = {member: role for role, members in self.spec.names.items() for member in members}
        check_known("agent", name, role_of)
        role = role_of[name]
        index = self.spec.names[role].index(name)
        team = self.role(role)
        alone = lambda spec: spec._replace(roles={role: spec.roles[role]._replace(agents=1, names=(name,))})
        only = jax.vmap(lambda team: select_agents(team, np.array([index])))
        params = {net: {role: only(roles[role])} for net, roles in team.params.items()}
        trained = alone(team.trained) if team.trained else None
        return dataclasses.replace(team, spec=alone(team.spec), trained=trained, params=params, env=None)

    def _fitted(self, spec: TeamSpec, roles: tuple[str, ...], select: Select) -> "TeamPolicy":
        trained = resized(self.trained or self.spec, spec, roles)
        for role in roles:  # checked now, so that a team that cannot be adapted is refused now
            mine, theirs = spec.roles[role], trained.roles[role]
            describe_adaptation(role, mine.obs, theirs.obs)
            jax.eval_shape(lambda x, a=mine, b=theirs: adapt(x, a.obs, b.obs), jnp.zeros((1, mine.obs_size)))
        params = jax.vmap(lambda params: pair_params(params, self.learner.policy_networks, self.spec, spec, roles))(self.params)
        env = self.env if spec == self.spec else None  # the fitted team has other agents than its environment
        return dataclasses.replace(self, spec=spec, params=params, trained=trained, select=select, env=env)

    def save(self, directory: str | Path) -> None:
        """Write policy.safetensors and policy.json. Raises HeadstartError if the directory already holds a run or a team."""
        directory = places.located(directory)
        for name in ("policy.json", "run.json", "experiment.json"):
            if (directory / name).exists():
                raise HeadstartError(f"{directory} already holds a team, a run or an experiment: choose another directory")
        places.tidy(directory)
        self.write(directory)

    def write(self, directory: Path) -> str:
        """As `save`, without the check for other content; returns the digest of policy.json."""
        manifest = {
            "spec": encode_spec(self.spec),
            "learner": registry.encode("learner", self.config),
            "env": registry.encode("env", self.env) if self.env is not None else None,
            "seeds": list(self.seeds),
            "env_steps": self.env_steps,
            "parameters": storage.save_tree(directory / "policy.safetensors", self.params),
        }
        if self.trained is not None:
            manifest |= {"trained": encode_spec(self.trained), "select": self.select}
        if self.run:
            manifest["run"] = self.run
        return files.write_json(directory / "policy.json", manifest, schema.Policy)
