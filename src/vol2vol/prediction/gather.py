"""Compute one box of a prediction from the tiles that touch it; the loop behind every plan.

`gather` is a pure function of the box: however a volume is divided into blocks, every voxel is the same sum in the same
order. Arrays are float32 `(C, Z, Y, X)` in the network's range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from vol2vol.geometry import Box, reflect
from vol2vol.plans import Plan
from vol2vol.prediction.engine import Engine

Read = Callable[[Box], np.ndarray]
"""Returns a box of a volume, float32 `(C, *box.shape)`; boxes may reach outside, where the volume is mirrored."""


def gather(
    read: Read,
    plan: Plan,
    engine: Engine,
    box: Box,
    *,
    batch_size: int = 1,
    planar: int | None = None,
    own: Read | None = None,
) -> np.ndarray:
    """Return one box of the prediction, float32 `(C, *box.shape)`, computed from every tile that touches it.

    `own` returns channels, after those of `read`, that a tile shares with no other tile.
    Peak memory besides the network's: the box with its margins once, the box twice where tiles overlap, and one batch.
    """
    kept = list(plan.kept_boxes(box))
    region = plan.read_box(kept[0]) | plan.read_box(kept[-1])
    source = read(region)
    weight = plan.weight() if plan.overlaps else None
    total: np.ndarray | None = None
    norm = np.zeros(box.shape, dtype=np.float64) if weight is not None else None
    following = iter(kept)
    while batch := list(islice(following, batch_size)):
        outputs = _run(_tiles(source, region, [plan.read_box(k) for k in batch], own), engine, planar)
        for kept_box, output in zip(batch, outputs, strict=True):
            part = _trimmed(output, plan, engine, planar)
            inside = kept_box & box
            view = part[:, *inside.relative_to(kept_box.start).slices]
            at = inside.relative_to(box.start).slices
            if total is None:
                total = np.zeros((part.shape[0], *box.shape), dtype=np.float64 if weight is not None else part.dtype)
            if weight is None or norm is None:
                total[:, *at] = view
            else:
                local = weight[inside.relative_to(kept_box.start).slices]
                total[:, *at] += local * view
                norm[at] += local
    assert total is not None
    return total if norm is None else (total / norm).astype(np.float32)


def gather_by_tile(read: Read, plan: Plan, engine: Engine, box: Box, *, planar: int | None = None) -> np.ndarray:
    """Do what `gather` does for a plan whose kept parts do not overlap, but read each tile by itself to save memory."""
    total: np.ndarray | None = None
    for kept in plan.kept_boxes(box):
        part = gather(read, plan, engine, kept & box, planar=planar)
        if total is None:
            total = np.empty((part.shape[0], *box.shape), part.dtype)
        total[:, *(kept & box).relative_to(box.start).slices] = part
    assert total is not None
    return total


def _tiles(source: np.ndarray, region: Box, reads: list[Box], own: Read | None) -> np.ndarray:
    tiles = [source[:, *read.relative_to(region.start).slices] for read in reads]
    if own is not None:
        tiles = [np.concatenate([tile, own(read)]) for tile, read in zip(tiles, reads, strict=True)]
    return np.stack(tiles)


def _run(tiles: np.ndarray, engine: Engine, planar: int | None) -> np.ndarray:
    if planar is None:
        return engine.run(tiles)
    return np.expand_dims(engine.run(tiles.squeeze(planar + 2)), planar + 2)


def _trimmed(output: np.ndarray, plan: Plan, engine: Engine, planar: int | None) -> np.ndarray:
    """Cut a tile's output `(C, *tile minus trim)` down to the plan's kept part."""
    before, after = engine.footprint.trim
    if planar is not None:
        before, after = ((*side[:planar], 0, *side[planar:]) for side in (before, after))
    cut = [slice(m - b, m - b + k) for m, b, k in zip(plan.margin[0], before, plan.kept, strict=True)]
    assert all(m >= t for m, t in zip(plan.margin[1], after, strict=True)), (plan, after)
    return output[:, *cut]


def resampled(read: Read, axis: int, sizes: tuple[int, int]) -> Read:
    """View a volume of `sizes[0]` planes along an axis as one of `sizes[1]` planes, by linear interpolation.

    Plane centres keep their physical positions. Used to bring the z of an anisotropic volume to the in-plane voxel size
    before re-slicing it, and the prediction back.
    """
    source, target = sizes

    def read_resampled(box: Box) -> np.ndarray:
        indices = np.array([reflect(i, target) for i in range(box.start[axis], box.stop[axis])])
        position = np.clip((indices + 0.5) * source / target - 0.5, 0, source - 1)
        low = np.minimum(position.astype(int), max(source - 2, 0))
        first, last = int(low.min()), min(int(low.max()) + 2, source)
        planes = read(
            Box(
                (*box.start[:axis], first, *box.start[axis + 1 :]),
                (*box.stop[:axis], last, *box.stop[axis + 1 :]),
            )
        )
        fraction = (position - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(len(box.start))])
        lower = planes.take(low - first, axis=axis + 1)
        upper = planes.take(np.minimum(low + 1, source - 1) - first, axis=axis + 1)
        result: np.ndarray = lower + fraction * (upper - lower)
        return result

    return read_resampled


def mean_of(parts: Iterator[np.ndarray]) -> np.ndarray:
    """Return the mean of equally shaped predictions, in the order given."""
    total = next(parts).astype(np.float32)
    count = 1
    for part in parts:
        total += part
        count += 1
    total /= count
    return total
