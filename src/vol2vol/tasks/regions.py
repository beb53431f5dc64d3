"""Where an image lies in the patch it came from, and which of its voxels have seen their whole context.

A patch goes through one generator, then through the other; valid or cropped networks shorten it on the way. Both
the comparison with the patch and the certain centre follow from footprints alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Footprint, Shape, round_up
from vol2vol.nets import with_noise


@dataclass(frozen=True)
class Region:
    """A part of the patch, in voxels of the patch."""

    box: Box
    """What an image shows."""
    certain: Box
    """Voxels that depend on no border: they would be the same in a larger patch. May be empty."""

    @classmethod
    def of(cls, shape: Sequence[int]) -> Region:
        """Return the region of a whole patch, all of it certain: it is data."""
        return cls(Box.of(shape), Box.of(shape))

    def part(self, certain: bool) -> Box:
        """Return the box a loss looks at: the certain centre, or all there is."""
        return self.certain if certain else self.box

    def fitted(self, footprint: Footprint, *, centred: bool = True) -> Region:
        """Return the largest centre, or the largest part from the start on, that the network accepts.

        Raises `BadInput` where there is none.
        """
        low = []
        for axis, size in enumerate(self.box.shape):
            low.append(fits := footprint.admissible(size, axis, at_least=False))
            if fits > size:
                raise BadInput(f"{size} voxels do not pass this network: the smallest that fit are {fits}")
        before = tuple((size - n) // 2 if centred else 0 for size, n in zip(self.box.shape, low, strict=True))
        after = tuple(size - n - b for size, n, b in zip(self.box.shape, low, before, strict=True))
        box = self.box.grow([-n for n in before], [-n for n in after])
        return Region(box, self.certain & box)

    def through(self, footprint: Footprint) -> Region:
        """Return the region of a network's output for this input.

        The reach counts from a point on the period grid: what is uncertain at the input's border is rounded up first.
        """
        box = self.box.grow(*([-n for n in side] for side in footprint.trim))
        before = [
            round_up(c - b, p) for c, b, p in zip(self.certain.start, self.box.start, footprint.period, strict=True)
        ]
        after = [round_up(b - c, p) for c, b, p in zip(self.certain.stop, self.box.stop, footprint.period, strict=True)]
        certain = self.box.grow(
            [-n - r for n, r in zip(before, footprint.reach[0], strict=True)],
            [-n - r for n, r in zip(after, footprint.reach[1], strict=True)],
        )
        return Region(box, certain & box)


@dataclass(frozen=True)
class Image:
    """Voxels (B, C, [Z,] Y, X), float32, and where they lie."""

    voxels: Tensor
    region: Region

    @classmethod
    def of(cls, patch: Tensor) -> Image:
        """Return a patch as an image of itself."""
        return cls(patch, Region.of(patch.shape[2:]))

    def through(self, network: nn.Module, footprint: Footprint, *, noise: int = 0) -> Image:
        """Return what a network makes of this image, cut first to the largest size it accepts.

        A grey image is repeated where the network reads several channels, the last of which may be `noise`, drawn anew
        (`nets.with_noise`).
        """
        region = self.region.fitted(footprint)
        channels: int = network.in_channels  # type: ignore[assignment]
        output = network(with_noise(self.within(region.box), channels, noise))
        return Image(output.float(), region.through(footprint))

    def within(self, box: Box) -> Tensor:
        """Return the voxels of one box of the patch."""
        assert self.region.box.contains(box), (self.region, box)
        slices = (slice(None), slice(None), *box.relative_to(self.region.box.start).slices)
        return self.voxels[slices]

    def shifted(self, offset: float) -> Image:
        """Return the image with a number added to every voxel; without a copy where that is 0."""
        return replace(self, voxels=self.voxels + offset) if offset else self

    def detach(self) -> Image:
        """Return the image without its gradient."""
        return replace(self, voxels=self.voxels.detach())


def refuse_patch(patch: Shape, footprint: Footprint, enough: Callable[[Shape], bool], why: str) -> None:
    """Raise `BadInput`, naming the nearest patch that works, unless a network accepts a patch and it is enough.

    `enough` says so of sizes that the network accepts; `why` is what is wrong with those that are not.
    """
    accepted = footprint.admits(patch)
    if accepted and enough(patch):
        return
    below = tuple(footprint.admissible(n, axis, at_least=False) for axis, n in enumerate(patch))
    if all(b <= n for b, n in zip(below, patch, strict=True)) and enough(below):
        footprint.check(patch)
    smallest = patch
    while smallest == patch or not enough(smallest):
        smallest = tuple(footprint.admissible(n + 1, axis, at_least=True) for axis, n in enumerate(smallest))
    what = f"patch {times(patch)} {why if accepted else 'does not fit this network'}"
    raise BadInput(f"{what}: the smallest that works is {times(smallest)}")


def times(shape: Sequence[int]) -> str:
    """Return sizes as people write them, 190 x 190."""
    return " x ".join(map(str, shape))
