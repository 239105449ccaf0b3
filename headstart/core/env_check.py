"""Whether an environment gives what its spec says: found by tracing a reset and a step, before anything is compiled, and as
it is trained."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from headstart.core.checks import HeadstartError, place
from headstart.core.env import Env, Vectorised, is_traced, unwrapped
from headstart.core.spec import check_actions
from headstart.core.types import RoleSpec, TeamSpec, TimeStep

KINDS = {"numbers": (jnp.number,), "truth values": (jnp.bool_,), "counts": (jnp.number, jnp.bool_)}
"""{what an array holds, in words: its dtypes}."""
TRACED = {
    jax.errors.TracerBoolConversionError: "its numbers are not known while it is compiled: write jnp.where in place of if",
    jax.errors.TracerArrayConversionError: "its numbers are not known while it is compiled: write jax.numpy in place of numpy",
    jax.errors.ConcretizationTypeError: "its numbers are not known while it is compiled: keep them arrays",
}
"""{error of a function that JAX cannot trace: what to do}."""


def check_env(env: Env) -> None:
    """Raise HeadstartError for the first thing that `env.reset` or `env.step` returns and `env.spec` says otherwise.

    Of a wrapper, the environment inside is looked at as well. Environments that step themselves (`Vectorised`, such as those
    on the host) check what they are given as it comes. One whose settings are traced has been looked at before they were.
    """
    for each in (unwrapped(env), env):
        if not isinstance(each, Vectorised) and not is_traced(each):
            _looked_at(each)


def check_ends(env: Env, ended: Any, steps: int, directory: Any = "") -> None:
    """Raise HeadstartError if no episode `ended` (a count) in `steps` env-steps of an environment and one must have.

    directory: the run's, which is of no use then.
    """
    horizon = env.spec.horizon
    if steps >= horizon and not ended:
        raise HeadstartError(
            f"no episode of {type(unwrapped(env)).__name__} has ended in {steps:,} env-steps, and its spec says that one lasts "
            f"{horizon:,} at most (horizon): its step must return truncated=True then"
            f"{f'; delete {directory} before the next try' if directory else ''}"
        )


def _looked_at(env: Env) -> None:
    try:
        hash(env)
    except TypeError:  # a setting that cannot be compared, such as a dict
        return _look(env)
    _once(env)


def _look(env: Env) -> None:
    name, spec = type(env).__name__, env.spec
    for role, about in spec.roles.items():
        check_actions(about, role)
    action = {role: jnp.zeros((about.agents, about.actions.size)) for role, about in spec.roles.items()}
    began = _returned(f"{name}.reset", _traced(f"{name}.reset", env.reset, jr.key(0)), spec)
    after = _returned(f"{name}.step", _traced(f"{name}.step", env.step, began[0], action, jr.key(0)), spec)
    for what, before, then in (("state", began[0], after[0]), ("time step", began[1], after[1])):
        if told := next(_changed(before, then), None):
            raise HeadstartError(f"{name}.step must return a {what} like that of {name}.reset: {told}")


def _traced(where: str, function: Callable, *args: Any) -> Any:
    """The shapes of what a function returns; HeadstartError, with the place, for an error of its own."""
    try:
        return jax.eval_shape(function, *args)
    except HeadstartError:
        raise
    except Exception as error:  # the environment's own code may raise anything
        told = " ".join(str(error).partition("\n")[0].split())
        mend = next((f"; {words}" for kind, words in TRACED.items() if isinstance(error, kind)), "")
        raise HeadstartError(f"{where} failed: {type(error).__name__}: {told} ({place(error)}){mend}") from error


_once = functools.lru_cache(maxsize=256)(_look)
"""For environments that can be compared: tracing takes a tenth of a second."""


def _returned(where: str, out: Any, spec: TeamSpec) -> tuple[Any, TimeStep]:
    if not (isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], TimeStep)):
        raise HeadstartError(f"{where} must return (state, TimeStep), not {type(out).__name__}")
    for name, value, shape, kind, why in _wanted(out[1], spec):
        if not hasattr(value, "shape"):
            raise HeadstartError(f"{where} must return an array as {name}, not {type(value).__name__}")
        if value.shape != shape:
            raise HeadstartError(f"{where} must return {name} of shape {shape}, not {value.shape}: {why}")
        if not any(jnp.issubdtype(value.dtype, dtype) for dtype in KINDS[kind]):
            raise HeadstartError(f"{where} must return {name} as {kind}, not {value.dtype}")
    return out


def _wanted(ts: TimeStep, spec: TeamSpec) -> Iterator[tuple[str, Any, tuple[int, ...], str, str]]:
    """(name, what it is, the shape and the kind that it must have, why) of everything in a time step."""
    for name in ("obs", "final_obs", "reward", "alive", "available", "final_available", "agent_terminated"):
        by_role = getattr(ts, name)
        if by_role is None and name in ("available", "final_available", "agent_terminated"):
            continue
        roles = ", ".join(f"'{role}'" for role in spec.roles)
        if not isinstance(by_role, dict) or set(by_role) != set(spec.roles):
            had = f"roles {sorted(by_role)}" if isinstance(by_role, dict) else in_words(by_role)
            raise HeadstartError(f"{name} of a time step must be a dict with the spec's roles, {roles}, not {had}")
        for role, about in spec.roles.items():
            shape, why = _of_agents(name, about)
            kind = "numbers" if name in ("obs", "final_obs", "reward") else "truth values"
            yield f"{name}['{role}']", by_role[role], shape, kind, why
    for name in ("state", "final_state"):
        yield name, getattr(ts, name), (spec.state_size,), "numbers", "the spec's state_size"
    for name in ("terminated", "truncated"):
        yield name, getattr(ts, name), (), "truth values", "one for the team"
    for name, count in ts.events.items():
        yield f"events['{name}']", count, (), "counts", "one for the team"


def in_words(value: Any) -> str:
    """What a value is: "an array of shape (2,)", whether traced or not, or the name of its type."""
    return f"an array of shape {value.shape}" if hasattr(value, "shape") else type(value).__name__


def _of_agents(name: str, about: RoleSpec) -> tuple[tuple[int, ...], str]:
    """The shape of an array of a role's agents, and where it comes from."""
    agents = f"{about.agents} agent{'s' * (about.agents != 1)}"
    if name in ("obs", "final_obs"):
        fields = " + ".join(f"{field.name} {field.width}" for field in about.obs)
        return (about.agents, about.obs_size), f"{agents}, and {fields} numbers"
    if name in ("available", "final_available"):
        return (about.agents, about.actions.size), f"{agents}, and the options of all heads"
    return (about.agents,), f"one for each of {agents}"


def _changed(before: Any, then: Any) -> Iterator[str]:
    """What has another structure, shape or type after a step."""
    (old, was), (new, now) = (jax.tree_util.tree_flatten_with_path(x) for x in (before, then))
    if was != now:
        names = [{jax.tree_util.keystr(path) for path, _ in leaves} for leaves in (old, new)]
        odd = sorted(names[0] ^ names[1])
        yield f"only one of them has {odd[0] or 'an array'}" if odd else "their structures differ"
        return
    for (path, x), (_, y) in zip(old, new, strict=True):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            yield f"{jax.tree_util.keystr(path)} is {y.dtype} of shape {y.shape}, and was {x.dtype} of shape {x.shape}"
