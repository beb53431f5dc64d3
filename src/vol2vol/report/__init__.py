"""Figures and the report of a study, made from its rows and the volumes they name; needs no torch.

The report is imported when it is first used, so that whoever writes rows loads no plotting.
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
