"""What a worker is given at once: a row of blocks, or a block of a coarser level once what it is made of is done."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product

from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.prediction.job import Job
from vol2vol.volumes.ledger import Ledger, block_name
from vol2vol.volumes.outputs import average_block, intact_coarser
from vol2vol.volumes.pyramid import Level, coarser_levels

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Block:
    """What is written and marked as done at once."""

    box: Box
    """In voxels of the input; of a coarser level, in voxels of that level of the output."""
    level: int = 0

    @property
    def name(self) -> str:
        """Its name in the ledger."""
        return block_name(self.box, self.level)


@dataclass(frozen=True)
class Portion:
    """Blocks that one worker makes in one go."""

    blocks: tuple[Block, ...]
    level: Level | None = None
    """The coarser level they are of; None for the prediction itself."""
    needs: frozenset[str] = frozenset()
    """Names of blocks that must be done before."""

    @property
    def name(self) -> str:
        """The name of the first block."""
        return self.blocks[0].name

    @property
    def boxes(self) -> list[Box]:
        """Where the blocks are."""
        return [block.box for block in self.blocks]


def rows(job: Job, todo: Sequence[Box], workers: int) -> list[Portion]:
    """Return rows of the prediction; single blocks are joined by fours while that leaves work for all workers."""
    found = job.layout.rows(todo, workers)
    if job.layout.sweep is None:
        size = max(1, min(4, len(found) // (4 * workers)))
        found = [list(chain.from_iterable(found[at : at + size])) for at in range(0, len(found), size)]
    return [Portion(tuple(map(Block, row))) for row in found]


def coarser(job: Job, output: str) -> list[Portion]:
    """Return the blocks of all coarser levels of an output, finer levels first; none where no pyramid is wanted."""
    if not job.settings.pyramid or not Ledger.of(output).inside:
        return []
    shape = job.layout.block
    found = []
    for level in coarser_levels(output):
        for box in grid(Box.of(level.spatial), shape):
            needs = frozenset(_below(job, level, box, shape))
            found.append(Portion((Block(box, level.number),), level, needs))
    return found


def _below(job: Job, level: Level, box: Box, shape: Shape) -> Iterator[str]:
    """Yield the names of the blocks of the level above that a box is the average of."""
    fine = level.finer(box)
    spans = [range(a // n, ceil_div(b, n)) for a, b, n in zip(fine.start, fine.stop, shape, strict=True)]
    whole = Box.of(level.above)
    for index in product(*spans):
        start = tuple(i * n for i, n in zip(index, shape, strict=True))
        block = Box(start, tuple(a + n for a, n in zip(start, shape, strict=True))) & whole
        if level.number == 1:
            block = block.shift(job.layout.region.start)
        yield block_name(block, level.number - 1)


def intact(output: str, coarse: Sequence[Portion]) -> set[str]:
    """Return the names of the blocks of coarser levels that are done and sound; what is not is made again.

    So is what was made of a block that is not done any more: that may have been damaged when it was read. `coarse` has
    finer levels first.
    """
    ledger = Ledger.of(output)
    sound = intact_coarser(output, ((p.level, block.box) for p in coarse if p.level for block in p.blocks))
    done = ledger.done()
    for portion in coarse:
        if portion.level is not None and portion.name in sound and not portion.needs <= done:
            log.warning("%s: what block %s was made of is damaged: it is made again", output, portion.name)
            portion.level.erase(output, portion.blocks[0].box)
            ledger.unmark(portion.name)
            sound.remove(portion.name)
            done.remove(portion.name)
    return sound


def average(job: Job, output: str, portion: Portion) -> Iterator[Block]:
    """Make blocks of a coarser level from the level above and yield each when it is written and marked."""
    assert portion.level is not None
    for block in portion.blocks:
        average_block(output, portion.level, block.box, begun=job.begun)
        yield block
