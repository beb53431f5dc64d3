"""Carry out the march of an output that is being written: paint its tiles, delete those that nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from vol2vol.geometry import Box
from vol2vol.plans.ordered_tiles import Index, OrderedTiles
from vol2vol.prediction.job import Job
from vol2vol.prediction.march import Painter
from vol2vol.prediction.painted import InLedger, tile_name
from vol2vol.prediction.work_items import Block, WorkItem
from vol2vol.volumes.ledger import Ledger, block_name
from vol2vol.volumes.marks import Marks


class Marching:
    """The painted tiles of an output, and what there still is to make of them."""

    def __init__(self, job: Job, output: str, marks: Marks) -> None:
        assert job.layout.march is not None
        self.tiles: OrderedTiles = job.layout.march
        self._job, self._marks, self._ledger = job, marks, Ledger.of(output)
        self.painted = InLedger(output, marks, (job.channels, *self.tiles.plan.tile), job.dtype)
        self._painter = Painter(job, self.tiles, self.painted)

    @classmethod
    def of(cls, job: Job, output: str, marks: Marks) -> Marching | None:
        """Return the march of a job, None for another strategy."""
        return None if job.layout.march is None else cls(job, output, marks)

    def paint(self, item: WorkItem) -> Iterator[Block]:
        """Compute the tiles of a work item that are not done, together; yield each when it is kept and marked."""
        self._ledger.check(self._job.begun)
        todo = [index for index in item.tiles if tile_name(index) not in self._marks.done]
        if not item.needs <= self._marks.done:
            self._marks.refresh()
        if todo:
            self._painter.paint(todo)
        self.tidy({*todo, *(other for index in todo for other in self.tiles.needs(index))})
        yield from (block for block in item.blocks if block.tile in todo)

    def assembled(self, box: Box) -> np.ndarray:
        """Return a block in stored values, (C, *box.shape), from the tiles that are kept there."""
        if not all(tile_name(index) in self._marks.done for index in self.tiles.touching(box)):
            self._marks.refresh()
        return self._painter.assembled(box)

    def tidy(self, tiles: Iterable[Index]) -> None:
        """Delete the files of tiles of which nothing more is made; call after what they were needed for is marked."""
        self._marks.refresh()  # other workers may have marked the rest
        for index in tiles:
            if self._is_used_up(index):
                self.painted.drop(index)

    def _is_used_up(self, index: Index) -> bool:
        done = self._marks.done
        blocks = self._job.layout.touching(self.tiles.kept(index))
        return all(tile_name(other) in done for other in self.tiles.followers(index)) and all(
            block_name(box) in done for box in blocks
        )

    def repair(self) -> None:
        """Unmark tiles that are needed and whose files are lost, and so all that are needed to compute those again.

        Call while no worker is running. Tiles from which everything is made count as done, whether marked or not.
        """
        for index in reversed([*self.tiles.needed()]):
            name = tile_name(index)
            if not self._is_used_up(index):
                if name in self._marks.done and not self.painted.is_intact(index):
                    self._marks.unmark(name)
            elif name not in self._marks.done:
                self._marks.mark(name, 0)


def repair(job: Job, output: str, marks: Marks) -> None:
    """Do what `Marching.repair` does, if the job is a march."""
    if (march := Marching.of(job, output, marks)) is not None:
        march.repair()
