"""Choose how a prepared volume is stored and computed: its chunks, its shards, and the parts of a block."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, ceil_div, grid, round_up
from vol2vol.preparation.chain import Chain
from vol2vol.preparation.settings import Preparation

WORKING = 256 << 20
"""Maximum memory, in bytes, for computing one part of a block; the result does not depend on it."""
CHUNKS_PER_SHARD = 4
MAX_BLOCKS = 20_000_000
"""Maximum number of blocks; a longer list takes gigabytes of memory."""
MAX_PARTS = 10_000
"""Parts along an axis beyond which the cost of reading is extrapolated."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Sizes (Z, Y, X) in which a prepared volume is stored and computed."""

    spatial: Shape
    chunks: Shape
    shards: Shape | None
    block: Shape
    """Shape of a block, which one thread writes at once: a shard, or whole chunks."""
    part: Shape
    """Shape of the part of a block that is computed at once."""

    @classmethod
    def of(cls, chain: Chain, preparation: Preparation) -> Storage:
        """Return the chunks and shards of the preparation, or defaults, and parts that fit the working memory."""
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
        """Return the number of blocks without listing them."""
        return prod(ceil_div(n, b) for n, b in zip(self.spatial, self.block, strict=True))

    def blocks(self) -> list[Box]:
        """Return the blocks in volume coordinates; raise `BadInput` where there are more than `MAX_BLOCKS`."""
        if (count := self.count()) > MAX_BLOCKS:
            raise BadInput(f"the result has {count} blocks, more than {MAX_BLOCKS}: crop it, or give larger shards")
        return grid(Box.of(self.spatial), self.block)

    def parts(self, block: Box) -> list[Box]:
        """Return the parts of a block."""
        return grid(block, self.part)

    def memory(self, chain: Chain) -> int:
        """Return the memory, in bytes, for computing and writing one block."""
        whole = chain.header.nbytes(_middle(self.spatial, tuple(map(min, self.block, self.spatial))))
        return 2 * whole + chain.memory(_middle(self.spatial, self.part))

    def voxels_read(self, chain: Chain) -> int:
        """Return the number of input voxels that are decoded; voxels that several parts need count several times.

        Along an axis of more than `MAX_PARTS` parts, the count of the first ones is extrapolated.
        """
        sizes, scale = [], Fraction(1)
        for whole, b, p in zip(self.spatial, self.block, self.part, strict=True):
            n = min(whole, max(MAX_PARTS * p // b, 1) * b)
            scale *= Fraction(whole, n)
            blocks = (range(start, min(start + b, n), p) for start in range(0, n, b))
            sizes.append(tuple(min(part + p, block.stop) - part for block in blocks for part in block))
        return round(chain.decoded_voxels(sizes) * scale)


def _block(chain: Chain, chunks: Shape, *, rows: bool) -> Shape:
    """Return the default block: a few chunks along each axis.

    For an input stored in whole rows or planes, which can only be read whole, it is a wide slab of one chunk's
    thickness, so that each is read once.
    """
    whole = tuple(round_up(n, c) for n, c in zip(chain.spatial, chunks, strict=True))
    if not rows:
        return tuple(min(CHUNKS_PER_SHARD * c, n) for c, n in zip(chunks, whole, strict=True))
    block = (chunks[0], *whole[1:])
    while chain.header.nbytes(Box.of(block)) > WORKING and block[1:] != chunks[1:]:
        axis = 1 if block[1] > chunks[1] else 2
        block = tuple(_half(n, chunks[i]) if i == axis else n for i, n in enumerate(block))
    return block


def _middle(spatial: Shape, size: Shape) -> Box:
    """Return a box of a given size in the middle of a volume."""
    start = tuple((n - s) // 2 for n, s in zip(spatial, size, strict=True))
    return Box(start, tuple(a + s for a, s in zip(start, size, strict=True)))


def _half(size: int, chunk: int) -> int:
    """Return about half a size, rounded up to whole chunks where it is more than one chunk."""
    return round_up(ceil_div(size, 2), chunk) if size > chunk else ceil_div(size, 2)
