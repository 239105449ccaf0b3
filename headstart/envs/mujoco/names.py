"""What the numbers of a body mean: names of what it observes, by joint and part, and of what moves it, by actuator."""

from collections.abc import Sequence
from typing import Any

from headstart.core.checks import check_known, require
from headstart.core.spec import Continuous
from headstart.envs.mujoco.tasks import Task

Named = list[tuple[str, int]]
"""Names and widths of blocks of numbers, in order."""


def observed(model: Any, task: Task, count: int) -> Named:
    """Names and widths of the first `count` observed numbers, or of all if it is 0; HeadstartError if there are fewer."""
    everything = _everything(model, task)
    total = sum(size for _, size in everything)
    require(count <= total, "env.observed", count, f"at most {total}, the numbers of an observation")
    return _until(everything, count or total)


def moved(model: Any, wanted: Sequence[str]) -> tuple[list[int], Continuous]:
    """Indices and space of the actuators that an agent moves: those with these names, or all.

    An actuator without a name has that of its joint. Raises HeadstartError for an unknown name, or one that is there twice.
    """
    known = [model.actuator(i).name or model.joint(model.actuator_trnid[i, 0]).name for i in range(model.nu)]
    for name in wanted:
        check_known("actuator", name, known)
    require(len(set(wanted)) == len(wanted), "env.actuators", " ".join(wanted), "different ones")
    names = tuple(wanted) or tuple(known)
    indices = [known.index(name) for name in names]
    low, high = (tuple(end.tolist()) for end in model.actuator_ctrlrange[indices].T)
    plain = set(low) == {-1.0} and set(high) == {1.0}
    return indices, Continuous(len(names), () if plain else low, () if plain else high, names)


def _everything(model: Any, task: Task) -> Named:
    """All that is observed: positions and velocities, then what `Task.whole` adds, in the order of the numbers."""
    joints = [(model.joint(i).name, *_widths(int(model.jnt_type[i]))) for i in range(model.njnt)]
    parts = [model.body(i).name for i in range(task.first_part, model.nbody)]
    positions = [(f"position {name}", size) for name, size, _ in joints]
    of_joints = lambda block: [(f"{block} {name}", size) for name, _, size in joints]
    of_parts = lambda block, size: [(f"{block} {name}", size) for name in parts]
    outer = _from(positions, task.hidden) + of_joints("velocity")
    if not task.whole:
        return outer
    forces = _from(of_joints("force"), task.first_force)
    return outer + of_parts("inertia", 10) + of_parts("motion", 6) + forces + of_parts("contact", 6)


def _widths(kind: int) -> tuple[int, int]:
    """Numbers of a joint's position and of its velocity: a free joint has 7 and 6, a ball 4 and 3, others one."""
    return {0: (7, 6), 1: (4, 3)}.get(kind, (1, 1))


def _until(names: Named, count: int) -> Named:
    """The first `count` numbers; the last block may be cut."""
    out = []
    for name, size in names:
        if count > 0:
            out.append((name, min(size, count)))
        count -= size
    return out


def _from(names: Named, count: int) -> Named:
    """All but the first `count` numbers."""
    out = []
    for name, size in names:
        if size > count:
            out.append((name, size - max(count, 0)))
        count -= size
    return out
