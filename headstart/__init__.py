"""headstart: give a team of agents a head start."""

from headstart._version import __version__ as __version__
