"""Load a saved team: its files are checked, belong together, and execute nothing."""

from pathlib import Path
from typing import Any

import jax

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.env import unwrapped
from headstart.core.spec import ActionSpace, Discrete, TeamSpec, decode_spec
from headstart.storage import arrays as storage
from headstart.storage import files, places, schema
from headstart.teams.policy import TeamPolicy
from headstart.views.meaning import sizes_of


def load(directory: str | Path, accept_changed: bool = False, *, digest: str | None = None) -> TeamPolicy:
    """The trained team of a run directory, of a directory that `TeamPolicy.save` wrote, or "zoo:NAME" (see `headstart.zoo`).

    Nothing in the files is executed. Raises HeadstartError if they are missing or damaged, or if they were changed or do not
    belong together; `accept_changed` accepts the latter. `digest` is that of policy.json, if it is known.
    """
    directory = places.found(directory)
    if not directory.is_dir():
        raise HeadstartError(places.absent(directory, "the --out directory of a finished run"))
    if not (directory / "policy.json").exists() and (directory / "run.json").exists():
        saved = files.read_json(directory / "run.json", schema.Run)["config"]
        again = registry.command("resume", places.sweep_of(directory) or directory, saved=saved)
        raise HeadstartError(f"{directory} holds a run that has not finished: {again}")
    if (directory / "experiment.json").exists():
        raise HeadstartError(f"{directory} is an experiment: its teams are in {directory / 'stages'}, one directory each")
    if (directory / "demos.json").exists():
        told = f"{places.as_named(directory)} holds demonstrations, and no team"
        raise HeadstartError(f"{told}: headstart.load_demos(...) loads them")
    if (directory / places.SWEEP).exists():
        raise HeadstartError(f"{directory} is a sweep: its teams are in {directory / places.POINTS}, one directory each")
    with files.accepting(accept_changed):
        manifest = files.read_json(directory / "policy.json", schema.Policy)
        _check_origin(directory, manifest, digest)
        return _made(directory, manifest)


def _check_origin(directory: Path, manifest: dict[str, Any], digest: str | None) -> None:
    """Refuse policy.json if it is not the one that `digest` or the run.json beside it names."""
    run, name = {}, directory / "policy.json"
    kept = files.kind(directory / "kept.json") is not None  # a team that the run around this directory keeps
    about = (directory.absolute().parent if kept else directory) / "run.json"
    if files.kind(about):
        run = files.read_json(about, schema.Measured)
    written = run["files"] if run.get("finished") and "files" in run else {}
    known = digest or (written.get("kept", {}).get(directory.absolute().name) if kept else written.get("policy"))
    if known and known != files.digest_of(manifest):
        files.refuse_change(f"{name} is not the one that {'its run' if digest else about} knows")
    if run.get("id") and run["id"] != manifest.get("run"):
        files.refuse_change(f"{name} and {about} are of two different runs")


def _made(directory: Path, manifest: dict[str, Any]) -> TeamPolicy:
    path, seeds, env = directory / "policy.json", tuple(manifest["seeds"]), manifest["env"]
    config = registry.decode("learner", manifest["learner"])
    env = env_of(env)
    try:
        spec = decode_spec(manifest["spec"])
        trained = decode_spec(manifest["trained"]) if "trained" in manifest else None
        old, spec = spec, _named(spec, env)
        trained = trained and _renamed(trained, old, spec)
        learner = config.make(trained or spec)
        of_all = lambda x: jax.ShapeDtypeStruct((len(seeds), *x.shape), x.dtype)
        like = jax.tree.map(of_all, jax.eval_shape(learner.init, jax.random.key(0)))
        if trained is not None:
            like = {net: like[net] for net in learner.policy_networks}
    except HeadstartError:
        raise
    except Exception as error:  # a learner may raise anything for a spec that no environment has
        raise HeadstartError(f"{path} is damaged: no team can be made of it ({files.shown(repr(error))})") from error
    params = storage.load_tree(directory / "policy.safetensors", like, manifest.get("parameters"), finite=True)
    select = manifest.get("select", "nearest")
    run = manifest.get("run", "")
    return TeamPolicy(spec, config, params, seeds, env, manifest["env_steps"], trained, select, run, places.as_named(directory))


def env_of(saved: Any) -> Any:
    """The environment that a file names; None if it names none, or one that is not known, or may not import its module."""
    if not saved or not (saved["name"] in registry.presets("env") or registry.own_class("env", saved["name"])):
        return None
    try:
        return registry.decode("env", saved)
    except registry.Untrusted:
        return None


def _renamed(trained: TeamSpec, old: TeamSpec, new: TeamSpec) -> TeamSpec:
    """The spec of a fitted team's networks, with the actions of `new` where it had those of `old`."""
    newer = lambda name, space: new.roles[name].actions if space == old.roles[name].actions else space
    return trained._replace(roles={n: role._replace(actions=newer(n, role.actions)) for n, role in trained.roles.items()})


def _named(spec: TeamSpec, env: Any) -> TeamSpec:
    """The spec of a file from before actions had names or aims, with those that headstart's own environment has now."""
    if not type(unwrapped(env)).__module__.startswith(("headstart.envs.particle.", "headstart.envs.battle.")):
        return spec
    now = {name: role.actions for name, role in env.spec.roles.items()}

    def newer(name: str, space: ActionSpace) -> ActionSpace:
        mine = now.get(name, space)
        if type(mine) is not type(space) or sizes_of(mine) != sizes_of(space):
            return space
        if isinstance(space, Discrete) and isinstance(mine, Discrete):
            older = not space.aims and space.options in ((), mine.options)
        else:
            older = not getattr(space, "names", ())
        return mine if older else space

    roles = {name: role._replace(actions=newer(name, role.actions)) for name, role in spec.roles.items()}
    return spec._replace(roles=roles)
