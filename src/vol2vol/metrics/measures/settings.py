"""The settings of measures, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vol2vol.metrics.objects.colours import Colouring
from vol2vol.metrics.objects.watershed import Parting


class Settings(BaseModel):
    """Base of all parts of a study file: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Judging(Settings):
    """The settings of the other measures."""

    blocks: int = Field(default=64, ge=2)
    """Minimum number of blocks of a test volume that are resampled for intervals."""
    near: int = Field(default=8, ge=1)
    """Distance from a seam, in voxels, up to which voxels count as near it."""
    shifts: int = Field(default=15, ge=1)
    """Number of shifted grids with which the zone near seams is compared."""
    cycles: int = Field(default=8, ge=1)
    """Number of source tiles that are translated to the target and back."""
    least: int = Field(default=1, ge=1)
    """Minimum object size in voxels."""
    instances: Literal["components", "watershed"] = "components"
    """Objects are connected components, or split at narrow necks (watershed), in prediction and mask alike."""
    depth: float | None = Field(default=None, gt=0, le=32)
    """Depth of the watershed in voxels: how much narrower than both sides a neck must be; by default 2."""

    colours: Colouring = Colouring()
    """When an object of the measure `circles` has a colour."""
    planes: bool = False
    """For `circles`: each plane Z is an image of its own, whose labels mean nothing in other planes."""

    def parting(self) -> Parting | None:
        """Return how touching objects are split, None if they are not."""
        if self.instances == "components":
            return None
        return Parting() if self.depth is None else Parting(depth=self.depth)

    @model_validator(mode="after")
    def _has_an_effect(self) -> Judging:
        if self.depth is not None and self.instances == "components":
            raise ValueError("depth applies to a watershed only: add instances: watershed")
        return self
