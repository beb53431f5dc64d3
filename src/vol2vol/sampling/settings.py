"""Settings of training patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vol2vol.sampling.augment import Augment
from vol2vol.sampling.centres import Weight


class LabelSettings(BaseModel):
    """Minimum foreground of patches with masks, and the part of the volumes that is held out for validation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    foreground: float = Field(default=0.02, ge=0, lt=1)
    """Minimum fraction of mask voxels in a patch, for tasks that have masks."""
    held_out: float = Field(default=0.2, gt=0, lt=1)
    """Fraction of every volume, at the end of its longest axis, that is held out from training, for tasks that validate
    their checkpoints; a data sheet may name validation volumes instead."""
    held_out_patches: int = Field(default=16, ge=1)
    """Number of patches, spread over the held-out parts, on which checkpoints are validated after each epoch."""


class DataSettings(BaseModel):
    """How patches are drawn, and how stored values are mapped to the network's range."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    patch: int | tuple[int, int] | tuple[int, int, int] = 190
    """Size of a patch in voxels: one number for all axes, or one per axis (Z, Y, X)."""
    planes: tuple[Literal["z", "y", "x"], ...] = ("z",)
    """For 2D networks: the axes perpendicular to the planes that are drawn; axes other than z need isotropic voxels."""
    background: float = Field(5.0, ge=0, lt=100)
    """Percentile of the variance over the whole data set; patches below it count as background and are drawn again."""
    augment: Augment = Augment()
    """Random changes of patches; by default they are flipped, and turned by right angles in planes with isotropic
    voxels."""
    weights: Mapping[str, Weight] = {}
    """By domain: the voxels on which a fraction of the patches is centred. Only one of several aligned domains may have
    weights."""
    intensity: Literal["percentile", "meanstd", "minmax", "fixed"] = "percentile"
    """How stored values of each domain are mapped to the network's range; measured over whole volumes."""
    low: float | None = None
    """With intensity fixed: the stored value that is mapped to the lower end of the network's range."""
    high: float | None = None
    """With intensity fixed: the stored value that is mapped to the upper end of the network's range."""
    calibration: int = Field(64, ge=1)
    """Number of patches, spread over the whole input volumes, for measuring the statistics of normalisation."""
    labels: LabelSettings = LabelSettings()
    """For tasks that compare the output of a network with an aligned domain."""
