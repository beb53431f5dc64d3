"""What a worker is given at once: a row of blocks, or a block of a coarser level once what it is made of is done."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.prediction.job import Job
from vol2vol.prediction.parts import volumes_of
from vol2vol.volumes.ledger import Ledger, block_name
from vol2vol.volumes.marks import Marks
from vol2vol.volumes.outputs import Levels, average_block, intact_coarser, levels_of
from vol2vol.volumes.pyramid import Level

log = logging.getLogger(__name__)
Part = TypeVar("Part")
SHARES = 16
"""Portions per worker, at least: the last ones end at about the same time."""
MOST = 256
"""Rows or blocks in a portion: what a worker that is lost is waited for in vain, or what Dask hands over at once."""


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
    levels: Levels = ()
    """The coarser level they are of, of every volume of the output; none for the prediction itself."""
    needs: frozenset[str] = frozenset()
    """Names of blocks that must be done before."""

    @property
    def level(self) -> Level | None:
        """The coarser level of the first volume."""
        return self.levels[0][1] if self.levels else None

    @property
    def name(self) -> str:
        """The name of the first block."""
        return self.blocks[0].name

    def __len__(self) -> int:
        return len(self.blocks)


def rows(job: Job, todo: Sequence[Box], workers: int) -> list[Portion]:
    """Return rows of the prediction, short ones joined while that leaves work for all workers."""
    return [
        Portion(tuple(Block(box) for row in some for box in row))
        for some in _joined(job.layout.rows(todo, workers), workers)
    ]


def coarser(job: Job, output: str, workers: int = 1) -> list[Portion]:
    """Return the blocks of all coarser levels of an output, finer levels first; none where no pyramid is wanted."""
    if not job.settings.pyramid or not Ledger.of(output).inside:
        return []
    shape = job.layout.block
    found = []
    for levels in levels_of(volumes_of(job, output)):
        level = levels[0][1]
        for boxes in _joined(grid(Box.of(level.spatial), shape), workers):
            needs = frozenset(name for box in boxes for name in _below(job, level, box, shape))
            found.append(Portion(tuple(Block(box, level.number) for box in boxes), levels, needs))
    return found


def _joined(parts: Sequence[Part], workers: int) -> Iterator[Sequence[Part]]:
    """Yield neighbouring parts together: what hands out work costs time for each portion, however small it is."""
    size = 1 if workers == 1 else max(1, min(MOST, len(parts) // (SHARES * workers)))
    for at in range(0, len(parts), size):
        yield parts[at : at + size]


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


def intact(output: str, coarse: Sequence[Portion], marks: Marks) -> set[str]:
    """Return the names of the blocks of coarser levels that are done and sound; what is not is made again.

    So is what was made of a block that is not done any more: that may have been damaged when it was read. `coarse` has
    finer levels first.
    """
    sound = intact_coarser(output, ((p.levels, block.box) for p in coarse for block in p.blocks), marks)
    for portion in coarse:
        names = sound & {block.name for block in portion.blocks}
        if not names or portion.needs <= marks.done:
            continue
        log.warning("%s: what block %s was made of is damaged: it is made again", output, portion.name)
        for block in (block for block in portion.blocks if block.name in names):
            for path, level in portion.levels:
                level.erase(path, block.box)
            marks.unmark(block.name)
        sound -= names
    return sound


def average(job: Job, output: str, portion: Portion, marks: Marks) -> Iterator[Block]:
    """Make what is not done of a portion of a coarser level and yield each block when it is written and marked."""
    assert portion.levels, portion.name
    for block in [block for block in portion.blocks if block.name not in marks.done]:
        average_block(output, portion.levels, block.box, marks, begun=job.begun)
        yield block


class Waiting:
    """Portions that wait for blocks; each is handed out once, when the last block that it needs is done."""

    def __init__(self, portions: Sequence[Portion], done: Set[str]) -> None:
        self._lacking: dict[int, int] = {}
        self._waiters: dict[str, list[Portion]] = {}
        self._ready: list[Portion] = []
        for portion in portions:
            lacking = portion.needs - done
            self._lacking[id(portion)] = len(lacking)
            for name in lacking:
                self._waiters.setdefault(name, []).append(portion)
            if not lacking:
                self._ready.append(portion)

    def ready(self, *done: str) -> list[Portion]:
        """Return what has become ready now that these blocks are done, at first also what was from the beginning."""
        for portion in (portion for name in done for portion in self._waiters.pop(name, ())):
            self._lacking[id(portion)] -= 1
            if not self._lacking[id(portion)]:
                self._ready.append(portion)
        now, self._ready = self._ready, []
        return now
