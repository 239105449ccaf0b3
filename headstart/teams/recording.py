"""Record demonstrations: episodes of a trained team or a scripted controller, played in blocks."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from headstart._version import __version__
from headstart.core.checks import HeadstartError, require
from headstart.core.cost import total
from headstart.core.env import Env
from headstart.core.episodes import Actor, Moment, actor_of, episodes, greedy_actor
from headstart.core.errors import host_errors
from headstart.core.part import checked
from headstart.core.ranges import Count, Natural
from headstart.core.scope import interruptible, scope
from headstart.storage.arrays import digest_of_tree
from headstart.teams.demos import Demos
from headstart.teams.playing import in_env, mixed
from headstart.teams.policy import TeamPolicy
from headstart.teams.saved import load
from headstart.teams.scripted import Scripted

BLOCK_BYTES = 2**26
"""What the program that plays a block of episodes may return."""
MOST_AT_ONCE = 256
"""Episodes of a block."""


@scope()
def record(
    team: TeamPolicy | Scripted | str | Path,
    env: Env | None = None,
    episodes: int = 1000,
    seed: int | Sequence[int] = 0,
    *,
    first_episode: int = 0,
    sample: bool = True,
    actions: bool = False,
    progress: bool = True,
) -> Demos:
    """Record episodes of a team that no longer learns.

    team: a trained team, the directory of one (a run, or a team that a run keeps), or a `Scripted` controller.
    env: where it plays; None for the environment it was trained in. seed: index of one of the team's seeds, from 0; or one for
    each agent, all roles' in their order, so that agents play together which were not trained together.
    first_episode: number of the first episode. Starts are drawn by these numbers, so that recordings of one team that share no
    number are independent. sample: draw actions as the learner does at the end of training, instead of the most likely ones; a
    scripted controller has only those. actions: keep them too, with the legal choices. progress: show a progress bar on a
    terminal.

    Raises HeadstartError if the team does not fit the environment.
    """
    team = load(team) if isinstance(team, str | Path) else team
    env = getattr(team, "env", None) if env is None else env
    if env is None:
        raise HeadstartError("nothing says where this team is to play: pass env (--env ENV on the command line)")
    count, first = checked("episodes", episodes, Count), checked("first_episode", first_episode, Natural)
    require(first + count < 2**31, "first_episode", first, "below 2³¹ with all episodes after it")
    actor, params, notes = _player(team, env, seed, sample)
    with _bar(progress) as watch:
        blocks = list(_played(env, actor, params, (first, count), actions, watch))
    return _joined(env, blocks, {**notes, "first_episode": first, "headstart": __version__})


@contextlib.contextmanager
def _bar(shown: bool) -> Iterator[Callable[[Sequence[int]], Iterable[int]]]:
    """A function that passes numbers on and moves a bar with them."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        yield lambda numbers: bar.track(numbers, description="recording")


def _player(
    team: Any, env: Env, seed: int | Sequence[int], sample: bool
) -> tuple[Callable[[PyTree], Actor], PyTree, dict[str, Any]]:
    """(actor of its parameters, parameters, notes) of a team or a controller in an environment."""
    if isinstance(team, Scripted):
        if team.spec.roles != env.spec.roles:
            raise HeadstartError(
                "the controller's spec is that of another team than this environment has: pass env.spec to Scripted, of a "
                "function that knows as many agents"
            )
        name = getattr(team.function, "__qualname__", type(team.function).__name__)
        notes = {"team": f"scripted: {name}", "sampled": False, "trained": team.env_steps}
        return functools.partial(greedy_actor, env, team), team.params, notes
    if not isinstance(team, TeamPolicy):
        raise HeadstartError(f"team must be a trained team, its directory or a Scripted controller, not {type(team).__name__}")
    ready, learner = in_env(team, env, sample)
    places = tuple(seed) if isinstance(seed, Sequence) else (seed,)
    params = [ready.place(place) for place in places]
    notes = {"team": type(team.config).__name__, "sampled": sample, "seed": [team.seeds[place] for place in places]}
    notes |= {"trained": total([team.env_steps] * len(set(places))), "run": team.run, "policy": digest_of_tree(params)}
    act = lambda params: actor_of(env, learner, params, sample)
    if len(places) == 1:
        return lambda params: act(params[0]), params, notes
    return lambda params: mixed(env.spec, [act(each) for each in params]), params, notes


def _played(env, actor, params, numbers, actions, watch):
    """The episodes from `numbers` (first, count) on in blocks: what `_keep` keeps, [E T ..] up to the longest episode's end."""
    first, count = numbers
    size = _block(env, count, actions)

    @jax.jit
    def play(params, numbers, number):
        keys = jax.vmap(lambda n: jr.fold_in(jr.key(4), n))(numbers)
        play = episodes(env, actor(params), lambda now: _keep(now, actions))
        in_time = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), play(keys, jr.fold_in(jr.key(5), number))[1])
        return {name: jax.tree.map(lambda x: x.sum(1), tree) if name in SUMMED else tree for name, tree in in_time.items()}

    def block(start):
        begin = first + start
        found = jax.device_get(program(params, jnp.arange(begin, begin + size), jnp.asarray(begin)))
        return _cut(found, count - start)

    with host_errors():
        program = play.lower(params, jnp.arange(size), jnp.asarray(0)).compile()  # in this thread, which knows the scope
        for start in watch(range(0, count, size)):
            yield interruptible(functools.partial(block, start))


SUMMED = ("lengths", "returns", "events")
"""What is added up over the steps of an episode."""


def _cut(block: dict[str, Any], count: int) -> dict[str, Any]:
    """At most `count` episodes of a block, up to the end of the longest."""
    block = jax.tree.map(lambda x: x[:count], block)
    steps = block["lengths"].max()
    return {name: tree if name in SUMMED else jax.tree.map(lambda x: x[:, :steps], tree) for name, tree in block.items()}


def _keep(now: Moment, actions: bool) -> dict[str, Any]:
    """What a recording keeps of a moment; zeros after the end."""
    on = lambda x: jnp.where(now.running.reshape(-1, *(1,) * (x.ndim - 1)), x, jnp.zeros_like(x))
    kept = {"lengths": now.running.astype(jnp.int32), "returns": now.new.reward, "events": now.new.events}
    kept |= {"obs": now.step.obs, "alive": now.step.alive}
    if now.step.agent_terminated is not None:
        kept |= {"dead": {role: gone & ~now.step.alive[role] for role, gone in now.step.agent_terminated.items()}}
    if actions:
        kept |= {"actions": now.action} | ({} if now.step.available is None else {"available": now.step.available})
    return jax.tree.map(on, kept)


def _block(env: Env, count: int, actions: bool) -> int:
    """How many episodes are played at once."""
    roles = env.spec.roles.values()
    step = sum(role.agents * (4 * role.obs_size + 5 * role.actions.size * actions + 2) for role in roles)
    fit = max(1, BLOCK_BYTES // (step * env.spec.horizon))
    return min(count, fit, getattr(env, "at_once", MOST_AT_ONCE), MOST_AT_ONCE)


def _joined(env: Env, blocks: list[dict[str, Any]], notes: dict[str, Any]) -> Demos:
    """The demonstrations of blocks, padded to the longest episode of all."""
    steps = max(block["lengths"].max() for block in blocks)

    def joined(name: str) -> Any:
        pad = lambda x: x if name in SUMMED else np.pad(x, [(0, 0), (0, steps - x.shape[1]), *[(0, 0)] * (x.ndim - 2)])
        return jax.tree.map(lambda *xs: np.concatenate([pad(x) for x in xs]), *(block[name] for block in blocks))

    return Demos(spec=env.spec, env=env, notes=notes, **{name: joined(name) for name in blocks[0]})
