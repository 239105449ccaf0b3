"""KnowRU (Gao et al. 2021): teams reuse the knowledge of smaller teams, on three particle worlds and, beyond the paper, on two.

Tasks I to III (cooperative navigation) and IV to VI (physical deception, whose adversaries alone are taught) on MADDPG, VII and
VIII (treasure collection) on MAAC, all of §4.2. Settings not in the paper are those of the authors' public code: γ 0.97, batch
1256, learning starts after 500 of 5000 episodes, leaky ReLU.
"""

from functools import partial

from headstart.papers.knowru.collection import treasure
from headstart.papers.knowru.navigation import alpha_sweep, losses, schedules, spread
from headstart.papers.knowru.opponents import adversary, tag
from headstart.papers.knowru.task import PLANS as PLANS
from headstart.papers.knowru.zoo import pettingzoo

EXPERIMENTS = {
    "spread-6": partial(spread, 6),
    "spread-8": partial(spread, 8),
    "adversary-3v2": partial(adversary, 2, 3),
    "adversary-4v3": partial(adversary, 3, 4),
    "treasure": treasure,
    "losses": losses,
    "schedule": schedules,
    "alpha-sweep": alpha_sweep,
    "tag-5": tag,
    "pettingzoo": pettingzoo,
}
"""Names on the command line, after `knowru/`."""
