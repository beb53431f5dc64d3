"""Training patches at random offsets from lazily read volumes, unpaired, background rejected.

Item i of epoch e is a pure function of (seed, e, i): the number of readers, processes or interruptions changes
nothing. Memory: a batch of patches plus the chunks that one patch touches, whatever the size of the volumes; a
patch is read once, and once more for each candidate that was rejected as background.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import prod
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, ceil_div
from vol2vol.intensity import Intensity
from vol2vol.volumes.space import need_voxel_size

log = logging.getLogger("vol2vol.sampling")

ISOTROPIC = 0.02
"""Voxel sizes that differ by less than this share count as equal."""
SAMPLE = 500
"""Patches from which the background threshold is estimated; fewer where they are large, see `_sample_size`."""
TRIES = 200
"""Candidates per patch before the data set is called empty."""
_DRAWS, _COVER, _ESTIMATE = 1, 2, 3
"""Random streams that must not meet."""


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
class _Source:
    """A volume, looked at along the axes of a patch."""

    volume: Drawable
    across: int | None
    """The axis (0 = z) that a 2D patch does not have."""
    turns: tuple[tuple[int, ...], ...]
    """Orders of the patch's axes that right-angle rotations may produce; the first is the given one."""

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if axis != self.across)

    def sizes(self) -> Shape:
        """Return the volume's voxels along the axes of a patch."""
        return tuple(self.volume.spatial[axis] for axis in self.axes)

    def read(self, plane: int, start: Sequence[int], patch: Shape) -> np.ndarray:
        """Return stored values (C, *patch); raise `BadInput`, naming the voxel, where one is not finite."""
        low, shape = [plane] * 3, [1] * 3
        for axis, a, n in zip(self.axes, start, patch, strict=True):
            low[axis], shape[axis] = int(a), n
        values = self.volume.read(Box(tuple(low), tuple(a + n for a, n in zip(low, shape, strict=True))))
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            _, *at = np.argwhere(~np.isfinite(values))[0]
            where = tuple(int(a + n) for a, n in zip(low, at, strict=True))
            raise BadInput(
                f"{self.volume.path} holds NaN or infinity, first in this patch at voxel {where}: replace it by a "
                "number in the file"
            )
        return values if self.across is None else values.squeeze(1 + self.across)

    def planes(self) -> int:
        """Return how many planes there are to choose from."""
        return 1 if self.across is None else self.volume.spatial[self.across]


class Patches:
    """Patches of one domain: where they may lie, which are background, and how they enter the network.

    `patch` has two numbers for 2D networks, whose patches are planes across the axes named in `planes`, or three.
    Volumes are drawn in proportion to their voxels. Candidates whose variance, in the network's range, is below the
    `background` percentile of the whole data set are drawn again (5 in the stitching paper; None measures nothing),
    constant ones always.
    `augment` flips along all axes and turns by right angles in planes where the voxel is isotropic. `shows` picks the
    channels whose variance counts.

    Raises `BadInput` for patches larger than a volume, planes that need isotropic voxels, and data without structure.
    """

    def __init__(
        self,
        volumes: Sequence[Drawable],
        intensity: Intensity,
        patch: Shape,
        *,
        planes: Sequence[str] = ("z",),
        background: float | None = 5.0,
        augment: bool = True,
        seed: int = 0,
        shows: slice = slice(None),
    ) -> None:
        if not volumes:
            raise BadInput("a domain needs at least one volume: name its files")
        if len(patch) not in (2, 3) or min(patch) < 1:
            raise BadInput(f"patch {patch} must be two or three positive numbers of voxels")
        if len({volume.channels for volume in volumes}) > 1:
            raise BadInput(f"{volumes[0].path} and others of its domain differ in channels: use alike files")
        self.intensity, self.patch, self.augment, self.seed = intensity, tuple(patch), augment, seed
        self._shows = shows
        across = [None] if len(patch) == 3 else [_axis(name) for name in planes]
        if augment and across == [None]:
            for volume in volumes:
                need_voxel_size(volume, "turning patches in 3D needs (data.augment=false leaves them as they lie)")
        self._sources = [_source(volume, axis, self.patch) for volume in volumes for axis in across]
        voxels = np.array([prod(source.volume.spatial) for source in self._sources], dtype=np.float64)
        self._shares = voxels / voxels.sum()
        self._count = int(voxels.sum()) // len(across) // prod(patch)
        self.threshold = 0.0 if background is None else self._estimate(background)

    def __len__(self) -> int:
        """Return how many patches hold as many voxels as the data set, at least one."""
        return max(1, self._count)

    def draw(self, *key: int) -> Tensor:
        """Return the patch of this key, float32 (C, [Z,] Y, X) in the network's range.

        Raises `BadInput` if it holds NaN or infinity, or after `TRIES` candidates without structure.
        """
        random = np.random.default_rng([self.seed, _DRAWS, *key])
        for _ in range(TRIES):
            values, source = self.candidate(random)
            if self.accepts(values):
                return torch.from_numpy(np.ascontiguousarray(values))
        raise BadInput(
            f"{source.volume.path}: {TRIES} random patches of {self.patch} show no structure: "
            "crop the volumes to the specimen"
        )

    def covering(self, count: int) -> Iterator[Tensor]:
        """Yield up to `count` patches spread evenly over all volumes, background included, neither flipped nor turned.

        If as few as `count` patches side by side cover everything, these are they; otherwise one is picked at random
        from each of `count` equal portions.
        """
        grids = [(s.planes(), *map(ceil_div, s.sizes(), self.patch)) for s in self._sources]
        ends = np.cumsum([prod(grid) for grid in grids])
        total = int(ends[-1])
        random = np.random.default_rng([self.seed, _COVER])
        portions = (np.arange(count) + random.random(count)) * total / count
        for index in range(total) if total <= count else portions.astype(np.int64):
            which = int(np.searchsorted(ends, index, side="right"))
            source, grid = self._sources[which], grids[which]
            plane, *cell = np.unravel_index(index - (int(ends[which - 1]) if which else 0), grid)
            room = [n - p for n, p in zip(source.sizes(), self.patch, strict=True)]
            start = [int(c) * r // max(1, g - 1) for c, r, g in zip(cell, room, grid[1:], strict=True)]
            values = self.intensity.to_network(source.read(int(plane), start, self.patch))
            yield torch.from_numpy(np.ascontiguousarray(values))

    def candidate(self, random: np.random.Generator) -> tuple[np.ndarray, _Source]:
        """Return one patch (C, *patch) in the network's range, flipped and turned, and where it is from."""
        source = self._sources[int(random.choice(len(self._sources), p=self._shares))]
        turn = source.turns[int(random.integers(len(source.turns)))] if self.augment else source.turns[0]
        shape = tuple(self.patch[axis] for axis in np.argsort(turn))
        start = [int(random.integers(n - p + 1)) for n, p in zip(source.sizes(), shape, strict=True)]
        stored = source.read(int(random.integers(source.planes())), start, shape)
        values = self.intensity.to_network(stored).transpose(0, *(1 + axis for axis in turn))
        if self.augment:
            values = np.flip(values, tuple(1 + a for a in range(len(shape)) if random.integers(2)))
        return values, source

    def accepts(self, values: np.ndarray) -> bool:
        """Say whether a patch (C, *patch), in the network's range, shows more than background."""
        return (variance := _variance(values[self._shows])) > 0 and variance >= self.threshold

    def _estimate(self, background: float) -> float:
        """Return the variance below which a patch is background."""
        random = np.random.default_rng([self.seed, _ESTIMATE])
        seen: dict[str, list[float]] = {}
        for _ in range(_sample_size(self.patch)):
            values, source = self.candidate(random)
            seen.setdefault(source.volume.path, []).append(_variance(values[self._shows]))
        for path, variances in seen.items():
            if len(variances) >= 5 and max(variances) == 0:
                raise BadInput(
                    f"{path}: {len(variances)} random patches of {self.patch} are constant, nothing to learn: leave "
                    "the file out or crop it to the specimen"
                )
        threshold = float(np.percentile([v for variances in seen.values() for v in variances], background))
        log.info("background: patches of variance below %.3g are drawn again", threshold)
        return threshold


def _sample_size(patch: Shape) -> int:
    """Return how many patches estimate the threshold: 500, or as many as hold 2**28 voxels but at least 64."""
    return max(64, min(SAMPLE, 2**28 // prod(patch)))


def _variance(values: np.ndarray) -> float:
    """Return the variance within channels (C, ...), averaged over them."""
    return float(values.reshape(len(values), -1).var(axis=1, dtype=np.float64).mean())


def _axis(name: str) -> int:
    if name not in ("z", "y", "x"):
        raise BadInput(f"planes {name!r} is no axis: use z, y or x")
    return "zyx".index(name)


def _source(volume: Drawable, across: int | None, patch: Shape) -> _Source:
    """Return a volume as a source of patches; raise `BadInput` where patches do not fit it."""
    if across:
        need_voxel_size(volume, "planes across other axes than z need")
    size = volume.voxel_size
    if across and max(size) > min(size) * (1 + ISOTROPIC):
        raise BadInput(f"{volume.path}: planes other than z need isotropic voxels, not {tuple(size)}: use planes z")
    axes = _Source(volume, across, ()).axes
    sizes = tuple(volume.spatial[axis] for axis in axes)
    if any(n < p for n, p in zip(sizes, patch, strict=True)):
        largest = tuple(map(min, sizes, patch))
        raise BadInput(f"{volume.path} has {sizes} voxels, too few for patches of {patch}: the largest is {largest}")

    def possible(turn: tuple[int, ...]) -> bool:
        alike = all(
            max(size[axes[a]], size[axes[b]]) <= min(size[axes[a]], size[axes[b]]) * (1 + ISOTROPIC)
            for a, b in enumerate(turn)
        )
        return alike and all(sizes[b] >= patch[a] for a, b in enumerate(turn))

    return _Source(volume, across, tuple(turn for turn in permutations(range(len(axes))) if possible(turn)))
