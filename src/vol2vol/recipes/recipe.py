"""The schema of a recipe and its loader: presets shipped with the package, or a file of one's own.

vol2vol train --recipe small-2d ... train.epochs=3 task.generator.arguments.width=8
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.protocol import Need
from vol2vol.recipes.yamlfiles import Shelf, explain
from vol2vol.sampling import DataSettings
from vol2vol.tasks import AnyTask, CycleGANSettings
from vol2vol.training.settings import TrainSettings


class Recipe(BaseModel):
    """Everything one training run needs besides the volumes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = "custom"
    """What the run is called in its records."""
    about: str = ""
    """One line: what the recipe is for."""
    dims: Literal[2, 3] = 2
    """2: planes of a volume, or images; 3: volumes."""
    data: DataSettings = DataSettings()
    """Patches and intensities."""
    task: AnyTask = CycleGANSettings()
    """The training objective, by its `name`, with its networks and losses."""
    train: TrainSettings = TrainSettings()
    """Optimisation, checkpoints, devices."""
    start: str | None = None
    """A model, or a run, from whose weights training starts where they fit, such as another task's or a first run's."""

    @property
    def patch(self) -> Shape:
        """Voxels per axis of a patch, one number per axis of the network."""
        patch = self.data.patch
        shape = (patch,) * self.dims if isinstance(patch, int) else tuple(patch)
        if len(shape) != self.dims:
            raise BadInput(f"data.patch {patch} has {len(shape)} numbers for a {self.dims}D network")
        return shape

    def guides(self) -> tuple[Need, ...]:
        """Return the masks of `data.weights` that the task itself does not need: they only say where patches lie.

        Raises `BadInput` for one that lies along a domain that the task does not have.
        """
        own = {need.name: need for need in self.task.needs()}
        guides = []
        for name, weight in self.data.weights.items():
            if name not in own:
                along = weight.along or next(iter(own))
                if along not in own:
                    raise BadInput(f"data.weights.{name}.along: there is no domain {along}: use {', '.join(own)}")
                guides.append(Need(name=name, kind="mask", along=own[along].along or along))
        return tuple(guides)


SHELF = Shelf(
    what="recipe", package="vol2vol.recipes", folder="presets", example="train.epochs=20", verb="recipes small-2d"
)


def list_recipes() -> dict[str, str]:
    """Return the shipped recipes: name to one line about it."""
    return {name: load_recipe(name).about for name in SHELF.names()}


def load_recipe(name: str | Path | Recipe, overrides: tuple[str, ...] = ()) -> Recipe:
    """Return a shipped recipe by name or one from a YAML file, with `key.sub=value` overrides applied.

    A file may begin `extends: NAME` and hold only what differs. Raises `NotFound` for an unknown name, `BadInput`
    naming the key for whatever does not fit the schema.
    """
    data = name.model_dump(mode="json") if isinstance(name, Recipe) else SHELF.load(str(name))
    for override in overrides:
        SHELF.change(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        called = name.name if isinstance(name, Recipe) else name
        raise BadInput(f"recipe {called}: {explain(error, Recipe)}") from None
