"""Transfer metrics, statistics, verdicts on a paper's claims, and their report. Imports no JAX."""

from headstart.report.build import build_report, read_curve, read_stage, write
from headstart.report.claims import Claim, judge
from headstart.report.stats import interval, iqm, ratio, versus
from headstart.report.table import print_report, transfer_table
from headstart.report.transfer import Curve

__all__ = [
    "Claim",
    "Curve",
    "build_report",
    "interval",
    "iqm",
    "judge",
    "print_report",
    "ratio",
    "read_curve",
    "read_stage",
    "transfer_table",
    "versus",
    "write",
]
