"""DM² (Wang et al. 2022, "Decentralized Multi-Agent Reinforcement Learning via Distribution Matching"), on battles."""

from headstart.papers.dm2.ablation import ablation
from headstart.papers.dm2.architecture import qmix_architecture
from headstart.papers.dm2.battles import five_marines, three_stalkers
from headstart.papers.dm2.particles import spread, tag

EXPERIMENTS = {
    "5m_vs_6m": five_marines,
    "3s_vs_4z": three_stalkers,
    "ablation-5m_vs_6m": ablation,
    "qmix-architecture": qmix_architecture,
    "spread": spread,
    "tag": tag,
}
"""Names on the command line, after `dm2/`."""
