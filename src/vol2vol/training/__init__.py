"""Train any task and write a run folder. Lightning is imported when `fit` is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vol2vol.training.settings import Schedule, TrainSettings

if TYPE_CHECKING:
    from vol2vol.training.fitting import FitResult, fit
    from vol2vol.training.run_folder import read_log

__all__ = ["FitResult", "Schedule", "TrainSettings", "fit", "read_log"]


def __getattr__(name: str) -> Any:
    module = {"FitResult": "fitting", "fit": "fitting", "read_log": "run_folder"}.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
