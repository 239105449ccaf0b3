"""Kinds of units, and armies by the names of SMAC's maps.

The numbers are those of SMAX (Rutherford et al. 2023, JaxMARL), which rounds StarCraft II's and has no shields or armour.
"""

import functools
import re
from typing import NamedTuple

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.types import Discrete


class Kind(NamedTuple):
    """What units of one kind can do. Lengths are in cells of the field, times in seconds."""

    letters: str
    """Its short name in the name of a map."""
    health: float
    attack: float
    """Health that a hit takes."""
    reach: float
    """Distance between centres below which it can hit."""
    sight: float
    speed: float
    radius: float
    cooldown: float
    """Time from one hit to the next, before chance."""


KINDS = {
    "marine": Kind("m", 45, 9, 5, 9, 3.15, 0.375, 0.61),
    "marauder": Kind("M", 125, 10, 6, 10, 2.25, 0.5625, 1.07),
    "stalker": Kind("s", 160, 13, 6, 10, 4.13, 0.625, 1.87),
    "zealot": Kind("z", 150, 8, 2, 9, 3.15, 0.5, 0.86),
    "zergling": Kind("zg", 35, 5, 2, 8, 4.13, 0.375, 0.5),
    "hydralisk": Kind("h", 80, 12, 5, 9, 3.15, 0.625, 0.59),
}
"""In the order of their one-hot vectors."""
MAPS = (
    "3m", "8m", "25m", "5m_vs_6m", "10m_vs_11m", "27m_vs_30m",
    "2s3z", "3s5z", "3s5z_vs_3s6z", "3s_vs_4z", "3s_vs_5z", "6h_vs_8z",
)  # fmt: skip
"""Maps of SMAC that consist of these kinds."""
MOVES = ("up", "right", "down", "left", "stop")
LARGEST = 100
"""Most units of an army."""

_LETTERS = {kind.letters: index for index, kind in enumerate(KINDS.values())}
_KIND = "|".join(sorted(_LETTERS, key=len, reverse=True))
_ARMY = rf"(?:\d+(?:{_KIND}))+"
_MAP = re.compile(rf"({_ARMY})(?:_vs_({_ARMY}))?", re.ASCII)


class Units(NamedTuple):
    """The n units of a battle, allies first: arrays [n 1] of what each can do, and the number of allies."""

    kind: np.ndarray
    """Index of its kind."""
    health: np.ndarray
    attack: np.ndarray
    reach: np.ndarray
    sight: np.ndarray
    speed: np.ndarray
    radius: np.ndarray
    cooldown: np.ndarray
    allies: int

    @property
    def enemies(self) -> int:
        """The number of enemies."""
        return len(self.kind) - self.allies


@functools.cache
def units_of(name: str) -> Units:
    """The units of a map: "3s5z" for 3 stalkers and 5 zealots against the same, "3s_vs_4z" against 4 zealots.

    Any numbers of the kinds' letters make a map. Raises HeadstartError for a name that is none.
    """
    if name.startswith("smacv2"):
        raise HeadstartError(
            f"smax has no map '{name}': its units are drawn anew for every battle. JaxMARL has it: "
            f"""jaxmarl:HeuristicEnemySMAX --env.options '{{"scenario": "{name}"}}'"""
        )
    found = _MAP.fullmatch(name)
    if not found:
        letters = ", ".join(f"{kind.letters} {kind_name}" for kind_name, kind in KINDS.items())
        raise HeadstartError(f"smax has no map '{name}': write numbers and kinds of units, e.g. 3s5z or 3s_vs_4z ({letters})")
    allies, enemies = _army(found[1]), _army(found[2] or found[1])
    if not 1 <= min(len(allies), len(enemies)) <= max(len(allies), len(enemies)) <= LARGEST:
        raise HeadstartError(f"an army must have 1 to {LARGEST} units, not {len(allies)} against {len(enemies)} as in '{name}'")
    kind = np.array([*allies, *enemies])
    table = np.array([each[1:] for each in KINDS.values()], np.float32)
    return Units(kind[:, None], *table[kind].T[..., None], allies=len(allies))


def _army(text: str) -> list[int]:
    """Indices of the kinds of an army's units; too large numbers are cut, and refused by their sum."""
    groups = re.findall(rf"(\d+)({_KIND})", text)
    return [_LETTERS[letters] for count, letters in groups for _ in range(min(int(count[:9]), LARGEST + 1))]


def orders(opponents: int) -> Discrete:
    """The choices of a unit: four moves, to stop, and to attack each of the opponents."""
    return Discrete((len(MOVES) + opponents,), options=((*MOVES, *(f"attack {i}" for i in range(opponents))),))
