"""Figures and the report, made from a results file and the volumes it names; needs no torch."""

from vol2vol.study.fidelity import Comparison, compare
from vol2vol.study.report import write_report
from vol2vol.study.results import UNTRANSLATED, Result, read_results, write_results

__all__ = ["UNTRANSLATED", "Comparison", "Result", "compare", "read_results", "write_report", "write_results"]
