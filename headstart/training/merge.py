"""Groups of seeds that were trained apart, as the one run that they are parts of."""

import itertools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from headstart.core.checks import HeadstartError, notice, require
from headstart.core.env import Vectorised, unwrapped
from headstart.storage import files, places
from headstart.storage.tables import Table, read_table
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.teams.saved_demos import load_teacher
from headstart.training.directory import RunDir, check_free

OWN = ("seeds", "first_seed")
"""The settings in which the runs may differ."""
NEEDED = ("spec", "id", "guides", "timing", "files")
"""Entries of run.json that runs of the first format do not have."""
PLACES = {"versions": "versions of headstart, JAX or Python", "device": "devices", "cores": "sizes of XLA's thread pool"}
"""Entries of run.json on which the last bits of a run's numbers depend."""


class _Part(NamedTuple):
    """A run that is merged."""

    path: Path
    manifest: dict[str, Any]
    table: Table
    team: TeamPolicy

    @property
    def seeds(self) -> list[int]:
        return self.manifest["seeds"]


def merge(runs: Sequence[str | Path], out: str | Path) -> TeamPolicy:
    """Join finished runs that differ only in their seeds into one run at `out`; returns its team.

    The seeds must follow each other without a gap: 0 to 3 and 4 to 7, in any order. The merged run has the parameters and
    metrics, to the bit, of a run that trained all the seeds, if a lane's numbers do not depend on other lanes (see `lanes`):
    on a CPU, with environments and teachers in JAX, the same versions and the same size of XLA's thread pool. A notice tells if
    that is not so. `run_s` and `compile_s` are sums.

    Raises HeadstartError for runs that have not finished, that differ in other settings or in their teachers, that were
    extended, whose end depended on the mean over seeds, or that keep more than their last team.
    """
    require(len(runs) > 1, "runs", len(runs), "at least two")
    directory = RunDir(out)
    check_free(directory.path)
    parts = sorted(map(_part, runs), key=lambda part: part.seeds[0])
    _check_alike(parts)
    first = parts[0].manifest
    _tell(parts)
    seeds = [seed for part in parts for seed in part.seeds]
    manifest = first | {"seeds": seeds, "config": first["config"] | {"seeds": len(seeds), "first_seed": seeds[0]}}
    manifest.pop("worth", None)  # it was measured on the seeds of one part
    about = {name: manifest[name] for name in ("config", "seeds", "spec")}
    manifest["id"] = files.digest_of(about | {"guides": first["guides"]})
    spent = lambda name: round(sum(part.manifest["timing"].get(name) or 0.0 for part in parts), 3)
    manifest["timing"] = {name: spent(name) for name in first["timing"]}

    def fill(staged: Path) -> dict[str, Any]:
        for i, digest in enumerate(first["guides"]):
            if digest:
                kept = places.inside(parts[0].path, f"teacher-{i}")
                load_teacher(kept, digest=digest)  # whole, and the one that the run learned from
                shutil.copytree(kept, staged / f"teacher-{i}")
        files.write_text(staged / "metrics.csv", _rows([part.table for part in parts]))
        digests = {"policy": _team(parts, seeds, manifest["id"]).write(staged)}
        return {"files": digests | {"metrics": files.sha256(staged / "metrics.csv")}}

    directory.create(manifest, fill)
    return load(directory.path)


def _part(path: str | Path) -> _Part:
    directory = RunDir(path)
    manifest = directory.manifest()
    team = load(directory.path, digest=manifest.get("files", {}).get("policy"))  # refuses a run that has not finished
    table = read_table(directory.metrics)
    if missing := next((name for name in NEEDED if manifest.get(name) in (None, {}, "")), None):
        raise HeadstartError(f"{path} is of an earlier version, whose run.json has no {missing}: it cannot be merged")
    if files.sha256(directory.metrics) != manifest["files"]["metrics"]:
        files.refuse_change(f"{directory.metrics} is not the one that its run wrote")
    if manifest.get("extended"):
        raise HeadstartError(f"{path} went on to another length: merge the runs first, and resume the merged one")
    if manifest["config"].get("until") is not None:
        raise HeadstartError(f"{path} has until, and stopped by the mean over its own seeds: train all seeds in one run")
    if manifest["config"].get("keep"):
        raise HeadstartError(f"{path} has keep, and only last teams are merged: train all seeds in one run")
    return _Part(directory.path, manifest, table, team)


def _check_alike(parts: Sequence[_Part]) -> None:
    """Refuse parts that are not groups of seeds of one run."""
    first = parts[0]
    for before, after in itertools.pairwise(parts):
        if after.seeds[0] != before.seeds[-1] + 1:
            raise HeadstartError(
                f"{after.path} begins with seed {after.seeds[0]}, and {before.path} ends with {before.seeds[-1]}: "
                f"merge runs whose seeds follow each other (train --first-seed {before.seeds[-1] + 1})"
            )
    for part in parts[1:]:
        here, there = _settings(part.manifest), _settings(first.manifest)
        differ = [name for name in here | there if files.canonical(here.get(name)) != files.canonical(there.get(name))]
        if differ or part.table.header != first.table.header:
            what = differ[0] if differ else "the columns of metrics.csv"
            raise HeadstartError(f"{part.path} and {first.path} differ in {what}: merge runs that differ in their seeds only")


def _tell(parts: Sequence[_Part]) -> None:
    """Print what may make the merged run differ from one that trained all the seeds."""
    first = parts[0]
    differ = [what for name, what in PLACES.items() if any(x.manifest.get(name) != first.manifest.get(name) for x in parts)]
    if differ:
        notice(f"the runs were trained with other {' and '.join(differ)}: the last bits of one run of all seeds may differ")
    guides = first.manifest["config"]["guidance"]
    foreign = any(files.kind(first.path / f"teacher-{i}" / "foreign.json") for i in range(len(guides)))
    on_host = foreign or any(guide.get("scripted") for guide in guides) or isinstance(unwrapped(first.team.env), Vectorised)
    if on_host or first.manifest.get("device") != "cpu":
        notice("on a GPU, and with environments or teachers on the host, the last bits of one run of all seeds may differ")
    if any(guide.get("scripted") for guide in guides):
        notice("a teacher of these runs is a Python function, which no file keeps: make sure that it was the same in all")


def _settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What parts must have in common, by names that a user knows."""
    config = {name: value for name, value in manifest["config"].items() if name not in OWN}
    return config | {"the environment's spec": manifest["spec"], "their teachers": manifest["guides"]}


def _rows(tables: Sequence[Table]) -> str:
    """The lines of all tables, an evaluation after the other."""
    rows = [row for table in tables for row in table.rows]
    ordered = sorted(rows, key=lambda row: (row.values["updates"] or 0, row.values["seed"] or 0))
    return "\n".join([tables[0].header, *(row.line for row in ordered), ""])


def _team(parts: Sequence[_Part], seeds: Sequence[int], run: str) -> TeamPolicy:
    first = parts[0].team
    params = jax.tree.map(lambda *each: np.concatenate(each), *(part.team.params for part in parts))
    return TeamPolicy(first.spec, first.config, params, tuple(seeds), first.env, first.env_steps, run=run)
