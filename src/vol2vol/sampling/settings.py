"""What a person may decide about the patches a training draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vol2vol.sampling.augment import Augment
from vol2vol.sampling.centres import Weight


class LabelSettings(BaseModel):
    """Which patches are drawn from images with masks, and which part of the volumes is kept for judging."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    foreground: float = Field(default=0.02, ge=0, lt=1)
    """Minimum fraction of mask voxels in a patch, for tasks that have masks."""
    held_out: float = Field(default=0.2, gt=0, lt=1)
    """Share of every volume, at the end of its longest axis, that training never sees, for tasks that judge their
    checkpoints; a data sheet may name volumes to judge by instead."""
    held_out_patches: int = Field(default=16, ge=1)
    """Patches, spread over the held-out parts, on which the best checkpoint is chosen after each epoch."""


class DataSettings(BaseModel):
    """Which patches are drawn, and how stored values become the network's range."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    patch: int | tuple[int, int] | tuple[int, int, int] = 190
    """Voxels per axis of a patch: one number, or one per axis (Z, Y, X)."""
    planes: tuple[Literal["z", "y", "x"], ...] = ("z",)
    """For 2D networks: the axes across which planes are drawn; more than z needs isotropic voxels."""
    background: float = Field(5.0, ge=0, lt=100)
    """Patches below this percentile of variance over the whole data set are drawn again."""
    augment: Augment = Augment()
    """Random changes of patches; by default they are flipped, and turned by right angles in planes whose voxels are
    isotropic."""
    weights: Mapping[str, Weight] = {}
    """By domain: the voxels on which a share of the patches is centred. Of domains that are drawn together, one."""
    intensity: Literal["percentile", "meanstd", "minmax", "fixed"] = "percentile"
    """How the stored values of each domain are mapped to the network's range, over the whole volume."""
    low: float | None = None
    """With intensity fixed: the stored value that becomes the lower end."""
    high: float | None = None
    """With intensity fixed: the stored value that becomes the upper end."""
    calibration: int = Field(64, ge=1)
    """Patches, spread over the whole input volume, from which the statistics of normalisation are taken."""
    labels: LabelSettings = LabelSettings()
    """For tasks that compare the output with another domain at the same place."""
