"""Work items for workers: rows of blocks, and blocks of coarser levels once the blocks they average are done.

A march has work items of tiles, which need the tiles that they are shown, and of blocks, which need the tiles that they
are made of.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.plans.ordered_tiles import Index, OrderedTiles
from vol2vol.prediction.job import Job
from vol2vol.prediction.painted import tile_name
from vol2vol.prediction.parts import volumes_of
from vol2vol.volumes.ledger import Ledger, block_name
from vol2vol.volumes.marks import Marks
from vol2vol.volumes.outputs import Levels, average_block, intact_coarser, levels_of
from vol2vol.volumes.pyramid import Level

log = logging.getLogger(__name__)
Part = TypeVar("Part")
ITEMS_PER_WORKER = 16
"""Minimum work items per worker, so that all workers end at about the same time."""
MAX_JOINED = 256
"""Maximum rows or blocks in a work item, which limits what is lost with a worker."""


@dataclass(frozen=True)
class Block:
    """The unit that is written and marked as done."""

    box: Box
    """In voxels of the input; for a coarser level, in voxels of that level of the output."""
    level: int = 0
    tile: Index | None = None
    """The number of a tile of a march, which is kept aside; None for what is written to the output."""

    @property
    def name(self) -> str:
        """Its name in the ledger."""
        return block_name(self.box, self.level) if self.tile is None else tile_name(self.tile)

    @property
    def is_final(self) -> bool:
        """Whether it is a block of the prediction itself."""
        return not self.level and self.tile is None


@dataclass(frozen=True)
class WorkItem:
    """Blocks that one worker computes together."""

    blocks: tuple[Block, ...]
    levels: Levels = ()
    """The coarser level of the blocks in each volume of the output; empty for the prediction itself."""
    needs: frozenset[str] = frozenset()
    """Names of blocks that must be done first."""

    @property
    def level(self) -> Level | None:
        """The coarser level of the first volume."""
        return self.levels[0][1] if self.levels else None

    @property
    def tiles(self) -> list[Index]:
        """The tiles of a march, if it is made of these; else empty."""
        return [block.tile for block in self.blocks if block.tile is not None]

    @property
    def name(self) -> str:
        """The name of the first block."""
        return self.blocks[0].name

    def __len__(self) -> int:
        return len(self.blocks)


def rows(job: Job, todo: Sequence[Box], workers: int) -> list[WorkItem]:
    """Return the rows of the prediction; short rows are joined as long as enough items remain for all workers.

    For a march, return its tiles instead, in batches of one wave, earlier waves first.
    """
    if (march := job.layout.march) is not None:
        batches = march.batches(job.settings.batch_size, job.layout.block[0])
        return [_painting(march, batch) for batch in batches]
    return [
        WorkItem(tuple(Block(box) for row in joined for box in row))
        for joined in _join(job.layout.rows(todo, workers), workers)
    ]


def _painting(march: OrderedTiles, batch: Sequence[Index]) -> WorkItem:
    needs = frozenset(tile_name(other) for index in batch for other in march.needs(index))
    return WorkItem(tuple(Block(march.box(index), tile=index) for index in batch), needs=needs)


def assembled(job: Job, todo: Sequence[Box]) -> list[WorkItem]:
    """Return the blocks of a march, each with the tiles that it is made of; none for other strategies."""
    if (march := job.layout.march) is None:
        return []
    return [WorkItem((Block(box),), needs=frozenset(map(tile_name, march.touching(box)))) for box in todo]


def coarser(job: Job, output: str, workers: int = 1) -> list[WorkItem]:
    """Return the work items of all coarser levels of an output, finer levels first; none without a pyramid."""
    if not job.settings.pyramid or not Ledger.of(output).inside:
        return []
    shape = job.layout.block
    items = []
    for levels in levels_of(volumes_of(job, output)):
        level = levels[0][1]
        for boxes in _join(grid(Box.of(level.spatial), shape), workers):
            needs = frozenset(name for box in boxes for name in _averaged_blocks(job, level, box, shape))
            items.append(WorkItem(tuple(Block(box, level.number) for box in boxes), levels, needs))
    return items


def _join(parts: Sequence[Part], workers: int) -> Iterator[Sequence[Part]]:
    """Yield neighbouring parts together, since handing out an item costs time however small it is."""
    size = 1 if workers == 1 else max(1, min(MAX_JOINED, len(parts) // (ITEMS_PER_WORKER * workers)))
    for at in range(0, len(parts), size):
        yield parts[at : at + size]


def _averaged_blocks(job: Job, level: Level, box: Box, shape: Shape) -> Iterator[str]:
    """Yield the names of the blocks of the finer level that a box averages."""
    fine = level.finer(box)
    spans = [range(a // n, ceil_div(b, n)) for a, b, n in zip(fine.start, fine.stop, shape, strict=True)]
    whole = Box.of(level.above)
    for index in product(*spans):
        start = tuple(i * n for i, n in zip(index, shape, strict=True))
        block = Box(start, tuple(a + n for a, n in zip(start, shape, strict=True))) & whole
        if level.number == 1:
            block = block.shift(job.layout.region.start)
        yield block_name(block, level.number - 1)


def intact(output: str, coarse: Sequence[WorkItem], marks: Marks) -> set[str]:
    """Return the names of the blocks of coarser levels that are done and sound; the others lose their marks.

    A block also loses its mark if a block that it averages is no longer done, since that may have been damaged when it
    was read. `coarse` has finer levels first.
    """
    sound = intact_coarser(output, ((p.levels, block.box) for p in coarse for block in p.blocks), marks)
    for item in coarse:
        names = sound & {block.name for block in item.blocks}
        if not names or item.needs <= marks.done:
            continue
        log.warning("%s: blocks averaged into block %s are damaged: it is averaged again", output, item.name)
        for block in (block for block in item.blocks if block.name in names):
            for path, level in item.levels:
                level.erase(path, block.box)
            marks.unmark(block.name)
        sound -= names
    return sound


def average(job: Job, output: str, item: WorkItem, marks: Marks) -> Iterator[Block]:
    """Average the unfinished blocks of a work item of a coarser level; yield each when it is written and marked."""
    assert item.levels, item.name
    for block in [block for block in item.blocks if block.name not in marks.done]:
        average_block(output, item.levels, block.box, marks, begun=job.begun)
        yield block


class Waiting:
    """Work items that wait for blocks; each is returned once, when the last block that it needs is done."""

    def __init__(self, items: Sequence[WorkItem], done: Set[str]) -> None:
        self._missing: dict[int, int] = {}
        self._waiters: dict[str, list[WorkItem]] = {}
        self._ready: list[WorkItem] = []
        for item in items:
            missing = item.needs - done
            self._missing[id(item)] = len(missing)
            for name in missing:
                self._waiters.setdefault(name, []).append(item)
            if not missing:
                self._ready.append(item)

    def ready(self, *done: str) -> list[WorkItem]:
        """Return the items that became ready with these blocks; the first call adds those ready from the start."""
        for item in (item for name in done for item in self._waiters.pop(name, ())):
            self._missing[id(item)] -= 1
            if not self._missing[id(item)]:
                self._ready.append(item)
        newly_ready, self._ready = self._ready, []
        return newly_ready
