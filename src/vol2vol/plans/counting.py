"""Count the kinds of blocks instead of listing all: blocks of one phase, far from the ends of an axis, cost the same.

A volume of 10^18 voxels has some hundred kinds of blocks, so the cost of a prediction is a sum over kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

from vol2vol.geometry import Box, Shape, ceil_div

MANY = 256
"""Number of blocks along an axis, without a period, up to which each block is a kind of its own."""
SAMPLE = 64
"""Number of kinds where there are more blocks; the sum is then an estimate."""
Interval = tuple[int, int, int]
"""First voxel, one after the last voxel, and the number of intervals of this kind."""


def count_blocks(region: Box, block: Shape) -> int:
    """Return the number of blocks of a region."""
    return prod(ceil_div(n, b) for n, b in zip(region.shape, block, strict=True))


def intervals(start: int, stop: int, block: int, *, edge: int, phases: int | None) -> list[Interval]:
    """Return the kinds of intervals that partition an axis.

    Intervals closer than `edge` voxels to an end are each a kind of their own. Between them, an interval costs the
    same as the one `phases` intervals further (None: no two intervals cost the same).
    """
    count, near = ceil_div(stop - start, block), ceil_div(edge, block) + 1
    if phases is None or phases > MANY:
        parts = count if count <= MANY else SAMPLE
        chosen = [(count * k // parts, count * (k + 1) // parts - count * k // parts) for k in range(parts)]
    elif count <= 2 * near + phases:
        chosen = [(k, 1) for k in range(count)]
    else:
        ends = [*range(near), *range(count - near, count)]
        inner = [(k, len(range(k, count - near, phases))) for k in range(near, near + phases)]
        chosen = [*((k, 1) for k in ends), *inner]
    return [(start + k * block, min(start + (k + 1) * block, stop), n) for k, n in chosen]


def rows_of(
    region: Box, block: Shape, kinds: list[list[Interval]], axis: int | None
) -> Iterator[tuple[list[Box], int]]:
    """Yield the kinds of rows of blocks: the first and the last block of one row, and the number of rows of this kind.

    A row runs along `axis` through the whole region; with None, every block is a row of its own.
    """
    last: tuple[int, int] | None = None
    if axis is not None:
        a, b, n = region.start[axis], region.stop[axis], block[axis]
        kinds = [[(a, min(a + n, b), 1)] if i == axis else kind for i, kind in enumerate(kinds)]
        last = a + (b - a - 1) // n * n, b
    for combined in product(*kinds):
        row = [Box(tuple(a for a, _, _ in combined), tuple(b for _, b, _ in combined))]
        if last is not None:
            ends = [last if i == axis else (a, b) for i, (a, b, _) in enumerate(combined)]
            row.append(Box(tuple(a for a, _ in ends), tuple(b for _, b in ends)))
        yield row, prod(n for _, _, n in combined)
