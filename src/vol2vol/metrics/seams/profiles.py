"""Measure the planes of every axis, cell by cell, in one pass over a volume of any size.

The volume is swept once along z in slabs of whole chunks. The last planes of a slab are kept for the next one, so that
a chunk is decoded once if a slab of full width fits `SLAB_BYTES`; otherwise the volume is swept in columns that overlap
by a voxel. Two threads work on blocks that fit the processor's cache. Memory holds about three slabs and the sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, product
from threading import Lock

import numpy as np

from vol2vol.finite import need_finite, nonfinite
from vol2vol.geometry import Box, Shape, grid
from vol2vol.intensity import Readable
from vol2vol.intensity.streaming import stream
from vol2vol.metrics.similarity.source_lookup import Lookup, fit_lookup, standardise
from vol2vol.progress import counted

SLAB_BYTES = 96 << 20
"""Bytes of one slab as stored, of volume and source together."""
BLOCK: Shape = (32, 32, 256)
"""Voxels of a block that one thread works on: 1 MiB in float32."""
Sums = tuple[str, int, slice, tuple[slice, slice], np.ndarray]
"""Name and axis of a profile, its planes and cells, and the sums to add to them."""


@dataclass(frozen=True)
class Reading:
    """How the stored values of one channel are standardised to mean 0 and standard deviation 1."""

    stack: int
    """0 for the volume, 1 for the source."""
    channel: int
    shift: float
    scale: float
    lookup: Lookup | None = None
    """Prediction of these numbers from channel `source_channel` of the source."""
    source_channel: int = 0

    def __call__(self, stacks: Sequence[np.ndarray], where: tuple[slice, ...]) -> np.ndarray:
        """Return the standardised values of a region as float32."""
        return standardise(stacks[self.stack][self.channel][where], self.shift, 1 / self.scale)


@dataclass
class Profile:
    """Means along one axis per plane, channel and lateral cell, float64 `(n, channels, cells, cells)`.

    The channels of the source follow those of the volume.
    """

    jump: np.ndarray
    """|y(p) - y(p - 1)|; NaN at plane 0."""
    level: np.ndarray
    """y(p), or y(p) - h(x(p)) with a source."""
    fine: np.ndarray
    """(y - box3(y))^2, with box3 the mean over 3 x 3 x 3 voxels; NaN at the border, where it is not defined."""


@dataclass
class _Sweep:
    volume: Readable
    source: Readable | None
    edges: Sequence[np.ndarray]
    readings: Sequence[Reading]
    profiles: Sequence[Profile]
    lock: Lock = field(default_factory=Lock)

    @property
    def volumes(self) -> list[Readable]:
        return [self.volume] if self.source is None else [self.volume, self.source]


def measure_profiles(volume: Readable, edges: Sequence[np.ndarray], source: Readable | None = None) -> list[Profile]:
    """Sweep a volume once and return the profiles of its three axes, in units of its standard deviation.

    `edges` cut every axis into lateral cells (`Grid.cells`). A source of the same spatial shape is swept along and
    conditions `level`. Raises `BadInput` on voxels that are not finite.
    """
    sweep = _Sweep(volume, source, edges, [], [])
    sweep.readings = _readings(sweep.volumes)
    shapes = [
        (n, len(sweep.readings), *(len(edges[b]) - 1 for b in range(3) if b != a)) for a, n in enumerate(volume.spatial)
    ]
    sweep.profiles = [Profile(*(np.zeros(shape) for _ in range(3))) for shape in shapes]
    with ThreadPoolExecutor(2) as workers, ThreadPoolExecutor(1) as reader:
        columns = list(_columns(sweep.volumes))
        for column, depth in counted(columns, "comparing planes", len(columns)):
            for work in _slabs(sweep, column, depth, reader):
                for _ in workers.map(work[0], work[1]):
                    pass
    for axis, profile in enumerate(sweep.profiles):
        _divide(profile, axis, volume.spatial, edges)
    if not all(np.isfinite(profile.level).all() for profile in sweep.profiles):
        for swept, box, values in stream(sweep.volumes, "looking for NaN"):
            need_finite(values, swept.path, box.start)
        raise nonfinite(" or ".join(str(swept.path) for swept in sweep.volumes))
    return list(sweep.profiles)


def sample(volumes: Sequence[Readable], side: int = 20, per_axis: int = 5) -> list[np.ndarray]:
    """Read the same lattice of small boxes from volumes of one shape; return float64 `(C, voxels)` per volume."""
    spatial = volumes[0].spatial
    starts = [np.unique(np.linspace(0, max(0, n - side), per_axis).astype(int)).tolist() for n in spatial]
    within = Box.of(spatial)
    boxes = [Box(s, tuple(a + side for a in s)) & within for s in product(*starts)]
    parts = [[v.read(box).reshape(v.shape[0], -1) for box in boxes] for v in volumes]
    return [np.concatenate(part, axis=1).astype(np.float64) for part in parts]


def _readings(volumes: Sequence[Readable]) -> list[Reading]:
    """Measure mean, standard deviation and h(x) of every channel on boxes from all over the volume."""
    samples = sample(volumes)
    readings = []
    for stack, channels in enumerate(samples):
        for channel, stored in enumerate(channels):
            finite = bool(np.isfinite(stored).all())
            shift, scale = (float(stored.mean()), float(stored.std()) or 1.0) if finite else (0.0, 1.0)
            lookup, source_channel = None, channel % volumes[-1].shape[0]
            if stack == 0 and len(samples) == 2 and finite and np.isfinite(samples[1][source_channel]).all():
                lookup = fit_lookup(samples[1][source_channel], (stored - shift) / scale)
            readings.append(Reading(stack, channel, shift, scale, lookup, source_channel))
    return readings


def _columns(volumes: Sequence[Readable]) -> Iterator[tuple[Box, int]]:
    """Yield the columns of a sweep along z, with the depth of their slabs in whole chunks."""
    spatial = volumes[0].spatial
    room = SLAB_BYTES // sum(v.shape[0] * np.dtype(v.dtype).itemsize for v in volumes)
    depth, y, x = (min(chunk, n) for chunk, n in zip(volumes[0].chunks[1:], spatial, strict=True))
    width = spatial[2] if depth * y * spatial[2] <= room else max(x, room // (depth * y) // x * x)
    height = min(spatial[1], max(y, room // (depth * width) // y * y))
    fitting = room // (height * width)
    depth = max(1, fitting if fitting < depth else fitting // depth * depth)
    for box in grid(Box.of(spatial), (spatial[0], height, width)):
        yield box, depth


def _slabs(
    sweep: _Sweep, column: Box, depth: int, reader: ThreadPoolExecutor
) -> Iterator[tuple[partial[None], Iterable[Box]]]:
    """Read a column slab by slab, one slab ahead; yield a function and the blocks to call it with."""
    size = column.stop[0]
    wide = column.grow((0, 1, 1), (0, 1, 1)) & Box.of(sweep.volume.spatial)
    starts = range(0, size, depth)
    slabs = [Box((z, *wide.start[1:]), (min(z + depth, size), *wide.stop[1:])) for z in starts]

    def read(slab: Box) -> list[np.ndarray]:
        return [volume.read(slab) for volume in sweep.volumes]

    ahead: Future[list[np.ndarray]] = reader.submit(read, slabs[0])
    stacks: list[np.ndarray] = []
    done = 0
    for slab, following in zip(slabs, [*slabs[1:], None], strict=True):
        new = ahead.result()
        if following is not None:
            ahead = reader.submit(read, following)
        stacks = [np.concatenate([s[:, -2:], n], axis=1) for s, n in zip(stacks, new, strict=True)] if stacks else new
        known = slab.stop[0]
        ready = known if known == size else max(done, known - 1)
        origin = (known - stacks[0].shape[1], *wide.start[1:])
        blocks = grid(Box((done, *column.start[1:]), (ready, *column.stop[1:])), BLOCK)
        yield partial(_add_block, sweep, stacks, origin), blocks
        done = ready


def _add_block(sweep: _Sweep, stacks: Sequence[np.ndarray], origin: Shape, box: Box) -> None:
    """Add one block, channel by channel, to the sums of the three axes."""
    padded = box.grow((1, 1, 1), (1, 1, 1)) & Box.of(sweep.volume.spatial)
    where, inner = padded.relative_to(origin).slices, box.relative_to(padded.start).slices
    for number, reading in enumerate(sweep.readings):
        with np.errstate(invalid="ignore", over="ignore"):
            values = reading(stacks, where)
            level = values[inner]
            if reading.lookup is not None:
                level = level - reading.lookup(stacks[1][reading.source_channel][where][inner])
            parts = [*_sums("level", level, box, sweep.edges), *_fine_sums(values, padded, sweep)]
            for axis in range(3):
                parts += _jump_sums(values, padded, box, axis, sweep.edges)
        with sweep.lock:
            for name, axis, planes, cells, total in parts:
                getattr(sweep.profiles[axis], name)[planes, number, *cells] += total


def _jump_sums(values: np.ndarray, padded: Box, box: Box, axis: int, edges: Sequence[np.ndarray]) -> Iterator[Sums]:
    """Return the sums of |y(p) - y(p - 1)| for the planes of one axis."""
    at = Box(tuple(max(s, 1) if a == axis else s for a, s in enumerate(box.start)), box.stop)
    back = tuple(-1 if a == axis else 0 for a in range(3))
    here, before = (b.relative_to(padded.start).slices for b in (at, at.shift(back)))
    jump = values[here] - values[before]
    np.abs(jump, out=jump)
    return (part for part in _sums("jump", jump, at, edges, only=axis))


def _fine_sums(values: np.ndarray, padded: Box, sweep: _Sweep) -> list[Sums]:
    """Return the sums of squared deviations from the mean of the neighbours on all axes of at least 3 voxels."""
    trim = tuple(int(n > 2) for n in sweep.volume.spatial)
    at = padded.grow(tuple(-t for t in trim), tuple(-t for t in trim))
    mean = values
    for axis in np.flatnonzero(trim):
        first, middle, last = (
            (slice(None),) * int(axis) + (s,) for s in (slice(None, -2), slice(1, -1), slice(2, None))
        )
        total = mean[first] + mean[middle]
        total += mean[last]
        mean = total
    if at.size == 0:
        return []
    fine = mean * np.float32(-1 / 3 ** sum(trim)) + values[at.relative_to(padded.start).slices]
    np.square(fine, out=fine)
    return _sums("fine", fine, at, sweep.edges)


def _sums(name: str, values: np.ndarray, box: Box, edges: Sequence[np.ndarray], only: int | None = None) -> list[Sums]:
    """Return the sums of a block at `box` over the lateral cells of every axis, or only of one."""
    parts: list[Sums] = []
    if values.size == 0:
        return parts
    axes = range(3) if only is None else (only,)
    cells = [
        slice(int(np.searchsorted(e, a, "right")) - 1, int(np.searchsorted(e, b, "left")))
        for e, a, b in zip(edges, box.start, box.stop, strict=True)
    ]
    along_z = values if only == 0 else _fold(values, 0, box, edges)
    for axis in axes:
        first, second = (b for b in range(3) if b != axis)
        total = (
            _fold(_fold(values, 1, box, edges), 2, box, edges) if axis == 0 else _fold(along_z, 3 - axis, box, edges)
        )
        parts.append((name, axis, box.slices[axis], (cells[first], cells[second]), np.moveaxis(total, axis, 0)))
    return parts


def _fold(values: np.ndarray, axis: int, box: Box, edges: Sequence[np.ndarray]) -> np.ndarray:
    """Sum along one axis of a block within each cell."""
    start, stop = box.start[axis], box.stop[axis]
    cuts = [0, *(int(e) - start for e in edges[axis] if start < e < stop), stop - start]
    along = (slice(None),) * axis
    pieces = [values[(*along, slice(a, b))].sum(axis=axis, keepdims=True) for a, b in pairwise(cuts)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=axis)


def _divide(profile: Profile, axis: int, spatial: Shape, edges: Sequence[np.ndarray]) -> None:
    """Divide sums by numbers of voxels; set planes without a value to NaN."""
    lateral = [b for b in range(3) if b != axis]
    whole = np.multiply.outer(*(np.diff(edges[b]) for b in lateral))
    inside = [np.diff(np.clip(edges[b], int(spatial[b] > 2), spatial[b] - int(spatial[b] > 2))) for b in lateral]
    profile.level /= whole
    profile.jump /= whole
    profile.jump[0] = np.nan
    with np.errstate(invalid="ignore"):
        profile.fine /= np.multiply.outer(*inside)
    if spatial[axis] > 2:
        profile.fine[[0, -1]] = np.nan
