"""Read patches from volumes: where a patch may lie, which rotations it allows, and its stored values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Protocol

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.finite import need_finite
from vol2vol.geometry import Box, Shape
from vol2vol.sampling.augment import Augment
from vol2vol.volumes.space import need_voxel_size
from vol2vol.volumes.volume import read_mirrored

ISOTROPIC = 0.02
"""Relative difference up to which voxel sizes count as equal."""


class Drawable(Protocol):
    """The part of a `Volume` that drawing patches needs."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def spatial(self) -> Shape: ...  # noqa: D102
    @property
    def channels(self) -> int: ...  # noqa: D102
    @property
    def voxel_size(self) -> Sequence[float]: ...  # noqa: D102
    @property
    def sized(self) -> bool: ...  # noqa: D102
    def read(self, box: Box) -> np.ndarray: ...  # noqa: D102


@dataclass(frozen=True)
class Source:
    """A volume, and the axes along which patches are cut from it."""

    volume: Drawable
    across: int | None
    """The axis (0 = z) perpendicular to a 2D patch; None in 3D."""
    turns: tuple[tuple[int, ...], ...]
    """Orders of the patch's axes that rotations by right angles may produce; the first is that without rotation."""

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes of the volume that a patch has."""
        return tuple(axis for axis in range(3) if axis != self.across)

    def sizes(self) -> Shape:
        """Return the shape of the volume along the axes of a patch."""
        return tuple(self.volume.spatial[axis] for axis in self.axes)

    def voxel_sizes(self, turn: Sequence[int]) -> list[float]:
        """Return the size of voxels along the axes of a turned patch, in the volume's unit."""
        return [self.volume.voxel_size[self.axes[axis]] for axis in turn]

    def planes(self) -> int:
        """Return the number of planes from which patches are drawn; 1 in 3D."""
        return 1 if self.across is None else self.volume.spatial[self.across]

    def place(self, shape: Sequence[int], random: np.random.Generator) -> tuple[list[int], int]:
        """Draw the start of a region of this shape along the patch's axes, anywhere in the volume, and its plane.

        A region that is longer than the volume extends beyond both ends by the same length.
        """
        start = [
            int(random.integers(size - n + 1)) if n <= size else (size - n) // 2
            for size, n in zip(self.sizes(), shape, strict=True)
        ]
        return start, int(random.integers(self.planes()))

    def around(self, voxel: Shape, shape: Sequence[int], shown: Sequence[int]) -> tuple[list[int], int]:
        """Return the start of a region of this shape along the patch's axes, and its plane, centred on a voxel.

        The middle `shown` voxels of the region, which patches show, stay inside the volume.
        """
        start = [
            min(max(voxel[axis] - least // 2, 0), size - least) - (n - least) // 2
            for axis, size, n, least in zip(self.axes, self.sizes(), shape, shown, strict=True)
        ]
        return start, 0 if self.across is None else voxel[self.across]

    def flipped(self, turn: Sequence[int], flips: Sequence[str], random: np.random.Generator) -> tuple[int, ...]:
        """Return the axes along which a turned patch is flipped.

        If the axes of a rotation may not be flipped, the result is a proper rotation: an even permutation of axes gets
        an even number of flips, an odd permutation an odd number, so that the patch is not mirrored.
        """
        names = ["zyx"[self.axes[axis]] for axis in turn]
        turning = [a for a in range(len(turn)) if any(other[a] != a for other in self.turns)]
        free = [a for a, name in enumerate(names) if name in flips or a in turning]
        chosen = {a for a in free if random.integers(2)}
        if turning and not any(names[a] in flips for a in turning):
            swaps = sum(a > b for a, b in combinations(turn, 2))
            if (swaps + len(chosen & {*turning})) % 2:
                chosen ^= {turning[-1]}
        return tuple(sorted(chosen))

    def read(self, plane: int, start: Sequence[int], shape: Sequence[int]) -> np.ndarray:
        """Return stored values (C, *shape); outside the volume they are mirrored at its border.

        Raises `BadInput`, naming the voxel, if a value is not finite.
        """
        low, extent = [plane] * 3, [1] * 3
        for axis, a, n in zip(self.axes, start, shape, strict=True):
            low[axis], extent[axis] = int(a), n
        box = Box(tuple(low), tuple(a + n for a, n in zip(low, extent, strict=True)))
        values = read_mirrored(self._finite, self.volume.spatial, box)
        return values if self.across is None else values.squeeze(1 + self.across)

    def _finite(self, box: Box) -> np.ndarray:
        return need_finite(self.volume.read(box), self.volume.path, box.start)


def axis_of(name: str) -> int:
    """Return the number of an axis (0 = z); raise `BadInput` for another name."""
    if name not in ("z", "y", "x"):
        raise BadInput(f"data.planes: {name!r} is not an axis: use z, y or x")
    return "zyx".index(name)


def check_voxel_size(volume: Drawable, across: int | None, augment: Augment) -> None:
    """Raise `BadInput` if a volume's voxel size does not suit the planes or the augmentation; it reads no voxels."""
    if across:
        need_voxel_size(volume, "planes across other axes than z need")
    if across is None and augment.turns == "isotropic":
        need_voxel_size(volume, "turning patches in 3D needs (data.augment.turns=none does not turn them)")
    if augment.elastic.amplitude and augment.elastic.unit == "volume":
        need_voxel_size(volume, "data.augment.elastic.unit=volume needs")
    size = volume.voxel_size
    if across and max(size) > min(size) * (1 + ISOTROPIC):
        raise BadInput(f"{volume.path}: planes other than z need isotropic voxels, not {tuple(size)}: use planes z")


def source_of(volume: Drawable, across: int | None, patch: Shape, augment: Augment) -> Source:
    """Return a volume as a source of patches; raise `BadInput` if patches do not fit into it."""
    check_voxel_size(volume, across, augment)
    size = volume.voxel_size
    axes = Source(volume, across, ()).axes
    sizes = tuple(volume.spatial[axis] for axis in axes)
    if any(n < p for n, p in zip(sizes, patch, strict=True)):
        largest = tuple(map(min, sizes, patch))
        raise BadInput(
            f"{volume.path} has {sizes} voxels, too few for patches of {patch}: use patches of at most {largest}"
        )
    room = augment.room(patch)
    needed = room if all(n >= p for n, p in zip(sizes, room, strict=True)) else patch

    def possible(turn: tuple[int, ...]) -> bool:
        alike = all(
            max(size[axes[a]], size[axes[b]]) <= min(size[axes[a]], size[axes[b]]) * (1 + ISOTROPIC)
            for a, b in enumerate(turn)
        )
        fits = all(sizes[b] >= needed[a] for a, b in enumerate(turn))
        return fits and (alike or augment.turns == "all") and (augment.turns != "none" or sorted(turn) == [*turn])

    return Source(volume, across, tuple(turn for turn in permutations(range(len(axes))) if possible(turn)))
