"""Demonstrations from .npz files, and from and to the Vaults of OG-MARL, as plain arrays.

The experience in a Vault, `Vault(..).read().experience`, has arrays [B T N ..]: `observations`, `actions` (choices, or numbers
in [-1, 1]), `rewards`, `terminals`, `truncations` and, for discrete actions, `infos["legals"]`. Time runs on through the
episodes of a row: one ends where all N agents have terminated or are truncated. The N agents are those of all roles, in order.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError, check_known, require
from headstart.core.spec import Continuous, RoleSpec
from headstart.core.types import TeamSpec
from headstart.storage import places
from headstart.storage.npz import read_npz
from headstart.teams.demos import Demos
from headstart.teams.episode_arrays import numbers, spec_of

BY_ROLE = ("obs", "alive", "dead", "rewards", "actions", "available")
"""Arrays of a .npz file that may be there for each role, as NAME/ROLE."""
WHOLE = ("lengths", "dones")


def demos_from_npz(path: str | Path, env: Any) -> Demos:
    """The demonstrations of a .npz file, whose arrays are named as the arguments of `Demos.from_arrays`.

    A team of several roles has an array for each, e.g. "obs/scout"; events are "events/win". Raises HeadstartError for other
    names, for what `Demos.from_arrays` refuses, and for damaged files.
    """
    if not isinstance(path, str | os.PathLike):
        raise HeadstartError(f"path must be that of a .npz file, not {path!r}: demos_from_npz('mine.npz', env)")
    if not (file := places.located(path)).exists():
        raise HeadstartError(f"there is no file {path}")
    given: dict[str, Any] = {}
    for full, x in read_npz(file).items():
        name, _, part = full.partition("/")
        check_known("array of demonstrations", name, (*BY_ROLE, *WHOLE, "events"))
        if part:
            given.setdefault(name, {})[part] = x
        else:
            given[name] = x
    if "obs" not in given:
        raise HeadstartError(f"{path} has no array obs: name it as in Demos.from_arrays")
    return Demos.from_arrays(env, **given)


def demos_from_vault(experience: Mapping[str, Any], env: Any) -> Demos:
    """The demonstrations of a Vault's experience; what follows the last end of a row is left out.

    An agent is alive until it has terminated, and is dead then, or is truncated. `observations` and `legals` may be wider than
    a role's own, whose further numbers are left out. Raises HeadstartError for experience of another team.
    """
    spec = spec_of(env)
    missing = [name for name in ("observations", "actions", "rewards", "terminals") if name not in experience]
    require(not missing, "the experience", f"without {', '.join(missing)}", "that of a Vault")
    gone = numbers("terminals", experience["terminals"]).astype(bool)
    cut = numbers("truncations", experience.get("truncations", np.zeros_like(gone))).astype(bool)
    require(gone.ndim == 3 and gone.shape == cut.shape, "the shape of terminals", gone.shape, f"{cut.shape}: [B T N]")
    cuts = _cuts(np.all(gone | cut, -1))
    legal = (experience.get("infos") or {}).get("legals")
    discrete = not any(isinstance(role.actions, Continuous) for role in spec.roles.values())

    def by_role(name: str, x: Any, width: Callable[[RoleSpec], int] | None = None) -> dict[str, np.ndarray]:
        x = numbers(name, x)
        require(x.shape[:3] == gone.shape, f"the shape of {name}", x.shape, f"that of terminals, {gone.shape}, and more")
        return _by_role(spec, _episodes(x, cuts), width)

    since = lambda x: np.pad(np.logical_or.accumulate(_episodes(x, cuts), 1)[:, :-1], ((0, 0), (1, 0), (0, 0)))
    alive, dead = ~since(gone | cut), since(gone)
    return Demos.from_arrays(
        env,
        by_role("observations", experience["observations"], lambda role: role.obs_size),
        lengths=[stop - start for _, start, stop in cuts],
        alive=_by_role(spec, alive),
        dead=_by_role(spec, dead),
        rewards=by_role("rewards", experience["rewards"]),
        actions=by_role("actions", experience["actions"]),
        available=by_role("legals", legal, lambda role: role.actions.size) if legal is not None and discrete else None,
        notes={"team": "imported: vault", "trained": None},
    )


def _cuts(ends: Any) -> list[tuple[int, int, int]]:
    """[(row, start, stop)] of the episodes in rows [B T] of ends."""
    found = []
    for row, at in enumerate(ends):
        stops = np.flatnonzero(at) + 1
        found += [(row, int(start), int(stop)) for start, stop in zip([0, *stops], stops, strict=False)]
    require(len(found) > 0, "the number of episodes that end in the experience", 0, "at least 1")
    return found


def _episodes(x: np.ndarray, cuts: list[tuple[int, int, int]]) -> np.ndarray:
    """[B T ..] -> [M T ..], zeros after an episode's end."""
    out = np.zeros((len(cuts), max(stop - start for _, start, stop in cuts), *x.shape[2:]), x.dtype)
    for i, (row, start, stop) in enumerate(cuts):
        out[i, : stop - start] = x[row, start:stop]
    return out


def _by_role(spec: TeamSpec, x: np.ndarray, width: Callable[[RoleSpec], int] | None = None) -> dict[str, np.ndarray]:
    """[M T N ..] -> {role: [M T A ..]}, the last axis cut to `width`."""
    total, found, before = sum(role.agents for role in spec.roles.values()), {}, 0
    require(x.ndim > 2 and x.shape[2] == total, "the shape of the experience", x.shape, f"(rows, steps, {total}, ..)")
    for name, role in spec.roles.items():
        own = x[:, :, before : before + role.agents]
        found[name], before = own[..., : width(role)] if width else own, before + role.agents
    return found


def demos_to_vault(demos: Demos) -> dict[str, Any]:
    """A Vault's experience of demonstrations with actions, as arrays [1 T N ..].

    Demonstrations know returns and no rewards: an agent's return is the reward of the last step, which also terminates the
    episode. Agents that die have terminated from their last living step on, those that go away are truncated from then on.
    Raises HeadstartError if roles have observations or actions of different sizes.
    """
    if demos.actions is None:
        raise HeadstartError("a Vault needs actions, and these demonstrations have none: record them with actions")
    running, roles = demos.running, demos.spec.roles
    sizes = {(role.obs_size, role.actions) for role in roles.values()}
    require(len(sizes) == 1, "the observations and actions of roles", f"of {len(sizes)} kinds", "of one kind for a Vault")
    flat = lambda by_role: np.concatenate([x[running] for x in by_role.values()], 1)[None]
    space, moves = next(iter(roles.values())).actions, flat(demos.actions)
    if not isinstance(space, Continuous):
        heads = np.split(moves, np.cumsum(space.heads)[:-1], -1)
        moves = np.stack([head.argmax(-1) for head in heads], -1)
        moves = moves[..., 0] if len(heads) == 1 else moves
    agents, last = sum(role.agents for role in roles.values()), np.cumsum(demos.lengths) - 1
    gone = {role: running[..., None] & ~x for role, x in demos.alive.items()}
    died = demos.dead or gone
    away = {role: x & ~died[role] for role, x in gone.items()}
    # An agent has terminated, or was cut off, in the step after which it is dead or away.
    ends, cut = (flat({role: np.roll(x, -1, 1) for role, x in flags.items()}) for flags in (died, away))
    paid = np.zeros((1, demos.steps, agents), np.float32)
    ends[0, last], cut[0, last], paid[0, last] = True, False, np.concatenate(list(demos.returns.values()), -1)
    found = {"observations": flat(demos.obs), "actions": moves, "rewards": paid, "terminals": ends}
    found |= {"truncations": cut, "infos": {}}
    if demos.available is not None:
        found["infos"] = {"legals": flat(demos.available)}
    return found
