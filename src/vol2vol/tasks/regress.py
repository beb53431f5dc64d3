"""Supervised image to image: one network learns to make what other images show at the same place.

Label-free fluorescence, restoration from pairs, one channel from others: whatever is measured twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import nn

from vol2vol import losses
from vol2vol.geometry import Shape
from vol2vol.tasks.base import Batch, NetworkSettings, Turn, detached
from vol2vol.tasks.paired import Paired, PairedSettings, certain


class RegressSettings(PairedSettings):
    """The settings of a regression: network and losses."""

    name: Literal["regress"] = "regress"
    """The task."""
    network: NetworkSettings = NetworkSettings(name="unet")
    """The network; its output is in the range -1 to 1."""

    @property
    def predicts(self) -> NetworkSettings:
        """The network that predicts."""
        return self.network


class Regress(Paired):
    """One network against the images it should make; `seed` decides initial weights."""

    Settings = RegressSettings

    def __init__(
        self, settings: RegressSettings, *, dims: int = 2, channels: Mapping[str, int] | None = None, seed: int = 0
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(settings, settings.network, dims, channels)
        self.loss = settings.loss
        self.players: Mapping[str, nn.Module] = {"generator": self.generator}

    def turns(self, batch: Batch) -> Iterator[Turn]:
        """Yield the only turn."""
        _, output, truth = certain(*self.images(self.generator, batch))
        terms = losses.paired(output, truth, self.loss)
        loss = torch.stack(list(terms.values())).sum()
        yield Turn("generator", loss, {"generator": loss.detach(), **detached(terms)})

    def check(self, patch: Shape) -> None:
        """Raise `BadInput`, naming the nearest patch that works, unless all losses have voxels to look at."""
        self.check_patch(patch, self.loss)
