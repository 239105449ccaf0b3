"""CESMA (Lin et al. 2019): centralised experts, decentralised by imitation.

The paper does not give: how often and how long the expert learns, the sizes and strengths of non-homogeneous agents, the weight
of moving in the one-at-a-time loss, the students' warm-up.
"""

from functools import partial

from headstart.papers.cesma.continuous import reward_vs_loss
from headstart.papers.cesma.experts import dqn_experts, one_at_a_time
from headstart.papers.cesma.rivals import COMPARED, compared, datasets
from headstart.papers.cesma.task import PLANS as PLANS
from headstart.papers.cesma.task import Plan as Plan
from headstart.papers.cesma.task import navigation as navigation

EXPERIMENTS = {name: partial(compared, *settings) for name, settings in COMPARED.items()} | {
    "dqn-experts": dqn_experts,
    "one-at-a-time": one_at_a_time,
    "datasets": datasets,
    "reward-vs-loss": reward_vs_loss,
}
"""Names on the command line, after `cesma/`."""
