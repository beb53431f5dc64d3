"""Exact prediction plane by plane: a stream is swept along one axis over a row of blocks, each voxel computed once.

    start                 blocks[0]         blocks[1]        ...        |
    |- one push -|- reach -|- - - - - - - - -|- - - - - - - - - - - - - -|- reach -|
     not used      context

Every stream starts on the period grid and, but at the region's own start, one push before the context of its first
block: from there on its calls have the shapes they have in any longer sweep, so where a sweep starts, or starts again,
changes no bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from vol2vol.geometry import Box, Footprint, Shape, round_up
from vol2vol.prediction.engine import Engine, to_numpy
from vol2vol.prediction.gather import Read


@dataclass(frozen=True)
class Sweep:
    """Along which axis of the volume a stream is swept, by how many planes at a time.

    `planar` is the axis across which planes are images of their own (they form the batch), None for a 3D network.
    """

    axis: int
    push: int
    start: int = 0
    """Where the predicted region begins: a stream that begins there needs no extra push."""
    planar: int | None = None
    rows: bool = True
    """Whether it goes on from block to block; where each block is swept alone, no stream needs the extra push."""

    def network_axes(self) -> Shape:
        """Return the volume's axes that the network sees, in order."""
        return tuple(axis for axis in range(3) if axis != self.planar)

    def tile(self, footprint: Footprint, block: Box) -> tuple[Box, dict[int, tuple[int, int]]]:
        """Return what a column of this cross-section reads, and the part wanted of its output, by volume axis.

        On the swept axis the box starts where the stream starts and is as long as one push.
        """
        start, stop, wanted = list(block.start), list(block.stop), {}
        for position, axis in enumerate(self.network_axes()):
            period, before = footprint.period[position], footprint.reach[0][position]
            origin = block.start[axis] // period * period - round_up(before, period)
            trim = footprint.trim[0][position]
            if axis == self.axis:
                early = self.push if self.rows and block.start[axis] != self.start else 0
                start[axis] = origin // self.push * self.push - early
                stop[axis] = start[axis] + self.push
                continue
            needed = block.stop[axis] - origin + footprint.reach[1][position]
            start[axis], stop[axis] = origin, origin + footprint.admissible(needed, position, at_least=True)
            first = block.start[axis] - origin - trim
            wanted[axis] = (first, first + block.shape[axis])
        return Box(tuple(start), tuple(stop)), wanted


def swept(read: Read, engine: Engine, sweep: Sweep, blocks: Sequence[Box]) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield each of a row of neighbouring blocks with its prediction, float32 (C, *block.shape).

    The blocks continue each other along the swept axis. While one portion is computed the next is read. Memory: the
    stream's waiting planes, two portions of input, one block of output.
    """
    axis = sweep.axis
    first, wanted = sweep.tile(engine.footprint, blocks[0])
    axes = sweep.network_axes()
    window = [wanted.get(a) for a in axes]
    stream = engine.stream(axes.index(axis), window)
    at = first.start[axis] + engine.footprint.trim[0][axes.index(axis)]
    pending = list(blocks)
    filled: np.ndarray | None = None
    position, foot = axes.index(axis), engine.footprint
    end_of_context = blocks[-1].stop[axis] + foot.reach[1][position] + foot.period[position]
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, first)
        while pending:
            portion = coming.result()
            assert first.start[axis] < end_of_context, "the stream asks for more than its context"
            first = first.shift(tuple(sweep.push if a == axis else 0 for a in range(3)))
            if first.start[axis] < end_of_context:
                coming = reader.submit(read, first)
            made = stream.push(_to_network(portion, sweep, engine))
            if made is None:
                continue
            planes = _to_volume(to_numpy(made), sweep)
            end = at + planes.shape[axis + 1]
            while pending and at < end:
                block = pending[0]
                low, high = max(at, block.start[axis]), min(end, block.stop[axis])
                if low < high:
                    if filled is None:
                        filled = np.empty((planes.shape[0], *block.shape), planes.dtype)
                    along = [slice(None)] * 4
                    along[axis + 1] = slice(low - block.start[axis], high - block.start[axis])
                    taken = [slice(None)] * 4
                    taken[axis + 1] = slice(low - at, high - at)
                    filled[tuple(along)] = planes[tuple(taken)]
                if end < block.stop[axis] or filled is None:
                    break
                yield block, filled
                filled = None
                pending.pop(0)
            at = end


def _to_network(portion: np.ndarray, sweep: Sweep, engine: Engine) -> torch.Tensor:
    """Turn (C, Z, Y, X) into a batch: one volume, or its planes across the planar axis."""
    batch = portion[None] if sweep.planar is None else np.moveaxis(portion, sweep.planar + 1, 0)
    return torch.from_numpy(np.ascontiguousarray(batch)).to(engine.device)


def _to_volume(batch: np.ndarray, sweep: Sweep) -> np.ndarray:
    """Turn the network's output back into (C, Z, Y, X)."""
    return batch[0] if sweep.planar is None else np.moveaxis(batch, 0, sweep.planar + 1)
