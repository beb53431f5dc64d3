"""Figures and reports, made from the rows of a study or a results file and the volumes they name; needs no torch."""

from vol2vol.study.fidelity import Comparison, compare
from vol2vol.study.report import write_report
from vol2vol.study.results import UNTRANSLATED, Result, read_results, write_results
from vol2vol.study.study_report import write_study_report

__all__ = [
    "UNTRANSLATED",
    "Comparison",
    "Result",
    "compare",
    "read_results",
    "write_report",
    "write_results",
    "write_study_report",
]
