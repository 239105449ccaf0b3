"""Teams with opponents, on MADDPG: one side is taught, the other learns as without a teacher."""

from headstart.envs.particle.adversary import Adversary
from headstart.envs.particle.tag import Tag
from headstart.experiments.base import Experiment, Scale, planned
from headstart.papers.knowru.task import CODE, PLANS, SOURCE, of_role, on_maddpg, transfers


def adversary(adversaries: int, agents: int, scale: Scale) -> Experiment:
    """Physical deception: one adversary among two agents teaches more of them (IV → V, IV → VI)."""
    world = lambda adversaries, agents: Adversary(adversaries, agents, semantics="openai")
    return of_role(
        f"KnowRU on physical deception: an adversary teaches {adversaries}, against {agents} agents",
        f"{SOURCE}, §4.2 and Fig. 5",
        "adversary",
        on_maddpg(world(1, 2), world(adversaries, agents), scale),
        planned(PLANS, scale)[1],
        (*transfers("knowru", "§4.3, Fig. 5"), CODE),
        "The adversaries alone are taught, and the return is theirs. The agents that they play against learn too, in all arms.",
    )


def tag(scale: Scale) -> Experiment:
    """Predator and prey, which is not in the paper: three predators teach five."""
    return of_role(
        "KnowRU on predator and prey: three predators teach five",
        "ours",
        "adversary",
        on_maddpg(Tag(3, semantics="openai"), Tag(5, semantics="openai"), scale),
        planned(PLANS, scale)[1],
        transfers("knowru", "ours"),
        "The prey learns too, in all arms.",
    )
