"""How many colours each labelled object shows: the error metric of the benchmark of circles, in n-D.

An object has the colour of a channel where a connected area of it is brighter than a level. Objects are measured one
by one in their own boxes, after one pass that smooths and compares the whole image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from vol2vol.errors import BadInput
from vol2vol.finite import need_finite
from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.objects.balls import brighter, cores, inside
from vol2vol.metrics.objects.instances import named, stored_labels
from vol2vol.metrics.objects.scores import count_ratio
from vol2vol.progress import counted
from vol2vol.volumes import Volume, open_volume

BLOCK, BLOCK_2D = (128, 256, 256), (1, 2048, 2048)
"""Voxels of volumes and of images that are measured at once."""
AREA = 30, 1245
"""Area that shows a colour, and that of a whole circle, in pixels of the published images."""


class Colouring(BaseModel):
    """When an object has a colour; by default as published for circles of 40 pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    level: float = Field(default=60 / 255, gt=0, lt=1)
    """Brightness above which a voxel shows the colour of its channel, as a share of the full scale."""
    least: int | None = Field(default=None, ge=0)
    """Connected voxels above the level that it takes more than; by default the published share of an object (30 of
    1245 pixels) of the median object."""
    smoothing: float = Field(default=2.0, ge=0, le=16)
    """Radius in voxels of the disc or ball over which brightness is averaged before; 0 for none."""
    margin: float = Field(default=2.0, ge=0, le=16)
    """Voxels nearer than this to another object or background are left out; 0 for none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Coloured:
    """The objects of one image, ascending by label."""

    labels: Annotated[np.ndarray, "objects"]
    lows: Annotated[np.ndarray, "objects 3"]
    """First voxel Z, Y, X of the box around each."""
    highs: Annotated[np.ndarray, "objects 3"]
    """One after its last voxel."""
    centres: Annotated[np.ndarray, "objects 3"]
    """Mean place of its voxels."""
    sizes: Annotated[np.ndarray, "objects"]
    inner: Annotated[np.ndarray, "objects"]
    """Its voxels further than the margin from what is not the object."""
    areas: Annotated[np.ndarray, "objects channels"]
    """Voxels of its largest connected area above the level, in each channel; where all such voxels together are no more
    than `least`, their number."""
    least: int
    """Voxels that an area must have more than."""
    spatial: Shape

    @cached_property
    def colours(self) -> Annotated[np.ndarray, "objects"]:
        """Number of channels whose colour each object has."""
        count: np.ndarray = (self.areas > self.least).sum(1)
        return count

    @property
    def colour(self) -> Annotated[np.ndarray, "objects"]:
        """The channel of each object's colour; -1 for those that have none or several."""
        result: np.ndarray = np.where(self.colours == 1, self.areas.argmax(1), -1) if len(self.labels) else self.colours
        return result

    @property
    def at_border(self) -> Annotated[np.ndarray, "objects"]:
        """Whether each object touches the border of the image."""
        open_axes = np.array(self.spatial) > 1
        result: np.ndarray = (((self.lows == 0) | (self.highs == self.spatial)) & open_axes).any(1)
        return result

    def judged(self, *, border: bool = True) -> Annotated[np.ndarray, "objects"]:
        """Return which objects can show a colour: cut ones may be too small for any; without `border` none is cut."""
        result: np.ndarray = (self.inner > self.least) & (border | ~self.at_border)
        return result


def colour_errors(
    images: Sequence[Coloured], *, border: bool = True, block: Shape | None = None
) -> dict[str, Blockwise]:
    """Return the shares of objects with several colours (multi) and with not exactly one, as sums per image.

    With a `block` (Z, Y, X), sums are per block of the first image, by where the boxes of its objects begin.
    """
    counts = [
        np.stack([image.colours > 1, image.colours != 1, np.ones(len(image.labels))], axis=1)
        * image.judged(border=border)[:, None]
        for image in images
    ]
    if block is None:
        table = np.array([each.sum(0) for each in counts], np.float64).reshape(-1, 3)
    else:
        place, blocks = _blocks(images[0].lows, images[0].spatial, block)
        table = np.zeros((blocks, 3))
        np.add.at(table, place, counts[0])
    return {
        name: Blockwise(name=name, sums=table[:, [column, 2]], combine=count_ratio)
        for column, name in enumerate(("multi", "not-1"))
    }


def coloured_objects(
    volume: Volume, labels: Volume, how: Colouring | None = None, *, block: Shape | None = None
) -> Coloured:
    """Measure the colours of the objects of a label image (0 is background) in an image of the same space.

    Memory is that of a block (Z, Y, X) and of the objects that begin in it. Raises `BadInput` where the shapes differ,
    `labels` does not hold integers of one channel, or a voxel is not finite.
    """
    how = how or Colouring()
    if volume.spatial != labels.spatial:
        raise BadInput(
            f"{volume.path} has {volume.spatial} voxels and {labels.path} {labels.spatial}: "
            "give the labels of this image"
        )
    stored_labels(labels)
    size = block or (BLOCK_2D if volume.spatial[0] == 1 else BLOCK)
    objects = _extents(labels, grid(Box.of(volume.spatial), size))
    if how.least is None:
        median = int(np.median(objects.sizes)) if len(objects.sizes) else 0
        how = how.model_copy(update={"least": AREA[0] * median // AREA[1]})
    inner, areas = np.zeros(len(objects.sizes), np.int64), np.zeros((len(objects.sizes), volume.channels), np.int64)
    begins, _ = _blocks(objects.lows, volume.spatial, size)
    blocks = np.unique(begins).tolist()
    for number in counted(blocks, "measuring objects", len(blocks)):
        members = np.flatnonzero(begins == number)
        for member, colours in zip(members, _measured(volume, labels, objects, members, how), strict=True):
            inner[member], areas[member] = colours
    return Coloured(**vars(objects), inner=inner, areas=areas, least=how.least or 0, spatial=volume.spatial)


def coloured_planes(volume: Volume, labels: Volume, how: Colouring | None = None) -> list[Coloured]:
    """Measure each plane Z of a stack as an image of its own, whose labels mean nothing in other planes.

    Memory is that of a plane. Raises `BadInput` as `coloured_objects` does.
    """
    if volume.spatial != labels.spatial:
        raise BadInput(f"{volume.path} has {volume.spatial} voxels and {labels.path} {labels.spatial}: give its labels")
    planes = grid(Box.of(volume.spatial), (1, *volume.spatial[1:]))
    return [
        coloured_objects(_plane(volume, plane), _plane(labels, plane), how)
        for plane in counted(planes, "measuring planes", len(planes))
    ]


def _plane(volume: Volume, box: Box) -> Volume:
    return open_volume(volume.read(box), axes="czyx", voxel_size=(1, 1, 1))


def _blocks(lows: np.ndarray, spatial: Shape, block: Shape) -> tuple[np.ndarray, int]:
    """Return the number of the block in which each object begins, and the number of blocks."""
    counts = [ceil_div(n, s) for n, s in zip(spatial, block, strict=True)]
    return np.ravel_multi_index(tuple((lows // block).T), counts), prod(counts)


@dataclass(frozen=True, eq=False)
class _Extents:
    labels: np.ndarray
    lows: np.ndarray
    highs: np.ndarray
    centres: np.ndarray
    sizes: np.ndarray


def _extents(labels: Volume, boxes: Sequence[Box]) -> _Extents:
    """Return box, centre and size of every object, ascending by label."""
    extents: dict[int, np.ndarray] = {}
    for box in boxes:
        names, place = named(labels.read(box)[0])
        place = place.reshape(box.shape) + 1
        for number, part in enumerate(ndimage.find_objects(place), start=1):
            if not (name := int(names[number - 1])):
                continue
            at = np.nonzero(place[part] == number)
            start = [a + s.start for a, s in zip(box.start, part, strict=True)]
            stop = [a + s.stop for a, s in zip(box.start, part, strict=True)]
            sums = [float(a.sum()) + len(a) * s for a, s in zip(at, start, strict=True)]
            row = np.array([*start, *(-n for n in stop), *sums, len(at[0])])
            before = extents.get(name)
            extents[name] = row if before is None else np.concatenate([np.minimum(before, row)[:6], (before + row)[6:]])
    rows = np.array([extents[name] for name in sorted(extents)]).reshape(-1, 10)
    whole = rows[:, [0, 1, 2, 3, 4, 5, 9]].astype(np.int64)
    centres = rows[:, 6:9] / rows[:, 9:]
    return _Extents(np.array(sorted(extents), np.int64), whole[:, :3], -whole[:, 3:6], centres, whole[:, 6])


def _measured(
    volume: Volume, labels: Volume, objects: _Extents, members: np.ndarray, how: Colouring
) -> Iterator[tuple[int, list[int]]]:
    """Yield for each of some objects its inner voxels and its largest bright area per channel."""
    region = Box(tuple(map(int, objects.lows[members].min(0))), tuple(map(int, objects.highs[members].max(0))))
    halo = tuple(int(max(how.smoothing, how.margin)) * (n > 1) for n in volume.spatial)
    wide = region.grow(halo, halo)
    here, image = labels.read_padded(wide)[0], volume.read_padded(wide)
    need_finite(image, volume.path)
    bright = brighter(image * (here > 0), how.level, how.smoothing, halo)
    core = cores(here, how.margin, halo)
    here = here[inside(here.shape, halo)]
    for member in members:
        box = Box(tuple(objects.lows[member].tolist()), tuple(objects.highs[member].tolist()))
        part = box.relative_to(region.start).slices
        own = core[part] & (here[part] == objects.labels[member])
        yield int(np.count_nonzero(own)), [_largest(channel[part] & own, how.least or 0) for channel in bright]


def _largest(mask: np.ndarray, least: int) -> int:
    """Return the voxels of the largest connected part of a mask; voxels that share a corner are connected.

    A mask of no more than `least` voxels is not taken apart.
    """
    everything = int(np.count_nonzero(mask))
    if everything <= least:
        return everything
    flat = mask[0] if len(mask) == 1 else mask
    parts, count = ndimage.label(flat, np.ones((3,) * flat.ndim, bool))
    return everything if count == 1 else int(np.bincount(parts.ravel())[1:].max())
