"""Master-Slave (Guo and Duan, "Improve the Training Efficiency for Multi-Agent RL using Master-Slave Framework").

MuJoCo's Walker2d and Humanoid, and architecture search.
"""

from headstart.papers.master_slave.constrained import walker2d
from headstart.papers.master_slave.reduced import humanoid
from headstart.papers.master_slave.search import nas

EXPERIMENTS = {"walker2d": walker2d, "humanoid": humanoid, "nas": nas}
"""Names on the command line, after `master_slave/`."""
