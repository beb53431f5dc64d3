"""What supervised tasks share: images and what they should become, at the same place, and the judgement of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vol2vol import losses, nets
from vol2vol.geometry import Shape
from vol2vol.protocol import Need, Translation
from vol2vol.tasks.base import Batch, NetworkSettings, TaskSettings
from vol2vol.tasks.regions import Image, Region, refuse_patch

CRITERIA = {"psnr": "mse", "ssim": "ssim_distance", "pearson": "pearson_distance"}
"""What is lowest where each choice is best."""


class PairedSettings(TaskSettings):
    """The settings of tasks that learn from aligned images."""

    sources: tuple[str, ...] = Field(default=("source",), min_length=1)
    """Domains that the network reads, side by side along channels."""
    targets: tuple[str, ...] = Field(default=("target",), min_length=1)
    """Domains that the network makes, side by side along channels; they lie on the sources."""
    loss: Mapping[losses.Paired, float] = Field(default={"l1": 1.0}, min_length=1)
    """Weights of the terms whose sum training minimises: l1, l2, smooth-l1, ssim (1 - structural similarity), pearson
    (1 - correlation), or losses of other packages."""
    choice: Literal["psnr", "ssim", "pearson"] = "psnr"
    """What the best checkpoint is best in, on a held-out part: peak signal-to-noise ratio, structural similarity, or
    Pearson's correlation. A plateau schedule looks at the same number."""

    @model_validator(mode="after")
    def _names_differ(self) -> PairedSettings:
        names = (*self.sources, *self.targets)
        if len(set(names)) < len(names):
            raise ValueError(f"a domain is named twice in sources and targets: {', '.join(names)}")
        return self

    def loss_names(self) -> tuple[str, ...]:
        """Return the losses between output and truth."""
        return tuple(self.loss)

    def needs(self) -> tuple[Need, ...]:
        """Return sources and targets, which all lie on the first source."""
        first, *others = (*self.sources, *self.targets)
        return Need(name=first), *(Need(name=name, along=first) for name in others)


class Paired(nn.Module):
    """A network from some domains to others that lie on them, compared where it has seen its whole context.

    `dims` is 2 for images or 3 for volumes; `channels` counts those of every domain, one each by default. The network
    reads `noise` more, which are drawn anew for every patch.
    """

    def __init__(
        self,
        settings: PairedSettings,
        network: NetworkSettings,
        dims: int,
        channels: Mapping[str, int] | None,
        *,
        noise: int = 0,
    ) -> None:
        super().__init__()
        network.check()
        self.settings, self._noise = settings, noise
        self._channels = {name: (channels or {}).get(name, 1) for name in (*settings.sources, *settings.targets)}
        self.generator = nets.build(
            network.name, dims=dims, in_channels=self.reads() + noise, out_channels=self.width(settings.targets),
            **network.arguments,
        )  # fmt: skip
        self._footprint = nets.footprint(self.generator)
        self.criterion = CRITERIA[settings.choice]

    def width(self, domains: Iterable[str]) -> int:
        """Return how many channels some domains have side by side."""
        return sum(self._channels[name] for name in domains)

    def reads(self) -> int:
        """Return how many channels the network reads: those of the sources."""
        return self.width(self.settings.sources)

    def images(self, network: nn.Module, batch: Batch) -> tuple[Image, Image, Image]:
        """Return the input, the output and the truth."""
        source = Image.of(torch.cat([batch[name] for name in self.settings.sources], 1))
        target = Image.of(torch.cat([batch[name] for name in self.settings.targets], 1))
        return source, source.through(network, self._footprint, noise=self._noise), target

    @torch.no_grad()
    def judge(self, networks: Mapping[str, nn.Module], batches: Iterable[Batch]) -> dict[str, float]:
        """Return how near the network's output, as it predicts, is to held-out images.

        `psnr` in dB from all voxels pooled, for the network's range; `ssim_distance` and `pearson_distance` are 1 minus
        the means over patches; `mse` is 0 for equal images. Patches smaller than the window of structural similarity
        leave it out.
        """
        network = networks["forward"]
        training = network.training
        network.eval()
        error, voxels, similar, alike = 0.0, 0, [], []
        for batch in batches:
            _, output, truth = certain(*self.images(network, batch))
            output = output.clamp(-1, 1)
            error += float((output.double() - truth.double()).square().sum())
            voxels += truth.numel()
            alike.append(float(losses.pearson(output, truth)))
            if min(truth.shape[2:]) >= losses.WINDOW:
                similar.append(float(losses.ssim_distance(output, truth)))
        network.train(training)
        terms = {"mse": error / voxels, "pearson_distance": sum(alike) / len(alike)}
        terms["psnr"] = float(10 * torch.log10(torch.tensor(losses.RANGE**2 / max(terms["mse"], 1e-12))))
        if similar:
            terms["ssim_distance"] = sum(similar) / len(similar)
        return terms

    def translations(self) -> dict[str, Translation]:
        """Return the network as `forward`."""
        s = self.settings
        return {"forward": Translation(network=self.generator, reads=s.sources, makes=s.targets, noise=self._noise)}

    def channels(self) -> dict[str, int]:
        """Return the number of channels of every domain."""
        return dict(self._channels)

    def context(self) -> tuple[Shape, Shape]:
        """Return the reach of the network: losses look at voxels that have seen their whole context."""
        return self._footprint.reach

    @staticmethod
    def least(weights: Mapping[losses.Paired, float]) -> int:
        """Return how many voxels per axis these terms need at least."""
        return losses.WINDOW if "ssim" in weights else 1

    def check_patch(self, patch: Shape, weights: Mapping[losses.Paired, float]) -> None:
        """Raise `BadInput`, naming the nearest patch that works, unless its certain centre can be compared."""
        least = losses.WINDOW if self.settings.choice == "ssim" else self.least(weights)

        def enough(shape: Shape) -> bool:
            return min(Region.of(shape).through(self._footprint).certain.shape) >= least

        refuse_patch(patch, self._footprint, enough, "leaves too few voxels with their whole context")


def certain(source: Image, output: Image, truth: Image) -> tuple[Tensor, Tensor, Tensor]:
    """Return the voxels of three images (B, C, *space) where the output has seen its whole context."""
    box = output.region.certain
    return source.within(box), output.within(box), truth.within(box)
