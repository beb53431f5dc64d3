"""Evaluation: questions about stored volumes or about a model, answered in numbers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vol2vol.evaluation.certificate import Certificate, certify

__all__ = ["Certificate", "certify"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.certificate"), name)
