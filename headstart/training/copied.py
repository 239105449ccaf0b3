"""What guidance copies or shares as a run begins, in words: a line for each guidance, from the rows of `Guidance.start`."""

import re
from collections.abc import Sequence
from typing import Any

from headstart.core.checks import HeadstartError
from headstart.core.guidance import SHARED, Rows, teacher_of
from headstart.core.types import TeamSpec
from headstart.teams.fit import role_pairs

LEFT_OUT = "of the teacher's left out"
Tables = dict[tuple[str, str], Rows]
"""{(role, network): the rows of its weights}"""


def in_words(guides: Sequence[Any], rows: Sequence[Rows], spec: TeamSpec) -> list[str]:
    """A line for each guidance that copies or shares anything: how many weights of each role's networks, and which are new.

    `rows`: those of each guidance. `spec`: the students'. A role that gets nothing although a role of the teacher would fit is
    told by a hint, unless the user has named the roles.
    """
    tables = [_by_network(each, spec) for each in rows]
    given = {role for table in tables for role, _ in table}
    new = [role for role in spec.roles if role not in given]
    lines = []
    for i, (guide, table) in enumerate(zip(guides, tables, strict=True)):
        if shared := [(name.partition("/"), much) for name, happened, much in rows[i] if happened == SHARED]:
            told = "; ".join(f"{role}'s {network}: {much}" for (network, _, role), much in shared)
            lines.append(f"shared with the companion: {told}")
        if not table:
            continue
        told = [f"{role}'s {network}: {_counted(weights)}" for (role, network), weights in table.items()]
        told += [f"{role}: new" for role in new]
        source = getattr(teacher_of(guide), "loaded_from", "") or "its teacher"
        flag = "--guidance" if len(guides) == 1 else f"--guidance{i}"
        lines.append(f"warm start from {source}: {'; '.join(told)}{_hint(guide, new, spec, flag)}")
    return lines


def tell(points: Sequence[Any], rows: Sequence[Rows]) -> None:
    """Tell the watchers of points (`training.point`) of one learner what guidance copies or shares as they begin."""
    config = points[0].config
    if lines := in_words(config.guidance, rows, config.env.spec):
        for point in points:
            point.watched.tell("copied", lines)


def _by_network(rows: Rows, spec: TeamSpec) -> Tables:
    """The rows by role and network; their names are NETWORK/ROLE and the weight's path in the network."""
    found: Tables = {}
    for name, happened, shapes in rows:
        network, _, rest = name.partition("/")
        role = max((role for role in spec.roles if rest.startswith(role)), key=len, default="")
        if role and happened not in ("paired by place", SHARED):
            found.setdefault((role, network), []).append((rest.removeprefix(role), happened, shapes))
    return found


def _counted(weights: Rows) -> str:
    """The number of weights with each outcome; "new" if the network got none."""
    outcomes = [happened for _, happened, _ in weights]
    names = ("loaded", "adapted", "re-initialised", "dropped")
    loaded, adapted, new, left_out = (outcomes.count(name) for name in names)
    whole = loaded + adapted + new
    if not loaded + adapted:
        return "new"
    told = [f"all {whole} weights loaded" if loaded == whole else f"{loaded} of {whole} weights loaded"]
    told += [f"{count} {what}" for count, what in ((adapted, "adapted"), (new, "new"), (left_out, LEFT_OUT)) if count]
    return ", ".join([*told, *_rounds(weights)])


def _rounds(weights: Rows) -> list[str]:
    """A warning if a graph network has another number of rounds of message passing than the teacher's."""
    mine, theirs = set(), set()
    for name, happened, shapes in weights:
        if found := re.search(r"\.blocks\[(\d+)\]", name):
            mine |= {found[1]} if happened != "dropped" else set()
            # A weight of the teacher's that has another shape is shown beside the new one.
            theirs |= {found[1]} if happened != "re-initialised" or "→" in shapes else set()
    if mine == theirs:
        return []
    return [f"because the teacher has {len(theirs)} rounds of message passing and this network {len(mine)} (--learner.blocks)"]


def _hint(guide: Any, new: Sequence[str], spec: TeamSpec, flag: str) -> str:
    """How a role that got nothing would get a role of the teacher; empty if the user has named roles, or if none fits."""
    teacher = teacher_of(guide)
    if getattr(guide, "roles", None) != () or getattr(guide, "into", None) != () or not hasattr(teacher, "spec"):
        return ""
    for ours in new:
        for theirs in teacher.spec.roles:
            try:
                role_pairs(teacher, spec, (theirs,), (ours,))
            except HeadstartError:
                continue
            return f" ({flag}.roles {theirs} {flag}.into {ours} would start {ours} from the teacher's {theirs})"
    return ""
