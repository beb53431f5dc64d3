"""Predict tiles in order, each of which is shown what earlier ones painted where they overlap (Boehland et al. 2023).

What a tile is shown is read from what was painted in *stored* values, rounded as the output is, so that a killed march
continues to the same bytes. Blocks of the output are put together from the parts of tiles that are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.machines.devices import release
from vol2vol.plans.marching import shown
from vol2vol.plans.ordered_tiles import Index, OrderedTiles
from vol2vol.prediction.out_of_memory import ran_out
from vol2vol.prediction.painted import InMemory, Painted
from vol2vol.protocol import March

if TYPE_CHECKING:
    from vol2vol.prediction.job import Job

log = logging.getLogger(__name__)


class Painter:
    """Paints the tiles of a job, and puts blocks together from painted tiles."""

    def __init__(self, job: Job, tiles: OrderedTiles, painted: Painted) -> None:
        self.tiles, self.painted, self._job = tiles, painted, job
        applied = job.translation.applied
        self._offset = np.float32(applied.offset if isinstance(applied, March) else 0)

    def paint(self, batch: Sequence[Index]) -> None:
        """Compute tiles that do not show each other anything, and keep them in stored values.

        On a CPU one after another: a batch is not faster there, and its kernels may round differently.
        """
        try:
            outputs = self._run(batch)
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            release(self._job.engine.device)
            if len(batch) == 1:
                raise BadInput(
                    f"a tile of {self._job.layout.passes[0].seen} does not fit in memory, and the result of a march "
                    "depends on it: give a smaller `tile` and `overwrite`"
                ) from None
            log.warning("%d tiles at once do not fit in memory: computing one at a time", len(batch))
            for index in batch:
                self.paint([index])
            return
        for index, output in zip(batch, outputs, strict=True):
            self.painted.keep(index, self._job.rounded(output).astype(self._job.dtype, copy=False))

    def _run(self, batch: Sequence[Index]) -> np.ndarray:
        size = 1 if self._job.engine.device.type == "cpu" else len(batch)
        tiles, planar = np.stack([self.shown(index) for index in batch]), self.tiles.planar
        if planar is not None:
            tiles = tiles.squeeze(planar + 2)
        outputs = [self._job.engine.run(tiles[at : at + size]) for at in range(0, len(batch), size)]
        made = np.concatenate(outputs)
        return made if planar is None else np.expand_dims(made, planar + 2)

    def shown(self, index: Index) -> np.ndarray:
        """Return what the network is shown for a tile, (C, *tile) in its range: the input, and what is painted."""
        box, before = self.tiles.box(index), self.tiles.before(index)
        read = self._job.read(box)
        if not any(before):
            return read
        values, noise = np.split(read, [len(read) - self._job.translation.noise])
        canvas = np.zeros((max(len(values), self._job.channels), *box.shape), values.dtype)  # grey fits colours
        for other in self.tiles.needs(index):
            shared = self.tiles.painted(other) & box
            part = self.painted.load(other)[:, *shared.relative_to(self.tiles.box(other).start).slices]
            canvas[:, *shared.relative_to(box.start).slices] = self._job.unrounded(part) + self._offset
        return np.concatenate([np.where(shown(box.shape, self.tiles.overlap, before), canvas, values), noise])

    def assembled(self, block: Box) -> np.ndarray:
        """Return a block of the output (C, *block.shape), in stored values, from the tiles that are kept there."""
        values = np.empty((self._job.channels, *block.shape), self._job.dtype)
        for index in self.tiles.touching(block):
            shared = self.tiles.kept(index) & block
            part = self.painted.load(index)[:, *shared.relative_to(self.tiles.box(index).start).slices]
            values[:, *shared.relative_to(block.start).slices] = part
        return values


def marched(job: Job, tiles: OrderedTiles, blocks: Iterable[Box]) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield blocks with their stored values, computing in memory all tiles on which they depend.

    Memory: the tiles that later ones are still shown, and one batch.
    """
    todo = [*blocks]
    region = todo[0]
    for box in todo[1:]:
        region = region | box
    painter = Painter(job, OrderedTiles(tiles.plan, tiles.spatial, region, tiles.planar), InMemory())
    needed, waiting = painter.tiles, {box: {*tiles.touching(box)} for box in todo}
    of_tile: dict[Index, list[Box]] = {}
    for box, indices in waiting.items():
        for index in indices:
            of_tile.setdefault(index, []).append(box)
    done: set[Index] = set()

    def drop(candidates: Iterable[Index]) -> None:
        for index in candidates:
            if not of_tile.get(index) and done.issuperset(needed.followers(index)):
                painter.painted.drop(index)

    for batch in needed.batches(job.settings.batch_size, slab=job.layout.block[0]):
        painter.paint(batch)
        done.update(batch)
        ready = [box for index in batch for box in of_tile.get(index, ()) if done.issuperset(waiting[box])]
        for box in dict.fromkeys(ready):
            yield box, painter.assembled(box)
            for index in waiting.pop(box):
                of_tile[index].remove(box)
                drop([index])
        drop({other for index in batch for other in (index, *needed.needs(index))} & done)
