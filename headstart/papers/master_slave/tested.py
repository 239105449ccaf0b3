"""The quantities of the paper's tables: a hundred episodes with the same random numbers for every team."""

import functools
from pathlib import Path

import jax
import jax.random as jr
import numpy as np

from headstart.core.checks import HeadstartError
from headstart.core.episodes import evaluate, team_mean
from headstart.core.errors import host_errors
from headstart.experiments.base import Measure
from headstart.teams.saved import load
from headstart.training.lanes import compile_program

EPISODES = 100
QUANTITIES = {
    "success_rate": "share of the test episodes that reach the horizon without a fall",
    "reward": "mean reward of the test episodes",
    "successful_reward": "mean reward of those that reach the horizon; unknown if none does",
    "length": "mean env-steps of the test episodes",
}
"""What each measure is, in words."""


def measure(quantity: str, run: Path) -> np.ndarray:
    """[S]: a quantity of each seed's team in its run's environment."""
    return _tested(run, (run / "policy.json").stat().st_mtime_ns)[quantity]


@functools.lru_cache(maxsize=32)
def _tested(run: Path, written: int) -> dict[str, np.ndarray]:
    team = load(run)
    if team.env is None:
        raise HeadstartError(f"{run} has no environment to be tested in")
    play = jax.vmap(evaluate(team.env, team.config.make(team.env.spec), EPISODES), (0, 0))
    keys = jr.split(jr.key(0), 1)[np.zeros(len(team.seeds), int)]
    with host_errors():
        found = compile_program(play, team.params, keys, mapped=2)(team.params, keys).whole()
    return of_episodes(*(np.asarray(x) for x in (team_mean(found["return"]), found["length"], found["events"]["success"])))


def of_episodes(returns: np.ndarray, lengths: np.ndarray, success: np.ndarray) -> dict[str, np.ndarray]:
    """{quantity: [S]} of the returns, lengths and successes [S episodes] of tests."""
    won = success > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        alone = np.where(won, returns, 0.0).sum(1) / won.sum(1)
    return {"success_rate": won.mean(1), "reward": returns.mean(1), "successful_reward": alone, "length": lengths.mean(1)}


MEASURES = {name: Measure(meaning, functools.partial(measure, name)) for name, meaning in QUANTITIES.items()}
"""For `Arm.measures`."""
