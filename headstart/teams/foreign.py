"""A policy of another program as a teacher: an ONNX model, which is data and executes no code of its own."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.own import installed
from headstart.core.spec import ActionSpace, Continuous, Discrete, RoleSpec, TeamSpec, decode_spec, encode_spec
from headstart.storage import files, schema
from headstart.teams.scripted import Scripted

MANIFEST, MODEL = "foreign.json", "model.onnx"
"""The files of a foreign teacher beside a run."""
LARGEST = 2**30
"""Bytes of a model."""
OTHERS = {".zip": "Stable-Baselines3", ".pt": "PyTorch", ".pth": "PyTorch"}
"""{suffix: the program} of files that are pickles or programs, and are not read."""


class Foreign(Scripted):
    """An ONNX model that every agent of the one role of a team asks about its own observation.

    The model takes observations [N O] of any number N and puts out [N U] logits of discrete actions, [N] or [N H] whole numbers
    of chosen options, or [N U] continuous actions in the environment's own units. It is called once a step, for all agents,
    environments and seeds together.
    """

    env: Any = None
    env_steps = 0
    """Env-steps that its training took, which are not known."""
    data: bytes

    def __init__(self, data: bytes, spec: TeamSpec, name: str):
        role = _only_role(spec, name)
        model = Model(data, spec.roles[role], name)

        def ask(obs: dict[str, Any]) -> dict[str, Any]:
            return {role: model(obs[role])}

        ask.__qualname__ = f"onnx-{hashlib.sha256(data).hexdigest()}"  # the labels of two models have different names
        super().__init__(ask, spec, host=True)
        object.__setattr__(self, "data", data)

    def write(self, directory: Path) -> str:
        """Keep the model beside a run, which then resumes without the file that it came from; returns the digest."""
        with files.replacing(directory / MODEL) as temporary:
            temporary.write_bytes(self.data)
        about = {"spec": encode_spec(self.spec), "model": files.sha256(directory / MODEL)}
        return files.write_json(directory / MANIFEST, about, schema.Foreign)


def is_foreign(path: Path) -> bool:
    """Whether a path names a file of another program, or the directory of a `Foreign` that a run has kept."""
    return (path.suffix.lower() in (".onnx", *OTHERS) and not path.is_dir()) or files.kind(path / MANIFEST) is not None


def foreign(path: Path, spec: TeamSpec) -> Foreign:
    """The teacher in a file, for a team.

    Raises HeadstartError without the package onnxruntime, for files that are missing or no ONNX models, and for models of other
    observations or actions.
    """
    if program := OTHERS.get(path.suffix.lower()):
        raise HeadstartError(f"{path} is a file of {program}, which may hold code: export its policy as ONNX, and pass that")
    return Foreign(files.read_bytes(path, LARGEST), spec, str(path))


def kept(directory: Path, digest: str | None = None) -> Foreign:
    """The teacher that a run has kept; HeadstartError if its files are damaged or changed."""
    about = files.read_json(directory / MANIFEST, schema.Foreign)
    if digest and digest != files.digest_of(about):
        files.refuse_change(f"{directory / MANIFEST} is not the one that its run knows")
    if files.sha256(directory / MODEL) != about["model"]:
        files.refuse_change(f"{directory / MODEL} is not the one that {directory / MANIFEST} knows")
    try:
        spec = decode_spec(about["spec"])
    except (ValueError, KeyError, TypeError) as error:
        raise HeadstartError(f"{directory / MANIFEST} is damaged: {files.shown(str(error))}") from None
    return Foreign(files.read_bytes(directory / MODEL, LARGEST), spec, str(directory / MODEL))


def _only_role(spec: TeamSpec, name: str) -> str:
    if len(spec.roles) != 1:
        raise HeadstartError(f"{name} teaches teams of one role, and this one has {', '.join(spec.roles)}")
    return next(iter(spec.roles))


class Model:
    """A model as a function of observations [*n O] -> outputs [*n U] as a policy's: logits, or actions in [-1, 1]."""

    def __init__(self, data: bytes, role: RoleSpec, name: str):
        for package in ("onnx", "onnxruntime"):
            if not installed(package):
                raise HeadstartError(f"{name} needs the package {package}: pip install 'headstart[onnx]'")
        import onnxruntime

        from headstart.teams.onnx_files import check_whole

        check_whole(data, name)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the cores are the run's
        options.log_severity_level = 4
        self.role, self.name = role, name
        try:
            self.session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise HeadstartError(f"{name} is no ONNX model that can be read: {_told(error)}") from None
        self.input = self._checked_input()
        self(np.zeros((1, role.obs_size), np.float32))
        self(np.zeros((2, 3, role.obs_size), np.float32))

    def _checked_input(self) -> str:
        """The name of the one input; HeadstartError for other inputs."""
        given, size = self.session.get_inputs(), self.role.obs_size
        if len(given) != 1 or given[0].type != "tensor(float)":
            told = ", ".join(f"{x.name} {x.type}" for x in given)
            raise HeadstartError(f"{self.name} takes {told or 'nothing'}: a teacher takes one array of float32 observations")
        shape = given[0].shape
        if len(shape) != 2 or isinstance(shape[0], int):
            raise HeadstartError(f"{self.name} takes {shape}, not (N, {size}): export it with a dynamic first axis")
        if isinstance(shape[1], int) and shape[1] != size:
            raise HeadstartError(f"{self.name} observes {shape[1]} numbers, and an agent of this team {size}")
        return str(given[0].name)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """[*n O] -> [*n U]; HeadstartError if the model puts out another shape."""
        rows = np.ascontiguousarray(obs.reshape(-1, self.role.obs_size), np.float32)
        try:
            out = np.asarray(self.session.run(None, {self.input: rows})[0])
        except Exception as error:
            raise HeadstartError(f"{self.name} cannot be asked: {_told(error)}") from None
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


def _told(error: Exception) -> str:
    return files.shown(" ".join(str(error).split()))


def _wanted(space: ActionSpace, count: int) -> str:
    if isinstance(space, Continuous):
        return f"float32 {(count, space.size)}"
    return f"float32 {(count, space.size)} or whole numbers {(count, len(space.heads))}"
