"""Segmentation (section 3.3 of the stitching paper): a network learns from masks which voxels are foreground.

`source` is an image in the network's range, `target` its mask of zeros and ones. Losses look at voxels that have seen
their whole context; which checkpoint is best is decided on blocks that training never saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from vol2vol import losses, nets
from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.protocol import Need, Translation, between
from vol2vol.tasks.base import Batch, NetworkSettings, TaskSettings, Turn
from vol2vol.tasks.regions import Image, Region, refuse_patch

THRESHOLD = 0.5
"""Probability above which a voxel counts as foreground."""


class SegmentSettings(TaskSettings):
    """The settings of a segmentation: network, loss, and how its best checkpoint is chosen."""

    name: Literal["segment"] = "segment"
    """The task."""
    network: NetworkSettings = NetworkSettings(name="segmenter")
    """The network; its output must be probabilities."""
    loss: Literal["dice", "bce", "mse", "bce+dice"] = "bce+dice"
    """What training minimises."""
    choice: Literal["iou", "dice", "mse"] = "iou"
    """What the best checkpoint is best in, on held-out blocks: intersection over union at a probability of 0.5, overlap
    of probabilities (soft Dice), or mean squared error. A plateau schedule looks at the same number."""

    @property
    def predicts(self) -> NetworkSettings:
        """The network that predicts."""
        return self.network

    def needs(self) -> tuple[Need, ...]:
        """Return image and mask, which lie on each other."""
        return Need(name="source"), Need(name="target", kind="mask", along="source")


class Segment(nn.Module):
    """One network against masks.

    `dims` is 2 for images or 3 for volumes; `channels` counts those of `source` (image) and `target` (mask), one each
    by default; `seed` decides initial weights, and the global random state is left as it was.
    """

    Settings = SegmentSettings

    def __init__(
        self,
        settings: SegmentSettings,
        *,
        dims: int = 3,
        channels: Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.settings, self._channels = settings, {"source": 1, "target": 1, **(channels or {})}
        settings.network.check()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.segmenter = nets.build(
                settings.network.name,
                dims=dims,
                in_channels=self._channels["source"],
                out_channels=self._channels["target"],
                **settings.network.arguments,
            )
        self.players: Mapping[str, nn.Module] = {"segmenter": self.segmenter}
        self.criterion = {"iou": "iou_distance", "dice": "dice_distance", "mse": "mse"}[settings.choice]
        self._footprint = nets.footprint(self.segmenter)

    def turns(self, batch: Batch) -> Iterator[Turn]:
        """Yield the only turn."""
        output, mask = self._compared(self.segmenter, batch)
        loss = losses.OVERLAP[self.settings.loss](output, mask)
        yield Turn("segmenter", loss, {"segmenter": loss.detach()})

    @torch.no_grad()
    def judge(self, networks: Mapping[str, nn.Module], batches: Iterable[Batch]) -> dict[str, float]:
        """Return how far the networks, as they predict, are from held-out masks: all voxels pooled, 0 is perfect.

        `iou_distance` is 1 - intersection / union at a probability of 0.5, `dice_distance` 1 - soft Dice, `mse` the
        mean squared error. Raises `BadInput` where the masks are empty: no checkpoint is better than another there.
        """
        network = networks["forward"]
        training = network.training
        network.eval()
        both = either = product = squares = error = torch.zeros((), dtype=torch.float64)
        voxels = shown = 0
        for batch in batches:
            p, t = (x.cpu().double() for x in self._compared(network, batch))
            hit, there = p > THRESHOLD, t > THRESHOLD
            both, either = both + (hit & there).sum(), either + (hit | there).sum()
            product, squares = product + (p * t).sum(), squares + (p * p).sum() + (t * t).sum()
            error, voxels, shown = error + ((p - t) ** 2).sum(), voxels + t.numel(), shown + int(there.sum())
        network.train(training)
        if not shown:
            raise BadInput(
                "what is held back from training to judge checkpoints holds no foreground: raise data.labels.held_out "
                "or data.labels.held_out_patches"
            )
        return {
            "iou_distance": float(1 - both / either),
            "dice_distance": float(1 - 2 * product / squares.clamp_min(losses.EMPTY)),
            "mse": float(error / voxels),
        }

    def _compared(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return probabilities and mask where the network has seen its whole context."""
        image = Image.of(batch["source"]).through(network, self._footprint)
        mask = Image.of(batch["target"])
        return image.within(image.region.certain), mask.within(image.region.certain)

    def translations(self) -> dict[str, Translation]:
        """Return the network: `forward` is from image to mask, the only translation."""
        return between({"forward": self.segmenter})

    def context(self) -> tuple[Shape, Shape]:
        """Return the reach of the network: losses look at voxels that have seen their whole context."""
        return self._footprint.reach

    def channels(self) -> dict[str, int]:
        """Return the number of channels of `source` and `target`."""
        return dict(self._channels)

    def check(self, patch: Shape) -> None:
        """Raise `BadInput`, naming the nearest patch that works, unless some of its voxels are certain."""

        def enough(shape: Shape) -> bool:
            return Region.of(shape).through(self._footprint).certain.size > 0

        refuse_patch(patch, self._footprint, enough, "leaves no voxel with its whole context")
