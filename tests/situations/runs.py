"""Kinds "settings", "looks" and "saying": what users write, first looks at environments, and whom a message blames."""

import copy
import dataclasses
import pickle
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from gymnasium import spaces as gym
from toy_envs import box

import headstart as hs
from headstart import registry
from headstart.core.spec import Discrete
from headstart.storage import places
from headstart.training.config import Config
from headstart.training.directory import RunDir
from headstart.training.point import Point
from headstart.training.session import Session
from situations.odd import Spoilt
from situations.table import ALL, Situation, refused, right
from situations.teams import TINY, Pair, opened, spec_of, team

ENV = hs.Spread(agents=2, horizon=5)
TINY_PPO = hs.PPO(num_envs=2, rollout=4, minibatches=1, epochs=1, hidden=(4,))


def begun(**settings) -> None:
    """A run with one odd setting; it must leave nothing behind if it is refused."""
    with tempfile.TemporaryDirectory() as place:
        given = {"env": ENV, "learner": TINY_PPO, "out": Path(place, "run"), "steps": 16, "progress": False}
        try:
            hs.train(**(given | settings))
        finally:
            assert not list(Path(place).iterdir()), "a directory is left behind"


SETTINGS = {
    "steps as a real number": ({"steps": 2e6}, "steps must be a whole number, not 2000000.0"),
    "episodes as a real number": ({"episodes": 4.0}, "episodes must be a whole number, not 4.0"),
    "a list of seeds": ({"seeds": [0, 1, 2]}, "seeds must be a whole number, not [0, 1, 2]"),
    "no evaluations": ({"evaluations": 0}, "evaluations must be between 1 and 10^6"),
    "until infinity": ({"until": float("inf")}, "until must be a finite number or None"),
    "the class of an environment": ({"env": hs.Spread}, "env must be a part of this kind"),
    "the class of a learner": ({"learner": hs.PPO}, "learner must be a part of this kind"),
    "a name with a slip": ({"env": "spred"}, "did you mean spread"),
    "no path": ({"out": ""}, "out must be a path, not ''"),
    "a teacher that does not fit": ({"guidance": hs.Distill(team(spec_of(Discrete((2,)))))}, "same action heads"),
}
for name, (given, says) in SETTINGS.items():
    ALL.append(Situation("settings", name, lambda given=given: begun(**given), says))


@refused("settings", "a count of a part as a real number", "learner.num_envs must be a whole number, not 4.0")
def _():
    hs.PPO(num_envs=4.0)  # pyright: ignore


@right("settings", "numbers of NumPy, and lists for tuples")
def _():
    config = Config(
        hs.Spread(np.int64(2)), hs.PPO(lr=np.float32(0.25), hidden=[np.int8(8)], shared=np.True_),  # pyright: ignore
        steps=np.int64(4), seeds=np.uint8(1), until=np.float32(0.5),
    )  # fmt: skip
    assert [type(x) for x in (config.steps, config.seeds, config.until)] == [int, int, float]
    assert config.learner == hs.PPO(lr=0.25, hidden=(8,)) and config.env == hs.Spread(2)
    return config.learner


@refused("settings", "a memory that does not fit", "its memory of env-steps: lower learner.capacity")
def _():
    config = Config(ENV, dataclasses.replace(TINY, capacity=10**9), steps=10**9)
    with tempfile.TemporaryDirectory() as place:
        Session([Point(config, RunDir(Path(place, "run")))])


@right("settings", "an evaluation of many episodes opens a few environments at a time")
def _():
    assert 0 < hs.PettingZoo("toy_envs:Match").at_once <= 100
    return f"{hs.PettingZoo('toy_envs:Match').at_once} at once"


@right("settings", "a path that begins with ~")
def _():
    assert places.located("~/runs") == Path.home() / "runs"
    return "the home directory"


@right("settings", "a printed command with a path that has spaces")
def _():
    command = registry.command("resume", Path("/tmp/my runs/a"))
    assert "'/tmp/my runs/a'" in command
    return command


@right("settings", "a team that is pickled after it has acted")
def _():
    one = team(spec_of(Discrete((3,)), size=1))
    act = lambda some: some.act({"agent_0": [0.3], "agent_1": [-2.0]})[0]
    assert act(one) == act(pickle.loads(pickle.dumps(one))) == act(copy.deepcopy(one))
    return act(one)


@right("settings", "double precision allowed, in every particle world")
def _():
    odd = []
    with jax.enable_x64(True):
        for name, env in registry.presets("env").items():
            if not type(env).__module__.startswith("headstart.envs.particle."):
                continue
            before = jax.eval_shape(env.reset, jr.key(0))
            action = {role: jnp.zeros((x.agents, x.actions.size), jnp.float32) for role, x in env.spec.roles.items()}
            after = jax.eval_shape(env.step, before[0], action, jr.key(0))
            same = jax.tree.map(lambda a, b: a.dtype == b.dtype, before, after)
            odd += [name] * (not all(jax.tree.leaves(same)))
    assert not odd, odd
    return "a reset and a step agree in types"


# ------------------------------------------------------------------ first looks


@right("looks", "spaces that are Dicts")
def _():
    spaces = {
        n: gym.Dict({a: s[i] for a, s in Pair.spaces_of.items()}) for i, n in enumerate(("observation_space", "action_space"))
    }
    assert opened(**spaces).spec == opened().spec
    return "as those of methods"


@right("looks", "spaces that are known after a reset only")
def _():
    begin = lambda self, seed: setattr(self, "known", {agent: box(1) for agent in self.possible_agents})
    late = opened(begin=begin, observation_space=lambda self, agent: self.known[agent])
    assert late.spec == opened().spec
    return "after a reset"


def looked_at(how: str, at: str = "open") -> str:
    spec = hs.PettingZoo("rude_envs:Rude", {"how": how, "at": at}).spec
    return f"horizon {spec.horizon}"


@refused("looks", "an environment that ends its process as it is opened", "failed as it was opened: SystemExit: 3", slow=True)
def _():
    looked_at("sys.exit")


@refused("looks", "an environment that does not exist", "has no 'Nothing'", slow=True)
def _():
    return hs.PettingZoo("rude_envs:Nothing").spec


@refused("looks", "an environment without agents", "has nobody in possible_agents")
def _():
    opened(spaces_of={})


@right("looks", "an environment whose close fails, or that has none", slow=True)
def _():
    return [hs.PettingZoo(f"situations.odd:{name}").spec.horizon for name in ("CloseFails", "NoClose")]


# ------------------------------------------------------------------ whom a message blames


NAN = "the environment's observations or rewards became NaN or infinite: seed 0 at update"


def blamed(env, learner=TINY_PPO) -> None:
    with tempfile.TemporaryDirectory() as place:
        hs.train(env, learner, Path(place, "run"), steps=64, evaluations=1, episodes=2, progress=False)


@refused("saying", "rewards that are NaN, of an environment in JAX", NAN, slow=True)
def _():
    hs.use("situations.odd")
    blamed(Spoilt())


@refused("saying", "observations that are NaN, of an environment in JAX", NAN, slow=True)
def _():
    hs.use("situations.odd")
    blamed(Spoilt(rewards=False))


@refused("saying", "observations that are NaN, of an environment in Python", "agent_1's observation must be finite", slow=True)
def _():
    blamed(hs.PettingZoo("rude_envs:Rude", {"how": "nan"}))


@refused("saying", "parameters that are NaN, by a learning rate", "a loss or parameter became NaN or infinite", slow=True)
def _():
    blamed(ENV, dataclasses.replace(TINY_PPO, lr=1e30, max_grad_norm=1e30))
