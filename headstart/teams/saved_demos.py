"""Load saved demonstrations, or another teacher that a directory holds; nothing in the files is executed."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.spec import TeamSpec, decode_spec
from headstart.core.trust import trusting
from headstart.storage import arrays as storage
from headstart.storage import files, places, schema
from headstart.teams.demos import EACH, STORED, Demos, stored_as
from headstart.teams.episode_arrays import check_chosen
from headstart.teams.foreign import Foreign, foreign, is_foreign, kept
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import env_of, load

INNER = {
    "obs": lambda role: role.obs_size,
    "actions": lambda role: role.actions.size,
    "available": lambda role: role.actions.size,
}
"""The last axis of the arrays that have one beyond that of the agents."""


def load_teacher(
    path: str | Path, spec: TeamSpec | None = None, trust: bool = False, *, digest: str | None = None
) -> TeamPolicy | Demos | Foreign:
    """A teacher: the team or the demonstrations of a directory (see `load` and `load_demos`), or the policy in a file.

        guide = headstart.Distill(headstart.load_teacher("expert.onnx", env.spec))

    spec: the team that is to learn from the policy of another program in a file: .onnx, .zip of Stable-Baselines3, or .pt of
    TorchScript. trust: open the last two, which may run any code when they are opened. digest: that of the file that describes
    the teacher, if it is known. Raises HeadstartError for files that are missing, damaged, not trusted, or do not fit.
    """
    path = places.found(path)
    if is_foreign(path):
        with trusting(trust):
            return foreign(path, _needed(spec, path)) if not path.is_dir() else kept(path, digest)
    if not path.is_dir():
        raise HeadstartError(places.absent(path, "the directory of a finished run, or of demonstrations (headstart record)"))
    return load_demos(path, digest=digest) if holds_demos(path) else load(path, digest=digest)


def _needed(spec: TeamSpec | None, path: Path) -> TeamSpec:
    if spec is None:
        raise HeadstartError(f"{path} does not say for which team it is: pass the spec, headstart.load_teacher(path, env.spec)")
    return spec


def holds_demos(directory: Path) -> bool:
    """Whether a directory holds demonstrations."""
    return files.kind(directory / "demos.json") is not None


def load_demos(directory: str | Path, accept_changed: bool = False, *, digest: str | None = None) -> Demos:
    """The demonstrations of a directory that `headstart record` or `Demos.save` wrote.

    Raises HeadstartError if its files are missing or damaged, or if they were changed or do not belong together;
    `accept_changed` accepts the latter. `digest` is that of demos.json, if it is known.
    """
    directory = places.found(directory)
    path = directory / "demos.json"
    if directory.suffix == ".npz" and directory.is_file():
        raise HeadstartError(places.of_arrays(directory))
    if not holds_demos(directory):
        run, out = (places.as_named(directory), "DIR") if places.in_zoo(directory) else ("RUN", directory)
        told = f"{places.as_named(directory)} holds no demonstrations"
        raise HeadstartError(f"{told}: headstart record {run} --out {out} records some")
    with files.accepting(accept_changed):
        manifest = files.read_json(path, schema.Demonstrations)
        if digest and digest != files.digest_of(manifest):
            files.refuse_change(f"{path} is not the one that its run knows")
        try:
            spec = decode_spec(manifest["spec"])
        except (ValueError, KeyError, TypeError) as error:
            raise HeadstartError(f"{path} is damaged: {files.shown(str(error))}") from None
        found = _arrays(directory / "demos.safetensors", manifest, spec)
    try:
        return Demos(
            spec=spec, env=env_of(manifest["env"]), notes=manifest["notes"], loaded_from=places.as_named(directory), **found
        )
    except HeadstartError as error:
        raise HeadstartError(f"{directory / 'demos.safetensors'} is damaged: {error}") from None


def _arrays(path: Path, manifest: dict[str, Any], spec: TeamSpec) -> dict[str, Any]:
    """The arrays of `Demos` by name, of a file whose sizes are those that its manifest needs."""
    like = _shapes(manifest, spec)
    leaves = storage.load_arrays(path, like, manifest["arrays"], finite=True)
    found = jax.tree.unflatten(jax.tree.structure(like), leaves)
    lengths = found["lengths"]
    damaged = lambda why: HeadstartError(f"{path} is damaged: {why}")
    if lengths.min() < 1 or lengths.sum(dtype=np.int64) != manifest["steps"]:
        raise damaged("the lengths of its episodes do not add up")
    for name, x in storage.named_leaves(found).items():
        if x.dtype == bool and x.view(np.uint8).max(initial=0) > 1:
            raise damaged(f"{name} holds other values than true and false")
    for name in ("obs", "actions"):  # a compact file holds them in fewer bits
        if name in found:
            found[name] = {role: x.astype(np.float32, copy=False) for role, x in found[name].items()}
    for role, x in (found.get("actions") or {}).items():
        check_chosen(f"actions['{role}'] in {path}", spec.roles[role].actions, x[found["alive"][role]])
    size = len(lengths) * int(lengths.max())
    if size > MOST_PADDING * manifest["steps"]:
        raise damaged("its episodes are too unlike in length")
    running = np.arange(lengths.max()) < lengths[:, None]
    return found | {name: {role: _padded(x, running) for role, x in found[name].items()} for name in STORED if name in found}


MOST_PADDING = 100
"""Steps in memory for each step on disk: no small file makes a large array."""


def _padded(steps: np.ndarray, running: np.ndarray) -> np.ndarray:
    """[N ..] -> [M T ..]: every episode's steps, and zeros after them."""
    out = np.zeros((*running.shape, *steps.shape[1:]), steps.dtype)
    out[running] = steps
    return out


def _shapes(manifest: dict[str, Any], spec: TeamSpec) -> dict[str, Any]:
    """The shapes that `Demos.write` has stored."""
    count, steps = manifest["episodes"], manifest["steps"]
    shape = lambda kind, *sizes: jax.ShapeDtypeStruct(sizes, np.dtype(kind))
    compact = manifest.get("compact", False)
    names = [name for name in STORED if manifest.get(name, name in ("obs", "alive"))]
    out: dict[str, Any] = {"lengths": shape(np.int32, count)}
    for name in names:
        last = lambda role, name=name: (INNER[name](role),) if name in INNER else ()
        kind = lambda role, name=name: stored_as(name, role.actions, compact)
        out[name] = {n: shape(kind(role), steps, role.agents, *last(role)) for n, role in spec.roles.items()}
    returns, events = EACH
    out[returns] = {n: shape(np.float32, count, role.agents) for n, role in spec.roles.items()}
    return out | {events: {name: shape(np.float32, count) for name in manifest["events"]}}
