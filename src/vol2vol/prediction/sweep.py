"""Predict exactly, plane by plane: a stream is swept along one axis over a row of blocks; each voxel is computed once.

    start                 blocks[0]         blocks[1]        ...        |
    |- one push -|- reach -|- - - - - - - - -|- - - - - - - - - - - - - -|- reach -|
     not used      context

Every stream starts on the period grid and, except at the start of the region, one push before the context of its first
block. From there on its calls have the same shapes as in any longer sweep, so where a sweep starts, or restarts, does
not change a single bit. Before the first block, only planes on which it depends are read and computed: the early push
costs nothing, and the context little more than the encoder's share.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from functools import cache

import numpy as np
import torch

from vol2vol.geometry import Box
from vol2vol.plans.layout import Sweep
from vol2vol.prediction.engine import Engine, to_numpy
from vol2vol.prediction.gather import Read

READER = "reader of"
"""Prefix of the names of the threads that read ahead."""


def swept(read: Read, engine: Engine, sweep: Sweep, blocks: Sequence[Box]) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield each of a row of neighbouring blocks with its prediction, float32 (C, *block.shape).

    The blocks are contiguous along the swept axis. While one slab is computed, the next is read and converted.
    Memory: the planes buffered in the stream, two slabs of input, one block of output.
    """
    axis, axes, foot = sweep.axis, sweep.network_axes(), engine.footprint
    position = axes.index(axis)
    first, wanted = sweep.tile(foot, blocks[0])
    at = first.start[axis] + foot.trim[0][position]
    stream = engine.stream(position, [wanted.get(a) for a in axes], begin=blocks[0].start[axis] - at)
    end = blocks[-1].stop[axis] + foot.reach[1][position] + foot.period[position]
    with closing(_slabs(read, engine, sweep, first, end, unread=first.start[axis] + stream.unread)) as slabs:
        outputs = (stream.push(slab) for slab in slabs)
        planes = (_to_volume(to_numpy(output), sweep) for output in outputs if output is not None)
        yield from _split_blocks(planes, blocks, axis, at)


def _slabs(
    read: Read, engine: Engine, sweep: Sweep, first: Box, end: int, *, unread: int
) -> Generator[torch.Tensor, None, None]:
    """Yield the network's input slab by slab, up to the end of the context; unneeded slabs have only a shape."""
    step = tuple(sweep.push if a == sweep.axis else 0 for a in range(3))
    boxes = [first]
    while boxes[-1].stop[sweep.axis] < end:
        boxes.append(boxes[-1].shift(step))

    def slab(box: Box) -> torch.Tensor:
        if box.stop[sweep.axis] > unread:
            return _to_network(read(box), sweep, engine)
        planes = box.shape[sweep.planar] if sweep.planar is not None else 1
        return torch.zeros((), device=engine.device).expand(
            planes, engine.channels, *(box.shape[axis] for axis in sweep.network_axes())
        )

    reader = _reader(os.getpid(), threading.current_thread().name if _is_reader() else "")
    pending = reader.submit(slab, boxes[0])
    try:
        for following in boxes[1:]:
            current, pending = pending.result(), reader.submit(slab, following)
            yield current
        yield pending.result()
        raise AssertionError("the stream asks for more than its context")
    finally:
        wait([pending])


@cache
def _reader(process: int, reading: str) -> ThreadPoolExecutor:
    """Return the thread of this process that reads ahead; all rows share it.

    If the input is itself computed, the thread that reads it ahead needs a thread of its own: `reading` is its name.
    """
    return ThreadPoolExecutor(1, f"{READER} {process} {reading}")


def _is_reader() -> bool:
    return threading.current_thread().name.startswith(READER)


def _split_blocks(
    planes_of_output: Iterator[np.ndarray], blocks: Sequence[Box], axis: int, at: int
) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield blocks as soon as they are filled; `at` is the position of the first plane."""
    pending = deque(blocks)
    values: np.ndarray | None = None
    while pending:
        planes = next(planes_of_output)
        end = at + planes.shape[axis + 1]
        while pending and pending[0].start[axis] < end:
            block = pending[0]
            low, high = max(at, block.start[axis]), min(end, block.stop[axis])
            if values is None:
                values = np.empty((planes.shape[0], *block.shape), planes.dtype)
            start = block.start[axis]
            values[_planes(axis, low - start, high - start)] = planes[_planes(axis, low - at, high - at)]
            if end < block.stop[axis]:
                break
            yield block, values
            values = None
            pending.popleft()
        at = end


def _planes(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return tuple(slice(start, stop) if a == axis + 1 else slice(None) for a in range(4))


def _to_network(slab: np.ndarray, sweep: Sweep, engine: Engine) -> torch.Tensor:
    """Turn (C, Z, Y, X) into a batch: one volume, or its planes across the planar axis."""
    batch = slab[None] if sweep.planar is None else np.moveaxis(slab, sweep.planar + 1, 0)
    return engine.shown(torch.from_numpy(np.ascontiguousarray(batch)))


def _to_volume(batch: np.ndarray, sweep: Sweep) -> np.ndarray:
    """Turn the network's output back into (C, Z, Y, X)."""
    return batch[0] if sweep.planar is None else np.moveaxis(batch, 0, sweep.planar + 1)
