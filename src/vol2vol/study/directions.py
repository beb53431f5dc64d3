"""Check that a recipe can be a translator of a study: its task must have a translation from source to target."""

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
    """Return the name of a recipe's translation from one domain to another; None if it has none."""
    return _directions(recipe.model_dump_json()).get((reads, makes))


def learns_pairs(recipe: Recipe) -> bool:
    """Return whether a task is trained on pairs: on targets that show the same place as the source."""
    return any(need.name == "target" and need.along is not None for need in recipe.task.needs())


def check_translator(recipe: Recipe) -> None:
    """Raise `BadInput` unless a recipe translates source to target and needs no other domain."""
    task = recipe.task
    if others := [need.name for need in task.needs() if need.name not in PAIR and not need.optional]:
        raise BadInput(
            f"task {task.name} needs domain {others[0]}, but a study has only source and target: take another recipe"
        )
    if direction(recipe) is None:
        available = ", ".join(f"{makes} from {reads}" for reads, makes in _directions(recipe.model_dump_json()))
        raise BadInput(
            f"task {task.name} makes {available}, but a translator makes target from source: take another recipe"
        )


@lru_cache(maxsize=64)
def _directions(recipe: str) -> Mapping[tuple[str, str], str]:
    """Return the translations of a recipe (JSON) by input and output domains; the network is built without weights."""
    settings = Recipe.model_validate_json(recipe)
    with torch.device("meta"):
        translations = build(settings.task, dims=settings.dims).translations()
    return {(" and ".join(entry.reads), " and ".join(entry.makes)): name for name, entry in translations.items()}
