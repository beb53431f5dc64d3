"""The schema of how a study measures, and of which checkpoints it picks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vol2vol.metrics.measures.settings import Settings


class Distance(Settings):
    """How distances between distributions are measured."""

    features: tuple[Literal["inception", "encoder"], ...] = ("encoder",)
    """Networks that see the patches: the published Inception, or an encoder that is trained on the target."""
    weights: str = ""
    """File of the Inception weights, where they cannot be downloaded."""
    patches: int = Field(default=2000, ge=32)
    """Patches per volume, at most; the target gives twice as many, for its two halves."""
    size: int = Field(default=128, ge=8)
    """Voxels along the side of a patch."""
    planes: tuple[Literal["xy", "xz", "yz"], ...] = ("xy",)
    resamples: int = Field(default=100, ge=0)
    """Draws of the intervals; 0 leaves them out."""
    steps: int = Field(default=400, ge=2)
    """Of the training of an encoder."""


class Pick(Settings):
    """Which checkpoints are looked at in full."""

    by: str
    """Name of a value, such as distance/encoder/fid/xy or label_free/confidence; or checkpoint, the epoch."""
    lowest: bool | None = None
    """Whether small values are good; unless given, as the measure of the value says, and for checkpoint yes."""
    roles: tuple[Literal["best", "middle", "worst"], ...] = ("best", "middle", "worst")
    count: int = Field(default=1, ge=1)
    """Checkpoints of each role."""
