"""Volumes looked at along the axes of a patch: where a patch may lie, how it may turn, and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Protocol

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.sampling.augment import Augment
from vol2vol.volumes.space import need_voxel_size
from vol2vol.volumes.volume import read_mirrored

ISOTROPIC = 0.02
"""Voxel sizes that differ by less than this share count as equal."""


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
    """A volume, looked at along the axes of a patch."""

    volume: Drawable
    across: int | None
    """The axis (0 = z) that a 2D patch does not have."""
    turns: tuple[tuple[int, ...], ...]
    """Orders of the patch's axes that right-angle turns may produce; the first is the given one."""

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes of the volume that a patch has."""
        return tuple(axis for axis in range(3) if axis != self.across)

    def sizes(self) -> Shape:
        """Return the volume's voxels along the axes of a patch."""
        return tuple(self.volume.spatial[axis] for axis in self.axes)

    def voxel_sizes(self, turn: Sequence[int]) -> list[float]:
        """Return the size of voxels along the axes of a turned patch, in the volume's unit."""
        return [self.volume.voxel_size[self.axes[axis]] for axis in turn]

    def planes(self) -> int:
        """Return how many planes there are to choose from."""
        return 1 if self.across is None else self.volume.spatial[self.across]

    def place(self, shape: Sequence[int], random: np.random.Generator) -> tuple[list[int], int]:
        """Return where a region of some voxels along these axes begins, anywhere in the volume, and its plane.

        A region that is longer than the volume reaches beyond both ends alike.
        """
        start = [
            int(random.integers(size - n + 1)) if n <= size else (size - n) // 2
            for size, n in zip(self.sizes(), shape, strict=True)
        ]
        return start, int(random.integers(self.planes()))

    def around(self, voxel: Shape, shape: Sequence[int], shown: Sequence[int]) -> tuple[list[int], int]:
        """Return where a region of some voxels along these axes begins, and its plane, for a voxel in its middle.

        Its middle of at least `shown` voxels, which is what patches show of it, stays inside the volume.
        """
        start = [
            min(max(voxel[axis] - least // 2, 0), size - least) - (n - least) // 2
            for axis, size, n, least in zip(self.axes, self.sizes(), shape, shown, strict=True)
        ]
        return start, 0 if self.across is None else voxel[self.across]

    def flipped(self, turn: Sequence[int], flips: Sequence[str], random: np.random.Generator) -> tuple[int, ...]:
        """Return the axes of a turned patch to flip.

        Where no axis that turns may flip, a turn stays one: an even number of flips follows a turn of even order, an
        odd one a turn of odd order, and nothing is mirrored.
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
        """Return stored values (C, *shape), the volume mirrored beyond its border.

        Raises `BadInput`, naming the voxel, where one is not finite.
        """
        low, extent = [plane] * 3, [1] * 3
        for axis, a, n in zip(self.axes, start, shape, strict=True):
            low[axis], extent[axis] = int(a), n
        box = Box(tuple(low), tuple(a + n for a, n in zip(low, extent, strict=True)))
        values = read_mirrored(self._finite, self.volume.spatial, box)
        return values if self.across is None else values.squeeze(1 + self.across)

    def _finite(self, box: Box) -> np.ndarray:
        values = self.volume.read(box)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            _, *at = np.argwhere(~np.isfinite(values))[0]
            where = tuple(int(a + n) for a, n in zip(box.start, at, strict=True))
            raise BadInput(
                f"{self.volume.path} holds NaN or infinity, first in this patch at voxel {where}: replace it by a "
                "number in the file"
            )
        return values


def axis_of(name: str) -> int:
    """Return the number of an axis (0 = z); raise `BadInput` for another name."""
    if name not in ("z", "y", "x"):
        raise BadInput(f"planes {name!r} is no axis: use z, y or x")
    return "zyx".index(name)


def check_voxel_size(volume: Drawable, across: int | None, augment: Augment) -> None:
    """Raise `BadInput` where the voxel size of a volume does not allow its patches or their changes; reads nothing."""
    if across:
        need_voxel_size(volume, "planes across other axes than z need")
    if across is None and augment.turns == "isotropic":
        need_voxel_size(volume, "turning patches in 3D needs (data.augment.turns=none leaves them as they lie)")
    if augment.elastic.amplitude and augment.elastic.unit == "volume":
        need_voxel_size(volume, "data.augment.elastic.unit=volume needs")
    size = volume.voxel_size
    if across and max(size) > min(size) * (1 + ISOTROPIC):
        raise BadInput(f"{volume.path}: planes other than z need isotropic voxels, not {tuple(size)}: use planes z")


def source_of(volume: Drawable, across: int | None, patch: Shape, augment: Augment) -> Source:
    """Return a volume as a source of patches; raise `BadInput` where patches do not fit it."""
    check_voxel_size(volume, across, augment)
    size = volume.voxel_size
    axes = Source(volume, across, ()).axes
    sizes = tuple(volume.spatial[axis] for axis in axes)
    if any(n < p for n, p in zip(sizes, patch, strict=True)):
        largest = tuple(map(min, sizes, patch))
        raise BadInput(f"{volume.path} has {sizes} voxels, too few for patches of {patch}: the largest is {largest}")
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
