"""Recipes: everything one run needs, as data; and the verbs in which all rooms meet."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vol2vol.recipes.adapt import adapt_statistics
    from vol2vol.recipes.baselines import fit_baseline
    from vol2vol.recipes.certificate import Certificate, certify
    from vol2vol.recipes.info import load_model
    from vol2vol.recipes.preparing import list_preparations, load_preparation, prepare
    from vol2vol.recipes.recipe import Recipe, list_recipes, load_recipe
    from vol2vol.recipes.reference import import_reference
    from vol2vol.recipes.training import train
    from vol2vol.recipes.trials import run_study

__all__ = [
    "Certificate",
    "Recipe",
    "adapt_statistics",
    "certify",
    "fit_baseline",
    "import_reference",
    "list_preparations",
    "list_recipes",
    "load_model",
    "load_preparation",
    "load_recipe",
    "prepare",
    "run_study",
    "train",
]


def __getattr__(name: str) -> Any:
    rooms = {
        "Certificate": "certificate",
        "adapt_statistics": "adapt",
        "certify": "certificate",
        "fit_baseline": "baselines",
        "import_reference": "reference",
        "list_preparations": "preparing",
        "load_model": "info",
        "load_preparation": "preparing",
        "prepare": "preparing",
        "run_study": "trials",
        "train": "training",
    }
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{rooms.get(name, 'recipe')}"), name)
