"""Metrics: arrays to numbers, blind to how a volume was made."""

from vol2vol.metrics.comb import CombReport, CombRow, comb_test
from vol2vol.metrics.grid import Grid
from vol2vol.metrics.seams import SeamReport, SeamRow, seam_tests

__all__ = ["CombReport", "CombRow", "Grid", "SeamReport", "SeamRow", "comb_test", "seam_tests"]
