"""A team for machines without JAX: a directory with NumPy's arrays and the file that runs them, or with ONNX models."""

import json
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from headstart.core.actions import ILLEGAL
from headstart.core.checks import HeadstartError, check_known
from headstart.core.own import installed
from headstart.core.spec import ActionSpace, Continuous, Discrete
from headstart.plain import runner
from headstart.plain.listing import Listing, NotPlain
from headstart.plain.trace import Traced
from headstart.storage import files, places
from headstart.teams.demos import check_free
from headstart.teams.policy import TeamPolicy

To = Literal["numpy", "onnx"]


class Agent(NamedTuple):
    """An agent's greedy policy: (obs [O], memory [M], available [U] bool if it has choices) -> action, memory."""

    listing: Listing
    about: dict[str, Any]
    """As in `runner.Team.agents`, without what it runs."""


def export(team: TeamPolicy, out: str | Path, to: To = "numpy", seed: int = 0) -> list[Path]:
    """Write what each agent of a team does greedily on its own observation; returns the files.

    to: "numpy", a `team.npz` and a `team.py` that needs NumPy alone, or "onnx", a model for each agent. out: a directory,
    which must be new or empty. seed: index of one of the team's seeds, from 0. Raises HeadstartError without the package
    `onnx`, for a directory that holds something, and for a policy that neither form has an operation for.
    """
    check_known("form", to, get_args(To))
    if to == "onnx" and not installed("onnx"):
        raise HeadstartError("--to onnx needs the package onnx: pip install 'headstart[onnx]'")
    out = places.located(out)
    check_free(out)
    agents = {name: agent_of(team, name, seed) for names in team.spec.names.values() for name in names}
    with places.made_at_once(out) as staged, files.writing(out):
        names = {"numpy": _write_numpy, "onnx": _write_onnx}[to](agents, staged)
    return [out / name for name in names]


def agent_of(team: TeamPolicy, name: str, seed: int = 0) -> Agent:
    """The policy of one agent of a team; HeadstartError if it does what has no operation here."""
    single = team.agent(name)
    params, learner = single.place(seed), single.learner
    ((role, about),) = single.spec.roles.items()
    flat, shaped = ravel_pytree(learner.start(1))
    space, size = about.actions, about.obs_size
    choices = 0 if isinstance(space, Continuous) else space.size

    def act(params, obs, memory, *available):
        carry, out = learner.policy(params, shaped(memory), {role: obs[None, None]})
        logits = jnp.where(available[0], out[role][0, 0], ILLEGAL) if available else out[role][0, 0]
        return in_units(space, logits), ravel_pytree(carry)[0]

    inputs = [np.zeros(size, np.float32), np.asarray(flat), *([np.ones(choices, bool)] if choices else [])]
    try:
        listing = Traced(act, params, *inputs).listing(params)
    except NotPlain as error:
        raise HeadstartError(f"the policy of '{name}' cannot be exported: {error}") from None
    fields = [[field.name, field.count, field.size] for field in about.obs]
    told = {"observation": size, "fields": fields, "choices": choices, "start": flat.tolist()}
    return Agent(listing, told | {"single": isinstance(space, Discrete) and len(space.heads) == 1})


def in_units(space: ActionSpace, out: Float[Array, " U"]) -> Array:
    """The greedy action in the environment's own form: the number of each head's option, or numbers within the bounds."""
    if isinstance(space, Continuous):
        return space.in_units(out)
    heads = jnp.split(out, np.cumsum(space.heads)[:-1].tolist())
    return jnp.stack([head.argmax() for head in heads]) + jnp.array(space.start or (0,) * len(heads), jnp.int32)


def _write_numpy(agents: dict[str, Agent], directory: Path) -> list[str]:
    """Arrays that agents share are stored once."""
    arrays: dict[Any, np.ndarray] = {}
    about: dict[str, Any] = {}
    for name, agent in agents.items():
        keys = [(x.dtype.str, x.shape, x.tobytes()) for x in agent.listing.constants]
        arrays |= dict(zip(keys, agent.listing.constants, strict=True))
        places_of = {key: i for i, key in enumerate(arrays)}
        run = {"constants": [places_of[key] for key in keys], "steps": agent.listing.steps, "outputs": agent.listing.outputs}
        about[name] = agent.about | run
    said = json.dumps({"format": runner.FORMAT, "arrays": len(arrays), "agents": about}).encode()
    named = {f"array_{i}": x for i, x in enumerate(arrays.values())}
    save: Any = np.savez
    save(directory / "team.npz", about=np.frombuffer(said, np.uint8), **named)
    (directory / "team.py").write_bytes(Path(runner.__file__).read_bytes())
    return ["team.npz", "team.py"]


def _write_onnx(agents: dict[str, Agent], directory: Path) -> list[str]:
    from headstart.plain.onnx import model

    written = []
    for number, (name, agent) in enumerate(agents.items()):
        about = agent.about
        inputs = {"obs": np.zeros(about["observation"], np.float32), "memory": np.zeros(len(about["start"]), np.float32)}
        if about["choices"]:
            inputs["available"] = np.ones(about["choices"], bool)
        said = {"agent": name} | {key: json.dumps(value) for key, value in about.items()}
        made = model(agent.listing, inputs, ["action", "next_memory"], name, said)
        plain = re.sub(r"[^\w.-]+", "-", name).strip(".-")
        file = f"{plain if plain == name else f'{number}-{plain}'}.onnx"
        (directory / file).write_bytes(made.SerializeToString())
        written.append(file)
    return written
