"""Figures and reports, made from the rows of a study or a results file and the volumes they name; needs no torch.

Names are imported when they are first used, so that whoever writes rows loads no plotting.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vol2vol.report.pages.study_report import write_study_report
    from vol2vol.report.pages.volume_report import write_report
    from vol2vol.report.rows.results import UNTRANSLATED, Result, read_results, write_results

__all__ = [
    "UNTRANSLATED",
    "Result",
    "read_results",
    "write_report",
    "write_results",
    "write_study_report",
]
_WHERE = {
    "write_report": "pages.volume_report",
    "write_study_report": "pages.study_report",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE.get(name, 'rows.results')}"), name)
