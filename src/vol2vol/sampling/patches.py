"""Draw training patches of one domain at random positions of lazily read volumes, and reject background.

Item i of epoch e depends on (seed, e, i) alone, not on the number of readers or processes, nor on interruptions.
Memory: a batch of patches and the chunks that one patch overlaps, whatever the size of the volumes; a patch is read
once, and once more for each candidate that was rejected as background.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape, ceil_div
from vol2vol.intensity import Intensity
from vol2vol.sampling.augment import Augment
from vol2vol.sampling.centres import Centres
from vol2vol.sampling.sources import Drawable, Source, axis_of, source_of
from vol2vol.sampling.warping import warped

log = logging.getLogger("vol2vol.sampling")

SAMPLE = 500
"""Number of patches from which the background threshold is estimated; fewer if they are large, see `_sample_size`."""
TRIES = 200
"""Number of candidates for a patch before the data set counts as empty."""
_DRAWS, _COVER, _ESTIMATE = 1, 2, 3
"""Keys that separate the random numbers of this module."""


class Candidate(NamedTuple):
    """A patch that is drawn but not yet accepted."""

    values: np.ndarray
    """(C, *patch) in the network's range."""
    seen: np.ndarray
    """The patch before zoom and deformation, which smooth it; it decides whether the patch is background."""
    source: Source
    """The volume it is from."""


class Patches:
    """Patches of one domain, drawn at random positions, without background, augmented and in the network's range.

    `patch` has three numbers of voxels, or two for 2D networks, whose patches are planes across the axes named in
    `planes`. Volumes are drawn in proportion to their voxels. Candidates whose variance, in the network's range, is
    below the `background` percentile of the whole data set are drawn again (5 in the stitching paper; None applies no
    threshold); constant candidates are always drawn again.
    `augment` flips, turns, zooms and deforms; by default it flips along all axes and turns by right angles in planes
    with isotropic voxels. `shows` selects the channels whose variance counts, `nearest` the channels that are resampled
    by the nearest voxel. `centres` are voxels of the same volumes, on which a fraction of the patches is centred.

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
        augment: Augment | None = None,
        seed: int = 0,
        shows: slice = slice(None),
        nearest: Sequence[slice] = (),
        centres: Centres | None = None,
    ) -> None:
        if not volumes:
            raise BadInput("a domain needs at least one volume: name its files")
        if len(patch) not in (2, 3) or min(patch) < 1:
            raise BadInput(f"patch {patch} must be two or three positive numbers of voxels")
        if len({volume.channels for volume in volumes}) > 1:
            raise BadInput(
                f"{volumes[0].path} and others of its domain differ in channels: use files with the same channels"
            )
        self.intensity, self.patch, self.seed = intensity, tuple(patch), seed
        self.augment, self._shows, self._nearest = augment or Augment(), shows, nearest
        self.centres = centres
        across = [None] if len(patch) == 3 else [axis_of(name) for name in planes]
        self._sources = [source_of(volume, axis, self.patch, self.augment) for volume in volumes for axis in across]
        self._across = len(across)
        voxels = np.array([prod(source.volume.spatial) for source in self._sources], dtype=np.float64)
        self._shares = voxels / voxels.sum()
        self._count = int(voxels.sum()) // len(across) // prod(patch)
        self.threshold = 0.0 if background is None else self._estimate(background)

    def __len__(self) -> int:
        """Return the number of patches that together have as many voxels as the data set, at least 1."""
        return max(1, self._count)

    def draw(self, *key: int) -> Tensor:
        """Return the patch for a key, float32 (C, [Z,] Y, X) in the network's range.

        Raises `BadInput` if it holds NaN or infinity, or after `TRIES` candidates without structure.
        """
        random = np.random.default_rng([self.seed, _DRAWS, *key])
        centred = self.centred(random)
        for _ in range(TRIES):
            values, seen, source = self.candidate(random, centred=centred)
            if self.accepts(seen):
                return torch.from_numpy(np.array(values, order="C"))
        raise BadInput(
            f"{source.volume.path}: {TRIES} random patches of {self.patch} show no structure: "
            "crop the volumes to the specimen"
        )

    def covering(self, count: int) -> Iterator[Tensor]:
        """Yield up to `count` patches spread evenly over all volumes, including background, without augmentation.

        If a grid of at most `count` patches covers all volumes, it yields that grid; otherwise it draws one patch of
        the grid at random from each of `count` equal portions.
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
            yield torch.from_numpy(np.array(values, order="C"))

    def candidate(self, random: np.random.Generator, *, warp: bool = True, centred: bool = False) -> Candidate:
        """Draw a patch; it is zoomed and deformed if `warp`, and centred on a voxel of `centres` if `centred`."""
        augment, voxel = self.augment, None
        if centred and self.centres is not None:
            which, voxel = self.centres.draw(random)
            source = self._sources[which * self._across + int(random.integers(self._across))]
        else:
            source = self._sources[int(random.choice(len(self._sources), p=self._shares))]
        turn = source.turns[int(random.integers(len(source.turns)))] if augment.turns != "none" else source.turns[0]
        sizes, back = source.voxel_sizes(turn), np.argsort(turn)
        room = augment.room(self.patch) if warp else self.patch
        margin = augment.elastic.margin(sizes) if warp else (0,) * len(room)
        lying = [room[axis] for axis in back]
        if voxel is None:
            start, plane = source.place(lying, random)
        else:
            start, plane = source.around(voxel, lying, [augment.shown(self.patch)[axis] for axis in back])
        start = [first - margin[axis] for first, axis in zip(start, back, strict=True)]
        stored = source.read(plane, start, [room[axis] + 2 * margin[axis] for axis in back])
        values = self.intensity.to_network(stored).transpose(0, *(1 + axis for axis in turn))
        values = np.flip(values, tuple(1 + a for a in source.flipped(turn, augment.flips, random)))
        seen = _middle(values, self.patch)
        if warp:
            values = warped(values, self.patch, augment, random, sizes=sizes, nearest=self._nearest)
        return Candidate(values, seen, source)

    def centred(self, random: np.random.Generator) -> bool:
        """Draw whether the next patch is centred on a voxel of `centres`."""
        return self.centres is not None and self.centres.wanted(random)

    def accepts(self, values: np.ndarray) -> bool:
        """Return whether a patch (C, *patch), in the network's range, shows more than background."""
        return (variance := _variance(values[self._shows])) > 0 and variance >= self.threshold

    def _estimate(self, background: float) -> float:
        """Return the variance below which a patch counts as background."""
        random = np.random.default_rng([self.seed, _ESTIMATE])
        samples: dict[str, list[float]] = {}
        for _ in range(_sample_size(self.patch)):
            drawn = self.candidate(random, warp=False)
            samples.setdefault(drawn.source.volume.path, []).append(_variance(drawn.values[self._shows]))
        for path, variances in samples.items():
            if len(variances) >= 5 and max(variances) == 0:
                raise BadInput(
                    f"{path}: all of {len(variances)} random patches of {self.patch} are constant: leave the file out "
                    "or crop it to the specimen"
                )
        threshold = float(np.percentile([v for variances in samples.values() for v in variances], background))
        log.info("patches with a variance below %.3g count as background and are drawn again", threshold)
        return threshold


def _sample_size(patch: Shape) -> int:
    """Return the number of patches for the threshold: 500, or as many as have 2**28 voxels, but at least 64."""
    return max(64, min(SAMPLE, 2**28 // prod(patch)))


def _middle(values: np.ndarray, patch: Shape) -> np.ndarray:
    """Return the middle (C, *patch) of values (C, *space)."""
    starts = [(n - p) // 2 for n, p in zip(values.shape[1:], patch, strict=True)]
    return values[:, *(slice(a, a + p) for a, p in zip(starts, patch, strict=True))]


def _variance(values: np.ndarray) -> float:
    """Return the variance of each channel of (C, ...), averaged over the channels."""
    return float(values.reshape(len(values), -1).var(axis=1, dtype=np.float64).mean())
