"""The longest episode of an environment whose user has not said it: asked from the environment, or learned by stepping it.

PettingZoo's environments store it as `max_cycles`, Gymnasium's in their spec. Attributes of any other name may mean something
else, such as how far a planner looks ahead, so they are not believed: whole episodes are played instead.
"""

import contextlib
from typing import Any

import numpy as np

from headstart.core.checks import HeadstartError
from headstart.envs.host.reading import by_agent, flag, several

HINTS = ("max_steps", "horizon", "max_episode_steps", "episode_length", "episode_limit")
EPISODES = 3
"""Episodes to play: if none is cut off, all of them must end at the same step."""
STEPS = 10_000
"""Most env-steps to play, all episodes together: the answer must not depend on the machine's speed."""


def longest(env: Any, label: str) -> int:
    """The longest episode in env-steps; HeadstartError if it cannot be found out."""
    inner = getattr(env, "unwrapped", env)
    sources = (env, inner, getattr(inner, "env", None))
    for source in sources:
        for name in ("max_cycles", "time_limit"):  # `time_limit` is that of `openers.Alone`
            if steps := _count(getattr(source, name, None)):
                return steps
    with contextlib.suppress(Exception):  # random actions may not be what it takes
        if steps := _played(env):
            return steps
    hints = ((name, _count(getattr(source, name, None))) for source in sources for name in HINTS)
    hint = next((f" (if its {name} is that: {count})" for name, count in hints if count), "")
    raise HeadstartError(f"{label} does not say how long an episode may last: pass --env.horizon STEPS (horizon=STEPS){hint}")


def _count(value: Any) -> int:
    """A whole number above 0; 0 for anything else."""
    whole = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and value == value
    return int(value) if whole and 0 < value < 2**31 and value == int(value) else 0


def _played(env: Any) -> int:
    """The step at which the environment's own clock rings, from whole episodes of random actions; 0 if that is not seen."""
    left, lengths = STEPS, []
    for seed in range(EPISODES):
        obs, _ = several(env.reset(seed=seed), "reset", "observations, infos")
        by_agent(obs, "observations")
        for agent in env.possible_agents:
            env.action_space(agent).seed(seed)
        steps, cut = 0, False
        while env.agents:
            if left == 0:
                return 0
            sent = {agent: env.action_space(agent).sample() for agent in env.agents}
            told = several(env.step(sent), "step", "observations, rewards, terminations, truncations, infos")
            steps, left = steps + 1, left - 1
            ends = [by_agent(values, "flags") for values in told[2:4]]
            cut = any(flag(x) for x in ends[1].values()) and not any(flag(x) for x in ends[0].values())
            if all(any(flag(end.get(agent, False)) for end in ends) for agent in sent):
                break
        if cut:
            return steps
        lengths.append(steps)
    return lengths[0] if len(set(lengths)) == 1 else 0
