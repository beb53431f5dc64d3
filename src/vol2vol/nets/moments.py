"""Add up mean and variance per channel, exactly enough for any number of voxels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vol2vol.errors import BadInput


class Moments:
    """Sums of values and of squares over voxels, for each channel, in float64."""

    def __init__(self) -> None:
        self.count, self.first, self.second = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        """Add the voxels of (B, C, *space)."""
        values = x.double().transpose(0, 1).flatten(1)
        self.count += values.shape[1]
        self.first = self.first.to(values) + values.sum(1)
        self.second = self.second.to(values) + (values * values).sum(1)

    def totals(self, name: str) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each channel; raise `BadInput` without voxels or where not finite."""
        if self.count == 0:
            raise BadInput("no patches to calibrate with: give at least one batch")
        mean = self.first / self.count
        variance = (self.second / self.count - mean**2).clamp_min(0)
        if not torch.isfinite(mean + variance).all():
            raise BadInput(f"layer {name!r} receives values that are not finite: remove NaN from the input")
        return mean, variance

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, from which `from_dict` restores every bit."""
        return {"count": self.count, "first": self.first.tolist(), "second": self.second.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Moments:
        """Return the sums that `to_dict` wrote."""
        moments = cls()
        moments.count = int(data["count"])
        moments.first, moments.second = (torch.tensor(data[key], dtype=torch.float64) for key in ("first", "second"))
        return moments
