"""headstart: give a team of agents a head start.

    >>> import headstart as hs
    >>> four = hs.train(hs.Spread(agents=4), hs.DDPG(), "runs/four", steps=100_000, seeds=3)
    >>> six = hs.train(hs.Spread(agents=6), hs.DDPG(), "runs/six", steps=100_000, seeds=3, guidance=[hs.Distill(four)])

Names are imported when they are first used, so that `import headstart` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from headstart._version import __version__ as __version__

if TYPE_CHECKING:
    from headstart.adapt import adapt as adapt
    from headstart.api import resume as resume
    from headstart.api import train as train
    from headstart.checks import HeadstartError as HeadstartError
    from headstart.envs.base import Env as Env
    from headstart.envs.base import vectorise as vectorise
    from headstart.envs.centralized import centralized as centralized
    from headstart.envs.gymnasium import Gymnasium as Gymnasium
    from headstart.envs.jaxmarl import JaxMARL as JaxMARL
    from headstart.envs.particle.adversary import Adversary as Adversary
    from headstart.envs.particle.reference import Reference as Reference
    from headstart.envs.particle.speaker_listener import SpeakerListener as SpeakerListener
    from headstart.envs.particle.spread import Spread as Spread
    from headstart.envs.particle.tag import Tag as Tag
    from headstart.envs.particle.treasure import Treasure as Treasure
    from headstart.envs.pettingzoo import PettingZoo as PettingZoo
    from headstart.envs.pettingzoo import to_pettingzoo as to_pettingzoo
    from headstart.guidance.base import Guidance as Guidance
    from headstart.guidance.base import chain as chain
    from headstart.guidance.dagger import Dagger as Dagger
    from headstart.guidance.distill import Distill as Distill
    from headstart.guidance.teachers import Scripted as Scripted
    from headstart.guidance.warm_start import WarmStart as WarmStart
    from headstart.learners.base import Learner as Learner
    from headstart.learners.ddpg import DDPG as DDPG
    from headstart.learners.imitator import Imitator as Imitator
    from headstart.learners.ppo import PPO as PPO
    from headstart.learners.qlearning import QLearning as QLearning
    from headstart.policy import TeamPolicy as TeamPolicy
    from headstart.policy import load as load
    from headstart.registry import preset as preset
    from headstart.registry import use as use
    from headstart.run import score as score
    from headstart.trainer import make_trainer as make_trainer
    from headstart.types import Continuous as Continuous
    from headstart.types import Discrete as Discrete
    from headstart.types import Field as Field
    from headstart.types import RoleSpec as RoleSpec
    from headstart.types import Route as Route
    from headstart.types import TeamSpec as TeamSpec
    from headstart.types import TimeStep as TimeStep

_HOMES = {
    "adapt": "adapt",
    "HeadstartError": "checks",
    "Env": "envs.base",
    "vectorise": "envs.base",
    "Spread": "envs.particle.spread",
    "PettingZoo": "envs.pettingzoo",
    "to_pettingzoo": "envs.pettingzoo",
    "Gymnasium": "envs.gymnasium",
    "JaxMARL": "envs.jaxmarl",
    "Scripted": "guidance.teachers",
    "Tag": "envs.particle.tag",
    "Adversary": "envs.particle.adversary",
    "SpeakerListener": "envs.particle.speaker_listener",
    "Reference": "envs.particle.reference",
    "Treasure": "envs.particle.treasure",
    "Route": "types",
    "Guidance": "guidance.base",
    "chain": "guidance.base",
    "Distill": "guidance.distill",
    "WarmStart": "guidance.warm_start",
    "Learner": "learners.base",
    "DDPG": "learners.ddpg",
    "Imitator": "learners.imitator",
    "PPO": "learners.ppo",
    "QLearning": "learners.qlearning",
    "Dagger": "guidance.dagger",
    "centralized": "envs.centralized",
    "TeamPolicy": "policy",
    "load": "policy",
    "resume": "api",
    "score": "run",
    "preset": "registry",
    "use": "registry",
    "train": "api",
    "make_trainer": "trainer",
    "Continuous": "types",
    "Discrete": "types",
    "Field": "types",
    "RoleSpec": "types",
    "TeamSpec": "types",
    "TimeStep": "types",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"headstart has no '{name}'")
    return getattr(importlib.import_module(f"headstart.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
