"""Stitching-aware training (SATI, Boehland et al. 2023): a generator also learns to continue its own output.

Part of the generator's output y is pasted into its input x, as if earlier tiles lay there; shown this tile z, the
generator makes y again where it was pasted (stitching loss), and goes on from there (adversarial loss).

The paper maps x to [-1, 0] and y to [0, 1], so that the network can tell them apart (domain encoding). Here values of
both are -1 to 1, and y + 2 is pasted: the same numbers, multiplied by 2 and shifted by 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from vol2vol import losses
from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Footprint, Shape
from vol2vol.nets import repeated
from vol2vol.plans.marching import cases, shown
from vol2vol.protocol import Applied, March, OnePass
from vol2vol.tasks.overlap_weights import Border, Pixels, pixel_weights
from vol2vol.tasks.regions import Image, Region, times

ENCODED = 2.0
"""Width of the network's range: what encoded output is shifted by, so that it does not share values with input."""


class StitchingSettings(BaseModel):
    """What tiles show of earlier ones in training, and how the generator learns to continue it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    overlap: float | tuple[float, float] = 0.25
    """How far earlier output reaches into a tile along an axis: a share of the tile below 1, or voxels; two numbers are
    bounds between which it is drawn for every patch."""
    cases: Literal["equal", "code", "all"] = "equal"
    """On which axes there are earlier tiles, drawn for every patch: `equal`, all combinations equally often, as the
    paper says; `code`, first the number of axes and then which, as its code does; `all`, always on all axes."""
    encoded: bool = True
    """Whether output that is shown is shifted by 2, so that the network can tell it from input (domain encoding)."""
    weight: float = Field(default=10.0, ge=0)
    """Weight of the stitching loss, the squared difference in the overlap."""
    ramp: bool = True
    """Whether this weight grows linearly from zero, and is reached at the end of training."""
    pixels: Pixels = "paper"
    """How voxels of the overlap are weighted: `paper`, less towards the tile's far corner; `code`, as the paper's code
    weights them; `none`, all alike."""
    detach: bool = False
    """Whether the stitching loss leaves the first output alone; otherwise it also draws that towards the second."""
    adversarial: bool = True
    """Whether critics judge what the generator makes of such tiles."""
    both: bool = False
    """Whether the backward generator of a cycleGAN learns it, too."""

    @field_validator("overlap")
    @classmethod
    def _is_an_overlap(cls, overlap: float | tuple[float, float]) -> float | tuple[float, float]:
        low, high = overlap if isinstance(overlap, tuple) else (overlap, overlap)
        if not 0 < low <= high:
            raise ValueError("nothing would be shown of earlier tiles: give a share such as 0.25, or voxels such as 16")
        if (low < 1) != (high < 1) or (low >= 1 and any(n != int(n) for n in (low, high))):
            raise ValueError("give shares below 1, or whole numbers of voxels")
        return overlap

    def check_direction(self, task: str) -> None:
        """Raise `ValueError` where a task of one direction is to learn both."""
        if self.both:
            raise ValueError(f"stitching.both needs a backward generator, which {task} does not have: leave it out")

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest overlap."""
        return self.overlap if isinstance(self.overlap, tuple) else (self.overlap, self.overlap)


@dataclass(frozen=True)
class Tile:
    """Tiles (B, C, *space) that show earlier output, and what each of them shows."""

    image: Image
    borders: tuple[Border, ...]


@dataclass(frozen=True)
class Continued:
    """What a generator makes of tiles that show its first output."""

    image: Image
    loss: Tensor
    """The stitching loss, unweighted: a number with a gradient."""
    fresh: tuple[Box, ...]
    """Of each tile, the box of the patch in which it shows input; it may be larger than what losses see."""


class Stitching:
    """What stitching-aware training adds to the game of one generator.

    `backward` is whether its output is the domain with the lower values; `certain` whether losses look only at voxels
    that depend on no border (then only these are pasted, too). The generator reads `noise` more channels, drawn anew.
    """

    def __init__(
        self,
        settings: StitchingSettings,
        network: nn.Module,
        footprint: Footprint,
        *,
        certain: bool = False,
        backward: bool = False,
        noise: int = 0,
    ) -> None:
        self.settings, self._network, self._footprint, self._certain = settings, network, footprint, certain
        self._noise = noise
        self.offset = (-ENCODED if backward else ENCODED) if settings.encoded else 0.0
        self.progress = 1.0
        self._shape: Shape | None = None

    @property
    def weight(self) -> float:
        """The weight of the stitching loss at this point of training."""
        return self.settings.weight * (self.progress if self.settings.ramp else 1.0)

    @property
    def applied(self) -> Applied:
        """How the generator is applied: a march. One pass as long as overlaps in voxels lack the size of a tile."""
        low, high = self.settings.bounds
        if high >= 1:
            if self._shape is None:
                return OnePass()
            low, high = low / max(self._shape), high / min(self._shape)
        return March(share=(low, high), offset=self.offset)

    def continued(self, patch: Image, output: Image) -> Continued:
        """Return what the generator makes of tiles that show its `output` in its input, and the stitching loss."""
        tile = self.tile(patch, output)
        again = tile.image.through(self._network, self._footprint, noise=self._noise)
        box = tile.image.region.box
        fresh = tuple(
            Box(tuple(a + n * is_before for a, n, is_before in zip(box.start, *each, strict=True)), box.stop)
            for each in ((border.overlap, border.before) for border in tile.borders)
        )
        return Continued(again, self.loss(tile, output, again), fresh)

    def tile(self, patch: Image, output: Image) -> Tile:
        """Return the patch with the first voxels of the output, shifted by the offset, where earlier tiles would lie.

        The tile begins where the output does; the overlap and the axes are drawn for every patch of the batch by
        torch's global generator on the CPU. The output is pasted without its gradient.
        """
        region = self._region(output.region)
        self._shape = region.box.shape
        x, y = patch.within(region.box), output.detach().within(region.box)
        channels = max(x.shape[1], y.shape[1])
        borders = tuple(self._drawn(region.box.shape) for _ in range(len(x)))
        masks = np.stack([shown(region.box.shape, border.overlap, border.before) for border in borders])
        pasted = torch.from_numpy(masks[:, None]).to(x.device)
        merged = torch.where(pasted, repeated(y, channels) + self.offset, repeated(x, channels))
        return Tile(Image(merged, region), borders)

    def loss(self, tile: Tile, output: Image, again: Image) -> Tensor:
        """Return the weighted squared difference between both outputs where the tile shows the first one."""
        start, seen = tile.image.region.box.start, again.region.part(self._certain)
        shape, at = tile.image.region.box.shape, seen.relative_to(start)
        maps = [pixel_weights(shape, border, self.settings.pixels, at) for border in tile.borders]
        weight = torch.from_numpy(np.stack(maps)[:, None]).to(again.voxels.device)
        target = output.detach() if self.settings.detach else output
        return losses.weighted_mse(again.within(seen), target.within(seen), weight)

    def seen(self, output: Region) -> Box | None:
        """Return where losses see what is made of a tile, for an output that lies here; None where that is too small.

        It is where the smallest overlap lies outside of what they see.
        """
        try:
            tile = self._region(output)
            seen = tile.through(self._footprint).part(self._certain)
        except BadInput:
            return None
        self._shape = tile.box.shape
        start, low, high = tile.box.start, *(self._widths(n, tile.box.shape) for n in self.settings.bounds)
        painted = all(a - b < n for a, b, n in zip(seen.start, start, low, strict=True))
        left = all(n < size for n, size in zip(high, tile.box.shape, strict=True))
        return seen if painted and left and seen.size > 0 else None

    def fresh(self, output: Region) -> Box:
        """Return where losses see a tile go on, for an output that lies here, with the widest overlap on all axes."""
        tile = self._region(output)
        widths = self._widths(self.settings.bounds[1], tile.box.shape)
        start = tuple(a + n for a, n in zip(tile.box.start, widths, strict=True))
        return Box(start, tile.box.stop) & tile.through(self._footprint).part(self._certain)

    def check(self, patch: Shape) -> None:
        """Raise `BadInput` where the overlap fills a patch, or losses see none of it in patches of any size."""
        low, high = self.settings.bounds
        if high >= min(patch):
            raise BadInput(
                f"task.stitching.overlap {high:g} leaves nothing of a patch of {times(patch)} to translate: make it "
                "smaller, or data.patch larger"
            )
        blind = max(self._region(Region.of(self._footprint.minimum)).through(self._footprint).part(self._certain).start)
        if 1 <= low <= blind:
            raise BadInput(
                f"task.stitching.overlap {low:g}: losses do not see the first {blind} voxels of a tile with this "
                f"network and loss_region: give {blind + 1} voxels or more, or a share of the tile"
            )

    def _region(self, output: Region) -> Region:
        """Return a tile that begins where the output does, and is as large as the network accepts."""
        part = output.part(self._certain)
        return Region(part, part).fitted(self._footprint, centred=False)

    def _drawn(self, shape: Shape) -> Border:
        low, high = self.settings.bounds
        if low < high:
            share = float(torch.rand((), dtype=torch.float64))
            low = low + (high - low) * share if high < 1 else int(low + (high + 1 - low) * share)
        return Border(self._widths(low, shape), self._drawn_case(len(shape)))

    def _drawn_case(self, dims: int) -> tuple[bool, ...]:
        if self.settings.cases == "all":
            return (True,) * dims
        if self.settings.cases == "equal":
            every = cases(dims)
            return every[int(torch.randint(len(every), ()))]
        count = int(torch.randint(1, dims + 1, ()))
        axes = torch.randperm(dims)[:count].tolist()
        return tuple(axis in axes for axis in range(dims))

    @staticmethod
    def _widths(overlap: float, shape: Shape) -> Shape:
        """Return the overlap in voxels along every axis, at least one."""
        return tuple(max(1, round(overlap * n)) if overlap < 1 else int(overlap) for n in shape)


def check_channels(source: int, target: int, what: str = "task.stitching") -> None:
    """Raise `BadInput` where a generator cannot be shown output of `target` channels like input of `source` channels.

    Their numbers must be equal, or one of them 1: then that image is repeated. `what` needs this.
    """
    if source != target and 1 not in (source, target):
        raise BadInput(
            f"{what} shows the generator both domains, of {source} and {target} channels: these must be equal, or 1 in "
            "one domain; pick channels of the volumes"
        )
