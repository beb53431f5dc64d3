"""How measures are taken, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vol2vol.metrics.objects.watershed import Parting


class Settings(BaseModel):
    """What all parts of a study file share: they are values, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Judging(Settings):
    """How the other measures are taken."""

    blocks: int = Field(default=64, ge=2)
    """At least so many blocks of a test volume have sums of their own, from which intervals are drawn."""
    near: int = Field(default=8, ge=1)
    """Voxels on either side of a seam that count as near it."""
    shifts: int = Field(default=15, ge=1)
    """Grids that lie elsewhere, which the zone near seams is compared with."""
    cycles: int = Field(default=8, ge=1)
    """Tiles of the source that are sent to the target and back."""
    least: int = Field(default=1, ge=1)
    """Voxels from which an object is counted."""
    instances: Literal["components", "watershed"] = "components"
    """What an object is, on both sides: what hangs together, or parted at its necks."""
    depth: float | None = Field(default=None, gt=0, le=32)
    """With watershed, by how many voxels a neck must be narrower than both its sides; by default 2."""

    def parting(self) -> Parting | None:
        """Return how touching objects are parted, None where they are not."""
        if self.instances == "components":
            return None
        return Parting() if self.depth is None else Parting(depth=self.depth)

    @model_validator(mode="after")
    def _has_an_effect(self) -> Judging:
        if self.depth is not None and self.instances == "components":
            raise ValueError("depth says where a watershed parts: add instances: watershed")
        return self
