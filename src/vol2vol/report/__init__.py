"""Write the tables, figures and report of a study from its rows and volumes, without torch.

The report is imported on first use, so that studies can write rows without importing plotting libraries.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vol2vol.report.pages.study_report import write_study_report

__all__ = ["write_study_report"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("vol2vol.report.pages.study_report"), name)
