"""The schema of a study's distances and picks of checkpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vol2vol.metrics.measures.settings import Settings


class Distance(Settings):
    """Settings of distances between distributions of patches."""

    features: tuple[Literal["inception", "encoder"], ...] = ("encoder",)
    """Feature networks: the published Inception, or an encoder that is trained on the target."""
    weights: str = ""
    """File of the Inception weights, if they cannot be downloaded."""
    patches: int = Field(default=2000, ge=32)
    """Maximum number of patches per volume; the target, which is split in two halves, gives twice as many."""
    size: int = Field(default=128, ge=8)
    """Side of a square patch in voxels."""
    planes: tuple[Literal["xy", "xz", "yz"], ...] = ("xy",)
    resamples: int = Field(default=100, ge=0)
    """Bootstrap resamples for confidence intervals; 0 for no intervals."""
    steps: int = Field(default=400, ge=2)
    """Training steps of the encoder."""


class Pick(Settings):
    """A rule that picks the checkpoints that get all measures."""

    by: str
    """Value to rank by, such as distance/encoder/fid/xy or label_free/confidence; or checkpoint, the epoch."""
    lowest: bool | None = None
    """Whether low values are good; by default as the measure defines it, and true for checkpoint."""
    roles: tuple[Literal["best", "middle", "worst"], ...] = ("best", "middle", "worst")
    count: int = Field(default=1, ge=1)
    """Number of checkpoints per role."""
