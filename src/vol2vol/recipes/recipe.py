"""The schema of a recipe and its loader: presets shipped with the package, or a file of one's own.

vol2vol train --recipe small-2d ... train.epochs=3 cyclegan.generator.arguments.width=8
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.recipes.yamlfiles import Shelf, explain
from vol2vol.sampling import Jitter
from vol2vol.tasks import CycleGANSettings, SegmentSettings
from vol2vol.training.settings import TrainSettings


class LabelSettings(BaseModel):
    """Which patches are drawn from images with masks, and which part of them is kept for judging."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    foreground: float = Field(default=0.02, ge=0, lt=1)
    """Least share of a patch's voxels inside the mask."""
    held_out: float = Field(default=0.2, gt=0, lt=1)
    """Share of every volume, at the end of its longest axis, that training never sees."""
    held_out_patches: int = Field(default=16, ge=1)
    """Patches, spread over the held-out parts, on which the best checkpoint is chosen after each epoch."""
    jitter: Jitter = Jitter()
    """Random changes of a patch's intensities."""


class DataSettings(BaseModel):
    """Which patches are drawn, and how stored values become the network's range."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    patch: int | tuple[int, int] | tuple[int, int, int] = 190
    """Voxels per axis of a patch: one number, or one per axis (Z, Y, X)."""
    planes: tuple[Literal["z", "y", "x"], ...] = ("z",)
    """For 2D networks: the axes across which planes are drawn; more than z needs isotropic voxels."""
    background: float = Field(5.0, ge=0, lt=100)
    """Patches below this percentile of variance over the whole data set are drawn again."""
    augment: bool = True
    """Flip patches, and turn them by right angles in planes whose voxels are isotropic."""
    intensity: Literal["percentile", "meanstd", "minmax", "fixed"] = "percentile"
    """How the stored values of each domain are mapped to the network's range, over the whole volume."""
    low: float | None = None
    """With intensity fixed: the stored value that becomes the lower end."""
    high: float | None = None
    """With intensity fixed: the stored value that becomes the upper end."""
    calibration: int = Field(64, ge=1)
    """Patches, spread over the whole source volume, from which the statistics of normalisation are taken."""
    labels: LabelSettings = LabelSettings()
    """For the task segment, whose target is the mask of its source."""


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
    task: Literal["cyclegan", "segment"] = "cyclegan"
    """The training objective; the section of its name below says more, the others are not looked at."""
    cyclegan: CycleGANSettings = CycleGANSettings()
    """Networks and losses of the cycleGAN."""
    segment: SegmentSettings = SegmentSettings()
    """Network, loss and choice of checkpoint of a segmentation."""
    train: TrainSettings = TrainSettings()
    """Optimisation, checkpoints, devices."""

    @property
    def patch(self) -> Shape:
        """Voxels per axis of a patch, one number per axis of the network."""
        patch = self.data.patch
        shape = (patch,) * self.dims if isinstance(patch, int) else tuple(patch)
        if len(shape) != self.dims:
            raise BadInput(f"data.patch {patch} has {len(shape)} numbers for a {self.dims}D network")
        return shape


SHELF = Shelf(what="recipe", folder="presets", example="train.epochs=20", verb="recipes small-2d")


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
