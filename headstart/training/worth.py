"""What a teacher is worth in its students' environment, before a step is trained.

Every teacher plays some episodes, and beside it random actions and the untrained students play episodes with the same
starts, all in one program. A teacher that is no better than these has probably learned another task. Nobody is charged for
these episodes, and they change nothing of the training.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from headstart import registry
from headstart.core import actions
from headstart.core.checks import HeadstartError, notice
from headstart.core.env import Env
from headstart.core.episodes import Actor, Moment, episodes, team_mean
from headstart.core.guidance import Teacher, teacher_of
from headstart.core.learner import Learner
from headstart.core.trainer import first_parameters
from headstart.core.types import Continuous, RoleSpec, TeamSpec
from headstart.report.plain import interval_text, number, text
from headstart.report.stats import as_json, interval, iqm
from headstart.teams.demos import Demos
from headstart.teams.experts import controlled, controller, silenced
from headstart.teams.fit import fitted, role_pairs
from headstart.training.lanes import compile_program

EPISODES = 32
"""Episodes of each teacher and seed if a run does not say how many."""


WHO = ("teacher", "random", "student")
NAMES = {"random": "random actions", "student": "the untrained team"}
"""What those are called, whom a teacher should surpass."""


class Player(NamedTuple):
    """A teacher as it plays its students' roles."""

    guide: int
    roles: tuple[str, ...]
    params: Any
    """number of the seed -> parameters."""
    start: Any
    """number of environments -> carry."""
    act: Any
    """params, carry, obs, available -> carry, {role: greedy legal actions}; zeros on message heads if it cannot speak."""


def appraise(config: Any, learner: Learner, keys: Array, seeds: Array, count: int) -> list[dict[str, Any]]:
    """What run.json keeps of every teacher that can play: returns of each seed, in `count` episodes; [] if there is none."""
    players = list(_players(config, learner)) if count else []
    if not players:
        return []
    run = jax.vmap(_play(config.env, learner, players, count))
    returns = compile_program(run, keys, seeds, mapped=2)(keys, seeds).whole()
    return [_entry(config, player, np.asarray(returns)[:, i], count) for i, player in enumerate(players)]


def appraise_points(points: Sequence[Any], learner: Learner, keys: Array, seeds: Array) -> None:
    """Measure the teachers of points (`training.point`) of one environment and learner: what is found for one holds for all."""
    config = points[0].config
    warn_of_strangers(config)
    episodes = EPISODES if config.worth is None else config.worth
    found = appraise(config, learner, keys[: config.seeds], seeds[: config.seeds], episodes)
    warn(found)
    recorded, told = _recordings(config)
    if lines := [*told, *in_words(found)]:
        for point in points:
            point.appraised([*recorded, *found], lines)


def _recordings(config: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """What run.json keeps of demonstrations whose rewards are known, and a line about those of each guide."""
    found = [(i, guide, teacher_of(guide)) for i, guide in enumerate(config.guidance)] if config.worth != 0 else []
    demos = [(i, guide, teacher) for i, guide, teacher in found if isinstance(teacher, Demos)]
    which = lambda i: f" of guidance {i}" if len(demos) > 1 else ""
    lines = [f"before training, the demonstrations{which(i)} have {teacher.told()}" for i, _, teacher in demos]
    paid = [each for each in demos if any(x.any() for x in each[2].returns.values())]
    return [_recorded(i, guide, teacher, config.seeds) for i, guide, teacher in paid], lines


def _recorded(index: int, guide: Any, demos: Demos, seeds: int) -> dict[str, Any]:
    """The entry of demonstrations, beside which nobody has played."""
    unknown: list[float | None] = [None] * seeds
    out = {"guidance": index, "name": type(guide).__name__, "episodes": len(demos)}
    out |= {"teacher": [number(demos.means["return"])] * seeds, "random": unknown, "student": unknown}
    return out | {"better": True, "recorded": True}


def warn_of_strangers(config: Any) -> None:
    """A line on stderr for demonstrations of another environment, and for teams of another one of the same library, which may
    fit by their shapes alone."""
    for i, guide in enumerate(config.guidance):
        demos = teacher_of(guide)
        theirs, ours = (getattr(getattr(x, "env", None), "id", None) for x in (demos, config))
        if not isinstance(demos, Demos) and theirs and ours and theirs != ours:
            which = f"the teacher of guidance {i} ({type(guide).__name__})"
            notice(f"{which} was trained in another environment: {theirs}, here {ours}")
        if not isinstance(demos, Demos) or demos.env is None or demos.env == config.env:
            continue
        theirs, ours = (_settings(registry.encode("env", env)) for env in (demos.env, config.env))
        other = [name for name in theirs | ours if theirs.get(name) != ours.get(name)]
        kinds = [name for name in other if name.endswith("env")]  # of other kinds of environments, no setting needs a word
        told = ", ".join(f"{name} {theirs.get(name)} (here {ours.get(name)})" for name in kinds or other)
        notice(f"the demonstrations of guidance {i} ({type(guide).__name__}) were recorded in another environment: {told}")


def _settings(saved: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"env": kind of environment, "env.SETTING": value} of an encoded environment, and those of one inside it."""
    found = {prefix + "env": saved["name"]}
    for name, value in saved["settings"].items():
        is_part = isinstance(value, dict) and "part" in value
        found |= _settings(value, f"{prefix}{name}.") if is_part else {f"{prefix}env.{name}": value}
    return found


def _players(config: Any, learner: Learner) -> Iterator[Player]:
    """The teachers that can play. If the user asked for a measure, a line on stderr says which cannot, and why."""
    for i, guide in enumerate(config.guidance):
        teacher, copied = teacher_of(guide), getattr(guide, "networks", ())
        acts = not copied or bool(set(copied) & set(learner.policy_networks))  # a copied critic does not play
        if not isinstance(teacher, Teacher) or not acts:
            continue
        try:
            yield _player(i, guide, teacher, config.env.spec)
        except HeadstartError as error:
            if config.worth:
                notice(f"the teacher of guidance {i} ({type(guide).__name__}) cannot be measured before training: {error}")


def _player(index: int, guide: Any, teacher: Any, spec: TeamSpec) -> Player:
    """The teacher of a guide as a player; HeadstartError if it cannot play these roles."""
    if (seen := controlled(teacher, spec)) is not None:
        expert = controller(teacher, seen)
        return Player(index, tuple(spec.roles), teacher.seed, expert.start, expert.step)
    pairs = role_pairs(teacher, spec, getattr(guide, "roles", ()), getattr(guide, "into", ()))
    ours = dict(pairs)
    fit = fitted(teacher, _renamed(spec, pairs), tuple(ours), getattr(guide, "select", "nearest"))

    def act(params, carry, obs, available):
        carry, logits = fit.policy(params, carry, {theirs: obs[role] for theirs, role in pairs})
        moves = {ours[theirs]: x for theirs, x in logits.items()}
        return carry, {role: _greedy(spec.roles[role], x, available and available[role]) for role, x in moves.items()}

    return Player(index, tuple(ours.values()), fit.params, fit.start, act)


def _renamed(spec: TeamSpec, pairs: Sequence[tuple[str, str]]) -> TeamSpec:
    """The students' roles under the names of the teacher's roles [(theirs, ours)]; HeadstartError if a role would have two."""
    theirs = [role for role, _ in pairs]
    if twice := next((role for role in theirs if theirs.count(role) > 1), None):
        raise HeadstartError(f"its role '{twice}' goes into several roles")
    return spec._replace(roles={role: spec.roles[ours]._replace(names=spec.names[ours]) for role, ours in pairs}, messages=())


def _play(env: Env, learner: Learner, players: Sequence[Player], count: int) -> Any:
    """`(key, seed) -> [P 3 count]`, P the number of players: the return of the agents that each of them guides, if they are
    moved by it, at random, and by the untrained networks."""
    spec = env.spec
    lots = len(players) + 2  # the last two are random actions and the students

    def run(key, seed):
        students = first_parameters(learner, key)
        params = [player.params(seed) for player in players]
        key = jr.fold_in(key, 3)

        def act(carry, step, act_key):
            own, theirs = carry
            own, logits = learner.policy(students, own, step.obs)
            masks = step.available or dict.fromkeys(spec.roles)
            moves = {role: _greedy(spec.roles[role], x, masks[role]) for role, x in logits.items()}
            part = lambda tree, i: jax.tree.map(lambda x: x[i * count : (i + 1) * count], tree)
            blocks = [part(moves, i) for i in range(lots)]
            after = []
            for i, player in enumerate(players):
                memory, answer = player.act(params[i], theirs[i], part(step.obs, i), part(step.available, i))
                after.append(memory)
                blocks[i] = blocks[i] | {role: _spoken(spec, role, answer[role], blocks[i][role]) for role in player.roles}
            guided = {role for player in players for role in player.roles}
            legal = part(step.available, lots - 2) or dict.fromkeys(spec.roles)
            for i, role in enumerate(spec.roles):
                if role in guided:
                    like = blocks[lots - 2][role]
                    blocks[lots - 2][role] = _random(spec.roles[role], jr.fold_in(act_key, i), like, legal[role])
            return (own, after), {role: jnp.concatenate([block[role] for block in blocks]) for role in spec.roles}

        def start(number):
            return learner.start(number), [player.start(count) for player in players]

        def paid(now: Moment):
            return {role: jnp.where(now.running[:, None], x, 0.0) for role, x in now.new.reward.items()}

        resets = jnp.tile(jr.split(jr.fold_in(key, 0), count), lots)
        _, rewards = episodes(env, Actor(start, act), paid)(resets, jr.fold_in(key, 1))
        totals = {role: x.sum(0).reshape(lots, count, -1) for role, x in rewards.items()}
        out = []
        for i, player in enumerate(players):
            mean = team_mean({role: totals[role] for role in player.roles})
            out.append(jnp.stack([mean[i], mean[-2], mean[-1]]))
        return jnp.stack(out)

    return run


def _greedy(role: RoleSpec, logits: Array, available: Array | None) -> Array:
    return actions.greedy(role.actions, actions.legal(logits, available))


def _random(role: RoleSpec, key: Array, like: Array, available: Array | None) -> Array:
    """Uniform legal actions."""
    if isinstance(role.actions, Continuous):
        return jr.uniform(key, like.shape, minval=-1.0, maxval=1.0)
    return actions.sample(role.actions, key, actions.legal(jnp.zeros_like(like), available))


def _spoken(spec: TeamSpec, role: str, answer: Array, students: Array) -> Array:
    """A teacher's answer, with the students' own words if it is silent on the message heads."""
    words = students - silenced(spec, role, students)
    said = answer - silenced(spec, role, answer)
    return jnp.where(said.any(-1, keepdims=True), answer, silenced(spec, role, answer) + words)


def _entry(config: Any, player: Player, returns: np.ndarray, count: int) -> dict[str, Any]:
    """returns: [S 3 count]."""
    each = returns.mean(-1)
    out = {"guidance": player.guide, "name": type(config.guidance[player.guide]).__name__, "episodes": count}
    out |= {who: [number(x) for x in each[:, i]] for i, who in enumerate(WHO)}
    gaps = (returns[:, :1] - returns[:, 1:]).swapaxes(0, 1).reshape(2, -1)  # episodes with equal starts
    error = gaps.std(1) / np.sqrt(gaps.shape[1])
    out["better"] = bool((gaps.mean(1) > 2 * error).all())
    return out if set(player.roles) == set(config.env.spec.roles) else out | {"roles": list(player.roles)}


def in_words(found: Sequence[dict[str, Any]]) -> list[str]:
    """What each teacher is worth, a line each."""
    lines = []
    for worth in found:
        shown = {who: interval_text(as_json(interval(np.array(worth[who], float)))) for who in WHO}
        whom = f", for the agents it guides ({', '.join(worth['roles'])})" if "roles" in worth else ""
        lines.append(
            f"before training, {_which(worth, found)} has a return of {shown['teacher']} here, random actions have "
            f"{shown['random']} and the untrained team {shown['student']}{whom}"
        )
    return lines


def short(found: Sequence[dict[str, Any]], returns: np.ndarray) -> list[str]:
    """A line for each teacher of the whole team whose trained students, of these final returns [S], ended nearer to those who
    have learned nothing."""
    lines = []
    for worth in found:
        if any(None in worth[who] for who in WHO) or not worth["better"] or "roles" in worth:
            continue
        mine, theirs = float(iqm(returns)), float(iqm(worth["teacher"]))
        start, who = max((float(iqm(worth[who])), who) for who in NAMES)
        if mine < (theirs + start) / 2:
            lines.append(
                f"a final return of {text(mine)} is nearer to that of {NAMES[who]} ({text(start)}) than to that of "
                f"{_which(worth, found)} ({text(theirs)}): more gradient steps help, or students that only imitate first"
            )
    return lines


def _which(worth: dict[str, Any], found: Sequence[dict[str, Any]]) -> str:
    return "the teacher" if len(found) == 1 else f"the teacher of guidance {worth['guidance']} ({worth['name']})"


def _below(mine: Any, others: Any) -> bool:
    """Whether the whole interval of returns lies below the others'."""
    return bool(interval(np.array(mine, float))["high"] < interval(np.array(others, float))["low"])


def warn(found: Sequence[dict[str, Any]]) -> None:
    """A line on stderr for each teacher that is no better than random actions or the untrained team."""
    for worth in found:
        if not worth["better"]:
            worse = [NAMES[who] for who in NAMES if _below(worth["teacher"], worth[who])]
            how, whom = ("worse", " and ".join(worse)) if worse else ("no better", " or ".join(NAMES.values()))
            told = f"{_which(worth, found)} is {how} in this environment than {whom}"
            notice(f"warning: {told}: it may cost more than it teaches")
