"""Run studies: a file names what is compared, and every trial gives one row of results; see `docs/study.md`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vol2vol.study.loading import list_studies, load_study
    from vol2vol.study.planning import plan_study
    from vol2vol.study.runner import Outcome, run_study
    from vol2vol.study.settings import Study

__all__ = ["Outcome", "Study", "list_studies", "load_study", "plan_study", "run_study"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = {"Outcome": "runner", "Study": "settings", "plan_study": "planning", "run_study": "runner"}
    return getattr(import_module(f"{__name__}.{modules.get(name, 'loading')}"), name)
