"""A policy of another program as a teacher: an ONNX model, which is data, or a file that may run code and must be trusted."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError, notice
from headstart.core.learner import Outputs
from headstart.core.spec import ActionSpace, Continuous, Discrete, RoleSpec, TeamSpec, decode_spec, encode_spec
from headstart.core.trust import trusts
from headstart.storage import files, schema
from headstart.teams.onnx_files import OnnxModel
from headstart.teams.programs import Program, told
from headstart.teams.sb3_files import StableBaselines3
from headstart.teams.scripted import Scripted
from headstart.teams.torch_files import TorchScript, archive_kind
from headstart.views.central import view

MANIFEST = "foreign.json"
"""The file of a foreign teacher beside a run that says which model stands beside it."""
MODELS = {"onnx": "model.onnx", "sb3": "model.zip", "torchscript": "model.pt"}
"""{program: the name of its model there}."""
LARGEST = 2**30
"""Bytes of a model."""
SUFFIXES = (".onnx", ".zip", ".pt", ".pth")
CODE = {"sb3": "is a file of Stable-Baselines3, which holds pickles", "torchscript": "is TorchScript, which is a program"}
"""{program: why its files may run code when they are opened}."""


class Foreign(Scripted):
    """A policy of another program. Every agent of the one role of a team asks it about its own observation; or the whole team
    asks it as one agent, if it observes and moves all agents side by side (`views.central`).

    The policy takes observations [N O] of any number N and puts out [N U] logits (or values) of discrete actions, [N] or [N H]
    whole numbers of chosen options, or [N U] continuous actions in the environment's own units. It is called once a step, for
    all agents, environments and seeds together.
    """

    env: Any = None
    env_steps = None
    """Env-steps that its training took: they are not known."""
    data: bytes
    program: str
    """One of `MODELS`."""
    outputs: Outputs

    def __init__(self, data: bytes, spec: TeamSpec, name: str, program: str = "onnx"):
        made = _opened(data, name, program)
        spec, model = _fitted(made, spec, name)
        (role,) = spec.roles

        def ask(obs: dict[str, Any]) -> dict[str, Any]:
            return {role: model(obs[role])}

        ask.__qualname__ = f"{program}-{hashlib.sha256(data).hexdigest()}"  # the labels of two models have different names
        super().__init__(ask, spec, host=True)
        for attribute, value in {"data": data, "program": program, "outputs": made.outputs}.items():
            object.__setattr__(self, attribute, value)

    @property
    def trusted(self) -> bool:
        """Whether it was opened only because the user trusts its file."""
        return self.program in CODE

    def write(self, directory: Path) -> str:
        """Keep the model beside a run, which then resumes without the file that it came from; returns the digest."""
        path = directory / MODELS[self.program]
        with files.replacing(path) as temporary:
            temporary.write_bytes(self.data)
        about = {"spec": encode_spec(self.spec), "model": files.sha256(path), "program": self.program}
        return files.write_json(directory / MANIFEST, about, schema.Foreign)


def is_foreign(path: Path) -> bool:
    """Whether a path names a file of another program, or the directory of a `Foreign` that a run has kept."""
    return (path.suffix.lower() in SUFFIXES and not path.is_dir()) or files.kind(path / MANIFEST) is not None


def foreign(path: Path, spec: TeamSpec) -> Foreign:
    """The teacher in a file, for a team.

    Raises HeadstartError without the program's package, for files that are missing or none of its models, for models of other
    observations or actions, and for files that may run code unless they are trusted (`core.trust`).
    """
    data = files.read_bytes(path, LARGEST)
    program = "onnx" if path.suffix.lower() == ".onnx" else archive_kind(data, str(path))
    teacher = Foreign(data, spec, str(path), program)
    if program == "sb3" and (statistics := _statistics(path)):
        notice(
            f"{statistics} is beside {path}: a policy that was trained with VecNormalize expects normalised observations, and "
            "gets the environment's own; if it was, normalise them in a headstart.Scripted(function, env.spec, host=True)"
        )
    return teacher


def kept(directory: Path, digest: str | None = None) -> Foreign:
    """The teacher that a run has kept; HeadstartError if its files are damaged or changed, or may run code and are not
    trusted."""
    about = files.read_json(directory / MANIFEST, schema.Foreign)
    program = about.get("program", "onnx")
    model = directory / MODELS[program]
    if digest and digest != files.digest_of(about):
        files.refuse_change(f"{directory / MANIFEST} is not the one that its run knows")
    if files.sha256(model) != about["model"]:
        files.refuse_change(f"{model} is not the one that {directory / MANIFEST} knows")
    try:
        spec = decode_spec(about["spec"])
    except (ValueError, KeyError, TypeError) as error:
        raise HeadstartError(f"{directory / MANIFEST} is damaged: {files.shown(str(error))}") from None
    return Foreign(files.read_bytes(model, LARGEST), spec, str(model), program)


def _opened(data: bytes, name: str, program: str) -> Program:
    """The only place that opens a file of another program."""
    if program == "onnx":
        return OnnxModel(data, name)
    if archive_kind(data, name) != program:
        raise HeadstartError(f"{name} is damaged: it is no file of {program}")
    if not trusts():
        raise HeadstartError(
            f"{name} {CODE[program]}, and may run any code when it is opened: pass --trust if you know where it comes from "
            "(in Python trust=True to headstart.load_teacher or headstart.resume), or export its policy as ONNX"
        )
    return StableBaselines3(data, name) if program == "sb3" else TorchScript(data, name)


def _statistics(path: Path) -> Path | None:
    """A file of VecNormalize beside a model, where `VecNormalize.save` and the zoo of Stable-Baselines3 put one."""
    with contextlib.suppress(OSError):
        found = (x for place in (path.parent, path.with_suffix("")) for x in sorted(place.glob("*[Vv]ec*[Nn]orm*.pkl")))
        return next(found, None)
    return None


def _fitted(program: Program, spec: TeamSpec, name: str) -> tuple[TeamSpec, "Model"]:
    """The team that a policy moves, of one role: that of `spec`, or that of `spec` seen as one agent; and how it is asked."""
    errors = []
    for team in _teams(spec):
        (role,) = team.roles.values()
        try:
            return team, Model(program, role, name)
        except HeadstartError as error:
            errors.append(error)
    if len(spec.roles) > 1:
        team = f"{name} teaches teams of one role, and this one has {', '.join(spec.roles)}"
        raise HeadstartError(f"{team}; nor is it a controller of the whole team: {errors[0]}" if errors else team)
    raise errors[0]


def _teams(spec: TeamSpec) -> Iterator[TeamSpec]:
    """The teams of one role that a policy for a team may move."""
    if len(spec.roles) == 1:
        yield spec
    if sum(role.agents for role in spec.roles.values()) > 1:
        for kind in ("heads", "joint"):
            with contextlib.suppress(HeadstartError):
                yield view(spec, kind).spec


class Model:
    """A policy as a function of observations [*n O] -> outputs [*n U] as a learner's: logits, or actions in [-1, 1]."""

    def __init__(self, program: Program, role: RoleSpec, name: str):
        self.program, self.role, self.name = program, role, name
        program.check(role)
        self(np.zeros((1, role.obs_size), np.float32))
        probe = np.ones((2, 3, role.obs_size), np.float32)
        if not np.array_equal(self(probe), self(probe), equal_nan=True):
            raise HeadstartError(f"{name} gives two answers to one observation: a teacher must not draw random numbers")

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """[*n O] -> [*n U]; HeadstartError if the policy puts out another shape."""
        rows = np.array(obs.reshape(-1, self.role.obs_size), np.float32, order="C")  # PyTorch wants an array it might write to
        try:
            out = self.program(rows)
        except Exception as error:
            raise HeadstartError(f"{self.name} cannot be asked about {rows.shape[1]} numbers: {told(error)}") from None
        return self._as_policy(out, len(rows)).reshape(*obs.shape[:-1], self.role.actions.size)

    def _as_policy(self, out: np.ndarray, count: int) -> np.ndarray:
        space = self.role.actions
        if isinstance(space, Discrete) and out.dtype.kind in "iu" and out.size == count * len(space.heads):
            return chosen(space, out.reshape(count, -1), self.name)
        if out.dtype.kind != "f" or out.shape != (count, space.size):
            raise HeadstartError(f"{self.name} outputs {out.dtype} {out.shape}, but this team needs {_wanted(space, count)}")
        return space.vector(out.astype(np.float32)) if isinstance(space, Continuous) else out.astype(np.float32)


SURE = 10.0
"""Logit of a chosen option beside the others' 0: nearly certain, and still a number that a mean squared error can learn."""


def chosen(space: Discrete, choices: np.ndarray, name: str) -> np.ndarray:
    """[N H] numbers of options, in the environment's own counting -> logits [N U]; HeadstartError for those of no option."""
    try:
        return np.float32(SURE) * space.vector(choices)
    except ValueError:
        raise HeadstartError(f"{name} chooses options that this team does not have: its heads have {space.heads}") from None


def _wanted(space: ActionSpace, count: int) -> str:
    if isinstance(space, Continuous):
        return f"float32 {(count, space.size)}"
    return f"float32 {(count, space.size)} or whole numbers {(count, len(space.heads))}"
