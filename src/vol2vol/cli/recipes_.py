"""`vol2vol recipes [NAME]`."""

from __future__ import annotations

from typing import Annotated

import tyro
import yaml

from vol2vol.cli import parse, show
from vol2vol.recipes import list_preparations, list_recipes, load_preparation, load_recipe


def run(words: list[str]) -> None:
    """Parse the command line and list or print recipes."""
    parse.call(_recipes, words, "recipes")


def _recipes(
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None,
    overrides: parse.Overrides = (),
    *,
    json: bool = False,
) -> None:
    """List the shipped recipes, or print a recipe in full, to be copied to a file and changed.

    Args:
        name: the recipe to print; without it, the shipped recipes are listed.
        overrides: changes to the recipe, such as train.epochs=20.
        json: print the result as JSON.
    """
    if name is None:
        show.result({**list_preparations(), **list_recipes()}, as_json=json)
        return
    if name in list_preparations():
        recipe = load_preparation(name, overrides).model_dump(mode="json", exclude_unset=True)
    else:
        recipe = load_recipe(name, overrides).model_dump(mode="json")
    if json:
        show.result(recipe, as_json=True)
    else:
        print(yaml.safe_dump(recipe, sort_keys=False), end="")
