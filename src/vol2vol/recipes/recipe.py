"""The schema of a recipe and its loader, for shipped presets and YAML files.

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
    """All settings of a training run, without the volumes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = "custom"
    """Name of the recipe in the records of a run: unless stated, that of the shipped recipe or of its file."""
    overrides: tuple[str, ...] = ()
    """Changes to the recipe of this name, `key.sub=value`, which are applied already."""
    about: str = ""
    """One line on the purpose of the recipe."""
    dims: Literal[2, 3] = 2
    """Dimensions of the networks: 2 for images and planes of volumes, 3 for volumes."""
    data: DataSettings = DataSettings()
    """Patches, augmentation and intensities."""
    task: AnyTask = CycleGANSettings()
    """The task by its `name`, with its networks and losses."""
    train: TrainSettings = TrainSettings()
    """Optimisation, checkpoints, devices."""
    start: str | None = None
    """Model, or run, from whose weights training starts, as far as they fit; its task may be another one."""

    @property
    def patch(self) -> Shape:
        """Size of a patch in voxels, one number per axis of the network."""
        patch = self.data.patch
        shape = (patch,) * self.dims if isinstance(patch, int) else tuple(patch)
        if len(shape) != self.dims:
            raise BadInput(f"data.patch {patch} has {len(shape)} numbers: give {self.dims} for a {self.dims}D network")
        return shape

    def guides(self) -> tuple[Need, ...]:
        """Return the masks of `data.weights` that the task itself does not need; they only decide where patches lie.

        Raises `BadInput` for a mask that is aligned with a domain that the task does not have.
        """
        own = {need.name: need for need in self.task.needs()}
        guides = []
        for name, weight in self.data.weights.items():
            if name not in own:
                along = weight.along or next(iter(own))
                if along not in own:
                    domains = ", ".join(own)
                    raise BadInput(f"data.weights.{name}.along: the task has no domain {along}: use {domains}")
                guides.append(Need(name=name, kind="mask", along=own[along].along or along))
        return tuple(guides)


SHELF = Shelf(
    what="recipe", package="vol2vol.recipes", folder="presets", example="train.epochs=20", verb="recipes small-2d"
)


def list_recipes() -> dict[str, str]:
    """Return the shipped recipes by name, each with a line that describes it."""
    return {name: load_recipe(name).about for name in SHELF.names()}


def load_recipe(name: str | Path | Recipe, overrides: tuple[str, ...] = ()) -> Recipe:
    """Return a recipe by its shipped name or from a YAML file, with `key.sub=value` overrides applied.

    A file may contain `extends: NAME` and the keys that differ. Raises `NotFound` for an unknown name, and `BadInput`,
    naming the key, for what does not fit the schema.
    """
    if isinstance(name, Recipe):
        data = name.model_dump(mode="json")
    else:
        data = SHELF.load(str(name))
        data.setdefault("name", Path(name).name.removesuffix(".yaml"))
    for override in overrides:
        SHELF.change(data, override)
    if overrides:
        data["overrides"] = [*(data.get("overrides") or ()), *overrides]
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        shown = name.name if isinstance(name, Recipe) else name
        raise BadInput(f"recipe {shown}: {explain(error, Recipe)}") from None
