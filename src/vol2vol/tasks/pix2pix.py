"""Pix2pix (Isola et al. 2017): a regression whose output a critic, shown the input too, must take for real.

With several scales of critics and feature matching it is the objective of pix2pixHD (Wang et al. 2018).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vol2vol import losses
from vol2vol.geometry import Shape
from vol2vol.protocol import Translation
from vol2vol.tasks.base import Batch, NetworkSettings, Turn, alone, detached
from vol2vol.tasks.critics import Critics, fooled, judged, matched
from vol2vol.tasks.paired import Paired, PairedSettings, certain
from vol2vol.tasks.regions import Image, Region, refuse_patch
from vol2vol.tasks.stitching import Continued, Stitching, StitchingSettings, check_channels


class Pix2PixSettings(PairedSettings):
    """The settings of a pix2pix: networks, losses and their weights."""

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
    stitching: StitchingSettings | None = None
    """Stitching-aware training (SATI), which prepares the generator for predictions by the strategy march."""

    @model_validator(mode="after")
    def _has_one_direction(self) -> Pix2PixSettings:
        if self.stitching is not None:
            self.stitching.check_direction(self.name)
        return self

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
        wanted = settings.stitching
        self._stitching = wanted and Stitching(
            wanted, self.generator, self._footprint, certain=True, noise=settings.noise
        )

    def reads(self) -> int:
        """Return how many channels the generator reads; with stitching it is shown its output, too."""
        inputs, outputs = self.width(self.settings.sources), self.width(self.settings.targets)
        if getattr(self.settings, "stitching", None) is None:
            return inputs
        check_channels(inputs, outputs)
        return max(inputs, outputs)

    def turns(self, batch: Batch) -> Iterator[Turn]:
        """Yield the generator's turn, then the critics', on the same output."""
        s = self.wants
        with alone(self.players, "generator"):
            source, first, target = self.images(self.generator, batch)
            shown, output, truth = certain(source, first, target)
            pairs = [(torch.cat([shown, truth], 1), torch.cat([shown, output], 1))]
            seen = self.critics(pairs[0][1])
            terms = {"gan": fooled(seen, s.gan), **losses.paired(output, truth, s.loss)}
            if s.lambda_features > 0:
                terms["features"] = s.lambda_features * matched(self.critics(pairs[0][0]), seen)
            if self._stitching:
                again = self._stitching.continued(source, first)
                terms |= self._continued(again, target, self._stitching.weight)
                if self._stitching.settings.adversarial:
                    shown, output, truth = certain(source, again.image, target)
                    pairs.append((torch.cat([shown, truth], 1), torch.cat([shown, output], 1)))
                    terms["gan_stitched"] = fooled(self.critics(pairs[1][1]), s.gan)
            loss = torch.stack(list(terms.values())).sum()
            yield Turn("generator", loss, {"generator": loss.detach(), **detached(terms)})
        with alone(self.players, "critics"):
            each = [judged(self.critics(real), self.critics(fake.detach()), s.gan) for real, fake in pairs]
            loss = torch.stack(each).mean()
            yield Turn("critics", loss, {"critics": loss.detach()})

    def _continued(self, again: Continued, target: Image, weight: float) -> dict[str, Tensor]:
        """Return the weighted stitching loss and, where tiles show input, the terms between output and truth."""
        terms = {"stitch": weight * again.loss}
        for index, fresh in enumerate(again.fresh):
            box = fresh & again.image.region.certain
            output, truth = (image.within(box)[index : index + 1] for image in (again.image, target))
            for name, term in losses.paired(output, truth, self.wants.loss).items():
                key = f"{name}_stitched"
                terms[key] = terms.get(key, torch.zeros_like(term)) + term / len(again.fresh)
        return terms

    def set_progress(self, share: float) -> None:
        """Note which share of training is done: the weight of the stitching loss may grow with it."""
        if self._stitching:
            self._stitching.progress = share

    def translations(self) -> dict[str, Translation]:
        """Return the generator as `forward`."""
        translation = super().translations()["forward"]
        return {"forward": replace(translation, applied=self._stitching.applied) if self._stitching else translation}

    def check(self, patch: Shape) -> None:
        """Raise `BadInput`, naming the nearest patch that works, unless losses and critics have enough to look at."""
        self.check_patch(patch, self.wants.loss)
        if self._stitching:
            self._stitching.check(patch)

        def enough(shape: Shape) -> bool:
            once = Region.of(shape).through(self._footprint)
            boxes = [once.certain]
            if self._stitching:
                again = self._stitching.seen(once)
                if again is None or min(self._stitching.fresh(once).shape) < self.least(self.wants.loss):
                    return False
                boxes.append(again)
            return all(box.size > 0 and self.critics.accept(box.shape) for box in boxes)

        refuse_patch(patch, self._footprint, enough, "leaves losses and critics too few voxels")
