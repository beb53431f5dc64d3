"""Denoising without clean images: the network guesses voxels that it is not shown (Noise2Void, Krull et al. 2019).

Where a second noisy exposure of the same place is given as `target`, the network learns to make that one instead
(Noise2Noise, Lehtinen et al. 2018). Either way the average of what it could be is left: the image without its noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.protocol import Need, Translation
from vol2vol.tasks.base import Batch, NetworkSettings, TaskSettings, Turn
from vol2vol.tasks.regions import Image, Region, refuse_patch


class DenoiseSettings(TaskSettings):
    """What a denoiser is and which voxels it is not shown."""

    name: Literal["denoise"] = "denoise"
    """The task."""
    network: NetworkSettings = NetworkSettings(name="unet")
    """The network; its output is in the range -1 to 1."""
    blind: float = Field(default=0.02, gt=0, le=0.5)
    """Fraction of voxels that are hidden in a patch, each replaced by a neighbour drawn at random."""
    radius: int = Field(default=3, ge=1)
    """How far such a neighbour may be, in voxels along each axis."""
    structure: tuple[int, ...] = ()
    """Voxels to hide on both sides of a blind spot, per axis of the patch (Z, Y, X), where noise is correlated, such as
    [0, 4] for noise along the lines of a scanned image (structured Noise2Void, Broaddus et al. 2020)."""
    loss: Literal["l1", "l2"] = "l2"
    """Between guess and hidden voxel: l2 leads to the mean, l1 to the median."""

    @property
    def predicts(self) -> NetworkSettings:
        """The network that predicts."""
        return self.network

    def needs(self) -> tuple[Need, ...]:
        """Return the noisy domain and, if there is one, a second exposure at the same place."""
        return Need(name="source"), Need(name="target", along="source", optional=True, like="source")


class Denoise(nn.Module):
    """One network against voxels it has not seen.

    `dims` is 2 for images or 3 for volumes; `channels` counts those of `source` and, where there is a second exposure,
    `target`; `seed` decides initial weights. Blind spots are drawn by torch's random state, which checkpoints hold.
    """

    Settings = DenoiseSettings
    criterion = "blind"

    def __init__(
        self, settings: DenoiseSettings, *, dims: int = 2, channels: Mapping[str, int] | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        settings.network.check()
        self.settings, self._channels = settings, dict(channels or {"source": 1})
        width = self._channels["source"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = nets.build(
                settings.network.name, dims=dims, in_channels=width, out_channels=width, **settings.network.arguments
            )
        self._footprint = nets.footprint(self.generator)
        self.players: Mapping[str, nn.Module] = {"generator": self.generator}
        _check(settings, dims, self._channels)

    def turns(self, batch: Batch) -> Iterator[Turn]:
        """Yield the only turn."""
        loss = self._loss(self.generator, batch, None)
        yield Turn("generator", loss, {"generator": loss.detach()})

    @torch.no_grad()
    def judge(self, networks: Mapping[str, nn.Module], batches: Iterable[Batch]) -> dict[str, float]:
        """Return the loss on held-out patches, always with the same blind spots."""
        network = networks["forward"]
        training = network.training
        network.eval()
        random = torch.Generator().manual_seed(0)
        terms = [float(self._loss(network, batch, random)) for batch in batches]
        network.train(training)
        return {"blind": sum(terms) / len(terms)}

    def _loss(self, network: nn.Module, batch: Batch, random: torch.Generator | None) -> Tensor:
        noisy = batch["source"]
        if "target" in batch:
            shown, wanted, counts = noisy, batch["target"], torch.ones_like(noisy[:, :1])
        else:
            wanted = noisy
            shown, counts = self._blinded(noisy, random)
        output = Image.of(shown).through(network, self._footprint)
        box = output.region.certain
        weight = Image.of(counts).within(box)
        difference = output.within(box) - Image.of(wanted).within(box)
        error = difference.square() if self.settings.loss == "l2" else difference.abs()
        return (error * weight).sum() / (weight.sum() * error.shape[1]).clamp_min(1)

    def _blinded(self, noisy: Tensor, random: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return a patch (B, C, *space) with hidden voxels, and where they are, (B, 1, *space) of 0 and 1."""
        space = noisy.shape[2:]
        drawn = torch.rand((len(noisy), 1, *space), generator=random).to(noisy.device)
        spots = (drawn < self.settings.blind).float()
        hidden = spots
        if any(self.settings.structure):
            pool = functional.max_pool2d if len(space) == 2 else functional.max_pool3d
            reach = self.settings.structure
            hidden = pool(spots, [2 * n + 1 for n in reach], stride=1, padding=reach)
        return torch.where(hidden > 0, self._neighbours(noisy, random), noisy), spots

    def _neighbours(self, noisy: Tensor, random: torch.Generator | None) -> Tensor:
        """Return, for every voxel, the value of another one at most `radius` away, mirrored at the border."""
        space, radius = noisy.shape[2:], self.settings.radius
        steps = torch.randint(-radius, radius + 1, (len(space), len(noisy), 1, *space), generator=random)
        still = (steps == 0).all(0)
        steps[-1] = torch.where(still, torch.ones_like(steps[-1]), steps[-1])
        index = torch.zeros_like(steps[0])
        for axis, size in enumerate(space):
            shape = [1] * (2 + len(space))
            shape[2 + axis] = size
            place = (torch.arange(size).reshape(shape) + steps[axis]).abs()
            place = torch.where(place >= size, 2 * (size - 1) - place, place).clamp(0, size - 1)
            index = index * size + place
        flat = index.flatten(2).expand(-1, noisy.shape[1], -1).to(noisy.device)
        return noisy.flatten(2).gather(2, flat).reshape(noisy.shape)

    def translations(self) -> dict[str, Translation]:
        """Return the network as `forward`: what it makes is the source without its noise."""
        return {"forward": Translation(network=self.generator, reads=("source",), makes=("source",))}

    def channels(self) -> dict[str, int]:
        """Return the number of channels of every domain."""
        return dict(self._channels)

    def context(self) -> tuple[Shape, Shape]:
        """Return the reach of the network: losses look at voxels that have seen their whole context."""
        return self._footprint.reach

    def check(self, patch: Shape) -> None:
        """Raise `BadInput`, naming the nearest patch that works, unless some of its voxels are certain."""

        def enough(shape: Shape) -> bool:
            return Region.of(shape).through(self._footprint).certain.size > 0

        refuse_patch(patch, self._footprint, enough, "leaves no voxel with its whole context")


def _check(settings: DenoiseSettings, dims: int, channels: Mapping[str, int]) -> None:
    """Raise `BadInput` where the blind spots do not fit the patch, or the exposures do not fit each other."""
    if settings.structure and len(settings.structure) != dims:
        raise BadInput(f"task.structure {list(settings.structure)} needs {dims} numbers, one per axis of the patch")
    if channels.get("target", channels["source"]) != channels["source"]:
        raise BadInput(f"source and target are exposures of one domain: {dict(channels)} channels differ")
