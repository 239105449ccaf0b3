"""headstart: give a team of agents a head start.

    >>> import headstart as hs
    >>> four = hs.train(hs.Spread(agents=4), hs.DDPG(), "runs/four", steps=100_000, seeds=3)
    >>> six = hs.train(hs.Spread(agents=6), hs.DDPG(), "runs/six", steps=100_000, seeds=3, guidance=[hs.Distill(four)])

A name is imported at its first use, so that `import headstart` costs nothing.
"""

import importlib

from headstart._version import __version__ as __version__

TYPE_CHECKING = False  # the name that type checkers take for true; nothing of the library is imported here
if TYPE_CHECKING:
    from typing import Any

    from headstart.core.checks import HeadstartError as HeadstartError
    from headstart.core.env import Env as Env
    from headstart.core.env import vectorise as vectorise
    from headstart.core.guidance import Guidance as Guidance
    from headstart.core.guidance import chain as chain
    from headstart.core.learner import Learner as Learner
    from headstart.core.part import part as part
    from headstart.core.trainer import make_trainer as make_trainer
    from headstart.core.types import Continuous as Continuous
    from headstart.core.types import Discrete as Discrete
    from headstart.core.types import Field as Field
    from headstart.core.types import RoleSpec as RoleSpec
    from headstart.core.types import Route as Route
    from headstart.core.types import TeamSpec as TeamSpec
    from headstart.core.types import TimeStep as TimeStep
    from headstart.envs.architecture.env import Architecture as Architecture
    from headstart.envs.battle.smax import SMAX as SMAX
    from headstart.envs.centralized import centralized as centralized
    from headstart.envs.gymnasium import Gymnasium as Gymnasium
    from headstart.envs.inputs import inputs as inputs
    from headstart.envs.jaxmarl import JaxMARL as JaxMARL
    from headstart.envs.particle.adversary import Adversary as Adversary
    from headstart.envs.particle.reference import Reference as Reference
    from headstart.envs.particle.speaker_listener import SpeakerListener as SpeakerListener
    from headstart.envs.particle.spread import Spread as Spread
    from headstart.envs.particle.tag import Tag as Tag
    from headstart.envs.particle.treasure import Treasure as Treasure
    from headstart.envs.pettingzoo import PettingZoo as PettingZoo
    from headstart.envs.pettingzoo import to_pettingzoo as to_pettingzoo
    from headstart.envs.regrouped import regrouped as regrouped
    from headstart.guidance.clone import Clone as Clone
    from headstart.guidance.companion import Companion as Companion
    from headstart.guidance.dagger import Dagger as Dagger
    from headstart.guidance.distill import Distill as Distill
    from headstart.guidance.feature_matching import FeatureMatching as FeatureMatching
    from headstart.guidance.gail import Gail as Gail
    from headstart.guidance.warm_start import WarmStart as WarmStart
    from headstart.learners.ddpg import DDPG as DDPG
    from headstart.learners.imitator import Imitator as Imitator
    from headstart.learners.ppo import PPO as PPO
    from headstart.learners.qlearning import QLearning as QLearning
    from headstart.registry import preset as preset
    from headstart.registry import use as use
    from headstart.teams.demos import Demos as Demos
    from headstart.teams.exported import export as export
    from headstart.teams.imported import demos_from_npz as demos_from_npz
    from headstart.teams.imported import demos_from_vault as demos_from_vault
    from headstart.teams.imported import demos_to_vault as demos_to_vault
    from headstart.teams.policy import TeamPolicy as TeamPolicy
    from headstart.teams.recombined import independent as independent
    from headstart.teams.recombined import non_concurrent as non_concurrent
    from headstart.teams.recording import record as record
    from headstart.teams.saved import load as load
    from headstart.teams.saved_demos import load_demos as load_demos
    from headstart.teams.saved_demos import load_teacher as load_teacher
    from headstart.teams.scripted import Scripted as Scripted
    from headstart.teams.zoo import zoo as zoo
    from headstart.training.api import resume as resume
    from headstart.training.api import resume_sweep as resume_sweep
    from headstart.training.api import sweep as sweep
    from headstart.training.api import train as train
    from headstart.training.merge import merge as merge
    from headstart.training.run import score as score
    from headstart.training.watch import Watcher as Watcher
    from headstart.views.adapt import adapt as adapt

_HOMES = {
    "adapt": "views.adapt",
    "HeadstartError": "core.checks",
    "Env": "core.env",
    "vectorise": "core.env",
    "Spread": "envs.particle.spread",
    "PettingZoo": "envs.pettingzoo",
    "to_pettingzoo": "envs.pettingzoo",
    "Gymnasium": "envs.gymnasium",
    "JaxMARL": "envs.jaxmarl",
    "Architecture": "envs.architecture.env",
    "SMAX": "envs.battle.smax",
    "Scripted": "teams.scripted",
    "Tag": "envs.particle.tag",
    "Adversary": "envs.particle.adversary",
    "SpeakerListener": "envs.particle.speaker_listener",
    "Reference": "envs.particle.reference",
    "Treasure": "envs.particle.treasure",
    "Route": "core.types",
    "Guidance": "core.guidance",
    "chain": "core.guidance",
    "Clone": "guidance.clone",
    "Companion": "guidance.companion",
    "Distill": "guidance.distill",
    "FeatureMatching": "guidance.feature_matching",
    "Gail": "guidance.gail",
    "WarmStart": "guidance.warm_start",
    "Learner": "core.learner",
    "DDPG": "learners.ddpg",
    "Imitator": "learners.imitator",
    "PPO": "learners.ppo",
    "QLearning": "learners.qlearning",
    "Dagger": "guidance.dagger",
    "centralized": "envs.centralized",
    "regrouped": "envs.regrouped",
    "inputs": "envs.inputs",
    "TeamPolicy": "teams.policy",
    "load": "teams.saved",
    "Demos": "teams.demos",
    "load_demos": "teams.saved_demos",
    "load_teacher": "teams.saved_demos",
    "export": "teams.exported",
    "demos_from_npz": "teams.imported",
    "demos_from_vault": "teams.imported",
    "demos_to_vault": "teams.imported",
    "record": "teams.recording",
    "zoo": "teams.zoo",
    "non_concurrent": "teams.recombined",
    "independent": "teams.recombined",
    "resume": "training.api",
    "resume_sweep": "training.api",
    "sweep": "training.api",
    "merge": "training.merge",
    "score": "training.run",
    "Watcher": "training.watch",
    "preset": "registry",
    "use": "registry",
    "train": "training.api",
    "make_trainer": "core.trainer",
    "part": "core.part",
    "Continuous": "core.types",
    "Discrete": "core.types",
    "Field": "core.types",
    "RoleSpec": "core.types",
    "TeamSpec": "core.types",
    "TimeStep": "core.types",
}


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"headstart has no '{name}'")
    return getattr(importlib.import_module(f"headstart.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
