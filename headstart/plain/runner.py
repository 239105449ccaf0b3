"""Act with a team that headstart exported. This file needs NumPy alone: copy it to where the team is to act.

    from team import Team

    team = Team("team.npz")
    action, memory = team.act("agent_0", obs)  # as an episode starts
    action, memory = team.act("agent_0", obs, memory)  # in later steps

The .npz file holds numbers, and for each agent a list of the operations below. Nothing in it is executed as code, and no array
is made before it is known that the file holds that many numbers.
"""

import json
import math
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

ILLEGAL_KINDS = "OUSVMmc"
"""Kinds of NumPy arrays that are no real numbers."""


FORMAT = 1
HALF = np.float32(0.5)


def _slice(axis: int, start: int, end: int) -> Callable:
    cut = (slice(None),) * axis + (slice(start, end),)
    return lambda x: x[cut]


def _logistic(x: np.ndarray) -> np.ndarray:
    """1/(1 + exp(−x)), which overflows nowhere in this form."""
    y = np.tanh(x * HALF)
    y *= HALF
    y += HALF
    return y


OPERATIONS: dict[str, Callable[..., Callable]] = {
    # of each number
    "add": lambda: np.add,
    "sub": lambda: np.subtract,
    "mul": lambda: np.multiply,
    "div": lambda: np.divide,
    "pow": lambda: np.power,
    "max": lambda: np.maximum,
    "min": lambda: np.minimum,
    "neg": lambda: np.negative,
    "abs": lambda: np.abs,
    "exp": lambda: np.exp,
    "log": lambda: np.log,
    "sqrt": lambda: np.sqrt,
    "tanh": lambda: np.tanh,
    "logistic": lambda: _logistic,
    "eq": lambda: np.equal,
    "ne": lambda: np.not_equal,
    "lt": lambda: np.less,
    "le": lambda: np.less_equal,
    "gt": lambda: np.greater,
    "ge": lambda: np.greater_equal,
    "and": lambda: np.logical_and,
    "or": lambda: np.logical_or,
    "not": lambda: np.logical_not,
    "where": lambda: np.where,
    "cast": lambda dtype: lambda x: x.astype(dtype),
    # of whole arrays
    "matmul": lambda: np.matmul,
    "reshape": lambda to: lambda x: x.reshape(to),
    "transpose": lambda axes: lambda x: x.transpose(axes),
    "broadcast": lambda to: lambda x: np.broadcast_to(x, to),
    "concatenate": lambda axis: lambda *xs: np.concatenate(xs, axis),
    "slice": _slice,
    "pad": lambda widths, value: lambda x: np.pad(x, widths, constant_values=value),
    "sum": lambda axes: lambda x: np.add.reduce(x, tuple(axes), x.dtype),
    "largest": lambda axes: lambda x: np.maximum.reduce(x, tuple(axes)),
    "smallest": lambda axes: lambda x: np.minimum.reduce(x, tuple(axes)),
    "any": lambda axes: lambda x: np.logical_or.reduce(x, tuple(axes)),
    "all": lambda axes: lambda x: np.logical_and.reduce(x, tuple(axes)),
    "argmax": lambda axis: lambda x: x.argmax(axis).astype(np.int32),
    "argsort": lambda axis: lambda x: x.argsort(axis, kind="stable").astype(np.int32),
    "take_along": lambda axis: lambda x, order: np.take_along_axis(x, order, axis),
    "take": lambda: lambda x, index: x[index],
}
"""{name: settings -> function of arrays}."""


class Program:
    """Operations in their order. `constants` stand behind the inputs; each step (name, numbers of its arrays, settings) puts
    its result behind all arrays so far; `outputs` are numbers of arrays."""

    def __init__(self, constants: Sequence[np.ndarray], steps: Sequence[Sequence[Any]], outputs: Sequence[int]):
        if unknown := {name for name, _, _ in steps} - OPERATIONS.keys():
            raise ValueError(f"there are no operations {', '.join(sorted(unknown))}")
        self.constants, self.outputs = list(constants), list(outputs)
        self.steps = [(OPERATIONS[name](**settings), tuple(needs)) for name, needs, settings in steps]

    def __call__(self, *inputs: np.ndarray) -> list[Any]:
        """The outputs for these inputs."""
        arrays = self.arrays(*inputs)
        return [arrays[i] for i in self.outputs]

    def arrays(self, *inputs: np.ndarray) -> list[Any]:
        """Inputs, constants, and the results of all steps."""
        arrays: list[Any] = [*inputs, *self.constants]
        with np.errstate(all="ignore"):
            for function, needs in self.steps:
                arrays.append(function(*[arrays[i] for i in needs]))
        return arrays


class Team:
    """The agents of an exported team: each acts greedily on its own observation."""

    def __init__(self, path: Any):
        arrays = _read(path)
        try:
            self.about = json.loads(arrays["about"].tobytes())
            if self.about.get("format") != FORMAT:
                raise ValueError(f"{path} has format {self.about.get('format')}, and this file reads {FORMAT}")
            shared = [arrays[f"array_{i}"] for i in range(self.about["arrays"])]
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is no exported team: {error!r}") from None
        self.agents: dict[str, dict[str, Any]] = self.about["agents"]
        """{name: "observation" O and its "fields" [name, entities, numbers of each], "choices" U (0 for continuous actions),
        "single" (whether an action is one int), "start" (memory as an episode starts)}."""
        self._programs = {
            name: Program([shared[i] for i in agent["constants"]], agent["steps"], agent["outputs"])
            for name, agent in self.agents.items()
        }

    def act(self, name: str, obs: Any, memory: Any = None, available: Any = None) -> tuple[Any, np.ndarray]:
        """The greedy action of the agent `name`, and the memory to pass in its next step (None as an episode starts).

        obs: the agent's observation, numbers of any shape. available: [U] which choices are legal, if not all are. An action
        is an int, an array of ints for several heads, or an array of floats within the environment's bounds. Raises
        ValueError for another agent, for arrays that do not fit, and if nothing is available.
        """
        if name not in self.agents:
            raise ValueError(f"there is no agent {name!r}: there are {', '.join(self.agents)}")
        agent = self.agents[name]
        given = [_numbers("obs", obs, agent["observation"])]
        memory = agent["start"] if memory is None else memory
        given.append(_numbers("memory", memory, len(agent["start"])))
        if agent["choices"]:
            allowed = np.ones(agent["choices"], bool) if available is None else available
            given.append(_numbers("available", allowed, agent["choices"]) != 0)
            if not given[-1].any():
                raise ValueError("available allows nothing: leave it out if all choices are legal")
        action, memory = self._programs[name](*given)
        return (int(action[0]) if agent["single"] else action), memory


def _read(path: Any) -> dict[str, np.ndarray]:
    """{name: array} of a file that `numpy.savez` wrote, of numbers that really are in it; ValueError for any other."""
    found = {}
    try:
        with zipfile.ZipFile(path) as packed:
            there, named = packed.start_dir, sum(entry.file_size for entry in packed.infolist())
            if named > there:
                raise ValueError(f"its arrays have {named:,} bytes, and {there:,} are there")
            for entry in packed.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"{entry.filename} is compressed")
                with packed.open(entry) as file:
                    version = np.lib.format.read_magic(file)
                    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shape, fortran, dtype = header(file)
                    data = file.read()
                if dtype.kind not in "biuf" or len(data) != dtype.itemsize * math.prod(shape):
                    raise ValueError(f"{entry.filename} does not hold the numbers that it names")
                order = "F" if fortran else "C"
                found[entry.filename.removesuffix(".npy")] = np.frombuffer(data, dtype).reshape(shape, order=order)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path} is no exported team: {error}") from None
    return found


def _numbers(what: str, given: Any, size: int) -> np.ndarray:
    found = np.asarray(given)
    if found.dtype.kind in ILLEGAL_KINDS or found.size != size:
        raise ValueError(f"{what} must be {size} numbers, not an array of shape {found.shape} of {found.dtype}")
    found = found.astype(np.float32).reshape(-1)
    if not np.isfinite(found).all():
        raise ValueError(f"{what} must be finite numbers")
    return found
