"""Compute with boxes, covers of an axis, sizes and footprints; all quantities are integers.

All index arithmetic of the project is in this module. Shapes are tuples of voxels in ZYX order (YX for images).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from vol2vol.errors import BadInput

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """A half-open region of voxels, `start <= voxel < stop` on every axis; may reach outside a volume."""

    start: Shape
    stop: Shape

    def __post_init__(self) -> None:
        assert len(self.start) == len(self.stop), (self.start, self.stop)

    @classmethod
    def of(cls, shape: Sequence[int]) -> Box:
        """Return the box of a whole volume of this shape."""
        return cls((0,) * len(shape), tuple(shape))

    @property
    def shape(self) -> Shape:
        """Number of voxels along each axis, zero where the box is empty."""
        return tuple(max(0, b - a) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of voxels."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Slices of an array whose first element is voxel zero."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def __and__(self, other: Box) -> Box:
        start = tuple(map(max, self.start, other.start))
        return Box(start, tuple(max(a, b) for a, b in zip(start, map(min, self.stop, other.stop), strict=True)))

    def __or__(self, other: Box) -> Box:
        """Return the smallest box that contains both."""
        return Box(tuple(map(min, self.start, other.start)), tuple(map(max, self.stop, other.stop)))

    def shift(self, offset: Sequence[int]) -> Box:
        """Return the box moved by `offset` voxels."""
        return Box(
            tuple(a + o for a, o in zip(self.start, offset, strict=True)),
            tuple(b + o for b, o in zip(self.stop, offset, strict=True)),
        )

    def relative_to(self, origin: Sequence[int]) -> Box:
        """Return the box in coordinates relative to `origin`."""
        return self.shift(tuple(-o for o in origin))

    def grow(self, before: Sequence[int], after: Sequence[int]) -> Box:
        """Return the box enlarged (or, with negative numbers, trimmed) on each side."""
        return Box(
            tuple(a - n for a, n in zip(self.start, before, strict=True)),
            tuple(b + n for b, n in zip(self.stop, after, strict=True)),
        )

    def contains(self, other: Box) -> bool:
        """Return whether every voxel of `other` lies in this box."""
        return (self & other).size == other.size


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """The spatial properties of a network, one entry per spatial axis; tests verify them by perturbation.

    For an input of admissible size whose first voxel lies on the period grid, output voxels further than `reach`
    from the input's border have their whole context and do not depend on the tile.
    """

    reach: tuple[Shape, Shape]
    """Voxels of context needed before and after an output voxel, for tiles on the period grid."""
    period: Shape
    """Total stride: the network commutes with shifts by multiples of this many voxels."""
    residue: Shape
    """Admissible input sizes are congruent to this, modulo the period."""
    minimum: Shape
    """Smallest admissible input size that leaves at least one certain voxel."""
    trim: tuple[Shape, Shape]
    """Voxels by which the output is shorter than the input, before and after."""

    @property
    def dims(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.period)

    def admits(self, size: Sequence[int]) -> bool:
        """Return whether the network accepts an input of this spatial size."""
        return all(
            n >= low and n % period == residue
            for n, low, period, residue in zip(size, self.minimum, self.period, self.residue, strict=True)
        )

    def admissible(self, size: int, axis: int, *, at_least: bool) -> int:
        """Return the admissible size nearest to `size` on one axis, not smaller (`at_least`) or not larger than it."""
        period, residue = self.period[axis], self.residue[axis]
        fitted = size + (residue - size) % period if at_least else size - (size - residue) % period
        return max(fitted, self.minimum[axis])

    def check(self, tile: Sequence[int]) -> None:
        """Raise `BadInput`, naming the nearest admissible sizes, unless the network accepts this tile."""
        for axis, size in enumerate(tile):
            low = self.admissible(size, axis, at_least=False)
            high = self.admissible(size, axis, at_least=True)
            if size != low:
                near = f"try {low} or {high}" if low < size else f"the smallest that fits is {high}"
                raise BadInput(
                    f"tile {size} on axis {axis - len(tile)} does not fit this network: {near} "
                    f"(sizes must be {self.residue[axis]} mod {self.period[axis]} and at least {self.minimum[axis]})"
                )


def ceil_div(a: int, b: int) -> int:
    """Return `a / b` rounded up."""
    return -(-a // b)


def round_up(a: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is at least `a`."""
    return ceil_div(a, multiple) * multiple


def reflect(index: int, size: int) -> int:
    """Return the voxel at `index` of an axis of `size` voxels under mirror padding (edge not repeated)."""
    if size == 1:
        return 0
    index %= 2 * (size - 1)
    return index if index < size else 2 * (size - 1) - index


def cover(start: int, stop: int, step: int, origin: int = 0, length: int | None = None) -> range:
    """Return the indices k of all intervals `[origin + k*step, origin + k*step + length)` that touch `[start, stop)`.

    `length` defaults to `step`: intervals that partition the axis.
    """
    length = step if length is None else length
    if stop <= start:
        return range(0)
    return range((start - origin - length) // step + 1, ceil_div(stop - origin, step))


def boxes(starts: Sequence[Sequence[int]], shape: Sequence[int]) -> Iterator[Box]:
    """Yield boxes of one shape at all combinations of start positions per axis, last axis fastest."""
    for start in product(*starts):
        yield Box(start, tuple(a + n for a, n in zip(start, shape, strict=True)))


def grid(within: Box, block: Sequence[int]) -> list[Box]:
    """Partition a box into blocks that start at multiples of `block` from its start; the last may be smaller."""
    starts = [range(a, b, n) for a, b, n in zip(within.start, within.stop, block, strict=True)]
    return [box & within for box in boxes(starts, block)]


def parse_box(text: str, shape: Sequence[int], name: str) -> Box:
    """Return the box of a text `z0:z1,y0:y1,x0:x1` in a volume of this shape; any bound may be left out.

    Raises `BadInput`, with `name` for the text, where it is not a box, or the box is empty or outside the volume.
    """
    parts = [part.strip() for part in text.split(",")]
    cure = f"give {','.join(f'0:{n}' for n in shape)} or parts of it"
    if len(parts) != len(shape):
        raise BadInput(f"{name} {text!r} has {len(parts)} ranges for {len(shape)} axes: {cure}")
    bounds = [_parse_range(part, size, name, cure) for part, size in zip(parts, shape, strict=True)]
    return Box(tuple(a for a, _ in bounds), tuple(b for _, b in bounds))


def _parse_range(text: str, size: int, name: str, cure: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    try:
        start, stop = int(first or 0), int(last or size) if colon else int(first) + 1
    except ValueError:
        raise BadInput(f"{name} range {text!r} is not start:stop: {cure}") from None
    if not 0 <= start < stop <= size:
        raise BadInput(f"{name} range {text!r} is empty or outside 0:{size}: {cure}")
    return start, stop


def largest_that(fits: Callable[[int], bool], sizes: Sequence[int]) -> int | None:
    """Return the largest of ascending `sizes` that fits, by bisection; None if the first does not fit."""
    low, high = 0, len(sizes)
    while low < high:
        middle = (low + high) // 2
        if fits(sizes[middle]):
            low = middle + 1
        else:
            high = middle
    return sizes[low - 1] if low else None
