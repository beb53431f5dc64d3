"""Recipes, which hold all settings of a training as data, and the verbs train, prepare, adapt and baseline."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vol2vol.recipes.adapt import adapt_statistics
    from vol2vol.recipes.baselines import fit_baseline
    from vol2vol.recipes.preparation import list_preparations, load_preparation, prepare
    from vol2vol.recipes.recipe import Recipe, list_recipes, load_recipe
    from vol2vol.recipes.training import train

__all__ = [
    "Recipe",
    "adapt_statistics",
    "fit_baseline",
    "list_preparations",
    "list_recipes",
    "load_preparation",
    "load_recipe",
    "prepare",
    "train",
]


def __getattr__(name: str) -> Any:
    modules = {
        "adapt_statistics": "adapt",
        "fit_baseline": "baselines",
        "list_preparations": "preparation",
        "load_preparation": "preparation",
        "prepare": "preparation",
        "train": "training",
    }
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{modules.get(name, 'recipe')}"), name)
