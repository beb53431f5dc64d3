"""How a prepared volume is stored and computed: chunks, blocks that are written whole, and the parts of a block."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, ceil_div, grid, round_up
from vol2vol.preparation.chain import Chain
from vol2vol.preparation.settings import Preparation

WORKING = 256 << 20
"""Bytes that computing one part of a block may take; the result does not depend on it."""
CHUNKS_PER_SHARD = 4
MOST = 20_000_000
"""Blocks that are listed; a list of more takes gigabytes."""
LONG = 10_000


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Spatial sizes, Z, Y, X."""

    spatial: Shape
    chunks: Shape
    shards: Shape | None
    block: Shape
    """Written at once, by one writer: a shard, or whole chunks."""
    part: Shape
    """Computed at once."""

    @classmethod
    def of(cls, chain: Chain, preparation: Preparation) -> Layout:
        """Choose chunks and shards unless they are given, and parts that fit the working memory."""
        spatial = chain.spatial
        side = 64 if spatial[0] > 1 else 256
        chunks = preparation.chunks or tuple(min(n, side) for n in spatial)
        rows = chain.volume.chunks[3] == chain.volume.spatial[2]
        block = preparation.shards or _block(chain, chunks, rows=rows)
        shards = block if preparation.ome_version == "0.5" and block != chunks else preparation.shards
        part = tuple(map(min, block, spatial))
        while chain.memory(_middle(spatial, part)) > WORKING and max(part) > 1:
            longest = max(range(3), key=lambda axis: (part[axis] / chunks[axis], part[axis]))
            halved = 0 if rows and part[0] > 1 else longest
            part = tuple(_half(n, 1 if rows else chunks[axis]) if axis == halved else n for axis, n in enumerate(part))
        return cls(spatial=spatial, chunks=chunks, shards=shards, block=block, part=part)

    def count(self) -> int:
        """Return how many blocks there are, without listing them."""
        return prod(ceil_div(n, b) for n, b in zip(self.spatial, self.block, strict=True))

    def blocks(self) -> list[Box]:
        """Return what is written at once; raise `BadInput` where nobody can hold the list."""
        if (count := self.count()) > MOST:
            raise BadInput(f"the result is cut into {count} blocks, more than {MOST}: crop it, or give larger shards")
        return grid(Box.of(self.spatial), self.block)

    def parts(self, block: Box) -> list[Box]:
        """Return what is computed at once of a block."""
        return grid(block, self.part)

    def memory(self, chain: Chain) -> int:
        """Return the bytes that computing and writing one block takes."""
        whole = chain.look.nbytes(_middle(self.spatial, tuple(map(min, self.block, self.spatial))))
        return 2 * whole + chain.memory(_middle(self.spatial, self.part))

    def voxels_read(self, chain: Chain) -> int:
        """Return how many voxels of the input are decoded, those counted again that several parts need.

        Of an axis with more than `LONG` parts the first ones stand for all.
        """
        sizes, scale = [], Fraction(1)
        for whole, b, p in zip(self.spatial, self.block, self.part, strict=True):
            n = min(whole, max(LONG * p // b, 1) * b)
            scale *= Fraction(whole, n)
            starts = (range(at, min(at + b, n), p) for at in range(0, n, b))
            sizes.append(tuple(min(s + p, r.stop) - s for r in starts for s in r))
        return round(chain.read_in_all(sizes) * scale)


def _block(chain: Chain, chunks: Shape, *, rows: bool) -> Shape:
    """Return a few chunks along each axis; of an input stored in whole rows or planes, which are only read whole, wide
    slabs of one chunk's thickness, so that each is read once.
    """
    whole = tuple(round_up(n, c) for n, c in zip(chain.spatial, chunks, strict=True))
    if not rows:
        return tuple(min(CHUNKS_PER_SHARD * c, n) for c, n in zip(chunks, whole, strict=True))
    block = (chunks[0], *whole[1:])
    while chain.look.nbytes(Box.of(block)) > WORKING and block[1:] != chunks[1:]:
        axis = 1 if block[1] > chunks[1] else 2
        block = tuple(_half(n, chunks[i]) if i == axis else n for i, n in enumerate(block))
    return block


def _middle(spatial: Shape, size: Shape) -> Box:
    """Return a box of some size in the middle of a volume."""
    start = tuple((n - s) // 2 for n, s in zip(spatial, size, strict=True))
    return Box(start, tuple(a + s for a, s in zip(start, size, strict=True)))


def _half(size: int, chunk: int) -> int:
    """Return about half a size, in whole chunks as long as it is more than one."""
    return round_up(ceil_div(size, 2), chunk) if size > chunk else ceil_div(size, 2)
