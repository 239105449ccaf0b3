"""Master-Slave (Guo and Duan, "Improve the Training Efficiency for Multi-Agent RL using Master-Slave Framework"), in MuJoCo."""

from headstart.papers.master_slave.constrained import walker2d
from headstart.papers.master_slave.reduced import humanoid

EXPERIMENTS = {"walker2d": walker2d, "humanoid": humanoid}
"""Names on the command line, after `master_slave/`."""
