"""What a study may train as a translator: recipes of any task with a translation from source to target."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch

from vol2vol.errors import BadInput
from vol2vol.recipes.recipe import Recipe
from vol2vol.tasks import build

PAIR = ("source", "target")
"""Domains that a study can give to a task."""


def direction(recipe: Recipe, reads: str = "source", makes: str = "target") -> str | None:
    """Return the name of the translation that reads one domain and makes another; None where there is none."""
    return _directions(recipe.model_dump_json()).get((reads, makes))


def learns_pairs(recipe: Recipe) -> bool:
    """Say whether a task compares its output with images that show the source's place."""
    return any(need.name == "target" and need.along is not None for need in recipe.task.needs())


def check_translator(recipe: Recipe) -> None:
    """Raise `BadInput` unless a recipe makes the target from the source and needs no other domain."""
    task = recipe.task
    if others := [need.name for need in task.needs() if need.name not in PAIR and not need.optional]:
        raise BadInput(f"task {task.name} needs the domain {others[0]}, but a study has a source and a target alone")
    if direction(recipe) is None:
        made = ", ".join(f"{makes} from {reads}" for reads, makes in _directions(recipe.model_dump_json()))
        raise BadInput(f"task {task.name} makes {made}, but a translator makes target from source: take another recipe")


@lru_cache(maxsize=64)
def _directions(recipe: str) -> Mapping[tuple[str, str], str]:
    """Return the translations of a recipe, as JSON, by the domains that they read and make; weights take no memory."""
    settings = Recipe.model_validate_json(recipe)
    with torch.device("meta"):
        translations = build(settings.task, dims=settings.dims).translations()
    return {(" and ".join(one.reads), " and ".join(one.makes)): name for name, one in translations.items()}
