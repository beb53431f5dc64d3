"""Pix2pix (Isola et al. 2017): a regression whose output a critic, shown the input too, must take for real.

With several scales of critics and feature matching it is the objective of pix2pixHD (Wang et al. 2018).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from vol2vol import losses
from vol2vol.geometry import Shape
from vol2vol.tasks.base import Batch, NetworkSettings, Turn, alone, detached
from vol2vol.tasks.critics import Critics, fooled, judged, matched
from vol2vol.tasks.paired import Paired, PairedSettings
from vol2vol.tasks.regions import Region, refuse_patch


class Pix2PixSettings(PairedSettings):
    """What a pix2pix is made of and what it minimises."""

    name: Literal["pix2pix"] = "pix2pix"
    """The task."""
    generator: NetworkSettings = NetworkSettings(name="unet")
    """The network that predicts; its output is in the range -1 to 1."""
    critic: NetworkSettings = NetworkSettings(name="patchgan")
    """The critics, which see input and output side by side."""
    scales: int = Field(default=1, ge=1, le=4)
    """Critics on ever coarser views of the image; pix2pixHD has 3."""
    gan: Literal["lsgan", "vanilla", "hinge"] = "vanilla"
    """The adversarial loss; pix2pix's is vanilla, pix2pixHD's lsgan."""
    loss: Mapping[losses.Paired, float] = Field(default={"l1": 100.0}, min_length=1)
    """Weights of the terms between output and truth, as in the task regress."""
    lambda_features: float = Field(default=0.0, ge=0)
    """Weight of feature matching; pix2pixHD's is 10."""

    noise: int = Field(default=0, ge=0)
    """Channels of noise that the generator reads beside the image, drawn anew for every patch; in prediction they are
    one field over the volume."""

    @property
    def predicts(self) -> NetworkSettings:
        """The network that predicts."""
        return self.generator


class Pix2Pix(Paired):
    """A generator against critics that see its input; `seed` decides initial weights."""

    Settings = Pix2PixSettings

    def __init__(
        self, settings: Pix2PixSettings, *, dims: int = 2, channels: Mapping[str, int] | None = None, seed: int = 0
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(settings, settings.generator, dims, channels, noise=settings.noise)
            both = self.width((*settings.sources, *settings.targets))
            self.critics = Critics(settings.critic, dims=dims, channels=both, scales=settings.scales)
        self.wants = settings
        self.players: Mapping[str, nn.Module] = {"generator": self.generator, "critics": self.critics}

    def turns(self, batch: Batch) -> Iterator[Turn]:
        """Yield the generator's turn, then the critics', on the same output."""
        s = self.wants
        with alone(self.players, "generator"):
            shown, output, truth = self.compared(self.generator, batch)
            fake = torch.cat([shown.voxels, output], 1)
            real = torch.cat([shown.voxels, truth], 1)
            seen = self.critics(fake)
            terms = {"gan": fooled(seen, s.gan), **losses.paired(output, truth, s.loss)}
            if s.lambda_features > 0:
                terms["features"] = s.lambda_features * matched(self.critics(real), seen)
            loss = torch.stack(list(terms.values())).sum()
            yield Turn("generator", loss, {"generator": loss.detach(), **detached(terms)})
        with alone(self.players, "critics"):
            loss = judged(self.critics(real), self.critics(fake.detach()), s.gan)
            yield Turn("critics", loss, {"critics": loss.detach()})

    def check(self, patch: Shape) -> None:
        """Raise `BadInput`, naming the nearest patch that works, unless losses and critics have enough to look at."""
        self.check_patch(patch, self.wants.loss)

        def enough(shape: Shape) -> bool:
            certain = Region.of(shape).through(self._footprint).certain
            return certain.size > 0 and self.critics.accept(certain.shape)

        refuse_patch(patch, self._footprint, enough, "leaves the critics too few voxels")
