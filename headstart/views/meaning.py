"""What actions mean: one team's actions as another's, by the names of options and numbers.

Two teams may act by spaces of equal sizes whose options stand in another order, whose numbers have opposite signs, or other
bounds. If both have names, a translation is exact; options without names are taken in their order. Choices of an entity, such
as attacks, may be among another number of entities (`Discrete.aims`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from headstart.core.checks import HeadstartError, notice
from headstart.core.spec import ActionSpace, Continuous, Discrete, RoleSpec, check_actions

LONGEST = 120
"""Characters of a list of names in a message."""


class Translation(NamedTuple):
    """From action vectors (or logits) of one space to those of another; called with theirs, it returns ours [*n U]."""

    order: tuple[int, ...]
    """[U]: where each of our numbers stands in theirs; −1 for the choice of an entity that they do not know."""
    scale: tuple[float, ...] = ()
    """[U]: factor on each number; empty if that is 1."""
    offset: tuple[float, ...] = ()
    """[U]: what is added after that; empty if that is 0."""
    words: str = ""
    """Their names → ours, if they differ."""
    width: int = 0
    """Their U, if they choose among other numbers of entities; else 0."""
    among: tuple[tuple[range, range], ...] = ()
    """The places of the options that choose one of those entities, in theirs and in ours."""

    @property
    def same(self) -> bool:
        """Whether nothing changes."""
        return not self.moves and not self.scale

    @property
    def moves(self) -> bool:
        """Whether numbers change places."""
        return bool(self.width) or self.order != tuple(range(len(self.order)))

    @property
    def signs(self) -> tuple[float, ...] | None:
        """[U]: factors of 1 and −1 that do all that the scale and the offset do; None if there are none."""
        if any(self.offset) or any(abs(x) != 1 for x in self.scale):
            return None
        return self.scale or (1.0,) * len(self.order)

    def __call__(self, theirs: Float[Array, "*n _"]) -> Float[Array, "*n U"]:
        """Their vector as ours. Numbers that our bounds cannot express are clipped. The choice of an entity that they do not
        know is worth the mean of those that they know, or 0 if there are none."""
        if self.same:
            return theirs
        if self.width:
            known, places = np.array(self.order) >= 0, np.arange(len(self.order))
            ours = theirs[..., np.maximum(self.order, 0)]
            for there, here in self.among:
                new = ~known & (here.start <= places) & (places < here.stop)
                mean = theirs[..., there.start : there.stop].mean(-1, keepdims=True) if there else 0.0
                ours = jnp.where(new, mean, ours)
            return ours
        ours = theirs[..., np.array(self.order)] if self.moves else theirs
        if not self.scale:
            return ours
        along = lambda x: np.asarray(x, np.float32).reshape((1,) * (ours.ndim - 1) + (-1,))
        ours = ours * along(self.scale) + along(self.offset)
        return ours if self.signs else jnp.clip(ours, -1.0, 1.0)

    def back(self, ours: Array) -> Array:
        """Our mask of legal choices as theirs, of a space of the same size."""
        return ours[..., np.argsort(self.order)] if self.moves else ours


Translations = Mapping[str, Translation]
"""{our role: translation of its actions}."""


def translation(theirs: RoleSpec, ours: RoleSpec, role: str) -> Translation:
    """From the actions of `theirs` to those of `ours`; HeadstartError if they cannot mean the same."""
    for about in (theirs, ours):
        check_actions(about, role)
    if isinstance(theirs.actions, Discrete) and isinstance(ours.actions, Discrete):
        there, here = ({field: len(places) for field, places in about.aimed.items()} for about in (theirs, ours))
        if there and here and there.keys() != here.keys():
            raise HeadstartError(
                f"the teacher's (or the other team's) '{role}' chooses among {', '.join(there)}, and here it chooses among "
                f"{', '.join(here)}: they cannot be translated"
            )
        if there and here and there != here:
            return _of_entities(theirs, ours, role)
        return _of_options(theirs.actions, ours.actions, role)
    if isinstance(theirs.actions, Continuous) and isinstance(ours.actions, Continuous):
        return _of_numbers(theirs.actions, ours.actions, role)
    raise _other(theirs.actions, ours.actions, role)


def sizes_of(space: ActionSpace) -> tuple[int, ...]:
    """The heads of discrete actions, the smallest first; 0 and their number for continuous ones."""
    return tuple(sorted(space.heads)) if isinstance(space, Discrete) else (0, space.size)


def translations(
    theirs: Mapping[str, RoleSpec], ours: Mapping[str, RoleSpec], pairs: Sequence[tuple[str, str]]
) -> dict[str, Translation]:
    """{our role: translation} for pairs of (their role, our role); HeadstartError if one is impossible."""
    return {mine: translation(theirs[other], ours[mine], mine) for other, mine in pairs}


def part_of(theirs: RoleSpec, ours: RoleSpec) -> tuple[int, ...]:
    """[U]: where each of our numbers stands in theirs, −1 for those that are not there, if theirs are a part of ours: they have
    names that ours have too, and the same bounds. Else empty."""
    there, here = theirs.actions, ours.actions
    if not (isinstance(there, Continuous) and isinstance(here, Continuous) and there.size < here.size):
        return ()
    places = tuple(there.names.index(name) if name in there.names else -1 for name in here.names)
    known = [(i, j) for i, j in enumerate(places) if j >= 0]
    fits = len(known) == there.size and all(_bounds(there, j) == _bounds(here, i) for i, j in known)
    return places if fits else ()


def tell(found: Translations, whose: str) -> None:
    """Say which roles' actions are translated; `whose` names the owner, e.g. "the teacher's"."""
    for role, each in found.items():
        if not each.same:
            how = "" if each.width else " by name"
            notice(f"{whose} '{role}' acts by other actions, which are translated{how}: {each.words}")


def spoken_by(learner: Any, found: Translations) -> Any:
    """A learner whose `policy` and `act` answer in our actions."""
    if all(each.same for each in found.values()):
        return learner
    ours = lambda out: {role: found[role](x) if role in found else x for role, x in out.items()}

    def policy(params, carry, obs):
        carry, out = learner.policy(params, carry, obs)
        return carry, ours(out)

    def act(params, carry, step, key, progress):
        legal = step.available and {role: found[role].back(x) for role, x in step.available.items()}
        carry, out = learner.act(params, carry, dataclasses.replace(step, available=legal), key, progress)
        return carry, ours(out)

    return learner._replace(policy=policy, act=act)


def _of_options(theirs: Discrete, ours: Discrete, role: str) -> Translation:
    if sorted(theirs.heads) != sorted(ours.heads):
        raise _other(theirs, ours, role)
    there, here = (space.options or ((),) * len(space.heads) for space in (theirs, ours))
    aimed = {i: theirs.aims.index(field) for i, field in enumerate(ours.aims) if field and field in theirs.aims}
    pairs = _paired_heads(there, here, aimed)
    starts, order, moved = np.cumsum([0, *theirs.heads]), [], []
    for i, j in enumerate(pairs):
        if theirs.heads[j] != ours.heads[i]:
            raise _other(theirs, ours, role)
        if there[j] and here[i] and set(there[j]) != set(here[i]):
            odd = _listed(sorted(set(there[j]) ^ set(here[i])))
            raise HeadstartError(f"the options of '{role}' have other names here than there ({odd}): they cannot be translated")
        named = bool(there[j] and here[i])
        places = [there[j].index(name) for name in here[i]] if named else list(range(ours.heads[i]))
        order += [int(starts[j]) + place for place in places]
        if i != j or there[j] != here[i]:
            moved.append(f"{_listed(there[j])} → {_listed(here[i])}" if named else f"head {j} → head {i}")
    return Translation(tuple(order), words="; ".join(moved))


def _of_entities(theirs: RoleSpec, ours: RoleSpec, role: str) -> Translation:
    """Of choices among other numbers of entities: choice k is that of entity k, and other options are those of their names."""
    (known, there), (mine, here) = _others(theirs), _others(ours)
    rest = _of_options(known, mine, role)
    order = [-1] * ours.actions.size
    for place, i in zip(here, rest.order, strict=True):
        order[place] = there[i]
    words, among = [rest.words] if rest.words else [], []
    for field, places in ours.aimed.items():
        among.append((theirs.aimed[field], places))
        for place, i in zip(places, theirs.aimed[field], strict=False):
            order[place] = i
        words.append(f"one of {len(theirs.aimed[field])} {field} → one of {len(places)}")
    return Translation(tuple(order), words="; ".join(words), width=theirs.actions.size, among=tuple(among))


def _others(about: RoleSpec) -> tuple[Discrete, list[int]]:
    """The options that choose no entity, and their places in an action vector."""
    space: Any = about.actions
    aimed = {place for places in about.aimed.values() for place in places}
    ends = np.cumsum(space.heads).tolist()
    heads = [[i for i in range(end - size, end) if i not in aimed] for end, size in zip(ends, space.heads, strict=True)]
    names = [words[: len(places)] for words, places in zip(space.options or ((),) * len(heads), heads, strict=True)]
    return Discrete(tuple(map(len, heads)), (), tuple(names), space.aims), [i for places in heads for i in places]


def _paired_heads(there: Sequence[tuple[str, ...]], here: Sequence[tuple[str, ...]], aimed: dict[int, int]) -> list[int]:
    """The number of their head for each of ours. `aimed` has the pairs that select entities of the same field; other heads are
    paired by names, in the same place if possible, and then by place."""
    pairs = dict(aimed)
    alike = lambda i, j: bool(here[i]) and set(here[i]) == set(there[j]) and j not in pairs.values()
    for near in (True, False):
        for i in range(len(here)):
            fitting = [j for j in range(len(there)) if alike(i, j) and (i == j or not near)]
            if i not in pairs and fitting:
                pairs[i] = fitting[0]
    left = [j for j in range(len(there)) if j not in pairs.values()]
    return [pairs[i] if i in pairs else left.pop(0) for i in range(len(here))]


def _of_numbers(theirs: Continuous, ours: Continuous, role: str) -> Translation:
    if theirs.size != ours.size:
        raise _other(theirs, ours, role)
    named = bool(theirs.names and ours.names)
    plain = lambda names: [name.removeprefix("-") for name in names]
    there, here = plain(theirs.names), plain(ours.names)
    if named and set(there) != set(here):
        odd = _listed(sorted(set(there) ^ set(here)))
        raise HeadstartError(f"the numbers of '{role}' have other names here than there ({odd}): they cannot be translated")
    order = [there.index(name) for name in here] if named else list(range(ours.size))
    scale, offset = [], []
    for i, j in enumerate(order):
        sign = -1.0 if named and theirs.names[j] != ours.names[i] else 1.0
        (low, high), (least, most) = _bounds(theirs, j), _bounds(ours, i)
        units = [space.units[k] for space, k in ((theirs, j), (ours, i)) if space.units]
        if len(set(units)) > 1:
            raise HeadstartError(f"a number of '{role}' is in {units[0]} there and in {units[1]} here: it cannot be translated")
        if (low, high) == (least, most) and sign == 1:
            scale.append(1.0)
            offset.append(0.0)
            continue
        if not named:
            bounds = f"between {low:g} and {high:g} there and between {least:g} and {most:g} here"
            raise HeadstartError(f"number {i} of '{role}' lies {bounds}, and has no name to be translated by")
        if not np.isfinite([low, high, least, most]).all() or least == most:
            raise HeadstartError(f"the number '{ours.names[i]}' of '{role}' has no finite bounds to be translated by")
        scale.append(sign * (high - low) / (most - least))
        offset.append((sign * (low + high) - (least + most)) / (most - least))
    words = f"{_scaled(theirs, order)} → {_scaled(ours, range(ours.size))}"
    if not any(offset) and set(scale) == {1.0}:
        return Translation(tuple(order), words=words)
    return Translation(tuple(order), tuple(scale), tuple(offset), words)


def _bounds(space: Continuous, index: int) -> tuple[float, float]:
    """A number's values for −1 and 1, in the environment's units."""
    return (space.low[index], space.high[index]) if space.low else (-1.0, 1.0)


def _scaled(space: Continuous, order: Sequence[int]) -> str:
    unit = lambda i: f" {space.units[i]}" if space.units and space.units[i] else ""
    ends = lambda i: "[{:g}, {:g}]".format(*_bounds(space, i))
    return _listed([f"{space.names[i] if space.names else i} in {ends(i)}{unit(i)}" for i in order])


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]}.."


def _other(theirs: ActionSpace, ours: ActionSpace, role: str) -> HeadstartError:
    return HeadstartError(
        f"the teacher's (or the other team's) '{role}' acts by {_described(theirs)}, and here it acts by {_described(ours)}: "
        "pick one with the same action heads"
    )


def _described(space: ActionSpace) -> str:
    return f"discrete heads {space.heads}" if isinstance(space, Discrete) else f"{space.size} continuous numbers"
