"""How many colours each labelled object shows: the error metric of the benchmark of circles, in n-D.

An object has the colour of a channel where a connected area of it is brighter than a level. Objects are measured one
by one in their own boxes, after one pass that smooths and compares the whole image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.objects.instances import named, stored_labels
from vol2vol.metrics.objects.scores import count_ratio
from vol2vol.progress import counted
from vol2vol.shapes import shaped
from vol2vol.volumes import Volume

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


def colour_errors(images: Sequence[Coloured], *, border: bool = True) -> dict[str, Blockwise]:
    """Return the shares of objects with several colours (multi) and with not exactly one, as sums per image."""
    sums = []
    for image in images:
        colours = image.colours[image.judged(border=border)]
        sums.append([(colours > 1).sum(), (colours != 1).sum(), len(colours)])
    table = np.array(sums, np.float64).reshape(-1, 3)
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
    boxes = grid(Box.of(volume.spatial), size)
    objects = _extents(labels, boxes)
    if how.least is None:
        median = int(np.median(objects.sizes)) if len(objects.sizes) else 0
        how = how.model_copy(update={"least": AREA[0] * median // AREA[1]})
    inner, areas = np.zeros(len(objects.sizes), np.int64), np.zeros((len(objects.sizes), volume.channels), np.int64)
    counts = [ceil_div(n, s) for n, s in zip(volume.spatial, size, strict=True)]
    begins = np.ravel_multi_index(tuple((objects.lows // size).T), counts)
    blocks = np.unique(begins).tolist()
    for number in counted(blocks, "measuring objects", len(blocks)):
        members = np.flatnonzero(begins == number)
        for member, found in zip(members, _measured(volume, labels, objects, members, how), strict=True):
            inner[member], areas[member] = found
    return Coloured(**vars(objects), inner=inner, areas=areas, least=how.least or 0, spatial=volume.spatial)


@dataclass(frozen=True, eq=False)
class _Extents:
    labels: np.ndarray
    lows: np.ndarray
    highs: np.ndarray
    centres: np.ndarray
    sizes: np.ndarray


def _extents(labels: Volume, boxes: Sequence[Box]) -> _Extents:
    """Return box, centre and size of every object, ascending by label."""
    found: dict[int, np.ndarray] = {}
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
            before = found.get(name)
            found[name] = row if before is None else np.concatenate([np.minimum(before, row)[:6], (before + row)[6:]])
    rows = np.array([found[name] for name in sorted(found)]).reshape(-1, 10)
    whole = rows[:, [0, 1, 2, 3, 4, 5, 9]].astype(np.int64)
    centres = rows[:, 6:9] / rows[:, 9:]
    return _Extents(np.array(sorted(found), np.int64), whole[:, :3], -whole[:, 3:6], centres, whole[:, 6])


def _measured(
    volume: Volume, labels: Volume, objects: _Extents, members: np.ndarray, how: Colouring
) -> Iterator[tuple[int, list[int]]]:
    """Yield for each of some objects its inner voxels and its largest bright area per channel."""
    region = Box(tuple(map(int, objects.lows[members].min(0))), tuple(map(int, objects.highs[members].max(0))))
    halo = tuple(int(max(how.smoothing, how.margin)) * (n > 1) for n in volume.spatial)
    wide = region.grow(halo, halo)
    here, image = labels.read_padded(wide)[0], volume.read_padded(wide)
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise BadInput(f"{volume.path} has voxels that are not finite: replace NaN and infinite voxels by a number")
    bright = brighter(image * (here > 0), how.level, how.smoothing, halo)
    core = _cores(here, how.margin, halo)
    here = here[_inside(here.shape, halo)]
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


@shaped
def brighter(
    image: Annotated[np.ndarray, "channels *wide"], level: float, radius: float, halo: Shape
) -> Annotated[np.ndarray, "channels *inner"]:
    """Return where the mean over a disc or ball is above a share of the full scale; the halo is trimmed.

    The full scale is the largest value of an integer type, and 1 for floats.
    """
    integer = image.dtype.kind in "iu"
    full = float(np.iinfo(image.dtype).max) if integer else 1.0
    offsets = _ball(radius, halo)
    limit = level * full * len(offsets)
    limit = float(np.floor(limit)) if integer else limit
    kind = np.uint16 if image.dtype == np.uint8 and len(offsets) < 256 else np.float64
    bright = np.empty((len(image), *image[0][_inside(image.shape[1:], halo)].shape), bool)
    for channel, above in zip(image, bright, strict=True):
        np.greater(_sum(channel.astype(kind), offsets, halo), limit, out=above)
    return bright


def _sum(values: np.ndarray, offsets: Sequence[tuple[int, ...]], halo: Shape) -> np.ndarray:
    """Return the sums over a ball around every voxel but the halo's; runs along the last axis are added up once."""
    *others, last = halo
    width, length = values.shape[-1], values.shape[-1] - 2 * last
    runs = [values[..., last : width - last]]
    for reach in range(1, last + 1):
        pair = values[..., last - reach :][..., :length] + values[..., last + reach :][..., :length]
        runs.append(runs[-1] + pair)
    total = np.zeros_like(values[_inside(values.shape, halo)])
    reaches: dict[tuple[int, ...], int] = {}
    for *row, along in offsets:
        reaches[tuple(row)] = max(along, reaches.get(tuple(row), 0))
    for start, reach in reaches.items():
        total += runs[reach][_moved(values.shape[:-1], tuple(others), start)]
    return total


def _cores(labels: np.ndarray, radius: float, halo: Shape) -> np.ndarray:
    """Return the voxels that are further than `radius` from every voxel of another label; the halo is trimmed."""
    middle = labels[_inside(labels.shape, halo)]
    core = np.ones(middle.shape, bool)
    for offset in _ball(radius, halo):
        if any(offset):
            core &= labels[_moved(labels.shape, halo, offset)] == middle
    return core


def _ball(radius: float, halo: Shape) -> list[tuple[int, ...]]:
    """Return the offsets within a radius along the axes that have a halo."""
    reach = [range(-h, h + 1) for h in halo]
    return [offset for offset in product(*reach) if sum(o * o for o in offset) <= radius * radius]


def _inside(shape: Sequence[int], halo: Shape) -> tuple[slice, ...]:
    return _moved(shape, halo, (0,) * len(halo))


def _moved(shape: Sequence[int], halo: Shape, offset: Sequence[int]) -> tuple[slice, ...]:
    """Return the slices of an array without its halo, moved by an offset."""
    return tuple(slice(h + o, n - h + o) for n, h, o in zip(shape, halo, offset, strict=True))
